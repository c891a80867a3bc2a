"""The queue thread at a socket of ours in the place of the kernel's: what it makes of answers and of failing sends."""
import contextlib
import errno
import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from mxallowd._fastpath import Fastpath
from mxallowd.backends._worker import QueueThread
from mxallowd.engine import events
from mxallowd.engine._networks import Networks
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import MAPPED
from mxallowd.lists.composition import record as network_record
from tests.strategies import FAKE, HOSTS, REAL, packed, record, syn
from tests.test_nfnetlink import NFQA_PAYLOAD, NLMSG_ERROR, QUEUE_PACKET, attribute, message, packet_header


def packet(number: int, content: bytes) -> bytes:
    """A packet as the kernel hands it over."""
    return message(QUEUE_PACKET, bytes(4) + packet_header(number) + attribute(NFQA_PAYLOAD, content))


def answer(error: int) -> bytes:
    """What the kernel says of a verdict, or 0 of the message that wakes the thread."""
    return message(NLMSG_ERROR, struct.pack("=i", -error) + bytes(16))


class Kernel:
    """Our end of the socket, and the thread at the other one."""

    def __init__(self, table: Table | None = None, shard: int = 0, *, passes: bool = False) -> None:
        self.end, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.settimeout(5)
        self.ring = Ring(64, -1)
        self.table = Table(5000, 2, main=1000) if table is None else table
        self.path = Fastpath(self.table, self.ring, Rules(FAKE, REAL, 60), shard=shard)
        self.thread = QueueThread(self.other.fileno(), 7 + shard, self.path, b"bypass", passes=passes)

    def drain(self) -> None:
        """Take the verdicts that have come: a socket holds ten."""
        self.end.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.end.recv(100_000)
        self.end.settimeout(5)

    def until(self, **expected: int) -> None:
        """Wait until the thread has counted so."""
        wanted = {name.replace("_", "-"): count for name, count in expected.items()}
        deadline = time.monotonic() + 5
        while not wanted.items() <= self.thread.counters().items():
            assert time.monotonic() < deadline, self.thread.counters()
            self.drain()
            time.sleep(0.002)

    def until_gone(self) -> None:
        """Wait until the thread has ended."""
        deadline = time.monotonic() + 5
        while not self.thread.join():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def idle() -> Iterator[Kernel]:
    """The thread is not started."""
    made = Kernel()
    yield made
    made.end.close()
    made.other.close()


@contextlib.contextmanager
def serving(made: Kernel) -> Iterator[Kernel]:
    """Its thread serves."""
    with made.end, made.other:
        made.thread.start()
        yield made
        if not made.thread.ended:
            made.thread.request_stop()
            made.end.send(answer(0))
            made.until_gone()


@pytest.fixture
def kernel(idle: Kernel) -> Iterator[Kernel]:
    """The thread serves."""
    with serving(idle):
        yield idle


def test_answers_are_counted_and_end_nothing(kernel: Kernel) -> None:
    """A verdict for a packet that was gone is no error, and a message that cannot be read holds up none behind it."""
    for sent in (answer(0), answer(errno.ENOENT), answer(errno.EINVAL), message(QUEUE_PACKET, b"")):
        kernel.end.send(sent)
    kernel.end.send(packet(1, syn(HOSTS[0], FAKE[0])))
    kernel.until(unknown=1, errors=1, broken=1, received=1, verdict_accept=1, queue_full=0)
    assert not kernel.thread.ended


def test_a_gap_in_the_numbers_is_what_the_kernel_decided(kernel: Kernel) -> None:
    for number in (10, 11, 15, 15, 3, 4):
        kernel.end.send(packet(number, syn(HOSTS[0], FAKE[0])))
    # 12 to 14 are missing; 15 again and 3 are a queue bound anew.
    kernel.until(received=6, queue_full=3)


@pytest.mark.parametrize("passes", [True, False])
def test_what_one_queue_lost_makes_all_queues_lenient(*, passes: bool) -> None:
    """A host's SYN to the fake server, and that to the real one, may go to different queues."""
    table = Table(5000, 2)
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(serving(Kernel(table, shard, passes=passes))) for shard in (0, 1))
        other.end.send(packet(1, syn(HOSTS[0], REAL[0])))
        other.until(verdict_drop=1)
        for number in (1, 3):
            one.end.send(packet(number, syn(HOSTS[1], FAKE[0])))
        one.until(queue_full=1, received=2)
        other.end.send(packet(2, syn(HOSTS[0], REAL[0])))
        other.until(received=2, verdict_drop=1 if passes else 2)


