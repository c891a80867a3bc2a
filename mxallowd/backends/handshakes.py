"""Completed handshakes with a real server, told by the kernel's connection tracking: the proof that a host is real.

Anybody can write an address into a SYN. A connection that conntrack calls ASSURED has had the server's answer, and an
acknowledgement of it: somebody who did not see that answer has to guess a number, and one guess of 65,000 is good
enough for conntrack (tcp_in_window). Who is proven makes room last (engine/_shard.pxd).

The kernel sends each change of a connection to whoever listens (ctnetlink, net.netfilter.nf_conntrack_events). A filter
in the kernel passes on the one that we want, so a flood of SYNs wakes nobody here. Which way it fails: what is lost,
or a host without connection tracking, leaves hosts unproven, and then age alone decides who makes room.
"""
import ctypes
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from mxallowd.backends.paced import PacedReader
from mxallowd.engine.events import MAPPED, packed
from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.whitelist import Whitelist

# linux/netlink.h, linux/netfilter/nfnetlink_compat.h, linux/netfilter/nfnetlink_conntrack.h
_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _NO_ENOBUFS = 12, 270, 1, 5
_GROUP_UPDATE = 2  # NFNLGRP_CONNTRACK_UPDATE
_HEADERS = 20  # nlmsghdr and nfgenmsg
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO = 1, 2, 3, 4
_TUPLE_IP, _PROTOINFO_TCP = 1, 1
_SOURCES = (1, 3)  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_DESTINATIONS = (2, 4)  # CTA_IP_V4_DST, CTA_IP_V6_DST
_ASSURED = 1 << 2  # IPS_ASSURED
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
_RECEIVE_BUFFER = 4 << 20
_MESSAGE = 4096
_MOST_EARLY = 1024  # hosts of the last second; older ones are forgotten
# A connection restarts the time of a proven host once it has lost an eighth of it, at most an hour: a host with many
# connections costs one change an hour, and lives by so much less.
PROVEN_PARTS, PROVEN_STEP_US = 8, 3_600_000_000
_NOT_NOTICED = "completed handshakes are not noticed, so age alone decides who makes room in a full whitelist"

_attribute = struct.Struct("=HH")


