"""Senders that know the first MX only, learned: `--direct-after N/TIME`.

A host is learned if it has met the fake server N times within TIME (attempts.py), is not known to have connected to the
real one (a handshake shows it; a SYN may be made up), and has a reverse name that is confirmed and does not carry its
address, as those of dial-up lines do. It is entered among the networks by hand as `learned`: allowed, and in the sets
by which the ruleset leads it from the fake server to the real one. It stays there for --proven-time, else
--whitelist-time, and each use restarts that time.

Nothing waits for a name server. Which way it fails: without an answer nobody is learned, and an attempt after FAILED_S
asks again. Bounds: those of lists/learned.py, and MAX_LOOKUPS questions at a time, OF_A_NETWORK of them about hosts of
a network (/16 of IPv4, /32 of IPv6), within the limits of all lookups. Who has to wait for that does so in turn among
networks; whose zone is not to be asked now comes at its next attempt, so servers that do not answer hold no places. A
spoofed contact counts like any other, so somebody can have a host with such a name learned that never asked for it: its
mail then comes to the real server straight.
"""
import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol

from mxallowd.dns.dialup import carries_address
from mxallowd.dns.resolver import LookupFailed, NotNow
from mxallowd.dns.zones import networks
from mxallowd.engine.events import Event, Kind
from mxallowd.lists.learned import MAX_LEARNED
from mxallowd.metrics.counters import Part, names
from mxallowd.settings import Settings
from mxallowd.sinks.attempts import AttemptMemory, Attempts
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.lanes import Lanes
from mxallowd.sinks.waiting import Bounded

MAX_LOOKUPS, OF_A_NETWORK = 8, 2
MAX_WAITING = 2048  # hosts
PAUSE_S = 0.5  # until a network without a free place is looked at again
LONGEST_LOOKUP_S = 30.0
# Who has no such name is not asked about again for so long, and of whom nobody has answered.
UNFIT_S, FAILED_S, MAX_UNFIT = 3600.0, 600.0, 4096
PARTS = 8  # of the time: a use restarts it once one of them is over
RENEW_S = 10.0  # between two changes of the lists for renewals
MET = (Kind.WHITELISTED, Kind.MET)


class Learns(Protocol):
    """Who keeps the hosts that were learned (lists/learned.py)."""

    async def add(self, host: bytes, note: str, seconds: int) -> bool:
        """Let it be direct from now on, for so long; False: there is no room."""

    async def prolong(self, hosts: Iterable[bytes], seconds: int, least_s: int) -> None:
        """Restart the time of those that are learned and have at most `least_s` left."""


class Known(NamedTuple):
    """What others know of a host."""

    confirmed: Callable[[bytes], Awaitable[list[str]]]  # its confirmed names; raises LookupFailed, NotNow
    came: Callable[[bytes], bool]  # whether it is known to have connected to the real server
    is_direct: Callable[[bytes], bool]


