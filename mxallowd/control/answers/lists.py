"""GET /v1/lists, and POST and DELETE of /v1/lists/allow and /v1/lists/deny: networks that are added by hand.

What a file or the configuration has is shown and never changed here.
"""
from itertools import islice

from mxallowd.control.exchange import Request, RequestError, Response, Route, timestamp
from mxallowd.lists.composition import ALLOW, BY_HAND, DENY, Match, Network
from mxallowd.lists.lists import Lists
from mxallowd.lists.own import MAX_OWN, MAX_SECONDS, network
from mxallowd.text import quoted

SHOWN_BY_HAND = 1_000


class ListAnswers:
    """The answers about lists."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [
            Route("GET", "/v1/lists", self._show),
            Route("POST", "/v1/lists/{verdict}", self._add, changes=True),
            Route("DELETE", "/v1/lists/{verdict}", self._remove, changes=True),
        ]

    async def _show(self, _: Request) -> Response:
        lists = self._lists
        sources = [
            {"list": source.verdict, "source": source.name, "networks": len(source),
             "fault": lists.faults.get(source.name)}
            for source in lists.composition.sources]
        known = {source.name for source in lists.composition.sources}
        sources += [{"list": None, "source": name, "networks": 0, "fault": fault}
                    for name, fault in lists.faults.items() if name not in known]
        by_hand = len(lists.own.networks)
        return Response({
            "allow": lists.count(ALLOW), "deny": lists.count(DENY), "sources": sources,
            "by_hand": [shown(match) for match in islice(lists.entries(), SHOWN_BY_HAND)],
            "by_hand_left_out": max(0, by_hand - SHOWN_BY_HAND)})

    async def _add(self, request: Request) -> Response:
        verdict, body = _verdict(request), _body(request, {"network", "note", "seconds"})
        asked = _network(body)
        note, seconds = note_of(body), seconds_of(body)
        added = await self._lists.add_network(verdict, asked, note, seconds)
        if not added.taken:
            raise RequestError(507, "no-room", f"{MAX_OWN} networks are there by hand; no more can be added")
        own = self._lists.get(verdict, asked)
        if own is None:
            raise RequestError(409, "gone", f"{asked} was removed at the same time")
        match = Match(verdict, asked, BY_HAND, 0, own.note, self._lists.own.until(own))
        return Response({**shown(match), "kept": not added.unkept, "reason": added.unkept or None})

    async def _remove(self, request: Request) -> Response:
        verdict, body = _verdict(request), _body(request, {"network"})
        asked = _network(body)
        if await self._lists.remove_network(verdict, asked):
            return Response({"removed": 1})
        elsewhere = [match for match in self._lists.composition.overlapping(asked)
                     if match.network == asked and match.verdict == verdict]
        more = f"; it stands in {elsewhere[0].where}, and is removed there" if elsewhere else ""
        raise RequestError(404, "not-listed", f"{asked} was not added to {verdict} by hand{more}")


def shown(match: Match) -> dict[str, object]:
    """A network of a list as JSON has it."""
    return {"verdict": match.verdict, "network": str(match.network), "source": match.where, "note": match.note,
            "until": None if match.until is None else timestamp(match.until)}


def note_of(body: dict[str, object]) -> str | None:
    """The note that a request has. Raises RequestError."""
    note = body.get("note")
    if note is not None and not isinstance(note, str):
        raise RequestError(400, "bad-note", "note is not a text")
    return note


def seconds_of(body: dict[str, object]) -> int | None:
    """The time that a request asks for. Raises RequestError."""
    seconds = body.get("seconds")
    if seconds is None:
        return None
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= MAX_SECONDS:
        raise RequestError(400, "bad-seconds", f"seconds is not a number from 1 to {MAX_SECONDS}")
    return seconds


def _verdict(request: Request) -> str:
    verdict = request.parameters["verdict"]
    if verdict not in (ALLOW, DENY):
        raise RequestError(404, "no-such-list", f"{quoted(verdict)} is neither allow nor deny")
    return verdict


def _body(request: Request, keys: set[str]) -> dict[str, object]:
    body = request.body
    if not isinstance(body, dict):
        raise RequestError(400, "bad-body", "the body is not an object of JSON")
    if unknown := sorted(set(body) - keys):
        raise RequestError(400, "unknown-key", f"{quoted(unknown[0])} is unknown; known are {', '.join(sorted(keys))}")
    return body


def _network(body: dict[str, object]) -> Network:
    text = body.get("network")
    if not isinstance(text, str):
        raise RequestError(400, "bad-network", "network is missing, or not a text")
    try:
        return network(text)
    except ValueError as error:
        raise RequestError(400, "bad-network", f"{quoted(text)} {error}") from None
