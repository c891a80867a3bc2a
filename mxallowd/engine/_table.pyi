from typing import Final, final

MAX_ENTRIES_LIMIT: Final[int]
"""The largest table there is, in entries."""

@final
class Table:
    """The whitelist: hosts and when their time is over, in memory that is taken at once and never grows.

    Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2). Times are microseconds of
    one clock that does not jump: CLOCK_BOOTTIME in the daemon, capture time in a replay. Below 2**52.
    """

    def __new__(
        cls, max_entries: int, shards: int = 1, key: bytes | None = None, *, admitted: int = 0, collide: bool = False
    ) -> Table:
        """`max_entries` is shared evenly by `shards`, one for each queue thread, but for `admitted` of them.

        Those make a further shard, which the main thread writes by admit().
        `key` is the 16-byte key of the hash, random where None. `collide` gives every host the same hash (for tests).
        Raises ValueError on sizes out of range or another length of the key, MemoryError.
        """
    def add(self, host: bytes, until_us: int, now_us: int, *, child: bool = False, shard: int = 0) -> bool:
        """Enter a host; one that is listed and not expired stays as it is. False: no room, all entries are in use.

        Only while no queue thread writes the shard. Raises ValueError where host is not 16 bytes.
        """
    def find(self, host: bytes, now_us: int) -> tuple[int, bool, bool] | None:
        """(until_us, used, child) of a listed host that is not expired."""
    def mark_used(self, host: bytes, now_us: int) -> bool:
        """Note that a host reached the real server. True the first time."""
    def admit(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Enter a host as a child, by the main thread. False: it is listed already, or there is no room.

        Raises ValueError where the table was made without `admitted`.
        """
    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let the entry of a listed host, in any shard, end later. False: it is not listed, or ends later anyway."""
    @property
    def displaced(self) -> bytes | None:
        """The live host that the last admit() pushed out to make room; None where it pushed out none."""
    def entries(self, now_us: int, start: int, budget: int) -> tuple[bytes, int]:
        """Listed hosts that are not expired, looked for in `budget` entries from `start` (0 at first); the next start.

        A host is a record of 32 bytes in native order: address (16), until_us (8), used (8). A next start of 0 is the
        end. Any thread may call it; what changes meanwhile may be missed.
        """
    def sample(self, now_us: int, count: int) -> dict[bytes, tuple[int, bool]]:
        """Some listed hosts, about `count`, the newest and others at random: until when, and whether used."""
    def free(self, shard: int) -> int:
        """Entries that the shard can take without giving any away. Raises IndexError."""
    def sweep_admitted(self, now_us: int) -> None:
        """Remove all expired entries among those that were admitted."""
    def sweep_shard(self, now_us: int, shard: int) -> None:
        """Remove all expired entries of a shard, by the thread that writes it. Raises IndexError."""
    def expire(self, now_us: int, budget: int, *, shard: int = 0) -> None:
        """Remove expired entries in at most `budget` steps, the oldest first."""
    def sweep(self, now_us: int) -> None:
        """Remove all expired entries, wherever they are."""
    def counters(self) -> dict[str, int]:
        """Those of Part.WHITELIST in metrics/counters.py, summed over the shards."""
    def __len__(self) -> int: ...
    @property
    def shard_count(self) -> int: ...
    @property
    def max_entries(self) -> int: ...
