"""Back end NFQUEUE: the kernel's queues, bound with NetfilterQueue, served by native threads.

NetfilterQueue opens and binds a queue; from then on its socket belongs to a queue thread (_worker), which reads
and answers without Python. What the library does not offer (flags, NETLINK_NO_ENOBUFS) is set here by messages of
linux/netfilter/nfnetlink_queue.h on the same socket.
"""
import os
import socket
import struct
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mxallowd._fastpath import Fastpath
from mxallowd.backends._worker import QueueThread
from mxallowd.backends.procqueues import ProcQueues
from mxallowd.engine._rules import Rules
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.process.privileges import may_administer_network
from mxallowd.settings import Settings
from mxallowd.watchdog.watch import Watch

if TYPE_CHECKING:
    from netfilterqueue import NetfilterQueue

# linux/netfilter/nfnetlink_queue.h, linux/netlink.h
_MSG_CONFIG = 3 << 8 | 2  # NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG
_NLM_F_REQUEST = 1
_CFG_QUEUE_MAXLEN = 3
_CFG_MASK = 4
_CFG_FLAGS = 5
_F_FAIL_OPEN = 1
_F_GSO = 4
_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_NO_ENOBUFS = 5

# The longest IPv4 header and the flags of TCP behind it; in IPv6, 74 bytes of extension headers.
COPY_RANGE = 128
# What a queued SYN takes of the socket's receive buffer, measured at 835 bytes, with room for skb overhead.
BYTES_PER_PACKET = 1304
# The kernel's own bound is not reached: the socket is full before, at half more than the length that was asked for,
# and what has no room there leaves a gap in the packets' numbers. A queue that is full with NFQA_CFG_F_FAIL_OPEN says
# nothing at all. That bound has 16 bits, so the longest queues get a socket that just fits.
LONGEST_QUEUE, LONGEST_IN_SOCKET = 65535, 42_000


def config_message(queue: int, *attributes: tuple[int, int]) -> bytes:
    """A NFQNL_MSG_CONFIG for `queue` with attributes of 32 bits, (type, value) each."""
    body = b"".join(struct.pack("=HH", 8, kind) + struct.pack("!I", value) for kind, value in attributes)
    header = struct.pack("=IHHII", 20 + len(body), _MSG_CONFIG, _NLM_F_REQUEST, 0, 0)
    return header + struct.pack("!BBH", socket.AF_UNSPEC, 0, queue) + body


def bypass_message(queue: int) -> bytes:
    """The message that lets packets bypass the queue: length 0, and what does not fit is accepted."""
    return config_message(
        queue, (_CFG_QUEUE_MAXLEN, 0), (_CFG_MASK, _F_FAIL_OPEN), (_CFG_FLAGS, _F_FAIL_OPEN)
    )


class _Queue:
    """One kernel queue with its socket, its ring and the decision that its thread runs."""

    def __init__(self, number: int, fastpath: Fastpath) -> None:
        self.number = number
        self.fastpath = fastpath
        self.warnings: list[str] = []
        self._library: NetfilterQueue | None = None

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
        self._library = library
        # A receive buffer that is smaller than asked for overflows earlier, nothing else.
        self.warnings = [f"queue {self.number}: {warning.message}" for warning in caught]

    def unbind(self) -> None:
        """Let the kernel's queue go, if it is bound."""
        if self._library is not None:
            self._library.unbind()
            self._library = None

    @property
    def fd(self) -> int:
        """The socket that bound it."""
        assert self._library is not None
        return self._library.get_fd()

    def _twin(self) -> socket.socket:
        # What it is is said, since a filter may forbid to ask.
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER, fileno=os.dup(self.fd))

    def port_id(self) -> int:
        """The netlink port of its socket. Raises StartError."""
        try:
            with self._twin() as twin:
                return int(twin.getsockname()[0])
        except OSError as error:
            raise StartError(f"queue {self.number}: cannot ask its socket: {error.strerror}") from None

    def configure(self, on_overload: str) -> None:
        """Set what the library does not; what the kernel refuses is a warning, as the queue works without it."""
        try:
            with self._twin() as twin:
                # One overrun must not make the socket refuse everything until it is drained.
                twin.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        except OSError as error:
            self.warnings.append(f"queue {self.number}: NETLINK_NO_ENOBUFS: {error.strerror}")
        try:
            # Large packets come as they are, without the kernel's work of cutting them; what has no room passes.
            flags = _F_GSO | (_F_FAIL_OPEN if on_overload == "accept" else 0)
            os.write(self.fd, config_message(self.number, (_CFG_MASK, _F_GSO | _F_FAIL_OPEN), (_CFG_FLAGS, flags)))
        except OSError as error:
            self.warnings.append(f"queue {self.number}: NFQA_CFG_FLAGS: {error.strerror}")


