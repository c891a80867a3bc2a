"""The networks of all sources as one: which of them holds for an address, and what the kernel has to be told.

A source (a file, the configuration, what was added by hand) gives its networks as records of engine/_networks, with
what people want to know of each: its line and its note. The engine lays them over each other. Made once, in any thread;
never changed.
"""
import ipaddress
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import NamedTuple

from mxallowd.engine._networks import RECORD_SIZE, Networks
from mxallowd.engine.events import MAPPED

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Who is direct is allowed as well, and is led from the fake server to the real one.
ALLOW, DENY, DIRECT = "allow", "deny", "direct"
CONFIGURATION, BY_HAND, LEARNED, FILE, TRUSTED = "configuration", "by hand", "learned", "file", "trusted"
MAPPED_NETWORK = ipaddress.IPv6Network("::ffff:0:0/96")
IPV4_BITS = 96
DECIDING = 10  # networks that overrule another one: so many are shown
PIECE = 1024  # ranges between two pauses
_RECORD = struct.Struct("=16sBB")

if _RECORD.size != RECORD_SIZE:
    raise ImportError("the layout of records differs between _networks.pyx and composition.py")


@dataclass(frozen=True)
class Source:
    """Networks of one list from one place, each in the same row of all columns."""

    name: str  # the path of a file, else CONFIGURATION, BY_HAND or LEARNED
    verdict: str  # ALLOW, DENY or DIRECT
    records: bytes
    lines: Sequence[int] = ()  # none: it has no lines
    notes: Sequence[str | None] = ()  # none: it has no notes
    ends: Sequence[int | None] = ()  # seconds since 1970; none: they stay
    trusted: bool = False  # of trusted senders, not of a list
    first_mx_only: bool = False  # and their hosts never try a second mail exchanger

    @property
    def is_direct(self) -> bool:
        """Whether its hosts are led from the fake server to the real one."""
        return self.verdict == DIRECT or self.first_mx_only

    def __len__(self) -> int:
        return len(self.records) // RECORD_SIZE


class Match(NamedTuple):
    """A network of a list."""

    verdict: str
    network: Network
    source: str
    line: int  # 0: the source has none
    note: str | None
    until: int | None  # seconds since 1970
    trusted: bool = False  # it is of trusted senders

    @property
    def origin(self) -> str:
        """What let it into its list: TRUSTED, FILE, CONFIGURATION, BY_HAND or LEARNED."""
        return TRUSTED if self.trusted else (
            self.source if self.source in (CONFIGURATION, BY_HAND, LEARNED) else FILE)

    @property
    def what(self) -> str:
        """The network with its list, for people."""
        return f"{TRUSTED if self.trusted else self.verdict} {self.network}"

    @property
    def where(self) -> str:
        """The source for people: FILE:LINE, `configuration`, `by hand` or `learned`."""
        return f"{self.source}:{self.line}" if self.line else self.source


class Disjoint(NamedTuple):
    """What is allowed and what is denied: ranges (first, last) of numbers of addresses, sorted, none beside another."""

    allow4: list[tuple[int, int]]
    allow6: list[tuple[int, int]]
    deny4: list[tuple[int, int]]
    deny6: list[tuple[int, int]]


def record(network: Network, verdict: str) -> bytes:
    """A network as the engine takes it."""
    return record_of(network.network_address.packed, network.prefixlen, verdict)


def record_of(address: bytes, length: int, verdict: str) -> bytes:
    """The same of an address of 4 or 16 bytes and its prefix; of an IPv4-mapped one that of the IPv4 network."""
    if len(address) == 4:
        address, length = MAPPED + address, IPV4_BITS + length
    return _RECORD.pack(address, length, verdict == DENY)


def network_of(record: bytes) -> Network:
    """The network of a record."""
    address, length, _ = _RECORD.unpack(record)
    if length >= IPV4_BITS and address.startswith(MAPPED):
        return ipaddress.IPv4Network((address[12:], length - IPV4_BITS), strict=False)
    return ipaddress.IPv6Network((address, length), strict=False)


def prefixes_of(records: bytes) -> Iterator[tuple[int, int]]:
    """Version and prefix length of each record. Raises ValueError at one that record() makes of no allowed network."""
    for address, length, denied in _RECORD.iter_unpack(records):
        # Without network_of(), which takes ten times as long.
        if denied or length > 128 or int.from_bytes(address) & ((1 << 128 - length) - 1):
            raise ValueError("is no record of an allowed network")
        yield (4, length - IPV4_BITS) if length >= IPV4_BITS and address.startswith(MAPPED) else (6, length)


def disjoint(networks: Iterable[tuple[str, Network]]) -> Disjoint:
    """The disjoint ranges of (verdict, network). A pure function."""
    return disjoint_of(Networks(b"".join(record(network, verdict) for verdict, network in networks)))


