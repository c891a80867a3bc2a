"""Hits of the lists: about how many connections each network has decided, and when last.

A hit is a connection of which mxallowd was told: of a host that a list denies, at either server, and of one that a list
allows and the whitelist does not, at a real one. The packet path has an event for its first connection and for the next
one after a minute; the memory that writes them counts all, and is asked again when a minute is over. So a hit is known
at once or a minute later, and a SYN that is sent again is none.

Each is given to the network that holds for the host then. What is known of a network stays as long as the lists have
it, from whatever place; where it stands twice, the first one holds and has the hits. It is gone at a restart.

Which way it fails: there are too few. Of more than MAX_NETWORKS networks the one hit longest ago loses its hits, and of
more than MAX_OPEN hosts within a minute only connections with an event count. Nothing here decides about a packet.
"""
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from mxallowd.engine._refused import Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.lists.composition import Composition, ends_of, network_of
from mxallowd.lists.lists import Lists
from mxallowd.process.turns import Turns
from mxallowd.settings import Settings

MAX_NETWORKS = 100_000  # some 300 bytes each
MAX_OPEN = 16_384  # hosts, as many as the memory of the packet path has
MAX_KNOWN = 2 * MAX_OPEN
PERIOD_US = 60_000_000
A_TICK = 500  # hosts, or networks, that are looked at in a second: a millisecond
MOST_TIMES = 0xFFFF  # what the memory of a thread counts to
_DENIED, _ALLOWED, _BY_NETWORK = int(Kind.LIST_DENIED), int(Kind.LIST_ALLOWED), int(Kind.BY_NETWORK)
_TOLD = frozenset((_DENIED, _ALLOWED, _BY_NETWORK))


class Memory(Protocol):
    """What is asked of the packet path's memory of hosts that lists know (_refused.pyi)."""

    def find(self, host: bytes) -> Refusals | None:
        """What is known of a host."""


class Hit(NamedTuple):
    """What a network has decided."""

    times: int
    last_us: int  # by the packet path's clock


class ListHits:
    """Counts them. Hosts are 16 bytes, networks records of the engine."""

    def __init__(
        self, memory: Memory, composition: Callable[[], Composition], clock_us: Callable[[], int],
        most: int = MAX_NETWORKS,
    ) -> None:
        """`composition` has the lists in force."""
        self._memory = memory
        self._composition = composition
        self._clock_us = clock_us
        self._most = most
        # Plain tuples of plain values, which the collector of garbage passes over. Who was hit last stands last.
        self._hits: dict[bytes, tuple[int, int, bytes]] = {}  # by network: count, last, the last host
        self._known: dict[bytes, int] = {}  # connections of a host that were counted, or are nobody's
        self._open: dict[bytes, int] = {}  # hosts that are asked about again, and since when
        self._unchecked: list[bytes] = []  # networks that the lists may have no more
        self.since_us = clock_us()
        """Since when hits are counted."""

    def handle(self, events: Sequence[Event]) -> None:
        """Count what the packet path tells."""
        for event in events:
            # By its place: of most events that is all.
            if event[0] in _TOLD:
                self._take(event)

    def tick(self) -> None:
        """Count what has come since, of hosts whose minute is over; forget networks that the lists have no more."""
        now_us = self._clock_us()
        for host, since_us in list(islice(self._open.items(), A_TICK)):
            if now_us - since_us < PERIOD_US:
                break
            del self._open[host]
            found = self._memory.find(host)
            if found is not None and self._count(host, found.times, found.last_us):
                self._open[host] = now_us
        composition = self._composition()
        for record in self._unchecked[-A_TICK:]:
            known = self._hits.get(record)
            if known is not None and _number(composition, record, known[2]) is None:
                del self._hits[record]
        del self._unchecked[-A_TICK:]

    def changed(self, _: Composition) -> None:
        """The lists are others now."""
        self._unchecked = list(self._hits)

    def reload(self, settings: Settings) -> None:
        """No setting concerns it; changed() tells of lists."""

    def counters(self) -> dict[str, int]:
        """None of its own."""
        return {}

    def close(self) -> None:
        """Nothing to say."""

    async def by_rule(self, composition: Composition) -> Mapping[int, Hit]:
        """What is known, by the numbers of the rules of this composition, made in turns of the loop."""
        turns = Turns()
        found = {}
        for record, (count, last_us, host) in list(self._hits.items()):
            number = _number(composition, record, host)
            if number is not None:
                found[number] = Hit(count, last_us)
            await turns.give()
        return found

    def __len__(self) -> int:
        return len(self._hits)

    def _take(self, event: Event) -> None:
        host, found = event.source, self._memory.find(event.source)
        times = 1 if found is None else found.times
        if event.kind == _BY_NETWORK:
            self._note(host, times)
            return
        # Pushed out of the memory by others, it is counted from the beginning again.
        if found is None:
            self._known.pop(host, None)
        self._count(host, times, event.time_us, least=int(times >= MOST_TIMES))
        if host not in self._open and len(self._open) < MAX_OPEN:
            self._open[host] = self._clock_us()

    def _count(self, host: bytes, times: int, last_us: int, least: int = 0) -> int:
        """Count all connections of a host that were not counted; how many these were."""
        before = self._known.get(host, 0)
        new = max(least, times - before if times >= before else times)
        self._note(host, times)
        composition = self._composition()
        number = composition.number(host)
        if not new or number is None:
            return new
        record = composition.record_at(number)
        count, known_us, _ = self._hits.pop(record, (0, 0, host))
        if len(self._hits) >= self._most:
            del self._hits[next(iter(self._hits))]
        self._hits[record] = (count + new, max(last_us, known_us), host)
        return new

    def _note(self, host: bytes, times: int) -> None:
        self._known.pop(host, None)
        self._known[host] = times
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]


def _number(composition: Composition, record: bytes, host: bytes) -> int | None:
    """The rule of this very network; `host` is one that it held for. None: there is none, or longer ones hold."""
    for address in (host, *ends_of(network_of(record))):
        number = composition.number(address)
        if number is not None and composition.record_at(number) == record:
            return number
    return None


def count_hits(lists: Lists, memory: Memory, clock_us: Callable[[], int]) -> ListHits:
    """Hits of these lists, whatever becomes of them."""
    hits = ListHits(memory, lambda: lists.composition, clock_us)
    lists.follow(hits.changed)
    return hits