def _filter() -> bytes:
    """Classic BPF (linux/filter.h): messages about TCP connections that are assured, whatever became of them since.

    One that is closed at once may be on its way to its end before the message about its handshake is written.
    """
    load, load_x, to_x, jump_set, jump_equal, give = 0x20, 0x01, 0x07, 0x45, 0x15, 0x06
    from_x, immediate, attribute, nested = 0x40, 0x00, 0xFFFFF000 + 12, 0xFFFFF000 + 16
    program = [
        (immediate, 0, 0, _HEADERS), (load_x, 0, 0, _STATUS), (load, 0, 0, attribute), (jump_equal, 10, 0, 0),
        (to_x, 0, 0, 0), (from_x, 0, 0, 4), (jump_set, 0, 7, _ASSURED),
        (immediate, 0, 0, _HEADERS), (load_x, 0, 0, _PROTOINFO), (load, 0, 0, attribute), (jump_equal, 3, 0, 0),
        (load_x, 0, 0, _PROTOINFO_TCP), (load, 0, 0, nested),
        # What was not found is 0.
        (jump_equal, 0, 1, 0), (give, 0, 0, 0), (give, 0, 0, 0xFFFFFFFF)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and values of the attributes in `data`; what does not fit is left out (include/net/netlink.h)."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _attribute.unpack_from(data, at)
        if not 4 <= length <= len(data) - at:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _address(tuple_: bytes, wanted: tuple[int, int]) -> bytes | None:
    """The source or the destination of a tuple as 16 bytes."""
    for kind, inner in _attributes(tuple_):
        if kind == _TUPLE_IP:
            for which, address in _attributes(inner):
                if which in wanted and len(address) in (4, 16):
                    return MAPPED + address if len(address) == 4 else address
    return None


def ends_of(message: bytes) -> tuple[bytes, bytes] | None:
    """The client and the server of a message about a connection, 16 bytes each, the server behind any DNAT."""
    found = dict(_attributes(message[_HEADERS:]))
    client = _address(found.get(_TUPLE_ORIG, b""), _SOURCES)
    server = _address(found.get(_TUPLE_REPLY, b""), _SOURCES)
    return (client, server) if client and server else None


def called_by(message: bytes) -> bytes | None:
    """The server of a message about a connection as the client called it, before any DNAT: 16 bytes."""
    return _address(dict(_attributes(message[_HEADERS:])).get(_TUPLE_ORIG, b""), _DESTINATIONS)


class Handshakes:
    """Listens, on the main loop, and tells the whitelist."""

    def __init__(
        self, settings: Settings, whitelist: Whitelist, log: Log,
        seen: Callable[[bytes, bytes], object] = lambda host, server: None,
        enter: Callable[[bytes], bool] = lambda host: False,
    ) -> None:
        """`seen` is called with host and server of each handshake of a listed host.

        `enter` enters a host that was let in without being listed, and says whether it is listed now.
        """
        self._seen = seen
        self._enter = enter
        self.is_direct: Callable[[bytes], bool] = lambda host: False
        """Asked of each host with a handshake: whether it is led from the fake server to the real one."""
        self._whitelist = whitelist
        self._log = log
        self._reader: PacedReader | None = None
        self._fault = ""
        self._early: deque[bytes] = deque(maxlen=_MOST_EARLY)
        self._came: deque[bytes] = deque(maxlen=_MOST_EARLY)
        self.reload(settings)

    def open(self) -> None:
        """Begin to listen, while we may. What the system does not offer is said by start()."""
        if sys.platform != "linux":
            return
        opened: socket.socket | None = None
        try:
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
            program = _filter()
            held = ctypes.create_string_buffer(program)
            opened.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER,
                struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))
            with suppress(OSError):
                # Without the privilege the usual size has to do.
                opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            opened.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
            # A socket without a port gets nothing: the kernel takes it for the sender, which has none either.
            opened.bind((0, 0))
            opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_UPDATE)
        except OSError as error:
            self._fault = error.strerror or str(error)
            if opened:
                opened.close()
        else:
            self._reader = PacedReader(opened, self._take, _MESSAGE)

    def start(self) -> None:
        """Begin to read, on the running loop."""
        if self._fault:
            self._log.warning("degraded", reason=f"conntrack: {self._fault}: {_NOT_NOTICED}")
        if self._reader:
            self._whitelist.hears_handshakes = True
            self._reader.start()

    def _take(self, message: bytes) -> None:
        ends = ends_of(message)
        # The rules stand behind DNAT or in front of it, and mxallowd has the address that packets have there.
        if ends is None or (ends[1] not in self._real and called_by(message) not in self._real):
            return
        host = ends[0]
        if self._whitelist.find(host) is not None or self._enter(host):
            self._seen(host, ends[1])
        direct = self.is_direct(host)
        if not self._whitelist.prove(host) and not direct and self._whitelist.find(host) is None \
                and host not in self._servers:
            # Perhaps it is about to be listed: the kernel may let it in before we have read of its contact.
            self._early.append(host)
        self._prolong(host)

    def _prolong(self, host: bytes) -> None:
        """The host has connected now: let its entry last as long as that is worth."""
        if not self._renewed_us and not self._proven_us:
            return
        now_us = self._whitelist.now_us()
        found = self._whitelist.find(host)
        if found is None:
            return
        left_us = found[0] - now_us
        if self._proven_us and left_us <= self._proven_us - min(self._proven_us // PROVEN_PARTS, PROVEN_STEP_US):
            self._whitelist.renew(host, now_us + self._proven_us, now_us)
        elif left_us <= self._renewed_us:
            # Of a host that the kernel lets through by itself no packet comes here.
            self._whitelist.renew(host, now_us + self._lifetime_us, now_us)

    # ---- as a part of the daemon

    def tick(self) -> None:
        """Look once more for hosts that were not listed yet."""
        for host in self._early:
            if not self._whitelist.prove(host) and self._whitelist.find(host) is None:
                self._came.append(host)
            self._prolong(host)
        self._early.clear()

    def take_unlisted(self) -> list[bytes]:
        """Hosts that have connected to a real server without being listed, since the last call; some, if many."""
        came = list(self._came)
        self._came.clear()
        return came

    def reload(self, settings: Settings) -> None:
        """Take over the real servers, what a use renews, and how long who has connected lives."""
        self._real = frozenset(packed(str(server)) for server in settings.real_mailserver)
        self._servers = self._real | {packed(str(server)) for server in settings.fake_mailserver}
        self._lifetime_us = settings.whitelist_time * 1_000_000
        by_use = settings.renew in ("use", "both")
        self._renewed_us = self._lifetime_us - settings.renewed_after_us if by_use else 0
        # A time that is no longer than that of all changes nothing.
        self._proven_us = (settings.longest_time * 1_000_000
                           if settings.longest_time > settings.whitelist_time else 0)

    def counters(self) -> dict[str, int]:
        """None of its own: the whitelist counts who is proven."""
        return {}

    def close(self) -> None:
        """Listen no more."""
        if self._reader:
            self._reader.close()
            self._reader = None
