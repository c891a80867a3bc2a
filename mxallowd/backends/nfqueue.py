"""Back end NFQUEUE: the kernel's queues, bound with NetfilterQueue, served by native threads.

NetfilterQueue opens and binds a queue; from then on its socket belongs to a queue thread (_worker), which reads
and answers without Python. What the library does not offer (flags, NETLINK_NO_ENOBUFS) is set here by messages of
linux/netfilter/nfnetlink_queue.h on the same socket.
"""
import io
import os
import socket
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mxallowd._fastpath import Fastpath, Rules
from mxallowd.backends import RING_EVENTS
from mxallowd.engine._ring import Ring
from mxallowd.engine._table import Table
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.process.privileges import may_administer_network
from mxallowd.settings import Settings

# linux/netfilter/nfnetlink_queue.h, linux/netlink.h
_MSG_CONFIG = 3 << 8 | 2  # NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG
_NLM_F_REQUEST = 1
_CFG_QUEUE_MAXLEN = 3
_CFG_MASK = 4
_CFG_FLAGS = 5
_F_FAIL_OPEN = 1
_F_GSO = 4
_SOL_NETLINK = 270
_NETLINK_NO_ENOBUFS = 5

# The longest IPv4 header; the IPv6 addresses end at byte 40. Nothing behind is looked at.
COPY_RANGE = 60
# What a queued SYN takes of the socket's receive buffer, measured at 835 bytes, with room for skb overhead.
BYTES_PER_PACKET = 1304
# The kernel's own bound is not reached: the socket is full before, at half more than the length that was asked for,
# and what has no room there leaves a gap in the packets' numbers. A queue that is full with NFQA_CFG_F_FAIL_OPEN says
# nothing at all. That bound has 16 bits, so the longest queues get a socket that just fits.
LONGEST_QUEUE, LONGEST_IN_SOCKET = 65535, 42_000
PROC_QUEUES = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")


def config_message(queue: int, *attributes: tuple[int, int]) -> bytes:
    """A NFQNL_MSG_CONFIG for `queue` with attributes of 32 bits, (type, value) each."""
    body = b"".join(struct.pack("=HH", 8, kind) + struct.pack("!I", value) for kind, value in attributes)
    header = struct.pack("=IHHII", 20 + len(body), _MSG_CONFIG, _NLM_F_REQUEST, 0, 0)
    return header + struct.pack("!BBH", socket.AF_UNSPEC, 0, queue) + body


def settle_message(queue: int) -> bytes:
    """The message that makes packets pass the queue: length 0, and what does not fit is accepted."""
    return config_message(
        queue, (_CFG_QUEUE_MAXLEN, 0), (_CFG_MASK, _F_FAIL_OPEN), (_CFG_FLAGS, _F_FAIL_OPEN)
    )


def is_supported() -> str | None:
    """None, or the reason why this system has no NFQUEUE back end."""
    try:
        import netfilterqueue  # noqa: F401, PLC0415  # Linux only: imported where it is chosen
    except ImportError as error:
        return f"the NFQUEUE back end needs the package NetfilterQueue: {error}"
    return None


