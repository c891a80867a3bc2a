"""Restoring: a whole whitelist is entered again while packets are decided.

Each thread gets a part of the records, by the room that its shard has. Queue threads enter theirs between two batches
of packets; the main thread enters its part in slices, between two turns of the loop. No entry is removed for it, and a
host that is listed already keeps the later end.
"""
import asyncio
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from mxallowd.backends import Backends
from mxallowd.engine._told import told_apart
from mxallowd.whitelist import RECORD_SIZE, Whitelist

SLICE = 4096 * RECORD_SIZE  # a millisecond of the main loop
LOOK_S = 0.005


class Restored(NamedTuple):
    """What became of the records, in numbers of them."""

    entered: int
    known: int  # listed already
    left_out: int  # no room
    ended: int  # their time is over


def deal(records: bytes, rooms: Sequence[int]) -> list[bytes]:
    """The records in one part for each room, in their order and as large as its share of all room.

    Where all rooms together do not hold them, the first records are in no part: who is listed last matters most.
    """
    room, total = sum(rooms), len(records) // RECORD_SIZE
    kept = min(total, room)
    ends = [total - kept + kept * before // max(1, room) for before in accumulate(rooms, initial=0)]
    return [records[first * RECORD_SIZE : end * RECORD_SIZE] for first, end in pairwise(ends)]


class Shares(NamedTuple):
    """Records, dealt."""

    parts: list[bytes]  # one for each shard
    left_out: int


def share(backends: Backends, records: bytes) -> Shares:
    """Deal these records of entries (_records.pyi), which copies them: 10 ms for a million, so before packets come.

    The caller sorts them: the oldest first, since their order becomes the order of age, and the least important first
    where there may be no room for all.
    """
    table = backends.table
    # What other gateways told has places in the main thread's shard alone; of more the last ones matter most.
    others, told = told_apart(records) if table.most_told else (records, b"")
    kept = told[-RECORD_SIZE * (table.most_told - table.told):] if table.told < table.most_told else b""
    parts = deal(others, [table.free(shard) for shard in range(table.shard_count)])
    parts[-1] += kept
    return Shares(parts, (len(records) - sum(map(len, parts))) // RECORD_SIZE)


async def restore(backends: Backends, whitelist: Whitelist, shares: Shares) -> Restored:
    """Enter them; returns when all threads have done so, or ended."""
    found = await _enter(backends, shares)
    # Nobody tells of single hosts here: who keeps a copy looks at all of them.
    whitelist.missed()
    return found


class Entering:
    """Enters records of an import as a start does those of the disk: all of the table has room for them."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._busy = asyncio.Lock()

    async def enter(self, records: bytes) -> Sequence[int]:
        """How many were entered, known and left out. Nobody is told of the hosts."""
        async with self._busy:
            found = await _enter(self._backends, share(self._backends, records))
        return found.entered, found.known, found.left_out


async def _enter(backends: Backends, shares: Shares) -> Restored:
    table, parts = backends.table, shares.parts
    found = [(0, 0, shares.left_out, 0)]
    own = [(shard, part) for shard, part in enumerate(parts) if part and not backends.restore(shard, part)]
    for shard, part in own:
        for at in range(0, len(part), SLICE):
            found.append(table.restore(part[at : at + SLICE], backends.clock_us(), shard=shard))
            await asyncio.sleep(0)
    asked = [shard for shard, part in enumerate(parts) if part and shard not in dict(own)]
    for shard in asked:
        while (result := backends.restored(shard)) is None and not backends.ended():
            await asyncio.sleep(LOOK_S)
        found.append(result or (0, 0, 0, 0))
    return Restored(*map(sum, zip(*found, strict=True)))
