"""GET /v1/lists, and POST and DELETE of /v1/lists/allow, /v1/lists/deny and /v1/lists/direct: networks added by hand.

What a file or the configuration has is shown and never changed here.
"""
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice

from mxallowd.control.answers.bodies import bad, fields_of, no_parameters, note_of, seconds_of
from mxallowd.control.answers.hits import HitsShown
from mxallowd.control.answers.networks import VERDICTS, WhyNot, check_allowed, overruled, shown
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.lists.composition import ALLOW, BY_HAND, DENY, DIRECT, LEARNED, Match, Network
from mxallowd.lists.lists import Lists
from mxallowd.lists.own import MAX_OWN, network
from mxallowd.log import Log
from mxallowd.process.turns import in_turns
from mxallowd.text import quoted

SHOWN_BY_HAND = 1_000


class ListAnswers:
    """The answers about lists."""

    def __init__(self, lists: Lists, log: Log, hits: HitsShown, why_not: WhyNot = lambda host: "",
                 not_led: Callable[[], str] = lambda: "") -> None:
        """`not_led` says why nobody who is direct can be led; empty: somebody can."""
        self._lists = lists
        self._log = log
        self._hits = hits
        self._why_not = why_not
        self._not_led = not_led

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [
            Route("GET", "/v1/lists", self._show),
            Route("POST", "/v1/lists/{verdict}", self._add, changes=True),
            Route("DELETE", "/v1/lists/{verdict}", self._remove, changes=True),
        ]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        lists = self._lists
        # Trusted senders are a source for each line, and of one file all the same.
        counts = Counter[tuple[str, str, bool, bool]]()
        for source in lists.composition.sources:
            counts[source.verdict, source.name, source.trusted, source.is_direct] += len(source)
        sources: list[dict[str, object]] = [
            {"list": verdict, "source": name, "networks": networks, "trusted": trusted, "direct": direct,
             "fault": lists.faults.get(name)}
            for (verdict, name, trusted, direct), networks in counts.items()]
        known = {source.name for source in lists.composition.sources}
        sources += [{"list": None, "source": name, "networks": 0, "trusted": False, "direct": False,
                     "fault": fault}
                    for name, fault in lists.faults.items() if name not in known]
        of_own = await self._hits.of_own()
        return Response({
            **{verdict: lists.count(verdict) for verdict in VERDICTS}, "since": self._hits.since(), "sources": sources,
            "by_hand": await in_turns(islice(lists.entries(), SHOWN_BY_HAND), lambda one: shown(one) | of_own(one)),
            "by_hand_left_out": max(0, len(lists.own.networks) - SHOWN_BY_HAND)})

    async def _add(self, request: Request) -> Response:
        no_parameters(request)
        verdict, body = _verdict(request), fields_of(request.body, ("network",), ("note", "seconds"))
        asked = _network(body)
        if verdict != DENY:
            check_allowed(asked, self._why_not)
        note = note_of(body.get("note")) or None
        seconds = None if body.get("seconds") is None else seconds_of(body["seconds"], 0)
        added = await self._lists.add_network(verdict, asked, note, seconds)
        if added.left_out:
            raise RequestError(507, "no-room", f"{MAX_OWN} networks are there by hand; no more can be added")
        self._log.notice("network-added", None, **request.who, network=asked, list=verdict)
        own = self._lists.get(verdict, asked)
        if own is None:
            raise RequestError(409, "gone", f"{asked} was removed at the same time")
        match = Match(verdict, asked, BY_HAND, 0, own.note, self._lists.own.until(own))
        key, other = ("allowed_by", ALLOW) if verdict == DENY else ("denied_by", DENY)
        led: dict[str, object] = {"not_led": why} if verdict == DIRECT and (why := self._not_led()) else {}
        return Response({**shown(match), **led, "kept": not added.unkept, "reason": added.unkept or None,
                         **overruled(key, self._lists.composition.deciding(asked, other))})

    async def _remove(self, request: Request) -> Response:
        no_parameters(request)
        verdict, body = _verdict(request), fields_of(request.body, ("network",))
        asked = _network(body)
        # Who was learned is direct as well.
        words = (DIRECT, LEARNED) if verdict == DIRECT else (verdict,)
        if removed := sum([await self._lists.remove_network(word, asked) for word in words]):
            self._log.notice("removed", None, **request.who, what=asked, list=verdict, count=removed)
            return Response({"removed": removed})
        elsewhere = [match for match in self._lists.composition.overlapping(asked)
                     if match.network == asked and match.verdict == verdict]
        more = f"; it stands in {elsewhere[0].where}, and is removed there" if elsewhere else ""
        raise RequestError(404, "not-listed", f"{asked} was not added to {verdict} by hand{more}")


def _verdict(request: Request) -> str:
    verdict = request.parameters["verdict"]
    if verdict not in VERDICTS:
        raise RequestError(404, "no-such-list", f"{quoted(verdict)} is none of {', '.join(VERDICTS)}")
    return verdict


def _network(body: Mapping[str, object]) -> Network:
    text = body["network"]
    try:
        if not isinstance(text, str):
            raise ValueError("is not a text")
        return network(text)
    except ValueError as error:
        raise bad(f"{quoted(text if isinstance(text, str) else repr(text)[:200])} {error}") from None