class _Queue:
    """One kernel queue with its socket, ring and thread."""

    def __init__(self, number: int, shard: int, table: Table, rules: Rules, wake_fd: int) -> None:
        self.number = number
        self.place = shard
        self.ring = Ring(RING_EVENTS, wake_fd)
        self.fastpath = Fastpath(table, self.ring, rules, shard=shard, queue=number)
        self.bound: Any = None
        self.thread: Any = None
        self.warnings: list[str] = []

    def bind(self, queue_length: int) -> None:
        """Bind the kernel's queue. Raises StartError."""
        from netfilterqueue import COPY_PACKET, NetfilterQueue  # noqa: PLC0415

        try:
            library = NetfilterQueue()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                # The library may hand a packet to its callback while it still binds: accept, never leave it waiting.
                library.bind(
                    self.number,
                    lambda packet: packet.accept(),
                    max_len=min(4 * queue_length, LONGEST_QUEUE),
                    mode=COPY_PACKET,
                    range=COPY_RANGE,
                    # The kernel doubles what it is asked for.
                    sock_len=min(queue_length, LONGEST_IN_SOCKET) * BYTES_PER_PACKET // 2,
                )
        except OSError as error:
            raise StartError(f"cannot bind queue {self.number}: {_reason(self.number, error)}") from None
        self.bound = library
        # A receive buffer that is smaller than asked for overflows earlier, nothing else.
        self.warnings = [f"queue {self.number}: {warning.message}" for warning in caught]

    def port_id(self) -> int:
        """The netlink port of its socket."""
        with socket.socket(fileno=os.dup(self.bound.get_fd())) as twin:
            return int(twin.getsockname()[0])

    def error(self) -> int:
        """The errno that ended its thread, 0 where none did."""
        return self.thread.error if self.thread is not None else 0

    def configure(self, on_overload: str) -> None:
        """Set what the library does not; what the kernel refuses is a warning, as the queue works without it."""
        descriptor = self.bound.get_fd()
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            try:
                # One overrun must not make the socket refuse everything until it is drained.
                twin.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
            except OSError as error:
                self.warnings.append(f"queue {self.number}: NETLINK_NO_ENOBUFS: {error.strerror}")
        try:
            # Large packets come as they are, without the kernel's work of cutting them; what has no room passes.
            flags = _F_GSO | (_F_FAIL_OPEN if on_overload == "accept" else 0)
            os.write(descriptor, config_message(self.number, (_CFG_MASK, _F_GSO | _F_FAIL_OPEN), (_CFG_FLAGS, flags)))
        except OSError as error:
            self.warnings.append(f"queue {self.number}: NFQA_CFG_FLAGS: {error.strerror}")


