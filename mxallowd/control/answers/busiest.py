"""The busiest refused hosts, and their networks, in turns of the main loop: the compiled memory looks for them."""
import heapq
import struct
from collections import Counter
from typing import NamedTuple

from mxallowd.engine._busiest import Weights, busiest
from mxallowd.engine._refused import STEP_US, Refused
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.process.turns import Turns

# Slots that are looked at between two looks at the clock: 0.1 ms; fewer as long as each host is one of the busiest.
FIRST, SLOTS = 1 << 11, 1 << 14
_RECORD = struct.Struct("=16sIIIB3x")


class Busy(NamedTuple):
    """A refused host."""

    times: int
    host: bytes
    last_us: int  # of the packet path's clock


async def busiest_of(
    refused: Refused, most: int, *, since: int = 0, network: tuple[bytes, bytes] | None = None,
) -> tuple[int, list[Busy]]:
    """How many hosts there are, and at most `most` of them with the most attempts; `since` as busiest() has it."""
    count, least, start, slots = 0, 0, -1, FIRST
    best: list[Busy] = []
    turns = Turns()
    while start:
        some, records, start = busiest(refused, max(start, 0), slots, least, since=since, network=network)
        count += some
        if records:
            best = heapq.nlargest(most, [*best, *(
                Busy(times, host, last * STEP_US) for host, _, last, times, _ in _RECORD.iter_unpack(records))])
            # Nobody below the last of them is asked for any more.
            least = best[-1].times if len(best) == most else 0
        if len(best) == most:
            slots = SLOTS
        await turns.give()
    return count, best


async def busiest_networks(refused: Refused, most: int, since: int) -> list[tuple[str, int]]:
    """The networks with the most attempts, at most `most`, and how many these were (_busiest.pxd: exact, as a rule)."""
    weights, turns, start = Weights(refused, since), Turns(), -1
    while start:
        start = weights.weigh(max(start, 0), SLOTS)
        await turns.give()
    level = weights.level()
    await turns.give()
    found: Counter[bytes] = Counter()
    start = -1
    while start:
        records, start = weights.heavy(max(start, 0), SLOTS, level)
        for host, _, _, times, _ in _RECORD.iter_unpack(records):
            found[host[:15] if host.startswith(MAPPED) else host[:6]] += times
        await turns.give()
    best = heapq.nlargest(most, ((times, prefix) for prefix, times in found.items()))
    return [(_text(prefix), times) for times, prefix in best]


def _text(prefix: bytes) -> str:
    return address_text(prefix.ljust(16, b"\0")) + ("/24" if prefix.startswith(MAPPED) else "/48")
