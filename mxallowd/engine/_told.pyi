from typing import Final, final

from mxallowd.engine._meetings import Meetings
from mxallowd.engine._table import Table

TOLD_SIZE: Final[int]
"""Bytes of a record: host (16), seconds left (4, network order), flags (1), origin (1), milliseconds besides (2)."""
MOST_GATEWAY: Final[int]
"""The highest number that a gateway can have."""
SAID_USED: Final[int]
SAID_PROVEN: Final[int]
"""Flags of a record: the host has reached a real server, and has completed a handshake with one."""
WAS_ENTERED: Final[int]
WAS_RENEWED: Final[int]
WAS_USED: Final[int]
WAS_PROVEN: Final[int]
HAS_MET: Final[int]
HAS_MADE_ROOM: Final[int]
"""What has become of a host, as bits: entered, ends later, used or proven for the first time; and it met a fake server
of the gateway that tells. Or it is listed no more: its place was needed for a host that comes next here."""

@final
class Taken:
    """What became of a batch."""

    hosts: bytes
    """Those whose entries have changed, 16 bytes each."""
    became: bytes
    """What has become of each of them, a byte each."""
    gateways: bytes
    """Of those that have made room, by what gateways they were told: two bytes each in the order of this machine.
    MOST_GATEWAY + 2 stands for one that is not known."""
    @property
    def entered(self) -> int: ...
    @property
    def renewed(self) -> int:
        """Listed already, and changed: the end is later, or it is used or proven by now."""
    @property
    def known(self) -> int:
        """Listed already, and that was all."""
    @property
    def left_out(self) -> int:
        """No told place was free, and no told entry could make room."""
    @property
    def over(self) -> int:
        """Their time was over when they came."""
    @property
    def made_room(self) -> int:
        """Living told entries, of this or another gateway, that have made room for these."""
    @property
    def no_hosts(self) -> int:
        """No address of a host, one of the own servers, or flags that say something else than an entry."""

def take(
    table: Table, records: bytes, now_us: int, *, age_us: int, longest_us: int, proven_us: int = 0, gateway: int = 0,
    most: int = 0, servers: bytes = b"", meetings: Meetings | None = None,
) -> Taken:
    """Enter what a gateway tells. The main thread only; it holds no lock of Python.

    An entry ends when what it has left, but `longest_us` at most, is over, of which `age_us` has passed on the way; of
    a proven host `proven_us` at most, where that is longer. `gateway` is its number, 0 where it is not known.
    Of more than `most` entries that it has (0: there is no bound), or where told places are full, a told one makes room
    (_shard.pxd). `servers` are the own servers, 16 bytes each. `meetings` is told of contacts.

    Raises ValueError where the table has no told places, where there is no such gateway, or where the bytes are no
    whole number of records or servers; OverflowError where a time is none.
    """

def told_apart(records: bytes) -> tuple[bytes, bytes]:
    """Entries (_records) that no other gateway told of, and those that one did, in their order.

    Raises ValueError where the bytes are no whole number of records.
    """

def end_told(
    table: Table, gateway: int, before_us: int, now_us: int, longest_us: int, start: int, budget: int
) -> tuple[bytes, int]:
    """The hosts that this gateway alone has told of, looked for in `budget` places from `start`; the next start.

    They are 16 bytes each, and the next start is 0 at the end. Those are passed over that end more than `longest_us`
    after `before_us`: they were told later. The entries stay as they are. Raises ValueError as take().
    """