def disjoint_of(
    networks: Networks, *, denied: bool = True, pause: Callable[[], None] | None = None,
) -> Disjoint:
    """The disjoint ranges of networks that are laid out. 100,000 take some 60 ms: not on the main loop.

    Without `denied` none is denied. So it is in a dry run with a queue, where the ruleset is the usual one and would
    drop: these packets come to the decision, which counts them. Without a queue the ruleset itself counts them.
    `pause` is called every PIECE ranges: beside a main loop it lets that have the interpreter.
    """
    return Disjoint(*(
        _pairs(networks, version, pause, denied=deny) if denied or not deny else []
        for deny in (False, True) for version in (4, 6)))


def _pairs(
    networks: Networks, version: int, pause: Callable[[], None] | None, *, denied: bool) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    # Made at once they would hold the interpreter for as long as that takes.
    if version == 4:
        pairs = struct.iter_unpack("!II", networks.ranges(4, denied=denied))
        while some := list(islice(pairs, PIECE)):
            found += some
            if pause is not None:
                pause()
        return found
    words = struct.iter_unpack("!QQQQ", networks.ranges(6, denied=denied))
    while some := [(high << 64 | low, to_high << 64 | to_low) for high, low, to_high, to_low in islice(words, PIECE)]:
        found += some
        if pause is not None:
            pause()
    return found


@dataclass(frozen=True)
class Composition:
    """All sources, laid over each other."""

    sources: tuple[Source, ...]
    networks: Networks
    _firsts: tuple[int, ...] = field(repr=False)  # number of the first rule of each source
    direct: "Composition | None" = None  # what is direct, with what denies a part of it; None: nothing is

    @classmethod
    def of(cls, sources: Iterable[Source]) -> "Composition":
        """Lay them out. Raises ValueError where they are too many, and MemoryError."""
        kept = tuple(source for source in sources if len(source))
        direct = None
        if any(source.is_direct for source in kept):
            direct = cls._of(tuple(source for source in kept if source.is_direct or source.verdict == DENY))
        return cls._of(kept, direct)

    @classmethod
    def _of(cls, kept: "tuple[Source, ...]", direct: "Composition | None" = None) -> "Composition":
        firsts = tuple(accumulate((len(source) for source in kept[:-1]), initial=0))
        return cls(kept, Networks(b"".join(source.records for source in kept)), firsts, direct)

    def __len__(self) -> int:
        return len(self.networks)

    def find(self, address: bytes) -> Match | None:
        """The network that holds for an address of 16 bytes."""
        number = self.networks.find(address)
        return None if number is None else self.rule(number)

    def find_direct(self, address: bytes) -> Match | None:
        """The network by which an address of 16 bytes is led to the real server; None: it is not."""
        match = self.direct.find(address) if self.direct else None
        return match if match and match.verdict != DENY else None

    def overlapping(self, network: Network, most: int = 100) -> list[Match]:
        """At most `most` networks that share an address with this one, in the order of their sources."""
        return [self.rule(number) for number in self.networks.overlapping(*ends_of(network), most)]

    def deciding(self, network: Network, verdict: str, most: int = DECIDING + 1) -> list[Match]:
        """At most `most` networks of a list that hold for an address of this network, over all others."""
        numbers = self.networks.deciding(*ends_of(network), denied=verdict == DENY, most=most)
        return [self.rule(number) for number in numbers]

    def number(self, address: bytes) -> int | None:
        """The number of the rule that holds for an address of 16 bytes; None: none does."""
        return self.networks.find(address)

    def record_at(self, number: int) -> bytes:
        """The network of a rule as the engine has it: the same in another composition that has this network."""
        source, row = self.place(number)
        return source.records[row * RECORD_SIZE : (row + 1) * RECORD_SIZE]

    def place(self, number: int) -> tuple[Source, int]:
        """The source of a rule, and its row there."""
        at = bisect_right(self._firsts, number) - 1
        return self.sources[at], number - self._firsts[at]

    def by_source(self) -> Iterator[tuple[int, Source]]:
        """The sources, each with the number of its first rule."""
        # Without sources there is a first number all the same.
        return zip(self._firsts, self.sources, strict=False)

    def rule(self, number: int) -> Match:
        """What is known of a rule by its number."""
        source, row = self.place(number)
        return Match(
            source.verdict, network_of(source.records[row * RECORD_SIZE : (row + 1) * RECORD_SIZE]), source.name,
            source.lines[row] if source.lines else 0, source.notes[row] if source.notes else None,
            source.ends[row] if source.ends else None, source.trusted)


def ends_of(network: Network) -> tuple[bytes, bytes]:
    """The first and the last address of a network, 16 bytes each."""
    first, last = network.network_address.packed, network.broadcast_address.packed
    return (MAPPED + first, MAPPED + last) if network.version == 4 else (first, last)


EMPTY = Composition.of(())