class NfqueueBackend:
    """The queues of `queue-num`, one thread each, sharing one whitelist."""

    def __init__(self, settings: Settings, rules: Rules, wake: Wake, table: Table, log: Log) -> None:
        reason = is_supported()
        if reason:
            raise StartError(reason)
        # Linux only; and now, since later it may not be allowed to read them.
        from mxallowd.backends._worker import QueueThread  # noqa: PLC0415
        from mxallowd.watchdog._watch import Heartbeats, Watchdog  # noqa: PLC0415
        from mxallowd.watchdog.guard_process import GuardProcess  # noqa: PLC0415

        assert settings.queue_num is not None
        self._log = log
        self._queue_length = settings.queue_length
        self._on_overload = settings.on_overload
        self._thread_of = QueueThread
        self._proc_queues = ProcQueues()
        self._heartbeats = Heartbeats()
        self._watchdog_of = Watchdog
        self._watched = not settings.no_watchdog
        self._watchdog: Any = None
        self._guard = GuardProcess(
            self._heartbeats, "stdout" if settings.stdout else "syslog", settings.user or "", log)
        # The shards of the table from the first one on are ours, one a thread.
        self._queues = [
            _Queue(number, i, table, rules, wake.write_fd) for i, number in enumerate(settings.queue_num)]
        self.rings = [queue.ring for queue in self._queues]
        self.fastpaths = [queue.fastpath for queue in self._queues]

    def open(self) -> None:
        """Bind every queue. Raises StartError with the reason."""
        try:
            for queue in self._queues:
                queue.bind(self._queue_length)
            if self._watched:
                self._guard.start([f"{queue.number}:{queue.port_id()}" for queue in self._queues])
        except StartError:
            self._unbind()
            raise

    def start(self) -> None:
        """Start the threads; what the kernel does not offer is logged. Raises StartError."""
        for queue in self._queues:
            queue.configure(self._on_overload)
            queue.thread = self._thread_of(
                queue.bound.get_fd(), queue.number, queue.fastpath, settle_message(queue.number),
                heartbeats=self._heartbeats, place=queue.place)
            try:
                queue.thread.start()
            except OSError as error:
                raise StartError(f"queue {queue.number}: {error}") from None
        for queue in self._queues:
            for warning in queue.warnings:
                self._log.warning("kernel", reason=warning)
        self._start_watching()

    def _start_watching(self) -> None:
        if not self._watched:
            self._log.warning("kernel", reason="no watchdog: a daemon that hangs holds up all new mail")
            return
        self._watchdog = self._watchdog_of(self._heartbeats, [queue.bound.get_fd() for queue in self._queues])
        try:
            self._watchdog.start()
        except OSError as error:
            self._log.warning("kernel", reason=f"no watchdog: {error.strerror}")

    def publish(self, rules: Rules) -> None:
        """Let these rules hold from each queue's next batch on."""
        for queue in self._queues:
            queue.fastpath.publish(rules)
            self._ask(queue.thread.wake)

    def tick(self) -> None:
        """Show that the main loop runs, and see to the guard. All else the threads do with their packets."""
        self._heartbeats.beat()
        if self._watched:
            self._guard.tick()

    def sweep(self) -> int:
        """Ask for expired entries to be removed; so many SWEPT events will tell that it is done."""
        return sum(self._ask(queue.thread.request_sweep) for queue in self._queues)

    def stop(self) -> None:
        """Ask the threads to settle what waits and to end; those that have failed are logged."""
        for queue in self._queues:
            if queue.error():
                self._log.error("queue-failed", reason=f"queue {queue.number}: {os.strerror(queue.error())}")
        if self._watchdog is not None:
            self._watchdog.stop()
        for queue in self._queues:
            if queue.thread is not None:
                self._ask(queue.thread.request_stop)

    @staticmethod
    def _ask(request: Callable[[], None]) -> bool:
        try:
            request()
        except OSError:
            # The socket is broken: the thread ends by itself and says why.
            return False
        return True

    def ended(self) -> bool:
        """Whether every thread has ended."""
        return all(queue.thread is None or queue.thread.ended for queue in self._queues)

    def failed(self) -> bool:
        """Whether any thread has ended of an error."""
        return any(queue.error() for queue in self._queues)

    def close(self) -> None:
        """Unbind. Only after ended(): a thread must not lose its socket."""
        for queue in self._queues:
            if queue.thread is not None:
                queue.thread.join()
        if self._watchdog is not None:
            self._watchdog.stop()
        self._unbind()
        self._guard.close()

    def _unbind(self) -> None:
        for queue in self._queues:
            if queue.bound is not None:
                queue.bound.unbind()
                queue.bound = None

    def counters(self) -> dict[str, int]:
        """The threads' counters, and the kernel's count of packets it dropped itself."""
        totals: dict[str, int] = {}
        for queue in self._queues:
            if queue.thread is not None:
                for name, value in queue.thread.counters().items():
                    totals[name] = totals.get(name, 0) + value
        totals["lost-by-kernel"] = self._proc_queues.drops(
            range(self._queues[0].number, self._queues[-1].number + 1))
        return totals


class ProcQueues:
    """The kernel's table of queues, in a file that is opened while that is still allowed."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._drops = 0
        try:
            self._file: io.FileIO | None = io.FileIO(PROC_QUEUES)
        except OSError:
            self._file = None

    def rows(self) -> list[list[int]]:
        """Queue, port id, waiting, copy mode, copy range, queue dropped, user dropped, last id, 1; a row a queue."""
        if self._file is None:
            return []
        try:
            text = os.pread(self._file.fileno(), 1 << 16, 0)
        except OSError:
            # The network namespace is gone.
            return []
        return [[int(word) for word in line.split()] for line in text.splitlines()]

    def drops(self, numbers: range) -> int:
        """Packets of these queues that the kernel dropped: queue full, or no room in the socket's receive buffer."""
        for row in self.rows():
            if len(row) >= 7 and row[0] in numbers:
                # The kernel's counters have 32 bits.
                self._drops += (row[5] + row[6] - self._seen.get(row[0], 0)) % (1 << 32)
                self._seen[row[0]] = row[5] + row[6]
        return self._drops


def _reason(number: int, error: OSError) -> str:
    holder = next((row[1] for row in ProcQueues().rows() if row and row[0] == number), None)
    if holder is not None:
        return f"it is held by another program (netlink port {holder})"
    if not may_administer_network():
        return "this needs the capability CAP_NET_ADMIN; run it as root"
    return error.strerror or str(error)
