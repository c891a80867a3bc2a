from typing import Final, final

MAX_ENTRIES_LIMIT: Final[int]
"""The largest table there is, in entries."""
LATEST_US: Final[int]
"""The latest time that an entry can end, in microseconds; later ones are taken for it."""
ORIGINS: Final[tuple[str, ...]]
"""Words for where an entry comes from, indexed by its number."""
CONTACT: Final[int]
CHILD: Final[int]
BY_HAND: Final[int]
RESTORED: Final[int]
PEER: Final[int]
TRUSTED: Final[int]
PATIENCE: Final[int]
OUTBOUND: Final[int]
"""Numbers of origins: met a fake server; by another host's reverse name; by the operator; there before a restart; told
of by another gateway; let in for what it is known to be; refused often enough; our own server connects to it."""

def table_bytes(max_entries: int, told: int = 0, main: int = 0) -> int:
    """Bytes of memory that a table of so many entries takes, but for rounding; the others as Table has them."""

@final
class Table:
    """The whitelist: hosts and when their time is over, in memory that is taken at once and never grows.

    Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2). Times are microseconds of
    one clock that does not jump: CLOCK_BOOTTIME in the daemon, capture time in a replay. At most LATEST_US.
    """

    def __new__(
        cls, max_entries: int, shards: int = 1, key: bytes | None = None, *, main: int = 0, told: int = 0,
        collide: bool = False,
    ) -> Table:
        """`max_entries` is shared evenly by `shards`, one for each queue thread, but for `main` of them.

        Those make a further shard, the last one, which the main thread writes by admit(). `told` of them are for what
        other gateways tell (_told), and for nothing else.
        `key` is the 16-byte key of the hash, random where None. `collide` gives every host the same hash (for tests).
        Raises ValueError on sizes out of range or another length of the key, MemoryError.
        """
    def add(
        self, host: bytes, until_us: int, now_us: int, *, origin: int = ..., shard: int = 0
    ) -> None:
        """Enter a host; one that is listed and not expired stays as it is. There is always room for one more.

        Only while no queue thread writes the shard. Raises ValueError where host is not 16 bytes or there is no such
        origin, IndexError.
        """
    def find(self, host: bytes, now_us: int) -> tuple[int, bool, int] | None:
        """(until_us, used, origin) of a listed host that is not expired."""
    def mark_used(self, host: bytes, now_us: int) -> bool:
        """Note that a SYN of a host reached a real server. True the first time."""
    def prove(self, host: bytes, now_us: int) -> bool:
        """Note that a host has completed a handshake with a real server. True the first time."""
    def is_proven(self, host: bytes, now_us: int) -> bool:
        """Whether it is listed, and has."""
    def admit(self, host: bytes, until_us: int, now_us: int, origin: int = ...) -> bool:
        """Enter a host by the main thread, as a child if nothing else is said.

        False: it is listed already, or there is no room but that of living entries. Raises ValueError where the table
        was made without `main`, or there is no such origin.
        """
    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let the entry of a listed host, in any shard, end later. False: it is not listed, or ends later anyway."""
    def end(self, host: bytes, now_us: int) -> bool:
        """Let the entry of a listed host, in any shard, end at once. False: it is not listed.

        It makes room when its shard is full and finds it, or at a sweep. It counts as neither successful nor
        direct-to-fake.
        """
    def entries(self, now_us: int, start: int, budget: int) -> tuple[bytes, int]:
        """Listed hosts that are not expired, looked for in `budget` entries from `start` (0 at first); the next start.

        A host is a record of RECORD_SIZE bytes (_records). A next start of 0 is the
        end. Any thread may call it; what changes meanwhile may be missed.
        """
    def select(
        self, now_us: int, start: int, budget: int, most: int, *, network: tuple[bytes, bytes] | None = None,
        origin: int | None = None, used: bool | None = None, proven: bool | None = None, gateway: int = 0,
    ) -> tuple[bytes, int]:
        """The same, at most `most` of them, of those that are chosen: None, and gateway 0, take all.

        `network` is its first and its last address, of which no IPv4 address is in one of IPv6; `gateway` is the number
        of the one that told of it first. Raises ValueError where there is no such origin, or an address is not 16
        bytes.
        """
    def survey(
        self, now_us: int, start: int, budget: int, network: tuple[bytes, bytes] | None = None,
    ) -> tuple[list[int], int, int, int]:
        """How many there are, looked for as entries() does: by origin, used, proven; and the next start."""
    def restore(self, records: bytes, now_us: int, *, shard: int) -> tuple[int, int, int, int]:
        """Enter records (_records), in their order, which becomes the order of age: entered, known, left out, ended.

        No living entry makes room for them. Only by the thread that writes the shard. Raises ValueError where the bytes
        are no whole number of records, IndexError.
        """
    def sample(self, now_us: int, count: int) -> dict[bytes, tuple[int, bool]]:
        """Some listed hosts, about `count`, the newest and others at random: until when, and whether used."""
    def be_lenient(self, until_us: int) -> None:
        """All threads refuse nobody until then, as after packets were lost; never sooner than was said before.

        Any thread.
        """
    def refuse_nobody(self, nobody: bool) -> None:
        """All threads refuse nobody from now on, or no longer. Main thread only."""
    def free(self, shard: int) -> int:
        """Entries that the shard can take without giving any away, but for told ones. Raises IndexError."""
    def told_by(self, gateway: int) -> int:
        """Entries in told places of which this gateway told first. Raises ValueError where none has that number."""
    def gateway(self, host: bytes, now_us: int) -> int:
        """The number of the gateway that told of a listed host first; 0: none did, or nobody knows which."""
    def claim(self, host: bytes, now_us: int, origin: int = ...) -> bool:
        """A told host comes in here as well: its entry has this origin from now on (default: a contact's).

        It keeps its place. False: it is no told one. Raises ValueError where there is no such origin.
        """
    def sweep_told(self, now_us: int, budget: int) -> None:
        """Remove expired ones among the next `budget` entries of the main thread's shard, where it has told places."""
    def sweep_main(self, now_us: int) -> None:
        """Remove all expired entries of the main thread's shard."""
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
    def room(self) -> int:
        """Places that entries have or can get; of told ones only those that are taken, since nobody else gets them."""
    @property
    def told(self) -> int:
        """Entries in told places, those included that have expired and not been removed yet."""
    @property
    def most_told(self) -> int:
        """How many told places there are."""
    @property
    def shard_count(self) -> int: ...
    @property
    def max_entries(self) -> int: ...
