"""The lists' sets in a table of nft: sets of intervals, changed by what is different, in one transaction.

An interval is two elements for the kernel: its first address, and the first one behind it, with a flag. One that ends
with the last address of all has no second one. Where a change is too long for one transaction (in a user namespace),
each part of it is whole: what overlaps is exchanged in the same part.
"""
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mxallowd.mirrors import TargetError, TargetWrong
from mxallowd.mirrors.kernel.connected import Connected
from mxallowd.mirrors.kernel.netlink import NESTED, attribute, attributes
from mxallowd.mirrors.kernel.nfmessages import (
    CONCATENATED,
    CONSTANT,
    DELSETELEM,
    INTERVAL,
    KEY_LENGTHS,
    LIST_ELEMENTS,
    MAP,
    NEWSETELEM,
    TIMEOUT,
    Batch,
    SetFound,
)
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.networks import BITS, PLACES, Place, Range

# The kernel walks through the set once for each part of its answer: 200,000 intervals are read within this.
READ_S = 5.0
MESSAGE_BYTES = 4096  # what names sets and table, and the borders of a transaction
_ELEM, _KEY, _FLAGS, _VALUE = 1, 1, 3, 1  # NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY and _FLAGS, NFTA_DATA_VALUE
_END = 1  # NFT_SET_ELEM_INTERVAL_END
_FLAG_END = attribute.pack(8, _FLAGS) + _END.to_bytes(4, "big")


class _Shape:
    """How elements of a family are written, and usually read."""

    def __init__(self, version: int) -> None:
        self.size = BITS[version] // 8
        self.behind_all = 1 << BITS[version]
        inner = (attribute.pack(8 + self.size, _KEY | NESTED) + attribute.pack(4 + self.size, _VALUE))
        self._first = attribute.pack(12 + self.size, _ELEM | NESTED) + inner
        self._end = attribute.pack(20 + self.size, _ELEM | NESTED) + inner
        self.longest = 2 * (20 + self.size)

    def pack(self, one: Range) -> bytes:
        """The elements of an interval."""
        first, last = one
        head = self._first + first.to_bytes(self.size, "big")
        if last + 1 == self.behind_all:
            return head
        return b"".join((head, self._end, (last + 1).to_bytes(self.size, "big"), _FLAG_END))


_SHAPES = {version: _Shape(version) for version in BITS}


class _Borders:
    """What a set holds, as its elements are read."""

    def __init__(self, version: int) -> None:
        self._behind_all = 1 << BITS[version]
        self.starts: list[int] = []
        self.ends: list[int] = []

    def clear(self) -> None:
        """Forget it."""
        self.starts.clear()
        self.ends.clear()

    def take(self, body: memoryview) -> None:
        """A NEWSETELEM."""
        for kind, listed in attributes(body[4:]):
            if kind == LIST_ELEMENTS:
                self._take(listed)

    def _take(self, listed: memoryview) -> None:
        for _, one in attributes(listed):
            flags, key = 0, b""
            for what, value in attributes(one):
                if what == _KEY:
                    key = bytes(value[4:])
                elif what == _FLAGS:
                    flags = int.from_bytes(value, "big")
            (self.ends if flags & _END else self.starts).append(int.from_bytes(key, "big"))

    def ranges(self) -> list[Range]:
        """The intervals."""
        ends = iter(sorted(self.ends))
        end = next(ends, self._behind_all)
        found = []
        for start in sorted(self.starts):
            # nft marks the gap before the first one by an end at 0.
            while end <= start:
                end = next(ends, self._behind_all)
            found.append((start, end - 1))
        return found


class _Step(NamedTuple):
    """What has to be changed together: ranges that overlap."""

    gone: list[Range]
    new: list[Range]


def steps(before: Iterable[Range], after: Iterable[Range]) -> Iterator[_Step]:
    """What leads from one to the other, in the order of addresses."""
    old, wanted = set(before), set(after)
    rest = sorted([(one, False) for one in old - wanted] + [(one, True) for one in wanted - old])
    step, end = _Step([], []), -1
    for one, enters in rest:
        if one[0] > end and (step.gone or step.new):
            yield step
            step = _Step([], [])
        (step.new if enters else step.gone).append(one)
        end = max(end, one[1])
    if step.gone or step.new:
        yield step


