"""Hosts that our own mail server connects to (`--learn-outbound`): they are let in, since answers are wanted mail.

A rule of the firewall copies packets of outgoing connections to a group of NFLOG (linux/netfilter/nfnetlink_log.h): the
answer of the other server to our SYN (`rulesets/outbound.*`, the better way), or our SYN. The host at port 25 is
entered, or renewed, as after a completed handshake.

An answer is better than a SYN: who is named as MX of a made-up sender gets our SYN (a bounce), whether or not anybody
is there. The rule has to ask connection tracking for it (ESTABLISHED, REPLY), or anybody could send such a packet.

Bounds: the rules limit what is copied; here it is MOST_A_SECOND hosts a second, and a turn of reading is bounded
(paced.py). They are entered by the main thread, so no contact makes room for them, and never into the last half of its
room, which is for children and for what the operator adds. Which way it fails: what is lost or has no room is not
learned, and the host has to contact the fake server as any other; the next connection tells again.
"""
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from mxallowd.backends.handshakes import PROVEN_PARTS, PROVEN_STEP_US
from mxallowd.backends.paced import PacedReader
from mxallowd.engine._table import OUTBOUND
from mxallowd.engine.events import MAPPED
from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.whitelist import Whitelist

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_log.h
_NETLINK_NETFILTER, _SOL_NETLINK, _NO_ENOBUFS = 12, 270, 5
_NLMSG_ERROR, _NLM_F_REQUEST, _NLM_F_ACK = 2, 1, 4
_PACKET, _CONFIG = 4 << 8, 4 << 8 | 1
_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT, _CFG_QTHRESH = 1, 2, 4, 5
_BIND, _COPY_PACKET, _COPIED = 1, 2, 128
_PAYLOAD = 9
_HEADERS = 20  # nlmsghdr and nfgenmsg
_MESSAGE = 65536
_ANSWER_S = 2.0

_SMTP, _TCP = 25, 6
_SYN, _ACK, _FIN_SYN_RST_ACK = 0x02, 0x10, 0x17

MOST_A_SECOND = 200


def met(packet: bytes) -> bytes | None:
    """The host of an outgoing connection to port 25 as 16 bytes: where a SYN goes to, or where its answer comes from.

    `packet` begins with the IP header and may be cut. None: it is neither, or too short.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20 and packet[9] == _TCP and not int.from_bytes(packet[6:8], "big") & 0x1FFF:
        at, source, destination = 4 * (packet[0] & 15), MAPPED + packet[12:16], MAPPED + packet[16:20]
    elif version == 6 and len(packet) >= 40 and packet[6] == _TCP:
        at, source, destination = 40, packet[8:24], packet[24:40]
    else:
        return None
    if at < 20 or len(packet) < at + 14:
        return None
    ports = struct.unpack_from("!HH", packet, at)
    flags = packet[at + 13] & _FIN_SYN_RST_ACK
    if flags == _SYN and ports[1] == _SMTP:
        return destination
    return source if flags == _SYN | _ACK and ports[0] == _SMTP else None


def packets_of(data: bytes) -> Iterator[bytes]:
    """The packets in what a group of NFLOG has sent; what does not fit is left out (include/net/netlink.h)."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if not 16 <= length <= len(data) - at:
            return
        if kind == _PACKET:
            inner, end = at + _HEADERS, at + length
            while inner + 4 <= end:
                size, what = struct.unpack_from("=HH", data, inner)
                if not 4 <= size <= end - inner:
                    break
                if what & 0x3FFF == _PAYLOAD:
                    yield data[inner + 4 : inner + size]
                inner += (size + 3) & ~3
        at += (length + 3) & ~3


def _bind_message(group: int) -> bytes:
    """Have the packets of a group, at most _COPIED bytes of each, at once; an answer is asked for."""
    attributes = struct.pack("=HHB3x", 5, _CFG_CMD, _BIND)
    attributes += struct.pack("=HH", 10, _CFG_MODE) + struct.pack("!IBx", _COPIED, _COPY_PACKET) + b"\0\0"
    for kind in (_CFG_TIMEOUT, _CFG_QTHRESH):
        attributes += struct.pack("=HH", 8, kind) + (1).to_bytes(4, "big")
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, group) + attributes
    return struct.pack("=IHHII", 16 + len(body), _CONFIG, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0) + body


