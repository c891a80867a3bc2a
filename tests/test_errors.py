"""Promise 6 of docs/reliability.md: what the kernel may answer is counted, and only what is fatal ends the process.

ENOENT is the kernel's own, for a packet that was gone before its verdict; the other answers are ordered (orders.c).
"""
import errno
import os
import signal
import time
from pathlib import Path

import pytest

from lab.hosts import BRIDGE, FAKE4, REAL4, Attempt, Host, Lab, ip
from lab.ptrace import frozen, thread_named
from tests.daemon_process import QUEUE, serving
from tests.orders import RECEIVE, SEND, Orders

BYPASS = True


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    """No answer is ordered yet."""
    return Orders(tmp_path / "orders")


@pytest.mark.parametrize(("call", "number", "times", "counter"), [
    (RECEIVE, errno.ENOBUFS, 50, "overruns"),
    (RECEIVE, errno.EINTR, 50, "interrupted"),
    (SEND, errno.EINTR, 50, "interrupted"),
])
def test_6_what_passes_is_counted_and_no_verdict_is_lost(
        guarded: Lab, client: Host, orders: Orders, call: int, number: int, times: int, counter: str) -> None:
    with serving(guarded, prefix=orders.prefix) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        orders.fail(call, number, times)
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert orders.left(call) == 0
        counters = daemon.counters()
        assert counters[counter] == times
        assert counters["verdict-accept"] == counters["received"] == 3
        assert daemon.stop() == 0


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN])
def test_6_a_verdict_that_finds_no_memory_is_sent_again(
        guarded: Lab, client: Host, orders: Orders, number: int) -> None:
    with serving(guarded, prefix=orders.prefix) as daemon:
        orders.fail(SEND, number, 2)
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert orders.left(SEND) == 0
        assert daemon.counters()["unsent"] == 0
        assert daemon.stop() == 0


def test_6_a_verdict_that_cannot_be_sent_is_settled_by_the_next(
        guarded: Lab, client: Host, orders: Orders) -> None:
    with serving(guarded, prefix=orders.prefix) as daemon:
        orders.fail(SEND, errno.ENOBUFS, 3)
        assert client.attempt(FAKE4, timeout=4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        counters = daemon.counters()
        assert (counters["unsent"], counters["errors"]) == (1, 1)
        assert daemon.stop() == 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENODEV, errno.ECONNREFUSED])
@pytest.mark.parametrize("call", [RECEIVE, SEND], ids=["receive", "send"])
def test_6_what_is_fatal_ends_the_process_and_mail_flows(
        guarded: Lab, client: Host, orders: Orders, call: int, number: int) -> None:
    with serving(guarded, prefix=orders.prefix) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        orders.fail(call, number, 1)
        # It wakes with this packet, and ends in front of it or with it; the packet comes again after a second.
        began = time.monotonic()
        assert client.attempt(REAL4, timeout=4) is Attempt.CONNECTED
        assert daemon.process.wait(5) == 1
        assert time.monotonic() - began < 4
        assert daemon.wait_for("queue-failed ") == f'queue-failed reason="queue 23: {os.strerror(number)}"'
        assert sum(line.startswith("queue-failed") for line in daemon.messages()) == 1


def test_6_packets_that_were_gone_before_their_verdict(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        with frozen(thread_named(daemon.process.pid, "mxallowd-q23")):
            # One SYN waits; what came in by an interface that goes down is dropped by the kernel.
            assert client.attempt(REAL4, timeout=0.15) is Attempt.DROPPED
            ip(f"-n {guarded.gateway.name} link set {BRIDGE} down")
        ip(f"-n {guarded.gateway.name} link set {BRIDGE} up")
        deadline = time.monotonic() + 8
        while client.attempt(REAL4, timeout=0.3) is not Attempt.CONNECTED:
            assert time.monotonic() < deadline
        counters = daemon.counters()
        assert counters["unknown"] == 1
        assert counters["errors"] == counters["unsent"] == 0
        assert daemon.stop() == 0


def test_6_a_namespace_that_is_gone(lab: Lab, client: Host) -> None:
    """Its name, its interfaces and its rules: the daemon holds what is left of it until it is stopped."""
    lab.queue_rule(QUEUE, bypass=True)
    with serving(lab) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        ip(f"netns del {lab.gateway.name}")
        time.sleep(1.2)
        assert daemon.process.poll() is None
        counters = daemon.counters()
        assert counters["received"] == 1
        assert daemon.stop(signal.SIGTERM) == 0
        assert daemon.messages()[-1] == "stop signal=SIGTERM received=1"