class NftNetworks(Connected[NfQuery]):
    """The sets of one table of nft."""

    def __init__(self, table: str, *, setup: bool, places: Sequence[Place] = PLACES) -> None:
        """`table` is family and name."""
        self.places = places
        self.name = f"nft {table}"
        self._table = table
        self._setup = setup

    def _connect(self) -> NfQuery:
        return NfQuery(*self._table.split())

    def present(self) -> set[Place]:
        """The sets that are there; those that are missing are made, where that was asked for."""
        found = self._query.sets(place.name for place in self.places)
        missing = [place for place in self.places if place.name not in found]
        if self._setup and missing:
            self._query.create(((place.name, f"ipv{place.version}_addr", None) for place in missing), ())
            found = self._query.sets(place.name for place in self.places)
        there = {place for place in self.places if place.name in found}
        for place in there:
            if fault := _fault(place, found[place.name]):
                raise TargetWrong(f"set {place.name} {fault}")
        return there

    def fill(self, place: Place, ranges: Sequence[Range]) -> None:
        """Let the set hold these, by changing what is different."""
        borders = _Borders(place.version)
        complete = self._query.walk(place.name, READ_S, borders.take, borders.clear)
        if complete:
            try:
                self._change(place, steps(borders.ranges(), ranges))
            except TargetError:
                # Somebody changed it meanwhile, or it holds what cannot be told from its elements.
                complete = False
        if not complete:
            batch = self._query.batch()
            batch.empty(place.name)
            batch.listed(NEWSETELEM, place.name, map(_SHAPES[place.version].pack, ranges))
            self._query.commit(batch)

    def _change(self, place: Place, changes: Iterable[_Step]) -> None:
        shape = _SHAPES[place.version]
        waiting = list(changes)
        total = sum(len(step.gone) + len(step.new) for step in waiting)
        room = self._query.room(total * shape.longest + MESSAGE_BYTES + total) - MESSAGE_BYTES
        at = 0
        while at < len(waiting):
            gone: list[Range] = []
            new: list[Range] = []
            # At least one step, of which the kernel may have to take the parts one by one.
            while at < len(waiting) and (not (gone or new) or shape.longest * (
                    len(gone) + len(new) + len(waiting[at].gone) + len(waiting[at].new)) < room):
                gone += waiting[at].gone
                new += waiting[at].new
                at += 1
            batch: Batch = self._query.batch()
            batch.listed(DELSETELEM, place.name, map(shape.pack, gone))
            batch.listed(NEWSETELEM, place.name, map(shape.pack, new))
            self._query.commit(batch)

    def lacks(self, place: Place, ranges: Sequence[Range], total: int) -> bool:
        """Whether one of these does not begin in the set. Where nothing belongs into it, it is read."""
        if not total:
            borders = _Borders(place.version)
            complete = self._query.walk(place.name, READ_S, borders.take, borders.clear)
            return complete and bool(borders.starts)
        keys = [first.to_bytes(_SHAPES[place.version].size, "big") for first, _ in ranges]
        return len(self._query.get(place.name, keys).keys() & set(keys)) < len(keys)

    def remedy(self, place: Place) -> str:
        """How the operator makes the set."""
        made = f"nft add set {self._table} {place.name} '{{ type ipv{place.version}_addr; flags interval; }}'"
        return f"make it by `{made}` and use it as in rulesets/"


def _fault(place: Place, found: SetFound) -> str | None:
    kind = f"ipv{place.version}_addr"
    wanted = f"declare it as a set of type {kind} with flags interval alone"
    if found.flags & MAP:
        return f"is a map, {wanted}"
    if found.flags & CONCATENATED or found.kind != kind or found.key_length != KEY_LENGTHS[kind]:
        return f"is of type {found.kind}, {wanted}"
    if not found.flags & INTERVAL:
        return f"holds single addresses, {wanted}"
    if found.flags & (CONSTANT | TIMEOUT):
        return f"has other flags, {wanted}"
    return None