class Lines(Protocol):
    """Writes lines about hosts (HostLog)."""

    def info(self, word: str, host: bytes, **values: object) -> None:
        """A line about a host."""


class Outbound:
    """Listens, on the main loop, and tells the whitelist."""

    def __init__(
        self, settings: Settings, whitelist: Whitelist, log: Log, hostlog: Lines,
    ) -> None:
        """Before anybody is entered."""
        self._whitelist = whitelist
        self._log = log
        self._hostlog = hostlog
        self._where = settings.learn_outbound or ""
        self._reader: PacedReader | None = None
        self._fault = ""
        self._kept_free = whitelist.main_room() // 2
        self._left = MOST_A_SECOND
        self._learned = self._renewed = self._left_out = 0
        self.reload(settings)

    def open(self) -> None:
        """Bind the group, while we may. A fault is said by start(): mail goes on without what would be learned."""
        if sys.platform != "linux":
            self._fault = "this system has no NFLOG"
            return
        opened: socket.socket | None = None
        try:
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
            opened.settimeout(_ANSWER_S)
            opened.bind((0, 0))
            opened.send(_bind_message(int(self._where.removeprefix("nflog:"))))
            # Packets may come before the answer; their hosts will be told of again.
            kind, error = 0, 0
            while kind != _NLMSG_ERROR:
                kind, error = struct.unpack_from("=4xH10xi", opened.recv(_MESSAGE).ljust(20, b"\0"))
            if error:
                raise OSError(-error, os.strerror(-error))
            with suppress(OSError):
                opened.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
            opened.setblocking(False)
        except OSError as error_:
            self._fault = error_.strerror or str(error_)
            if opened:
                opened.close()
        else:
            self._reader = PacedReader(opened, self._take, _MESSAGE)

    def start(self) -> None:
        """Begin to read, on the running loop."""
        if self._fault:
            self._log.warning("degraded", reason=f"learn-outbound {self._where}: {self._fault}: no host is learned")
        if self._reader:
            self._reader.start()

    def _take(self, message: bytes) -> None:
        for packet in packets_of(message):
            host = met(packet)
            if host is not None:
                self.take(host)

    def take(self, host: bytes) -> None:
        """Our server has a connection to this host."""
        if self._left <= 0:
            self._left_out += 1
            return
        now_us = self._whitelist.now_us()
        found = self._whitelist.find(host)
        if found is not None:
            if found[0] - now_us <= self._time_us - min(self._time_us // PROVEN_PARTS, PROVEN_STEP_US):
                self._left -= 1
                self._renewed += self._whitelist.renew(host, now_us + self._time_us, now_us)
            return
        self._left -= 1
        if self._whitelist.why_no_entry(host):
            return
        if self._whitelist.main_room() <= self._kept_free or not self._whitelist.admit(
                host, now_us + self._time_us, now_us, origin=OUTBOUND):
            self._left_out += 1
            return
        self._learned += 1
        self._hostlog.info("outbound", host, seconds=self._time_us // 1_000_000)

    # ---- as a part of the daemon

    def tick(self) -> None:
        """Called about once a second: so many hosts more."""
        self._left = MOST_A_SECOND

    def reload(self, settings: Settings) -> None:
        """Take over how long who is learned lives."""
        self._time_us = settings.longest_time * 1_000_000

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return {"outbound-learned": self._learned, "outbound-renewed": self._renewed,
                "outbound-left-out": self._left_out}

    def close(self) -> None:
        """Listen no more."""
        if self._reader:
            self._reader.close()
            self._reader = None


def create_outbound(
    settings: Settings, whitelist: Whitelist, log: Log, hostlog: Lines,
) -> list[Outbound]:
    """The listener, where it is wanted."""
    return [Outbound(settings, whitelist, log, hostlog)] if settings.learn_outbound else []
