from typing import Final, NamedTuple, final

from mxallowd.engine._table import Table

LEAST_HOSTS: Final[int]
"""Hosts that a shard has room for at least: one set."""
HOST_BYTES: Final[int]
"""Bytes of memory for each host."""
RECORD_SIZE: Final[int]
"""Bytes of a record as entries() gives it."""
TICK_US: Final[int]
"""Microseconds of a tick, in which times are counted."""
COUNTERS: Final[tuple[str, ...]]
"""Names of its counters."""
MOST: Final[int]
"""Refusals that can be counted."""

class Waits(NamedTuple):
    """What is known of a host that waits. Times are of the packet path's clock, in microseconds, exact to 4 ms."""

    first_us: int
    """Of the first refusal that counts."""
    counted_us: int
    """Of the one that was counted last."""
    last_us: int
    """Of the last one."""
    times: int
    """How many count."""

@final
class Patience:
    """Who was refused and may come in for it, in memory that is taken at once and never grows.

    Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form. Queue threads write it; the methods are for the main
    thread, and entries() for any.
    """

    def __new__(cls, max_hosts: int, shards: int, table: Table) -> Patience:
        """Room for at most `max_hosts`, shared evenly by `shards`, one for each thread that decides.

        The hash is that of `table`. Raises ValueError where a shard would have room for fewer than LEAST_HOSTS,
        MemoryError.
        """
    max_hosts: int
    """Hosts that there is room for: as asked, rounded down to whole sets."""
    def find(self, host: bytes, *, networks: bool = False) -> Waits | None:
        """What is known of a host or, with `networks`, of its network. Raises ValueError where host is not 16 bytes."""
    def forget(self, host: bytes) -> None:
        """A host, and its network, have not been refused yet. Raises ValueError where host is not 16 bytes."""
    def forget_between(self, first: bytes, last: bytes, start: int, budget: int) -> int:
        """The same of all hosts from the first to the last one, in `budget` places from `start` (0 at first).

        Returns the next start, 0 at the end. Raises ValueError where a host is not 16 bytes.
        """
    def note(
        self, host: bytes, port: int, now_us: int, times: int, wait_us: int, *, networks: bool = False, shard: int = 0,
    ) -> int:
        """What the packet path does with a SYN, for tests: 0 it waits, 1 it comes in at its next SYN, 2 it is in."""
    def entries(self, start: int, budget: int, since_us: int = 0) -> tuple[bytes, int]:
        """Who was refused since then, looked for in `budget` places from `start` (0 at first), and the next start.

        That is 0 at the end. A host is a record of 32 bytes, which restore() reads.
        """
    def restore(self, records: bytes, now_us: int, back_us: int) -> int:
        """Enter records from an earlier life, whose times are so much later than today's; how many.

        Before any thread runs. What is older than a day, or finds its set full, is left out. Raises ValueError where
        the bytes are no records.
        """
    def counters(self) -> dict[str, int]:
        """Its counters in metrics/counters.py, summed over the shards."""
    def __len__(self) -> int: ...
    @property
    def shard_count(self) -> int: ...
