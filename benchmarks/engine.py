"""The engine of the daemon in the hands of a benchmark: the same table, ring and decision, without a kernel queue."""
import sys
from array import array
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from mxallowd._fastpath import Fastpath
from mxallowd.captures._replay import preload, replay
from mxallowd.captures.files import CHUNK
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import LATEST_US, Table

MAX_REFUSED = 262_144  # the daemon's default
BATCH = 64  # packets that are decided together
RING_EVENTS = 2 * CHUNK  # half of it is for any event, so that no event of a chunk is lost
NEVER_US = 2**52 - 1  # for peers that count from 1970


def packed(server: IPv4Address | IPv6Address) -> bytes:
    """An address as the packet path has it: 16 bytes, IPv4 in IPv4-mapped form."""
    return server.packed if server.version == 6 else bytes(10) + b"\xff\xff" + server.packed


class Engine:
    """A whitelist with room for `max_entries`, `entries` other hosts in it, the refused hosts, and the decision."""

    def __init__(
        self, fake: Sequence[IPv4Address | IPv6Address], real: Sequence[IPv4Address | IPv6Address], lifetime_s: int,
        max_entries: int, entries: int = 0,
    ) -> None:
        self.table = Table(max_entries)
        preload(self.table, entries, LATEST_US, 0)
        self._ring = Ring(RING_EVENTS, -1)
        refused = Refused(MAX_REFUSED, 1, self.table)
        numbers = {server: refused.number_of(server) for server in map(packed, real)}
        rules = Rules([*map(packed, fake)], [*map(packed, real)], lifetime_s, numbers)
        self._fastpath = Fastpath(self.table, self._ring, rules, refused=refused)
        self._last_us = 0
        self._since_us: int | None = None  # the time of the first packet
        self.deciding_ns = 0

    def decide(self, candidates: bytes) -> "array[int]":
        """Decide a chunk; nanoseconds of each batch, the last one may be short. Events are written and thrown away."""
        if self._since_us is None and candidates:
            self._since_us = int.from_bytes(candidates[:8], sys.byteorder)
        times, self._last_us = replay(self._fastpath, candidates, self._last_us, since_us=self._since_us or 0)
        batch_ns = array("I", times)
        self.deciding_ns += sum(batch_ns)
        self._ring.drain(RING_EVENTS)
        return batch_ns

    def outcomes(self) -> dict[str, int]:
        """Packets by outcome, named as in the daemon's counters."""
        return self._fastpath.counters()

    def entries(self) -> int:
        """Entries now, the expired ones taken away."""
        self.table.sweep(self._last_us)
        return len(self.table)
