"""Lookups: a host's names, and then the addresses of these names, within all limits.

A lookup has two stages. The first asks for the names of a host (PTR). Who is asked about next, waiting.py says. In the
second stage each name waits for its turn by its zone, and is asked for its addresses (A and AAAA together). A name that
waits holds nothing but its place in a bounded queue.

Of a host that met the fake server all names are asked about, and of a listed one that founding.py asks for; of a
refused one only those by which it would come in now: else anybody could have any zone asked by spoofed SYNs to the
real server.

What may be under way is bounded in all, for each network of hosts, and for each zone of names, so that servers that do
not answer hold only their part. Contacts come first, and refused hosts leave them a quarter of the places.
"""
import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest
from typing import Protocol

from mxallowd.dns.hostnames import reverse_name, valid_names
from mxallowd.dns.limits import SLOT_PAUSE_S, Limits, Outcome
from mxallowd.dns.resolver import AAAA, PTR, A, LookupFailed, NotNow
from mxallowd.dns.zones import Zone, networks, zones_of
from mxallowd.engine.events import MAPPED, packed
from mxallowd.metrics.counters import Part, names
from mxallowd.settings import Settings
from mxallowd.sinks.bucket import Bucket
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.lanes import Lanes
from mxallowd.sinks.waiting import BURST_S, SHORTEST_PAUSE_S, Waiting
from mxallowd.text import LONGEST_QUOTED

MAX_LOOKUPS = 512  # in the first stage
MAX_FORWARD = 256  # names in the second stage that are being asked for
MAX_NAMES_WAITING = 4096  # of contacts, and as many of refused hosts
SLOTS = {13: 96, 14: 32, 15: 4, 2: 96, 4: 32, 6: 4}  # lookups under way of a network, by the bytes of it (zones.py)
LARGEST_NETWORKS = (13, 2)
SLOTS_OF_A_DOMAIN = 8  # names
FORWARD_QUERIES = 2  # A and AAAA
LONGEST_PAUSE_S = 1.0
ASKED_AGAIN_S = 0.05


class Asks(Protocol):
    """What is asked of the resolver (dns/resolver.py)."""

    async def ask(self, name: str, kind: int, aliased: Callable[[str], object] | None = None) -> list[str]:
        """The data of all records of that kind. Raises LookupFailed."""


class Lookup:
    """One host's lookup. `found` are the names that count, with all their addresses."""

    __slots__ = ("asked_all", "failure", "found", "host", "left", "listed", "met", "names")

    def __init__(self, host: bytes, *, met: bool, listed: bool = False) -> None:
        self.host = host
        self.met = met  # the fake server; it may become true at any time
        self.listed = listed  # for whatever reason: it was not refused
        self.asked_all = True  # of its names; False: only those that were whitelisted
        self.names: list[str] = []
        self.left = 0  # names that are still to be answered
        self.found: dict[str, list[bytes]] = {}
        self.failure: LookupFailed | None = None


Job = tuple[Lookup, str]


class Owner(Protocol):
    """Who wants to know."""

    def is_wanted(self, host: bytes, name: str) -> bool:
        """Whether this refused host would come in now if the name were confirmed."""

    def done(self, lookup: Lookup) -> None:
        """A lookup has ended."""