class DirectSink:
    """Learns who is to be led from the fake server to the real one."""

    def __init__(
        self, settings: Settings, hostlog: HostLog, learned: Learns, known: Known,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hostlog = hostlog
        self._learned = learned
        self._confirmed, self._came, self._is_direct = known
        self._clock = clock
        self._counters = dict.fromkeys(names(Part.DIRECT), 0)
        self._unfit: Bounded[bytes, float] = Bounded(MAX_UNFIT)
        self._asked: set[bytes] = set()
        self._of_network: Counter[Hashable] = Counter()  # those that are asked about
        self._waiting = Lanes[bytes](
            MAX_WAITING, lambda host: (_network(host),),
            lambda network: PAUSE_S if self._of_network[network] >= OF_A_NETWORK else 0.0, clock)
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._used: set[bytes] = set()  # learned hosts, since the last renewal
        self._renewed_s = clock()
        self._memory: AttemptMemory | None = None
        self.reload(settings)

    # ---- what the main loop calls

    def handle(self, events: Sequence[Event]) -> None:
        """Count attempts. A SYN to the real server takes none away: it may be made up."""
        memory = self._memory
        for event in events:
            if event.kind == Kind.LIST_ALLOWED:
                self.used(event.source)
            elif memory is None:
                continue
            elif event.kind in MET:
                if memory.note(event.source, event.time_us / 1_000_000):
                    self._judge(event.source)
            elif event.kind == Kind.ACCEPTED and self._came(event.source):
                # Where no handshakes are heard of.
                memory.forget(event.source)

    def used(self, host: bytes) -> None:
        """An allowed host has come to the real server."""
        if len(self._used) < MAX_LEARNED:
            self._used.add(host)

    def connected(self, host: bytes) -> None:
        """A host has completed a handshake with the real server."""
        if self._memory:
            self._memory.forget(host)

    def tick(self) -> None:
        """Restart the time of those that were used, and ask about those that wait."""
        self._ask_next()
        if self._used and self._clock() - self._renewed_s >= RENEW_S:
            self._renewed_s = self._clock()
            used, self._used = self._used, set()
            self._begin(self._learned.prolong(used, self._lifetime_s, self._lifetime_s * (PARTS - 1) // PARTS))

    def reload(self, settings: Settings) -> None:
        """Take over how often, and for how long."""
        self._lifetime_s = settings.proven_time or settings.whitelist_time
        after = settings.direct_after
        if after is None or settings.no_rdns_whitelist:
            self._memory = None
        elif self._memory is None or after != (self._memory.wanted, self._memory.within_s):
            self._memory = AttemptMemory(*after)

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return dict(self._counters)

    def close(self) -> None:
        """Leave out what is under way; the next attempt asks again."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    # ---- who is learned

    def _judge(self, host: bytes) -> None:
        if host in self._asked or self._unfit.get(host, 0.0) > self._clock():
            return
        if self._came(host) or self._is_direct(host):
            assert self._memory
            self._memory.forget(host)
            return
        if host not in self._waiting:
            self._waiting.note(host)
        self._ask_next()

    def _ask_next(self) -> None:
        """Ask about those that have waited longest, as far as there are places."""
        while not self._closed and len(self._asked) < MAX_LOOKUPS and (host := self._waiting.take()) is not None:
            found = self._memory.enough(host) if self._memory else None
            # It may have connected meanwhile, or made room.
            if found is not None and not self._came(host) and not self._is_direct(host):
                self._asked.add(host)
                self._of_network[_network(host)] += 1
                self._begin(self._ask(host, found))

    def _end(self, host: bytes) -> None:
        self._asked.discard(host)
        network = _network(host)
        self._of_network[network] -= 1
        if not self._of_network[network]:
            del self._of_network[network]
        self._ask_next()

    async def _ask(self, host: bytes, found: Attempts) -> None:
        try:
            async with asyncio.timeout(LONGEST_LOOKUP_S):
                known = await self._confirmed(host)
        except NotNow:
            return
        except (LookupFailed, TimeoutError):
            self._unfit.note(host, self._clock() + FAILED_S)
            return
        finally:
            self._end(host)
        if not known or any(carries_address(name, host) for name in known):
            self._unfit.note(host, self._clock() + UNFIT_S)
            self._counters["direct-unfit"] += 1
        # It may have gone on to the real server while its name was asked for.
        elif not self._came(host) and not self._is_direct(host):
            await self._learn(host, known[0], found)

    async def _learn(self, host: bytes, name: str, found: Attempts) -> None:
        seconds = self._lifetime_s
        if not await self._learned.add(host, name, seconds):
            self._counters["direct-left-out"] += 1
            return
        self._counters["direct-learned"] += 1
        if self._memory:
            self._memory.forget(host)
        self._hostlog.info("direct", host, name=name, times=found.times, seconds=seconds)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only a weak reference.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _network(host: bytes) -> bytes:
    """The network whose hosts share places: of 16 bits (IPv4) or of 32 (IPv6)."""
    return networks(host)[1]