def test_lists_that_are_swapped_while_packets_flow_decide_alike() -> None:
    """Networks that are in the old lists and in the new ones; around them all others come and go."""
    dice, swaps, table = random.Random(15), 20, Table(5000, 2)
    # Each of them within a wider one that says the contrary, at times.
    kept = [("198.51.100.0/29", "allow"), ("198.51.101.0/24", "deny"), ("2001:db8:1::/64", "allow"),
            ("2001:db8:2::/128", "deny")]
    around = [("198.51.100.0/24", "deny"), ("198.51.0.0/16", "allow"), ("2001:db8::/32", "deny"),
              ("2001:db8:2::/64", "allow"), *((f"198.{number}.0.0/16", "deny") for number in range(52, 200))]
    allowed = [packed("198.51.100.3"), packed("2001:db8:1::3")]
    denied = [packed("198.51.101.3"), packed("2001:db8:2::")]
    some = [syn(host, REAL[not host.startswith(MAPPED)]) for host in (*allowed, *denied)]

    def lists() -> Networks:
        chosen = [*kept, *(one for one in around if dice.random() < 0.5)]
        dice.shuffle(chosen)
        return Networks(b"".join(network_record(ip_network(network), verdict) for network, verdict in chosen))

    with contextlib.ExitStack() as stack:
        kernels = [Kernel(table, shard) for shard in (0, 1)]
        for one in kernels:
            one.path.publish(Rules(FAKE, REAL, 60, networks=lists()))
            stack.enter_context(serving(one))
        sent = 0
        for _ in range(swaps):
            for one in kernels:
                for number, content in enumerate(some * 4):
                    one.end.send(packet(sent + number + 1, content))
                    one.drain()
                    if number % 4 == 0:
                        one.path.publish(Rules(FAKE, REAL, 60, networks=lists()))
            sent += 4 * len(some)
        for one in kernels:
            one.until(received=sent)
            counted = one.path.counters()
            assert (counted["real-allowed"], counted["real-denied"], sum(counted.values())) == (
                sent // 2, sent // 2, sent)


def test_a_queue_without_packets_keeps_two_sets_of_rules(kernel: Kernel) -> None:
    """Each wake-up lets it go on to the newest, and what it has gone on from is freed by the next change."""
    lists = [Networks(network_record(ip_network("192.0.2.0/24"), "deny")) for _ in range(50)]
    free = sys.getrefcount(lists[0])
    # Each set of rules holds its networks, and nothing else here does.
    for number, networks in enumerate(lists):
        kernel.path.publish(Rules(FAKE, REAL, 60, networks=networks))
        held = [at for at in range(number) if sys.getrefcount(lists[at]) > free]
        assert held == [number - 1] * (number > 0)
        # Two answers, of which the first is done with once the second is counted.
        for answers in (1, 2):
            kernel.end.send(answer(errno.ENOENT))
            kernel.until(unknown=2 * number + answers)
    del networks
    kernel.path.publish(Rules(FAKE, REAL, 60))
    assert [at for at in range(len(lists)) if sys.getrefcount(lists[at]) > free] == [49]


def test_a_thread_that_never_looks_costs_two_sets_of_rules(idle: Kernel) -> None:
    """Those that it never saw go when the next come; then it decides by the newest."""
    networks = Networks(network_record(ip_network("192.0.2.0/24"), "deny"))
    free = sys.getrefcount(networks)
    for _ in range(50):
        idle.path.publish(Rules([], [], 60, networks=networks))
        assert sys.getrefcount(networks) == free + 1
    idle.path.publish(Rules(FAKE, REAL, 60))
    assert sys.getrefcount(networks) == free
    idle.path.decide([syn(HOSTS[0], FAKE[0])], 1)
    assert idle.path.counters()["fake-new"] == 1


def test_a_packet_without_an_id_gets_no_verdict(kernel: Kernel) -> None:
    kernel.end.send(message(QUEUE_PACKET, bytes(4) + attribute(NFQA_PAYLOAD, syn(HOSTS[0], FAKE[0]))))
    kernel.until(broken=1, received=0)


def test_a_stop_bypasses_the_queue_and_answers_what_waits(idle: Kernel) -> None:
    for number in range(1, 4):
        idle.end.send(packet(number, syn(HOSTS[0], FAKE[0])))
    idle.thread.request_stop()
    idle.thread.start()
    idle.until_gone()
    idle.until(received=3, verdict_accept=3, unsent=0)
    wake, bypass, verdicts = (idle.end.recv(10_000) for _ in range(3))
    assert (len(wake), bypass) == (16, b"bypass")
    assert verdicts
    assert idle.thread.error == 0


def test_it_starts_once(kernel: Kernel) -> None:
    with pytest.raises(RuntimeError, match="started already"):
        kernel.thread.start()


def test_a_dead_socket_ends_the_thread_and_is_told(idle: Kernel) -> None:
    """A thread that went on would hold packets for ever; verdicts that were not sent are not counted as given."""
    idle.end.send(packet(1, syn(HOSTS[0], FAKE[0])))
    idle.end.close()
    idle.thread.start()
    idle.until_gone()
    idle.until(received=1, unsent=1, verdict_accept=0)
    assert idle.thread.error == errno.ECONNREFUSED
    kinds = [event.kind for event in events.decode(idle.ring.drain(10))]
    assert kinds[-1] == events.Kind.STOPPED
    with pytest.raises(OSError, match="queue 7: cannot wake its thread"):
        idle.thread.wake()


def test_a_send_that_fails_for_once_loses_these_verdicts_alone(idle: Kernel) -> None:
    idle.other.shutdown(socket.SHUT_WR)
    idle.thread.start()
    idle.end.send(packet(1, syn(HOSTS[0], FAKE[0])))
    idle.until(unsent=1)
    idle.end.send(packet(2, syn(HOSTS[0], FAKE[0])))
    idle.until(received=2, unsent=2, verdict_accept=0)
    assert not idle.thread.ended
    # It is asked to stop although it cannot be woken, and sees that with the next datagram.
    with pytest.raises(BrokenPipeError):
        idle.thread.request_stop()
    idle.end.send(answer(0))
    idle.until_gone()
    assert idle.thread.error == 0


def restored(kernel: Kernel) -> tuple[int, int, int, int]:
    """Wait until the thread is done; what became of the records."""
    deadline = time.monotonic() + 5
    while (found := kernel.thread.restored()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def test_records_are_restored_while_packets_are_decided(kernel: Kernel) -> None:
    late = boottime_us() + 3_600_000_000
    hosts = [b"\x20" + number.to_bytes(15, "big") for number in range(1990)]
    kernel.thread.request_restore(b"".join(record(host, late, 1, True) for host in hosts))
    kernel.end.send(packet(1, syn(HOSTS[0], FAKE[0])))
    kernel.until(received=1)
    entered, *others = restored(kernel)
    assert (entered, others) == (1990, [0, 0, 0])
    assert all(kernel.table.find(host, late - 1) == (late, True, 1) for host in hosts)
    # Once more: listed already, but for one that has no room and one whose time is over.
    more = [record(hosts[0], late), record(bytes(16), 1)]
    more += [record(b"\x30" + number.to_bytes(15, "big"), late) for number in range(20)]
    kernel.thread.request_restore(b"".join(more))
    kernel.end.send(answer(0))
    assert restored(kernel) == (9, 1, 11, 1)


def test_one_request_to_restore_at_a_time(idle: Kernel) -> None:
    for wrong in (b"", bytes(31)):
        with pytest.raises(ValueError, match="no records"):
            idle.thread.request_restore(wrong)
    idle.thread.request_restore(record(HOSTS[0], 2**49))
    with pytest.raises(RuntimeError, match="are being restored"):
        idle.thread.request_restore(record(HOSTS[0], 2**49))
    idle.thread.start()
    assert restored(idle) == (1, 0, 0, 0)
    idle.thread.request_stop()
    idle.end.send(answer(0))
    idle.until_gone()
