"""Back end capture: copies of packets that the firewall logs, read through libpcap (pcapy-ng) on the main loop.

The firewall decides, and the daemon keeps the table: pf's log (`pflog0`), NFLOG of Linux (`nflog:GROUP`), or any other
interface. Only connection attempts count, TCP with SYN and without ACK: an interface shows whole conversations. Where
libpcap cannot filter (NFLOG, PFLOG), the filter runs in compiled code.

Which way it fails: a packet that the kernel could not hand over, or that is too short to be read, is counted, and the
sender sends it again. While the ring has no room, nothing is read; the kernel then counts what is lost, and no contact
that was read is lost. A capture that breaks ends the process: the firewall goes on with the table as it is.
"""
import asyncio
import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any

from mxallowd._fastpath import Fastpath
from mxallowd.backends.main_thread import MainThreadBackend
from mxallowd.captures._capture import LINK_TYPES, select
from mxallowd.captures._replay import feed
from mxallowd.captures.filters import NFLOG, install
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.text import quoted
from mxallowd.watchdog.procnetlink import read_row

# NFLOG with a threshold loses records in silence where they may be cut; an interface's headers fit into 256 bytes.
SNAPLEN_NFLOG, SNAPLEN = 65535, 256
TIMEOUT_MS = 10  # how long libpcap may collect packets of an interface
RECEIVE_BUFFER = 16 << 20
READ = 1024  # packets at a time
# What comes in after a packet is read together this much later: each wake-up finds cold caches, and costs more than the
# packets (under load 200 us). It also is the wait for room in the ring.
AGAIN_S = 0.03
# An interface that goes down may come back; one that is gone fails each read.
FAILED_AGAIN_S = 1.0
MAX_FAILED_READS = 10
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5  # linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
# linux/netfilter/nfnetlink.h and nfnetlink_log.h: the message that configures a group, and two attributes of it.
_ULOG_CONFIG, _NLM_F_REQUEST = 4 << 8 | 1, 1
_CFG_TIMEOUT, _CFG_QTHRESH = 4, 5
_HUNDREDTHS = 1


def is_supported() -> str | None:
    """None, or the reason why this system has no capture back end."""
    try:
        import pcapy  # noqa: F401, PLC0415  # imported where it is chosen
    except ImportError as error:
        return f"capture needs the package pcapy-ng: {error}"
    return None


