from collections.abc import Sequence
from typing import Final

from mxallowd.engine._refused import Refused
from mxallowd.engine._table import Table

ENDED_ORIGIN: Final[int]
"""What stands for an origin in the record of a host that was ended."""

def look_up(table: Table, hosts: bytes, now_us: int) -> bytes:
    """One record (_records) for each host (16 bytes each), in their order; time 0 where it is not listed.

    Any thread may call it; it holds no lock of Python. Raises ValueError where the bytes are no whole number of hosts.
    """

def refused_since(refused: Refused, since_us: int, start: int, slots: int, most: int) -> tuple[bytes, int]:
    """One record (Refused.entries) for each host refused since then, over all shards, and the next start, 0 at the end.

    `since_us` is a time of the packet path's clock, exact to a step: what was up to a step before may come as well. At
    most `slots` slots from `start` are looked at, and at most `most` records given. A host that is in several shards
    comes once for each, with the same sums. Any thread may call it; it holds no lock of Python.
    """

def gather(parts: list[tuple[bytes | memoryview, int]]) -> bytes:
    """All these records, each part with every time, but 0, so many microseconds earlier; at least 1.

    Raises ValueError where a part is no whole number of records.
    """

def settle(records: bytes, now_us: int, most_us: Sequence[int], proven_us: int = 0) -> tuple[bytes, bytes]:
    """What records come to, of which the last one of each host is true: those that are listed, and those ended.

    Hosts whose time is over are left out, and what can be no host. None ends later than `most_us` of its origin from
    now, or than `proven_us` where that is longer and the host is proven. They come in the order in which a table is to
    get them: proven hosts last, who ends first comes first. Raises ValueError where the bytes are no records or
    `most_us` does not have a time for each origin, MemoryError.
    """
