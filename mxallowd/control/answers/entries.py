"""Entries of the whitelist: list, show, add, remove, flush. What an operator changes is logged, with his user id."""
import time
from collections.abc import Callable
from typing import TypeVar

from mxallowd.control.answers.bodies import bad, fields_of, host_of, network_of, no_parameters, note_of, seconds_of
from mxallowd.control.answers.listing import Wanted, bounds, hosts, lines, shown
from mxallowd.control.answers.networks import OwnNetwork, OwnNetworks, check_allowed, overruled
from mxallowd.control.answers.since import Since
from mxallowd.control.exchange import NDJSON, Request, RequestError, Response, Route, timestamp
from mxallowd.engine._table import BY_HAND, ORIGINS
from mxallowd.engine.events import address_text
from mxallowd.lists.composition import BY_HAND as BY_HAND_SOURCE
from mxallowd.lists.composition import Match
from mxallowd.lists.own import MAX_OWN
from mxallowd.log import Log
from mxallowd.provenance import MAX_TEXT
from mxallowd.settings.fleet import origin
from mxallowd.settings.values import Network
from mxallowd.text import quoted
from mxallowd.whitelist import Whitelist

MOST_LINES = 100_000_000  # the largest whitelist
Value = TypeVar("Value")
_TRUTH = {"true": True, "false": False}


