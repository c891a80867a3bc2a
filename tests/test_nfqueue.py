"""The rules of the contract on the kernel's real queue, by real TCP connects, over IPv4 and IPv6."""
import os
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from lab.namespaces import visit
from mxallowd._fastpath import Fastpath
from mxallowd.backends import nfqueue
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess

FAMILIES = pytest.mark.parametrize(("fake", "real"), [(FAKE4, REAL4), (FAKE6, REAL6)], ids=["ipv4", "ipv6"])


@pytest.fixture
def daemon(guarded: Lab) -> Iterator[DaemonProcess]:
    """The daemon, serving."""
    with DaemonProcess(guarded.gateway, [*SERVERS, "-n", QUEUE]) as process:
        process.wait_for("start ")
        yield process


@FAMILIES
def test_rule_1_and_2_contact_with_the_fake_opens_the_real(
        daemon: DaemonProcess, client: Host, fake: str, real: str) -> None:
    assert client.attempt(real) is Attempt.DROPPED
    assert client.attempt(fake) is Attempt.REFUSED
    assert client.attempt(real) is Attempt.CONNECTED
    assert client.attempt(real) is Attempt.CONNECTED
    assert client.attempt(fake) is Attempt.REFUSED


@FAMILIES
def test_one_host_does_not_open_the_real_for_another(
        daemon: DaemonProcess, lab: Lab, client: Host, fake: str, real: str) -> None:
    other = lab.client("other", "192.0.2.102", "2001:db8::102")
    assert client.attempt(fake) is Attempt.REFUSED
    assert other.attempt(real) is Attempt.DROPPED
    assert client.attempt(real) is Attempt.CONNECTED


def test_families_are_different_hosts(daemon: DaemonProcess, client: Host) -> None:
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert client.attempt(REAL6) is Attempt.DROPPED
    assert client.attempt(REAL4) is Attempt.CONNECTED


def test_rule_3_any_other_destination_is_accepted(daemon: DaemonProcess, lab: Lab, client: Host) -> None:
    lab.gateway.add_address("192.0.2.30/24")
    with lab.gateway.serve("192.0.2.30"):
        assert client.attempt("192.0.2.30") is Attempt.CONNECTED
    assert client.attempt("192.0.2.30") is Attempt.REFUSED
    assert client.attempt(REAL4) is Attempt.DROPPED


def test_a_dropped_syn_comes_again_and_meets_the_table(daemon: DaemonProcess, client: Host) -> None:
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as waiting:
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.connect((REAL4, 25))
        daemon.wait_for("refused ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert not select.select([], [waiting], [], 0)[1]
        # The kernel sends the SYN again one second after the first.
        assert select.select([], [waiting], [], 2.5)[1]
        assert waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_an_entry_lives_whitelist_time_where_nothing_renews_it(guarded: Lab, client: Host) -> None:
    with DaemonProcess(guarded.gateway, [*SERVERS, "-n", QUEUE, "-t", "2", "--renew", "never"]) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        added = time.monotonic()
        assert client.attempt(FAKE6) is Attempt.REFUSED
        while time.monotonic() < added + 1.6:
            assert client.attempt(REAL4) is Attempt.CONNECTED
            assert client.attempt(FAKE4) is Attempt.REFUSED
            time.sleep(0.2)
        time.sleep(max(0.0, added + 2.1 - time.monotonic()))
        assert client.attempt(REAL4) is Attempt.DROPPED
        counters = daemon.counters()
        # The IPv4 entry was used, the IPv6 entry was not; both have expired.
        assert (counters["successful"], counters["direct-to-fake"], counters["entries"]) == (1, 1, 0)


def test_what_is_logged_and_counted(daemon: DaemonProcess, client: Host) -> None:
    client.attempt(REAL4)
    client.attempt(FAKE4)
    client.attempt(FAKE4)
    client.attempt(REAL4)
    client.attempt(REAL4)
    client.attempt(FAKE6)
    daemon.wait_for("whitelisted .2001")
    assert daemon.messages()[:5] == [
        daemon.messages()[0], f"fake-mailserver [{FAKE4}]", f"fake-mailserver [{FAKE6}]",
        f"real-mailserver [{REAL4}]", f"real-mailserver [{REAL6}]"]
    assert daemon.messages()[5:] == [
        f"refused [192.0.2.101] real={REAL4} times=1",
        f"whitelisted [192.0.2.101] fake={FAKE4} seconds=28800",
        f"accepted [192.0.2.101] real={REAL4}",
        f"whitelisted [2001:db8::101] fake={FAKE6} seconds=28800"]
    counters = daemon.counters()
    assert {name: counters[name] for name in (
        "blocked", "successful", "direct-to-fake", "entries", "fake-new", "fake-known", "real-first", "real-again",
        "real-refused", "received", "verdict-accept", "verdict-drop", "malformed", "lost-by-kernel", "lost-events",
        "overruns", "errors", "unsent", "broken", "unknown")} == {
        "blocked": 1, "successful": 0, "direct-to-fake": 0, "entries": 2, "fake-new": 2, "fake-known": 1,
        "real-first": 1, "real-again": 1, "real-refused": 1, "received": 6, "verdict-accept": 5, "verdict-drop": 1,
        "malformed": 0, "lost-by-kernel": 0, "lost-events": 0, "overruns": 0, "errors": 0, "unsent": 0, "broken": 0,
        "unknown": 0}


@FAMILIES
def test_several_queues_share_the_whitelist(lab: Lab, client: Host, fake: str, real: str) -> None:
    lab.queue_rule("10:13")
    addresses = [(f"192.0.2.{n}", f"2001:db8::{n}") for n in range(110, 126)]
    for v4, v6 in addresses:
        client.add_address(f"{v4}/24")
        client.add_address(f"{v6}/64")
    with lab.gateway.serve(real), DaemonProcess(lab.gateway, [*SERVERS, "-n", "10:13"]) as daemon:
        daemon.wait_for("start .*queue-num=10:13")
        sources = [v6 if ":" in fake else v4 for v4, v6 in addresses]
        for source in sources:
            assert client.attempt(fake, source=source) is Attempt.REFUSED
            assert client.attempt(real, source=source) is Attempt.CONNECTED
        assert [row[0] for row in lab.queues()] == [10, 11, 12, 13]
        # Address pairs are spread over the queues by the kernel: a host's two SYNs meet in one whitelist.
        assert sum(row[7] > 0 for row in lab.queues()) >= 2
        assert daemon.counters()["entries"] == len(sources)
        assert daemon.stop() == 0


def test_options_and_fragments_of_real_packets(daemon: DaemonProcess, client: Host) -> None:
    """A SYN with IP options, and one behind an IPv6 destination options header, are found by their addresses."""
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
        plain.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 1] * 10))  # 40 bytes of no-operation
        plain.settimeout(1)
        with pytest.raises(ConnectionRefusedError):
            plain.connect((FAKE4, 25))
    assert client.attempt(REAL4) is Attempt.CONNECTED
    with client.socket(socket.AF_INET6, socket.SOCK_STREAM) as extended:
        extended.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
        extended.settimeout(1)
        with pytest.raises(ConnectionRefusedError):
            extended.connect((FAKE6, 25))
    assert client.attempt(REAL6) is Attempt.CONNECTED


