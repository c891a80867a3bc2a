"""Netfilter's sockets in /proc/net/netlink, which every user may read."""
from pathlib import Path

PROC_NETLINK = Path("/proc/thread-self/net/netlink")
_NETLINK_NETFILTER = 12  # linux/netlink.h


def read_text() -> str:
    """The table. Raises OSError where it cannot be read, such as without /proc."""
    return PROC_NETLINK.read_text(encoding="ascii")


def read_row(port_id: int, text: str | None = None) -> tuple[int, int]:
    """Bytes that wait in the socket, and messages that had no room in it; zeros where there is no such socket."""
    try:
        return _find(port_id, read_text() if text is None else text) or (0, 0)
    except OSError:
        # The network namespace is gone.
        return 0, 0


def is_there(port_id: int) -> bool:
    """Whether there is such a socket: as long as there is, the queue that it bound is bound. Raises OSError."""
    return _find(port_id, read_text()) is not None


def _find(port_id: int, text: str) -> tuple[int, int] | None:
    for line in text.splitlines()[1:]:
        # sk, protocol, port id, groups, receive memory, send memory, dump, locks, drops, inode
        row = line.split()
        try:
            if len(row) >= 9 and int(row[1]) == _NETLINK_NETFILTER and int(row[2]) == port_id:
                return int(row[4]), int(row[8])
        except ValueError:
            # Not such a row. Who watches the queues must not end because of it.
            continue
    return None
