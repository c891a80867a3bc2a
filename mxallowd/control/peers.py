"""Who asks: the user and the groups of the process at the other end of a UNIX socket, and what they may do.

The kernel tells both as they were when the peer connected (unix(7) SO_PEERCRED; SO_PEERGROUPS, since Linux 4.13, for
the groups besides the primary one). Root and the daemon's own user may change the daemon, and so may members of a group
that the configuration names (changers.py); members of the socket's group may read.

Which way it fails: where the kernel does not tell a peer's groups, or there are more than fit, the primary one alone
counts, so that somebody may be refused who would be let in.
"""
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python has no name for it
_MOST_BYTES = 1024  # what getsockopt() of Python 3.11 takes: 256 groups


class May(IntEnum):
    """What a peer may do."""

    NOTHING = 0
    READ = 1
    CHANGE = 2


@dataclass(frozen=True)
class Peer:
    """A process that has connected."""

    user: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """Who has connected. Raises OSError where the kernel does not tell."""
    _, user, group = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:
        packed = b""
    return Peer(user, frozenset([group, *struct.unpack(f"={len(packed) // 4}I", packed)]))


def may(peer: Peer, user: int, group: int, changers: int | None = None) -> May:
    """What a peer may do with a daemon of this user, by a socket of this group; members of `changers` may change it."""
    if peer.user in (0, user) or changers in peer.groups:
        return May.CHANGE
    return May.READ if group in peer.groups else May.NOTHING