class Entries:
    """Asks and changes the whitelist."""

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the daemon that it asks and changes
        self, whitelist: Whitelist, since: Since, networks: OwnNetworks | None, lifetime_s: Callable[[], int], log: Log,
        unkept: Callable[[], str] = lambda: "",
    ) -> None:
        """`networks` is None where nobody keeps any; `lifetime_s` is that of an entry for which none was given.

        `unkept` says why entries do not survive a restart; empty: they do.
        """
        self._whitelist = whitelist
        self._since = since
        self._networks = networks
        self._lifetime_s = lifetime_s
        self._log = log
        self._unkept = unkept

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [
            Route("GET", "/v1/entries", self._list),
            Route("GET", "/v1/entries/{address}", self._show),
            Route("POST", "/v1/entries", self._add, changes=True),
            Route("DELETE", "/v1/entries", self._flush, changes=True),
            Route("DELETE", "/v1/entries/{target:path}", self._remove, changes=True)]

    async def _list(self, request: Request) -> Response:
        query = dict(request.query)
        no_parameters(request, (*Wanted._fields, "limit"))
        came = _one_of(query, "origin", {name: name for name in ORIGINS})
        used, proven = _one_of(query, "used", _TRUTH), _one_of(query, "proven", _TRUTH)
        network = bounds(network_of(query["network"])) if "network" in query else None
        text = query.get("limit", str(MOST_LINES))
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MOST_LINES:
            raise bad(f"limit {quoted(text)} is not a number from 1 to {MOST_LINES}")
        note = query.get("note")
        if note is not None and len(note) > MAX_TEXT:
            raise bad(f"note {quoted(note)} has more than {MAX_TEXT} characters, and no note has")
        wanted = Wanted(came, used, proven, None if note is None else note.casefold(), _gateway_of(query), network)
        return Response(
            pieces=lines(self._whitelist, self._since, wanted, int(text), lambda entry: entry), content_type=NDJSON)

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        return Response(self._shown(host_of(request.parameters["address"])))

    def _shown(self, host: bytes) -> dict[str, object]:
        entry = self._whitelist.entry(host)
        if entry is None:
            allowed = self._deciding(network_of(address_text(host)), "allow")
            raise RequestError(404, "not-listed", f"{address_text(host)} is not in the whitelist{_but(allowed)}")
        return shown(entry, self._whitelist.now_us(), time.time(), self._since)

    async def _add(self, request: Request) -> Response:
        no_parameters(request)
        body = fields_of(request.body, (), ("address", "network", "seconds", "note"))
        if len(body.keys() & {"address", "network"}) != 1:
            raise bad('either "address" or "network" is needed')
        seconds, note = seconds_of(body.get("seconds"), self._lifetime_s()), note_of(body.get("note"))
        if "network" in body:
            network = network_of(body["network"])
        else:
            network = network_of(address_text(host_of(body["address"])))
        if network.prefixlen == network.max_prefixlen:
            added = self._add_host(request, bounds(network)[0], seconds, note)
        else:
            check_allowed(network, self._whitelist.why_no_entry)
            added = await self._add_network(request, network, seconds, note)
        return Response({**added, **overruled("denied_by", self._deciding(network, "deny"))})

    def _add_host(self, request: Request, host: bytes, seconds: int, note: str) -> dict[str, object]:
        whitelist = self._whitelist
        if reason := whitelist.why_no_entry(host):
            raise RequestError(422, "no-host", f"{address_text(host)} {reason}")
        now_us = whitelist.now_us()
        until_us = now_us + 1_000_000 * seconds
        if not whitelist.admit(host, until_us, now_us, origin=BY_HAND, note=note):
            renewed = whitelist.renew(host, until_us, now_us)
            whitelist.claim(host, BY_HAND)
            if not renewed and whitelist.find(host) is None:
                raise RequestError(409, "no-room", f"there is no room for {address_text(host)}: the part of the "
                                   "whitelist for hosts let in by hand or by a name is full (--max-entries), and "
                                   "nobody is removed for this one; a network needs none of that room")
            if note:
                whitelist.annotate(host, note)
        found = self._shown(host)
        # One that was in already may end later than was asked for.
        self._log.notice("added", address_text(host), **request.who, seconds=found["seconds_left"])
        return found | _kept(self._unkept())

    async def _add_network(
        self, request: Request, network: Network, seconds: int, note: str) -> dict[str, object]:
        until_s = time.time() + seconds
        networks = self._keepers()
        added = await networks.add([OwnNetwork("allow", network, note, until_s)])
        if added.left_out:
            raise RequestError(507, "no-room", f"{MAX_OWN} networks are there by hand; no more can be added")
        self._log.notice("network-added", None, **request.who, network=network, list="allow")
        # A known one is not shortened, and one word about its end is the same everywhere.
        own = networks.get("allow", network)
        if own is None:
            raise RequestError(409, "gone", f"{network} was removed at the same time")
        return {"network": str(network), "until": None if own.until_s is None else timestamp(own.until_s),
                "note": own.note or None, **_kept(added.unkept)}

    async def _remove(self, request: Request) -> Response:
        no_parameters(request)
        network = network_of(request.parameters["target"])
        removed = await self._end(network)
        if self._networks is not None:
            removed += await self._networks.remove(network)
        what = network.network_address if network.prefixlen == network.max_prefixlen else network
        allowed = self._deciding(network, "allow")
        if not removed:
            raise RequestError(404, "not-listed", f"nothing of {what} is in the whitelist{_but(allowed)}")
        self._log.notice("removed", None, **request.who, what=what, count=removed)
        return Response({"removed": removed, **overruled("allowed_by", allowed)})

    async def _flush(self, request: Request) -> Response:
        no_parameters(request, ("gateway",))
        gateway = _gateway_of(dict(request.query))
        if gateway is not None:
            return await self._remove_told(request, gateway)
        self._whitelist.before_flush()
        removed = await self._end(None)
        self._whitelist.tellings.note_all_ended(self._whitelist.now_us())
        if self._networks is not None:
            removed += await self._networks.flush()
        self._log.notice("removed", None, **request.who, what="all", count=removed)
        return Response({"removed": removed})

    async def _remove_told(self, request: Request, gateway: str) -> Response:
        removed = await self._whitelist.end_told(self._whitelist.gateway_number(gateway))
        if not removed:
            raise RequestError(404, "not-listed", f"nothing here was told by the gateway {gateway} alone")
        self._log.notice("removed", None, **request.who, what=f"all-that-{gateway}-told", count=removed)
        return Response({"removed": removed})

    async def _end(self, network: Network | None) -> int:
        if network is not None and network.prefixlen == network.max_prefixlen:
            return int(self._whitelist.end(bounds(network)[0]))
        removed = 0
        async for some in hosts(self._whitelist, Wanted(network=bounds(network) if network else None)):
            removed += sum(self._whitelist.end(host, flush=network is None) for host in some)
        return removed

    def _deciding(self, network: Network, verdict: str) -> list[Match]:
        """What of that list holds for an address of this network, whatever the whitelist has."""
        return self._networks.deciding(network, verdict) if self._networks else []

    def _keepers(self) -> OwnNetworks:
        if self._networks is None:
            raise RequestError(409, "not-kept", "networks are not kept here: add addresses")
        return self._networks


def _kept(unkept: str) -> dict[str, object]:
    """Whether what was added survives a restart, and why not."""
    return {"kept": not unkept, "reason": unkept or None}


def _but(allowed: list[Match]) -> str:
    """What lets in all the same somebody who is not in the whitelist; empty where nothing does."""
    if not allowed:
        return ""
    where = allowed[0].where if allowed[0].source == BY_HAND_SOURCE else f"in {allowed[0].where}"
    how = "trusted" if allowed[0].trusted else "allowed"
    return f", but {allowed[0].network} is {how} {where}: mxallowctl explain says more"


def _gateway_of(query: dict[str, str]) -> str | None:
    text = query.get("gateway")
    if text is None:
        return None
    try:
        return origin(text)
    except ValueError as error:
        raise bad(f"gateway {quoted(text)} {error}") from None


def _one_of(query: dict[str, str], name: str, choices: dict[str, Value]) -> Value | None:
    text = query.get(name)
    if text is None:
        return None
    if text not in choices:
        raise bad(f"{name} {quoted(text)} is none of {', '.join(choices)}")
    return choices[text]