# The daemon with a sink that holds the interpreter's lock for three seconds: PyDLL does not release it.
HOLDING = """
import ctypes, sys
from mxallowd import cli
from mxallowd.sinks.log import LogSink

def hold(sink):
    print("01.01.2026 00:00:00 - holding", flush=True)
    ctypes.PyDLL(None).sleep(3)

LogSink.tick = hold
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_held_interpreter_delays_no_verdict(guarded: Lab, client: Host) -> None:
    with DaemonProcess(guarded.gateway, [*SERVERS, "-n", QUEUE], script=HOLDING) as daemon:
        daemon.wait_for("holding")
        held = time.monotonic()
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(FAKE6) is Attempt.REFUSED
        assert client.attempt(REAL6) is Attempt.CONNECTED
        assert time.monotonic() - held < 2.5
        # All that happened while the interpreter was held, so nothing of it is written yet.
        assert not [line for line in daemon.messages() if line.startswith(("refused", "whitelisted", "accepted"))]
        daemon.wait_for(r"accepted \[2001:db8::101\]")


def test_a_flood_ends_with_every_packet_answered(daemon: DaemonProcess, guarded: Lab, client: Host) -> None:
    sockets = []
    try:
        for number in range(400):
            one = client.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.setblocking(False)
            sockets.append(one)
            with pytest.raises(BlockingIOError):
                one.connect((FAKE4 if number % 2 else REAL4, 25))
        deadline = time.monotonic() + 5
        while (counters := daemon.counters())["received"] < 400 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        for one in sockets:
            one.close()
    assert counters["received"] == counters["verdict-accept"] + counters["verdict-drop"] >= 400
    assert counters["lost-by-kernel"] == counters["unsent"] == 0
    assert [row[2] for row in guarded.queues()] == [0]
    assert daemon.stop(signal.SIGINT) == 0


def test_the_queue_is_set_as_the_readme_says(lab: Lab) -> None:
    """Length, copy range, buffer, and that one overrun does not close the socket: asked of the kernel."""
    with visit(lab.gateway.name):
        queue = nfqueue._Queue(23, Fastpath(Table(64), Ring(16, -1), Rules([], [], 1)))
        queue.bind(5000)
    written: list[bytes] = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mxallowd.backends.nfqueue.os.write", lambda _, message: written.append(message))
            queue.configure("accept")
        with socket.socket(fileno=os.dup(queue.fd)) as twin:
            assert twin.getsockopt(270, 5) == 1  # SOL_NETLINK, NETLINK_NO_ENOBUFS
            # The kernel doubles what it is asked for.
            assert twin.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 5000 * nfqueue.BYTES_PER_PACKET
        assert [row[3:5] for row in lab.queues()] == [[2, nfqueue.COPY_RANGE]]  # NFQNL_COPY_PACKET
    finally:
        queue.unbind()
    # linux/netfilter/nfnetlink_queue.h: NFQA_CFG_MASK (4) and NFQA_CFG_FLAGS (5) with NFQA_CFG_F_GSO (4) and
    # NFQA_CFG_F_FAIL_OPEN (1)
    [message] = written
    assert message[20:] == bytes.fromhex("0800 0400 00000005 0800 0500 00000005".replace(" ", ""))
    assert queue.warnings == []