class CaptureBackend(MainThreadBackend):
    """One capture, deciding in one shard of the whitelist on the main thread."""

    def __init__(self, settings: Settings, fastpath: Fastpath, shard: int, wake: Wake, log: Log) -> None:
        super().__init__(fastpath, shard, wake, log)
        assert settings.pflog_interface is not None
        self._where = settings.pflog_interface
        self._filter = settings.pcap_filter
        self._handle: Any = None
        self._index = 0
        self._program = b""
        self._again: asyncio.TimerHandle | None = None
        self._failed_reads = 0  # one after the other
        self._errors = 0
        self._lost = 0

    def readable(self) -> list[Path]:
        """Nothing: what it reads is open, or the kernel's."""
        return []

    def open(self) -> None:
        """Open the capture and set its filter. Raises StartError with the reason."""
        import pcapy  # noqa: PLC0415

        try:
            self._handle = _activated(self._where)
            link_type = self._handle.datalink()
            if link_type not in LINK_TYPES:
                raise StartError(f"cannot capture from {quoted(self._where)}: its link type is {link_type}; known are "
                                 + ", ".join(sorted(set(LINK_TYPES.values()))))
            self._link_type = link_type
            self._index = interface_index(self._where)
            self._program = install(self._handle, self._filter)
            self._handle.setnonblock(1)
            if link_type == NFLOG:
                _hand_over_at_once(self._handle.getfd(), int(self._where.removeprefix("nflog:")))
        except OSError as error:
            raise StartError(f"cannot capture from {quoted(self._where)}: its threshold: {error.strerror}") from None
        except pcapy.PcapError as error:
            raise StartError(f"cannot capture from {quoted(self._where)}: {error}") from None
        except ValueError as error:
            raise StartError(f"pcap-filter: {quoted(self._filter)} {error}") from None

    def start(self) -> None:
        """Begin to read, on the running loop; what the system does not offer is logged."""
        self._ended = False
        if self._link_type == NFLOG:
            self._enlarge_buffer()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle.getfd(), self._readable)

    def _enlarge_buffer(self) -> None:
        with socket.socket(fileno=os.dup(self._handle.getfd())) as twin:
            self._port_id = twin.getsockname()[0]
            try:
                # One overrun must not make the socket refuse everything until it is drained.
                twin.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
                twin.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
            except OSError as error:
                # A smaller buffer overflows earlier, nothing else.
                self._log.warning("degraded", reason=f"{self._where}: receive buffer: {error.strerror}")

    # ---- reading, on the main loop

    def _readable(self) -> None:
        self._loop.remove_reader(self._handle.getfd())
        self._go_on()

    def _go_on(self) -> None:
        self._again = None
        if self._ended:
            return
        failed_before = self._failed_reads
        if self._read():
            self._again = self._loop.call_later(AGAIN_S, self._go_on)
            self._wake.now()
        elif self._failed_reads > failed_before and not self._ended:
            self._again = self._loop.call_later(FAILED_AGAIN_S, self._go_on)
        elif not self._ended:
            self._loop.add_reader(self._handle.getfd(), self._readable)

    def _read(self) -> bool:
        """Take what is there; whether more may be, now or soon."""
        import pcapy  # noqa: PLC0415

        taken = 0
        while taken < READ:
            # The main loop empties the ring; until then the kernel keeps what comes, or counts it.
            if not self._has_room(READ):
                return True
            try:
                data, records = self._handle.next_batch(READ)
            except pcapy.PcapError as error:
                if os.strerror(errno.EAGAIN) not in str(error):
                    self._count_failure(str(error))
                break
            self._failed_reads = 0
            if not records:
                break
            taken += self._take(data, records)
        return taken > 0

    def _take(self, data: bytes, records: bytes) -> int:
        count = len(records) // 16
        candidates, broken = select(data, records, self._link_type, self._program)
        self._received += count
        self._broken += broken
        feed(self._fastpath, candidates, self._clock_us())
        return count

    def _count_failure(self, reason: str) -> None:
        self._failed_reads += 1
        self._errors += 1
        if self._failed_reads >= MAX_FAILED_READS:
            self._fail(f"{self._where}: {reason}")

    def _end(self) -> None:
        if self._ended:
            return
        self._lost = self._drops()
        if self._again:
            self._again.cancel()
        self._loop.remove_reader(self._handle.getfd())
        super()._end()

    # ---- what the daemon calls

    def tick(self) -> None:
        """Read what a selector did not tell of (bpf of some systems), and let expired entries go."""
        if not self._ended and self._index and interface_index(self._where) != self._index:
            # Its socket tells of that once, and is silent ever after. A restart finds the new one.
            self._fail(f"{self._where}: the interface is gone")
        if not self._ended and self._again is None:
            self._readable()
        self._table.expire(self._clock_us(), READ, shard=self._shard)

    def close(self) -> None:
        """Close the capture."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def counters(self) -> dict[str, int]:
        """Packets that came and were too short or inconsistent to tell, and what the kernel lost."""
        return {"received": self._received, "broken": self._broken, "errors": self._errors,
                "lost-by-kernel": self._drops()}

    def _drops(self) -> int:
        if self._ended or self._handle is None:
            return self._lost
        if self._link_type == NFLOG:
            return read_row(self._port_id)[1]
        _, dropped, by_interface = self._handle.stats()
        return int(dropped) + int(by_interface)


def _activated(where: str) -> Any:
    import pcapy  # noqa: PLC0415

    handle = pcapy.create(where)
    handle.set_snaplen(SNAPLEN_NFLOG if where.startswith("nflog:") else SNAPLEN)
    handle.set_promisc(False)
    handle.set_timeout(TIMEOUT_MS)
    if not where.startswith("nflog:"):
        handle.set_buffer_size(RECEIVE_BUFFER)
    handle.activate()
    if handle.datalink() < 0:
        # It fails in silence. The other way to open says why, and would be right as well.
        return pcapy.open_live(where, SNAPLEN_NFLOG, False, TIMEOUT_MS)
    return handle


def _hand_over_at_once(descriptor: int, group: int) -> None:
    """Let the kernel hand over each packet of a group of NFLOG as it comes, whatever threshold the rules have.

    Without a threshold of its own (100 packets, or a second) the group takes that of the rule only where it is lower,
    so that one packet is the end of it (nfulnl_log_packet in net/netfilter/nfnetlink_log.c). `descriptor` is libpcap's
    socket, to which the group belongs; it may therefore change it. No answer is asked for: one would stand among the
    packets. Raises OSError.
    """
    attributes = b"".join(struct.pack("=HH", 8, kind) + value.to_bytes(4, "big")
                          for kind, value in ((_CFG_TIMEOUT, _HUNDREDTHS), (_CFG_QTHRESH, 1)))
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, group) + attributes
    header = struct.pack("=IHHII", 16 + len(body), _ULOG_CONFIG, _NLM_F_REQUEST, 0, 0)
    with socket.socket(fileno=os.dup(descriptor)) as twin:
        twin.sendto(header + body, (0, 0))


def interface_index(name: str) -> int:
    """The number of an interface; 0 where there is none of that name (a group of NFLOG, "any")."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