class Lookups:
    """Runs them on the main loop, for one owner. `counters` are those of Part.RDNS, its owner's as well."""

    def __init__(
        self, settings: Settings, owner: Owner, resolver: Asks, hostlog: HostLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = Limits(settings.dns_zone_rate, clock)
        self.waiting = Waiting(settings.dns_rate, hostlog.stress, clock, self._pause_of_network)
        self.counters = dict.fromkeys(names(Part.RDNS), 0)
        self._owner = owner
        self._resolver = resolver
        self._hostlog = hostlog
        self.queries = Bucket(settings.dns_query_rate, settings.dns_query_rate * BURST_S, clock)
        self._largest: dict[bytes, int] = {}  # lookups under way of the largest networks
        self._contacts, self._refused = (
            Lanes[Job](MAX_NAMES_WAITING, _path_of_job, self._pause_of_zone, clock) for _ in range(2))
        self.active: dict[bytes, Lookup] = {}
        self._first: set[asyncio.Task[None]] = set()
        self._second: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._closed = False
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Take over the settings that can change. Other name servers may know more."""
        self._unconfirmed_too = settings.rdns_unconfirmed
        self.waiting.set_rate(settings.dns_rate)
        self.limits.set_rate(settings.dns_zone_rate)
        self.limits.forget()
        self.queries.resize(settings.dns_query_rate, settings.dns_query_rate * BURST_S)

    def fill(self) -> float:
        """How full the longest queue is, of hosts or of names, 1.0 being its bound."""
        return max(self.waiting.fill(), len(self._contacts) / MAX_NAMES_WAITING, len(self._refused) / MAX_NAMES_WAITING)

    def close(self) -> None:
        """End what is under way."""
        self._closed = True
        if self._again:
            self._again.cancel()
        for task in (*self._first, *self._second):
            task.cancel()

    # ---- whose turn it is

    def start(self) -> None:
        """Let begin what may begin now, and see to it that somebody looks again."""
        if self._closed:
            return
        while len(self._second) < MAX_FORWARD and self.queries.has(FORWARD_QUERIES) and (job := self._next_job()):
            self.queries.take(FORWARD_QUERIES)
            self._run(self._second, self._ask_addresses(*job))
        while len(self._first) < MAX_LOOKUPS and self.queries.has() and (found := self.waiting.take(
                refused_too=len(self._first) < MAX_LOOKUPS * 3 // 4)):
            self._begin(Lookup(found[0], met=found[1]))
        while len(self._first) < MAX_LOOKUPS // 4 and self.queries.has() and (host := self.waiting.take_listed()):
            self._begin(Lookup(host, met=False, listed=True))
        if self._again is None:
            pause_s = min(self.waiting.next_s(), self._contacts.next_s(), self._refused.next_s())
            if pause_s <= LONGEST_PAUSE_S:
                # What is longer, the tick of a second looks after, and what has to wait for a place its end.
                self._again = asyncio.get_running_loop().call_later(max(SHORTEST_PAUSE_S, pause_s), self._go_on)

    def _begin(self, lookup: Lookup) -> None:
        if lookup.host in self.active:
            return
        self.queries.take()
        # Here and not in the task, so that the next one counts it.
        self._count_in(lookup.host, 1)
        self.limits.start(networks(lookup.host)[1:])
        self.active[lookup.host] = lookup
        self._run(self._first, self._ask_names(lookup))

    def _go_on(self) -> None:
        self._again = None
        self.start()

    def _run(self, tasks: "set[asyncio.Task[None]]", work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)

        def ended(one: "asyncio.Task[None]") -> None:
            tasks.discard(one)
            self.start()

        task.add_done_callback(ended)

    def _next_job(self) -> Job | None:
        job = self._contacts.take()
        if job is None and len(self._second) < MAX_FORWARD * 3 // 4:
            job = self._refused.take()
        if job:
            self.limits.start(zones_of(job[1]), FORWARD_QUERIES)
        return job

    def _pause_of_network(self, network: Hashable) -> float:
        assert isinstance(network, bytes)
        slots = SLOTS[len(network)]
        if len(network) in LARGEST_NETWORKS:
            return SLOT_PAUSE_S if self._largest.get(network, 0) >= slots else 0.0
        return self.limits.pause(network, slots)

    def _pause_of_zone(self, step: Hashable) -> float:
        if isinstance(step, _Network):
            return 0.0
        assert isinstance(step, str | bytes)
        return self.limits.pause(step, SLOTS_OF_A_DOMAIN, FORWARD_QUERIES)

    def _count_in(self, host: bytes, change: int) -> None:
        largest = networks(host)[0]
        self._largest[largest] = self._largest.get(largest, 0) + change
        if not self._largest[largest]:
            del self._largest[largest]

    # ---- the first stage

    async def _ask_names(self, lookup: Lookup) -> None:
        name = reverse_name(lookup.host)
        zones = networks(lookup.host)[1:]
        outcome = Outcome.UNKNOWN
        written: Sequence[str] = ()
        try:
            self.counters["looked-up"] += 1
            written = await self._ask(name, PTR, zones)
            outcome = Outcome.DATA if written else Outcome.NOTHING
        except LookupFailed as error:
            outcome = Outcome.FAILED
            lookup.failure = error
        finally:
            self._count_in(lookup.host, -1)
            self.limits.end(zones, outcome)
        self._queue_names(lookup, written)

    async def _ask(self, name: str, kind: int, zones: Sequence[Zone]) -> list[str]:
        self.counters["dns-queries"] += 1
        return await self._resolver.ask(name, kind, lambda target: self.limits.charge(zones_of(target), zones))

    def _queue_names(self, lookup: Lookup, written: Sequence[str]) -> None:
        # Escapes make a name four times as long, and then syslog would cut the line.
        lookup.names = valid_names(
            written, lambda text: self._hostlog.info("bad-name", lookup.host, name=text[:LONGEST_QUOTED]))
        lookup.asked_all = lookup.met or lookup.listed
        wanted = [name for name in lookup.names
                  if lookup.asked_all or self._owner.is_wanted(lookup.host, name)]
        for name in filter(self.limits.is_nothing, wanted):
            # Asked about for another host just now, and there was nothing.
            self._judge(lookup, name, [], [])
        wanted = [name for name in wanted if not self.limits.is_nothing(name)]
        lookup.left = len(wanted)
        for name in wanted:
            left_out = (self._contacts if lookup.met else self._refused).note((lookup, name))
            if left_out:
                self.waiting.limited += 1
                self._answered(left_out[0])
        if not wanted:
            self._end(lookup)

    # ---- the second stage

    async def _ask_addresses(self, lookup: Lookup, name: str) -> None:
        self._judge(lookup, name, *await self._both(name, zones_of(name)))
        self._answered(lookup)

    # ---- a name that an operator asks about

    async def addresses(self, name: str, *, waits: bool = True) -> list[bytes]:
        """Addresses of a name, asked for within the limits that hold for all others. Raises LookupFailed.

        It waits for its turn as long as the caller has patience; for that of its zone only if `waits`, else NotNow.
        """
        if self.limits.is_nothing(name):
            return []
        zones = zones_of(name)
        while (paused := max(map(self._pause_of_zone, zones)) > 0) or self._closed \
                or not self.queries.has(FORWARD_QUERIES):
            if paused and not waits:
                raise NotNow(name)
            await asyncio.sleep(ASKED_AGAIN_S)
        self.queries.take(FORWARD_QUERIES)
        self.limits.start(zones, FORWARD_QUERIES)
        found, failures = await self._both(name, zones)
        if failures and not found:
            raise failures[0]
        return found

    async def confirmed_names(self, host: bytes) -> list[str]:
        """Names of a host whose addresses contain it, within the same limits. Raises LookupFailed.

        It waits for no zone, so that nobody's servers hold the caller's places: NotNow.
        """
        steps = networks(host)
        while (paused := max(map(self._pause_of_network, steps)) > 0) or self._closed or not self.queries.has():
            if paused:
                raise NotNow(reverse_name(host))
            await asyncio.sleep(ASKED_AGAIN_S)
        self.queries.take()
        self._count_in(host, 1)
        self.limits.start(steps[1:])
        outcome = Outcome.UNKNOWN
        try:
            written = await self._ask(reverse_name(host), PTR, steps[1:])
            outcome = Outcome.DATA if written else Outcome.NOTHING
        except LookupFailed:
            outcome = Outcome.FAILED
            raise
        finally:
            self._count_in(host, -1)
            self.limits.end(steps[1:], outcome)
        names_of_host = valid_names(written, lambda text: None)
        return [name for name in names_of_host if host in await self.addresses(name, waits=False)]

    async def _both(self, name: str, zones: Sequence[Zone]) -> tuple[list[bytes], list[LookupFailed]]:
        """Ask for both families; limits.start() has been called."""
        outcome = Outcome.UNKNOWN
        try:
            answers = await asyncio.gather(
                self._ask(name, A, zones), self._ask(name, AAAA, zones), return_exceptions=True)
            failures = [answer for answer in answers if isinstance(answer, LookupFailed)]
            # One family is enough: many name servers fail for AAAA alone.
            lists = [answer if isinstance(answer, list) else [] for answer in answers]
            outcome = Outcome.DATA if any(lists) else Outcome.FAILED if failures else Outcome.NOTHING
            if outcome is Outcome.NOTHING:
                self.limits.note_nothing(name)
            return _in_turn(*lists), failures
        finally:
            self.limits.end(zones, outcome)

    def _judge(self, lookup: Lookup, name: str, addresses: list[bytes], failures: list[LookupFailed]) -> None:
        if lookup.host in addresses:
            self.counters["confirmed"] += 1
            lookup.found[name] = addresses
        elif failures:
            lookup.failure = failures[0]
        else:
            self.counters["unconfirmed"] += 1
            self._hostlog.info("unconfirmed", lookup.host, name=name, addresses=len(addresses))
            # Never for a refused host: anybody can write a PTR record that names a whitelisted host.
            if self._unconfirmed_too and lookup.met:
                lookup.found[name] = addresses

    def _answered(self, lookup: Lookup) -> None:
        lookup.left -= 1
        if lookup.left == 0:
            self._end(lookup)

    def _end(self, lookup: Lookup) -> None:
        del self.active[lookup.host]
        if lookup.failure and not lookup.found:
            self.counters["timed-out" if lookup.failure.timed_out else "lookup-failed"] += 1
            self.waiting.note_failure(lookup.host, contact=lookup.met)
        if lookup.met and not lookup.asked_all:
            # It met the fake server while it was asked about as a refused host, and not about all of its names.
            self.waiting.queue_contact(lookup.host)
        self._owner.done(lookup)


class _Network(bytes):
    """The network of a host, as a step beside zones, which may be bytes as well."""

    def __hash__(self) -> int:
        return hash((_Network, bytes(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Network) and bytes(self) == bytes(other)


def _path_of_job(job: Job) -> tuple[Hashable, ...]:
    lookup, name = job
    zones = zones_of(name)
    return zones[0], zones[-1], _Network(networks(lookup.host)[2])


def _in_turn(ipv4: list[str], ipv6: list[str]) -> list[bytes]:
    """The addresses of both families in turn, each once, so that a long list of one leaves room for the other."""
    found: dict[bytes, None] = {}
    for four, six in zip_longest(ipv4, ipv6):
        if four is not None:
            found[packed(four)] = None
        # IPv4 in an AAAA record is no address of IPv6, and no packet has it.
        if six is not None and not (address := packed(six)).startswith(MAPPED):
            found[address] = None
    return list(found)
