"""Answers about a trial: GET /v1/forecast and GET /v1/first-mx-only.

Both work while the filter is armed, too: hosts that would have been refused in a dry run were refused then.
"""
import asyncio
import heapq
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from mxallowd.control.exchange import Request, RequestError, Response, Route, timestamp
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.history.firstmx import CONTACTS, Found
from mxallowd.history.forecast import WITHIN_S, Tried
from mxallowd.history.hourly import KEPT_HOURS
from mxallowd.history.traffic import Connections
from mxallowd.history.trial import Trial
from mxallowd.text import quoted

SHOWN, MOST_SHOWN = 50, 1000
STEP = 250  # hosts between two turns of the loop: some 2 ms
MOST_NAMES = 3  # of a network
Item = TypeVar("Item")


@dataclass
class _Network:
    hosts: int = 0
    attempts: int = 0
    first_s: int = 0
    last_s: int = 0
    names: dict[str, None] = field(default_factory=dict)


class TrialAnswers:
    """Takes the memories of the trial, and what gives all counters."""

    def __init__(self, trial: Trial, count: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self._trial = trial
        self._count = count

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/forecast", self.forecast), Route("GET", "/v1/first-mx-only", self.first_mx_only)]

    async def forecast(self, request: Request) -> Response:
        """What became of the hosts that were refused. `limit`: hosts and networks that are named, at most 1000."""
        limit = _limit(request)
        forecast, traffic = self._trial.forecast, self._trial.traffic
        sums, tried = await forecast.collect()
        networks = await self._networks(tried)
        hosts = await _best(tried, limit, lambda one: (-one.attempts, -one.last_s, one.host))
        connections = traffic.take(await self._count())
        seen = _seen(connections, queues=traffic.queues)
        oldest_s = self._trial.timeline.now_s() - 3600 * KEPT_HOURS
        return Response({
            "since": self._wall(max(forecast.since_s, oldest_s)),
            "dry_run": self._trial.dry_run,
            "hosts": sums.hosts,
            "sampled": sums.sampled,
            "seen": seen,
            "met_the_fake": [
                {"within_seconds": within_s, "hosts": hosts, "share": _share(hosts, sums.hosts), "still_may": young}
                for within_s, hosts, young in zip(WITHIN_S, sums.met, sums.young, strict=True)],
            "let_in_by_patience": sums.patient,
            "let_in_otherwise": sums.let_in,
            "came_once": sums.came_once,
            "kept_trying": sums.kept_trying,
            "refused_later_passed": forecast.passed.sums()[0],
            "connections": {
                "refused": connections.refused, "accepted": connections.accepted,
                "share_refused": _share(connections.refused, connections.refused + connections.accepted)},
            "hosts_that_kept_trying": [
                self._host(one.host) | {"attempts": one.attempts} | self._times(one.first_s, one.last_s)
                async for one in _slowly(hosts)],
            "networks_that_kept_trying": [
                {"network": name, "hosts": one.hosts, "attempts": one.attempts, "names": list(one.names)}
                | self._times(one.first_s, one.last_s)
                async for name, one in _slowly(await _best(networks.items(), limit, lambda one: -one[1].attempts))]})

    async def first_mx_only(self, request: Request) -> Response:
        """Hosts that meet the fake server alone: those with a confirmed name first, then by contacts."""
        limit = _limit(request)
        found = await self._trial.first_mx.collect()
        return Response({
            "contacts": CONTACTS, "seconds": 86_400, "count": len(found),
            "hosts": [self._host(one.host) | {"contacts": one.contacts} | self._times(one.first_s, one.last_s)
                      | {"direct_not_led": self._trial.unled.has(one.host)}
                      async for one in _slowly(await _best(found, limit, self._order))]})

    def _order(self, one: Found) -> tuple[int, int, bytes]:
        name = self._trial.names.find(one.host)
        return (2 if name is None else 0 if name.confirmed else 1, -one.contacts, one.host)

    async def _networks(self, tried: list[Tried]) -> dict[str, _Network]:
        """The networks of these hosts, each with some of their names: they say whose network it is."""
        found: dict[str, _Network] = {}
        async for one in _slowly(tried):
            network = found.setdefault(network_of(one.host), _Network(first_s=one.first_s))
            network.hosts += 1
            network.attempts += one.attempts
            network.first_s = min(network.first_s, one.first_s)
            network.last_s = max(network.last_s, one.last_s)
            if len(network.names) < MOST_NAMES and (name := self._trial.names.find(one.host)):
                network.names[name.text] = None
        return {name: network async for name, network in _slowly(list(found.items())) if network.hosts > 1}

    def _host(self, host: bytes) -> dict[str, object]:
        name = self._trial.names.find(host)
        return {"address": address_text(host), "name": name.text if name else None,
                "name_confirmed": name is not None and name.confirmed}

    def _times(self, first_s: int, last_s: int) -> dict[str, object]:
        return {"first": self._wall(first_s), "last": self._wall(last_s)}

    def _wall(self, seconds: int) -> str:
        return timestamp(time.time() - (self._trial.timeline.now_s() - seconds))


def network_of(host: bytes) -> str:
    """The network that senders share as a rule: 24 bits of IPv4, 64 of IPv6."""
    text = address_text(host)
    return str(ipaddress.ip_network(f"{text}/{24 if host.startswith(MAPPED) else 64}", strict=False))


async def _slowly(items: Sequence[Item]) -> AsyncIterator[Item]:
    """All of them, with a turn of the loop between two steps."""
    for number, one in enumerate(items, 1):
        yield one
        if number % STEP == 0:
            await asyncio.sleep(0)


async def _best(items: Iterable[Item], limit: int, order: Callable[[Item], Any]) -> list[Item]:
    """The first ones in this order, at most `limit`, with a turn of the loop between two steps."""
    best: list[Item] = []
    left = iter(items)
    while step := list(islice(left, STEP)):
        best = heapq.nsmallest(limit, best + step, key=order)
        await asyncio.sleep(0)
    return best


def _seen(connections: Connections, *, queues: bool) -> dict[str, object] | None:
    """How many of the refused packets mxallowd was shown; None: all. What is said of hosts is said of these."""
    if queues:
        return None
    counted = max(connections.counted, connections.seen) if connections.counted else None
    return {"packets": connections.seen, "of": counted, "share": _share(connections.seen, counted) if counted else None}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _limit(request: Request) -> int:
    for name in request.query:
        if name != "limit":
            raise RequestError(400, "unknown-parameter", f"there is no parameter {quoted(name)}")
    text = request.query.get("limit", str(SHOWN))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MOST_SHOWN):
        raise RequestError(400, "invalid-parameter", f"limit: {quoted(text)} is not a number from 0 to {MOST_SHOWN}")
    return int(text)