class NfqueueBackend:
    """The queues of `queue-num`, one thread each, sharing one whitelist."""

    def __init__(self, settings: Settings, decisions: Mapping[int, Fastpath], log: Log) -> None:
        """`decisions` are by the numbers of the queues, each over a shard of its own."""
        self._log = log
        self._queue_length = settings.queue_length
        self._on_overload = settings.on_overload
        self._mark = settings.verdict_mark or (0, 0)
        self._refused = settings.refuse_mark if settings.refuse == "reset" else (0, 0)
        self._dry_run = settings.dry_run
        # Opened now: later it may not be allowed to read it.
        self._proc_queues = ProcQueues()
        self._watch = Watch(settings, log)
        self._queues = [_Queue(number, fastpath) for number, fastpath in decisions.items()]
        self._threads: dict[int, QueueThread] = {}  # by the numbers of their queues
        self.rings = [queue.fastpath.ring for queue in self._queues]
        self.fastpaths = [queue.fastpath for queue in self._queues]

    def readable(self) -> list[Path]:
        """Nothing: what it reads is open."""
        return []

    def open(self) -> None:
        """Bind every queue. Raises StartError with the reason."""
        try:
            for queue in self._queues:
                queue.bind(self._queue_length)
            self._watch.open((queue.number, queue.port_id()) for queue in self._queues)
        except BaseException:
            self._unbind()
            raise

    def start(self) -> None:
        """Start the threads; what the kernel does not offer is logged. Raises StartError."""
        for index, queue in enumerate(self._queues):
            queue.configure(self._on_overload)
            thread = QueueThread(
                queue.fd, queue.number, queue.fastpath, bypass_message(queue.number),
                heartbeats=self._watch.heartbeats, index=index, mark=self._mark,
                refused=self._refused, passes=self._on_overload == "accept", dry_run=self._dry_run)
            try:
                thread.start()
            except OSError as error:
                raise StartError(f"queue {queue.number}: {error}") from None
            self._threads[queue.number] = thread
        for queue in self._queues:
            for warning in queue.warnings:
                self._log.warning("degraded", reason=warning)
        self._watch.start([queue.fd for queue in self._queues])

    def publish(self, rules: Rules) -> None:
        """Let these rules hold from each queue's next batch on."""
        for queue in self._queues:
            queue.fastpath.publish(rules)
        self._ask(QueueThread.wake)

    def tick(self) -> None:
        """Show that the main loop runs. All else the threads do with their packets."""
        self._watch.tick()

    def sweep(self) -> int:
        """Ask for expired entries to be removed; so many SWEPT events will tell that it is done."""
        return self._ask(QueueThread.request_sweep)

    def restore(self, shard: int, records: bytes) -> bool:
        """Ask the thread of this shard to enter records, between two batches of packets."""
        thread = self._thread_of(shard)
        if thread is None:
            return False
        # Where the socket is broken the thread ends by itself and says why; nobody else may write its shard before.
        with suppress(OSError):
            thread.request_restore(records)
        return True

    def restored(self, shard: int) -> tuple[int, int, int, int] | None:
        """What became of them; None: they are being entered, or it is no shard of these threads."""
        thread = self._thread_of(shard)
        return thread.restored() if thread else None

    def _thread_of(self, shard: int) -> QueueThread | None:
        # The shards from the first one on are those of the queues, in their order.
        threads = list(self._threads.values())
        return threads[shard] if shard < len(threads) else None

    def stop(self) -> None:
        """Ask the threads to answer what waits and to end; those that have failed are logged."""
        for number, thread in self._threads.items():
            if thread.error:
                self._log.error("queue-failed", reason=f"queue {number}: {os.strerror(thread.error)}")
        self._watch.stop()
        self._ask(QueueThread.request_stop)

    def _ask(self, request: Callable[[QueueThread], None]) -> int:
        """Ask all threads; how many will hear of it."""
        asked = 0
        for thread in self._threads.values():
            # Where the socket is broken, the thread ends by itself and says why.
            with suppress(OSError):
                request(thread)
                asked += 1
        return asked

    def ended(self) -> bool:
        """Whether every thread has ended."""
        return all(thread.ended for thread in self._threads.values())

    def failed(self) -> bool:
        """Whether any thread has ended of an error."""
        return any(thread.error for thread in self._threads.values())

    def close(self) -> None:
        """Unbind. Only after ended(): a thread must not lose its socket."""
        for thread in self._threads.values():
            thread.join()
        # The watching thread looks at the sockets, the guard at what is bound.
        self._watch.stop()
        self._unbind()
        self._watch.close()
        self._proc_queues.close()

    def _unbind(self) -> None:
        for queue in self._queues:
            queue.unbind()

    def counters(self) -> dict[str, int]:
        """The threads' counters, and the kernel's count of packets it dropped itself."""
        totals: dict[str, int] = {}
        for thread in self._threads.values():
            for name, value in thread.counters().items():
                totals[name] = totals.get(name, 0) + value
        totals["lost-by-kernel"] = self._proc_queues.drops(
            range(self._queues[0].number, self._queues[-1].number + 1))
        return totals


def _reason(number: int, error: OSError) -> str:
    with closing(ProcQueues()) as queues:
        holder = next((row[1] for row in queues.rows() if row and row[0] == number), None)
    if holder is not None:
        return f"it is held by another program (netlink port {holder})"
    if not may_administer_network():
        return "this needs the capability CAP_NET_ADMIN; run it as root"
    # The library says what it could not do, and the kernel why.
    said = (error.strerror or str(error)).rstrip(".")
    why = os.strerror(error.errno) if error.errno else said
    return why if why == said else f"{said}: {why}"
