"""Lines about refused hosts: the first refusal at once, and once a minute the number of attempts since then.

In the same way about hosts that lists deny or allow, or that a contact of their network lets in, with a memory of
their own. In a dry run the words of the lines
are `would-refuse` and `would-deny`.

The packet path writes an event when a host is refused for the first time, and again after a minute. The memory of
refused hosts counts all attempts; it is read when a sum is due. A host without an attempt for a minute begins anew.
"""
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from mxallowd.engine._refused import Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.log.periodic import PERIOD_S
from mxallowd.sinks.hostlog import HostLog

# Hosts of which a sum will be said. Of further ones, only the first attempt of a minute is said: who is watched already
# stays so, however many others come.
MAX_OPEN = 2048


class Memory(Protocol):
    """What is asked of the memory of refused hosts (_refused.pyi)."""

    def find(self, host: bytes) -> Refusals | None:
        """What is known of a host."""

    def counters(self) -> dict[str, int]:
        """Among them refused-untold, the refusals of which no event told."""


class _Open(NamedTuple):
    """A host whose sum is due a minute after `since`."""

    since: float
    times: int  # attempts that lines have told of
    server: bytes  # of the last of them
    kind: int  # of the event that told of the first of them


class RefusalLines:
    """The lines about all refused hosts."""

    def __init__(
        self, hostlog: HostLog, memory: Memory, clock: Callable[[], float] = time.monotonic, *, dry_run: bool = False,
        by: Callable[[bytes], str] = lambda host: "list",
    ) -> None:
        """`by` is what allows a host that a list allows."""
        self._by = by
        self._hostlog = hostlog
        self._dry_run = dry_run
        self._memory = memory
        self._clock = clock
        self._open: dict[bytes, _Open] = {}  # in the order of `since`
        self._untold = 0

    def take(self, event: Event) -> None:
        """Write the first line of a host; what comes later is for its sum."""
        found = self._memory.find(event.source)
        # In the memory, not in the event: two threads may each have met the host, and count for themselves.
        times = found.times if found else event.length
        known = self._open.get(event.source)
        if known:
            if times <= known.times:
                # It was pushed out of the memory meanwhile, and is counted from the beginning.
                self._open[event.source] = known._replace(times=times - 1)
            return
        if len(self._open) < MAX_OPEN:
            self._open[event.source] = _Open(self._clock(), times, event.destination, event.kind)
        if event.kind == Kind.LIST_DENIED and self._dry_run:
            self._hostlog.info("would-deny", event.source, server=event.destination, times=1)
        elif event.kind == Kind.LIST_DENIED:
            self._hostlog.info("denied", event.source, server=event.destination, times=1)
        elif event.kind == Kind.LIST_ALLOWED:
            self._hostlog.info("allowed", event.source, real=event.destination, times=1,
                               by=self._by(event.source))
        elif event.kind == Kind.BY_NETWORK:
            self._hostlog.info("by-network", event.source, real=event.destination, times=1)
        elif self._dry_run:
            self._hostlog.info("would-refuse", event.source, real=event.destination, times=1)
        else:
            self._hostlog.info("refused", event.source, real=event.destination, times=1)

    def tick(self) -> None:
        """Write the sums whose minute is over, and count what nobody could be told of."""
        now = self._clock()
        for host, known in list(self._open.items()):
            if now - known.since < PERIOD_S:
                break
            self._sum_up(host, again=True)
        untold = self._memory.counters()["refused-untold"]
        self._hostlog.suppress(untold - self._untold)
        self._untold = untold

    def close(self) -> None:
        """Write every sum that is open."""
        for host in list(self._open):
            self._sum_up(host)

    def _sum_up(self, host: bytes, *, again: bool = False) -> None:
        known = self._open.pop(host)
        found = self._memory.find(host)
        if found is None or found.times <= known.times:
            # Nothing came, or nobody knows any more what did.
            return
        now = self._clock()
        server = found.server or known.server
        times, seconds = found.times - known.times, round(now - known.since)
        if known.kind == Kind.LIST_DENIED and self._dry_run:
            self._hostlog.info("would-deny", host, server=server, times=times, seconds=seconds)
        elif known.kind == Kind.LIST_DENIED:
            self._hostlog.info("denied", host, server=server, times=times, seconds=seconds)
        elif known.kind == Kind.LIST_ALLOWED:
            self._hostlog.info("allowed", host, real=server, times=times, seconds=seconds)
        elif known.kind == Kind.BY_NETWORK:
            self._hostlog.info("by-network", host, real=server, times=times, seconds=seconds)
        elif self._dry_run:
            self._hostlog.info("would-refuse", host, real=server, times=times, seconds=seconds)
        else:
            self._hostlog.info("refused", host, real=server, times=times, seconds=seconds)
        if again:
            self._open[host] = _Open(now, found.times, server, known.kind)
