from typing import Final, NamedTuple, final

from mxallowd.engine._table import Table

LEAST_HOSTS: Final[int]
"""Hosts that a shard has room for at least: one set."""
HOST_BYTES: Final[int]
"""Bytes of memory for each host."""

STEP_US: Final[int]
"""Microseconds of a step, in which times are counted."""

class Refusals(NamedTuple):
    """What is known of a refused host. Times are of the packet path's clock, in microseconds, exact to 1.05 s."""

    first_us: int
    last_us: int
    times: int
    """Connection attempts; SYNs that were sent again within one are not counted."""
    server: bytes | None
    """Real server of the last attempt (16 bytes); None: there were more servers than it can number."""

@final
class Refused:
    """Who was refused at a real server, in memory that is taken at once and never grows.

    Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form. Queue threads write it; the methods are for the main
    thread. Of a full set of four slots the host goes that was refused longest ago.
    """

    def __new__(cls, max_hosts: int, shards: int, table: Table) -> Refused:
        """Room for at most `max_hosts`, shared evenly by `shards`, one for each thread that decides.

        The hash is that of `table`. Raises ValueError where a shard would have room for fewer than LEAST_HOSTS,
        MemoryError.
        """
    max_hosts: int
    """Hosts that there is room for: as asked, rounded down to whole sets."""
    servers: list[bytes]
    """Addresses of the servers, indexed by their number."""
    def number_of(self, server: bytes) -> int:
        """The number of a server (16 bytes) in this memory, for Rules; it stays the same for the daemon's life."""
    def find(self, host: bytes) -> Refusals | None:
        """What is known of a host, over all shards. Raises ValueError where host is not 16 bytes."""
    def entries(self, start: int, budget: int) -> tuple[bytes, int]:
        """Known hosts, looked for in `budget` slots from `start` (0 at first), and the next start, 0 at the end.

        A host is a record of 32 bytes in native order: address (16), first and last time in steps of STEP_US (4 each),
        times (4), number of the server (1), 3 of zeros. A host that is in several shards comes once for each. Any
        thread may call it.
        """
    def restore(self, records: bytes, numbers: bytes, now_us: int, back_us: int) -> int:
        """Enter records as entries() gives them, from an earlier life; how many. Before any thread runs.

        `numbers` has 256 bytes: the number here of each server's number there. Times become `back_us` earlier, and none
        is before the start of the machine or after `now_us`. In a full set those stay that were refused last. Raises
        ValueError where the bytes are no records.
        """
    def note(self, host: bytes, server: int, port: int, now_us: int, *, shard: int = 0, room: bool = True) -> int:
        """Count a refusal as the packet path does, for tests: the attempts so far where an event is due, else 0.

        Without `room` for the event it is due again at the next one.
        """
    def counters(self) -> dict[str, int]:
        """Those of Part.REFUSED in metrics/counters.py, summed over the shards."""
    def __len__(self) -> int: ...
    @property
    def shard_count(self) -> int: ...
