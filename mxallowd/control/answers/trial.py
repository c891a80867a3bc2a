"""Answers about a trial: GET /v1/forecast and GET /v1/first-mx-only.

Both work while the filter is armed, too: hosts that would have been refused in a dry run were refused then.
"""
import asyncio
import heapq
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping

from mxallowd.control.exchange import Request, RequestError, Response, Route, timestamp
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.history.firstmx import CONTACTS, Found
from mxallowd.history.forecast import WITHIN_S, Tried
from mxallowd.history.trial import Trial

SHOWN, MOST_SHOWN = 50, 1000
STEP = 250  # hosts between two turns of the loop
MOST_NAMES = 3  # of a network


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
        sums, tried = await self._trial.forecast.collect()
        networks = await self._networks(tried)
        return Response({
            "since": self._wall(self._trial.forecast.since_s),
            "dry_run": self._trial.dry_run,
            "hosts": sums.hosts,
            "sampled": sums.sampled,
            "met_the_fake": [
                {"within_seconds": within_s, "hosts": hosts, "share": _share(hosts, sums.hosts), "still_may": young}
                for within_s, hosts, young in zip(WITHIN_S, sums.met, sums.young, strict=True)],
            "let_in_otherwise": sums.let_in,
            "came_once": sums.came_once,
            "kept_trying": sums.kept_trying,
            "refused_later_passed": self._trial.forecast.later_passed,
            "connections": _connections(await self._count(), queues=self._trial.queues),
            "hosts_that_kept_trying": [
                self._host(one.host) | {"attempts": one.attempts} | self._times(one.first_s, one.last_s)
                for one in heapq.nlargest(limit, tried, key=lambda one: (one.attempts, one.last_s))],
            "networks_that_kept_trying": networks[:limit]})

    async def first_mx_only(self, request: Request) -> Response:
        """Hosts that meet the fake server alone: those with a confirmed name first, then by contacts."""
        limit = _limit(request)
        found: list[Found] = []
        for number, one in enumerate(self._trial.first_mx.found()):
            found.append(one)
            if number % STEP == 0:
                await asyncio.sleep(0)
        first = heapq.nsmallest(limit, found, key=self._order)
        return Response({
            "contacts": CONTACTS, "seconds": 86_400, "count": len(found),
            "hosts": [self._host(one.host) | {"contacts": one.contacts} | self._times(one.first_s, one.last_s)
                      for one in first]})

    def _order(self, one: Found) -> tuple[int, int, bytes]:
        name = self._trial.names.find(one.host)
        return (2 if name is None else 0 if name.confirmed else 1, -one.contacts, one.host)

    async def _networks(self, tried: list[Tried]) -> list[dict[str, object]]:
        """Networks of more than one such host, those with most attempts first."""
        of: dict[str, list[Tried]] = {}
        for number, one in enumerate(tried):
            of.setdefault(network_of(one.host), []).append(one)
            if number % STEP == 0:
                await asyncio.sleep(0)
        found = []
        for number, (network, hosts) in enumerate(of.items()):
            if len(hosts) > 1:
                # One name of each host: a set of them says whose network it is.
                names = dict.fromkeys(name.text for one in hosts if (name := self._trial.names.find(one.host)))
                found.append({"network": network, "hosts": len(hosts), "attempts": sum(one.attempts for one in hosts),
                              "names": list(names)[:MOST_NAMES]}
                             | self._times(min(one.first_s for one in hosts), max(one.last_s for one in hosts)))
            if number % STEP == 0:
                await asyncio.sleep(0)
        return sorted(found, key=lambda one: -int(str(one["attempts"])))

    def _host(self, host: bytes) -> dict[str, object]:
        name = self._trial.names.find(host)
        return {"address": address_text(host), "name": name.text if name else None,
                "name_confirmed": name is not None and name.confirmed}

    def _times(self, first_s: int, last_s: int) -> dict[str, object]:
        return {"first": self._wall(first_s), "last": self._wall(last_s)}

    def _wall(self, seconds: int) -> str:
        return timestamp(time.time() - (self._trial.now_us() / 1_000_000 - seconds))


def network_of(host: bytes) -> str:
    """The network that senders share as a rule: 24 bits of IPv4, 64 of IPv6."""
    text = address_text(host)
    return str(ipaddress.ip_network(f"{text}/{24 if host.startswith(MAPPED) else 64}", strict=False))


def _connections(counted: Mapping[str, int], *, queues: bool) -> dict[str, object]:
    """Connections to the real server. What the kernel decides alone, its counters tell, where the ruleset has them.

    With a queue the kernel counts what the daemon does not see, without one all that it accepts or refuses.
    """
    refused = max(counted.get("refused-attempts", 0), counted.get("kernel-refused", 0))
    seen = sum(counted.get(name, 0) for name in ("real-first", "real-again", "real-allowed", "real-untold"))
    alone = counted.get("kernel-accepted", 0)
    accepted = seen + alone if queues else max(seen, alone)
    return {"refused": refused, "accepted": accepted, "share_refused": _share(refused, refused + accepted)}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _limit(request: Request) -> int:
    for name in request.query:
        if name != "limit":
            raise RequestError(400, "unknown-parameter", f'there is no parameter "{name}"')
    text = request.query.get("limit", str(SHOWN))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MOST_SHOWN):
        raise RequestError(400, "invalid-parameter", f'limit: "{text}" is not a number from 0 to {MOST_SHOWN}')
    return int(text)
