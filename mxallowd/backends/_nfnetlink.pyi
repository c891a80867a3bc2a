from typing import Literal

def read(
    data: bytes,
) -> tuple[Literal["packet", "error", "other", "broken"], int, bytes, int]:
    """Read one netlink message: what it is, its number, the payload, and how many bytes it takes.

    The number is the packet's id, or the errno of an error (0 acknowledges). Layout: linux/netlink.h and
    linux/netfilter/nfnetlink_queue.h. Raises ValueError where `data` is empty; never on what it holds.
    """

def mark(data: bytes) -> int:
    """The mark of the packet in a netlink message, 0 where it has none. Raises ValueError where `data` is empty."""

def verdict(queue: int, id: int, accept: bool, *, batch: bool = False) -> bytes:
    """The message that answers packet `id` of `queue`, with `batch` every waiting packet up to it as well.

    Raises OverflowError outside 16 and 32 bits.
    """
