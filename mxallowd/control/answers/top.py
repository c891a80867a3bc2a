"""GET /v1/top: what happens now. Counters since the start, of which the client makes rates, and how full things are.

Busiest are the refused hosts with the most attempts within the last RECENT_S, and their networks (/24, /48). The
memory of refused hosts is read once for all who ask within a second.
"""
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mxallowd.backends import Backends
from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.answers.busiest import busiest_networks, busiest_of
from mxallowd.control.answers.listing import shown
from mxallowd.control.answers.sharing import Changes, Shared
from mxallowd.control.answers.since import Since
from mxallowd.control.exchange import Request, Response, Route, timestamp
from mxallowd.engine._refused import STEP_US
from mxallowd.engine.events import address_text
from mxallowd.sinks import Sink
from mxallowd.whitelist import Whitelist

RECENT_S, SHOWN = 3600, 10


class Top:
    """Tells it."""

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the daemon of which it tells
        self, backend: Backends, whitelist: Whitelist, since: Since,
        counters: Callable[[], Awaitable[Mapping[str, int]]], sinks: Sequence[Sink],
        queues: Callable[[], Mapping[int, tuple[int, int]]], changes: Changes,
        patience: Callable[[], object] = lambda: None,
    ) -> None:
        self._backend = backend
        self._whitelist = whitelist
        self._since = since
        self._counters = counters
        self._sinks = sinks
        self._queues = queues
        self._patience = patience
        self._shared = Shared(self._busiest, changes)

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/top", self._show)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        backend, whitelist = self._backend, self._whitelist
        hosts, networks = await self._shared.get(None)
        now_us, now_s = whitelist.now_us(), time.time()
        newest = sorted(whitelist.sample(8 * SHOWN).items(), key=lambda one: -one[1][0])[:SHOWN]
        lookups = max((fill() for sink in self._sinks if (fill := getattr(sink, "fill", None))), default=None)
        return Response({
            "time": timestamp(now_s), "counters": dict(await self._counters()),
            "fill": {"whitelist": {"entries": len(whitelist), "room": backend.table.room},
                     "refused": {"hosts": len(backend.refused), "room": backend.refused.max_hosts},
                     "patience": self._patience(),
                     "event_ring": max((len(ring) / ring.capacity for ring in backend.rings), default=0.0),
                     "lookups": lookups},
            "queues": [{"queue": number, "waiting": waiting, "room": room}
                       for number, (waiting, room) in sorted(self._queues().items())],
            "busiest": hosts, "networks": networks,
            "newest": [shown(entry, now_us, now_s, self._since) for host, _ in newest
                       if (entry := whitelist.entry(host)) is not None]})

    async def _busiest(self, _: None) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        since = max(0, self._backend.clock_us() - RECENT_S * 1_000_000) // STEP_US
        hosts = (await busiest_of(self._backend.refused, SHOWN, since=since))[1]
        networks = await busiest_networks(self._backend.refused, SHOWN, since)
        return ([{"address": address_text(one.host), "times": one.times} for one in hosts],
                [{"network": text, "times": times} for text, times in networks])
