"""Completed handshakes, told by the kernel's connection tracking: who is proven, and who is not."""
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from lab.programs import Sources, flood
from mxallowd.backends.handshakes import called_by, ends_of
from tests.daemon_process import QUEUE, SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.strategies import packed


@pytest.fixture
def daemon(guarded: Lab) -> Iterator[DaemonProcess]:
    """The daemon, serving."""
    with DaemonProcess(guarded.gateway, [*SERVERS, "-n", QUEUE, "-b"]) as process:
        process.wait_for("start ")
        yield process


def settled(daemon: DaemonProcess, wanted: int) -> int:
    """The counter, once it is what is wanted, or after two seconds."""
    until = time.monotonic() + 2
    while (found := daemon.counters()["proven"]) != wanted and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_a_real_connection_proves_its_host_once(daemon: DaemonProcess, client: Host) -> None:
    for fake, real in ((FAKE4, REAL4), (FAKE6, REAL6)):
        assert client.attempt(fake) is Attempt.REFUSED
        assert client.attempt(real) is Attempt.CONNECTED
        assert client.attempt(real) is Attempt.CONNECTED
    assert settled(daemon, 2) == 2


@pytest.mark.parametrize(("fake", "real", "first"), [(FAKE4, REAL4, "10.0.0.0"), (FAKE6, REAL6, "fd00::")])
def test_made_up_syns_prove_nobody(
        daemon: DaemonProcess, lab: Lab, client: Host, fake: str, real: str, first: str) -> None:
    """The server answers each of them, and connection tracking has them all; nobody acknowledges the answer."""
    # The answers go to the client, which drops them and so sends no RST.
    lab.take_any_source()
    via = SENDER6 if ":" in first else SENDER4
    lab.gateway.run(["ip", "route", "add", "fd00::/8" if ":" in first else "10.0.0.0/8", "via", via], check=True)
    pairs = flood(fake, Sources(first, 200), count=400, rate=2000, second=real)
    client.run(pairs, check=True, stdout=subprocess.DEVNULL)
    counters = daemon.counters()
    assert (counters["fake-new"], counters["real-first"]) == (200, 200)
    # A real one behind them is told of, so that all before it have been.
    assert client.attempt(fake) is Attempt.REFUSED
    assert client.attempt(real) is Attempt.CONNECTED
    assert settled(daemon, 1) == 1


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(client: str, server: str) -> bytes:
    """About a connection, as ctnetlink sends it."""
    ends = [socket.inet_pton(socket.AF_INET6 if ":" in end else socket.AF_INET, end) for end in (client, server)]
    first = 3 if ":" in client else 1
    tuples = [attribute(0x8001, attribute(first, source) + attribute(first + 1, destination))
              for source, destination in (ends, ends[::-1])]
    return bytes(20) + attribute(0x8001, tuples[0]) + attribute(0x8002, tuples[1]) + attribute(3, bytes(4))


@pytest.mark.parametrize(("client", "server"), [("198.51.100.7", REAL4), ("2001:db8:1::7", REAL6)])
def test_the_ends_are_read_from_a_message(client: str, server: str) -> None:
    whole = message(client, server)
    assert ends_of(whole) == (packed(client), packed(server))
    assert called_by(whole) == packed(server)
    for end in range(len(whole)):
        # Cut anywhere, it is read whole or not at all.
        assert ends_of(whole[:end]) in (None, (packed(client), packed(server)))
        assert called_by(whole[:end]) in (None, packed(server))


@pytest.mark.parametrize("change", [
    lambda data: data[:20] + b"\0\0" + data[22:], lambda data: data[:20] + b"\xff\xff" + data[22:],
    lambda data: data[:24] + b"\xff\xff" + data[26:], lambda data: b""])
def test_a_broken_message_tells_of_nobody(change: Callable[[bytes], bytes]) -> None:
    assert ends_of(change(message("198.51.100.7", REAL4))) is None


def test_a_server_behind_dnat_is_known_by_both_addresses() -> None:
    """test_special_networks.py has it on the kernel."""
    ends = [socket.inet_aton(end) for end in ("198.51.100.7", REAL4, "10.0.0.5")]
    tuples = [attribute(0x8001, attribute(1, source) + attribute(2, destination))
              for source, destination in ((ends[0], ends[1]), (ends[2], ends[0]))]
    whole = bytes(20) + attribute(0x8001, tuples[0]) + attribute(0x8002, tuples[1])
    assert ends_of(whole) == (packed("198.51.100.7"), packed("10.0.0.5"))
    assert called_by(whole) == packed(REAL4)
