"""Netfilter's sockets in /proc/net/netlink, which every user may read."""
from pathlib import Path

PROC_NETLINK = Path("/proc/thread-self/net/netlink")
_NETLINK_NETFILTER = 12  # linux/netlink.h


def read_row(port_id: int, text: str | None = None) -> tuple[int, int]:
    """Bytes that wait in the socket, and messages that had no room in it; zeros where there is no such socket."""
    try:
        lines = (PROC_NETLINK.read_text(encoding="ascii") if text is None else text).splitlines()[1:]
    except OSError:
        # The network namespace is gone.
        return 0, 0
    for line in lines:
        # sk, protocol, port id, groups, receive memory, send memory, dump, locks, drops, inode
        row = line.split()
        try:
            if len(row) >= 9 and int(row[1]) == _NETLINK_NETFILTER and int(row[2]) == port_id:
                return int(row[4]), int(row[8])
        except ValueError:
            # Not such a row. Who watches the queues must not end because of it.
            continue
    return 0, 0
