"""Connections that were there before: no ruleset and no way takes a packet of theirs for a new connection."""
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from lab.namespaces import visit
from tests.daemon_process import SENDER4, SENDER6
from tests.ways import Way, all_ways, all_ways_and_door, start

FAMILIES = pytest.mark.parametrize(
    ("sender", "fake", "real"), [(SENDER4, FAKE4, REAL4), (SENDER6, FAKE6, REAL6)], ids=["ipv4", "ipv6"])
FIN, SYN, RST, ACK = 1, 2, 4, 16
FLUSH_CONNECTIONS = struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 1 | 4, 1, 0, 0, 0, 0)  # CTNETLINK, CT_DELETE: request, ack


@pytest.fixture
def guarded(served: Lab, way: Way) -> Lab:
    """The gateway with a mail server on its real addresses, behind the way's rulesets."""
    served.load_ruleset(*way.rulesets)
    return served


@contextmanager
def connected(lab: Lab, client: Host, address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection to port 25 of an address of the gateway."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (lab.gateway.socket(kind, socket.SOCK_STREAM) as server, client.socket(kind, socket.SOCK_STREAM) as near):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 25))
        server.listen()
        near.settimeout(3)
        near.connect((address, 25))
        far, _ = server.accept()
        with far:
            far.settimeout(3)
            yield near, far


def talk(near: socket.socket, far: socket.socket) -> None:
    """A few words in both directions: none is lost."""
    for number in range(3):
        for sender, receiver in ((near, far), (far, near)):
            words = b"words %d" % number
            sender.sendall(words)
            assert receiver.recv(100) == words


def forget_connections(lab: Lab) -> None:
    """What conntrack -F does."""
    with visit(lab.gateway.name), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
        netlink.sendto(FLUSH_CONNECTIONS, (0, 0))
        answer = netlink.recv(4096)
    assert struct.unpack_from("=i", answer, 16) == (0,), "the kernel has forgotten nothing"


def table_of_connections(lab: Lab) -> int:
    """How many connections to port 25 the gateway tracks."""
    with visit(lab.gateway.name):
        table = Path("/proc/thread-self/net/nf_conntrack").read_text(encoding="ascii")
    return sum("dport=25" in line for line in table.splitlines())


@all_ways
@FAMILIES
def test_a_connection_survives_rules_and_forgetting(
        lab: Lab, client: Host, way: Way, sender: str, fake: str, real: str) -> None:
    """The rules come in the middle of it, then the kernel forgets it and picks it up loosely; and again."""
    with start(lab, way) as daemon, connected(lab, client, real) as (near, far):
        talk(near, far)
        lab.load_ruleset(*way.rulesets)
        talk(near, far)
        for _ in range(2):
            forget_connections(lab)
            talk(near, far)
        lab.load_ruleset(*way.rulesets)
        talk(near, far)
        forget_connections(lab)
        # The end of it is no new connection, either.
        near.close()
        assert far.recv(10) == b""
        far.close()
        time.sleep(0.1)
        counters = daemon.counters()
        assert (counters["received"], counters["entries"], counters["blocked"]) == (0, 0, 0)


def segment(source: str, destination: str, port: int, flags: int) -> bytes:
    """A TCP segment without data to port 25."""
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    bare = struct.pack("!HHIIBBHHH", port, 25, 1000, 2000 if flags & ACK else 0, 5 << 4, flags, 1024, 0, 0)
    pseudo = socket.inet_pton(kind, source) + socket.inet_pton(kind, destination) + struct.pack("!II", len(bare), 6)
    total = sum(struct.unpack(f"!{len(pseudo + bare) // 2}H", pseudo + bare))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return bare[:16] + struct.pack("!H", ~total & 0xFFFF) + bare[18:]


def answers(client: Host, source: str, destination: str, flags: int, port: int) -> bool:
    """Send a lone segment; whether the destination answers with RST, as a host does that knows of no connection."""
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    with client.socket(kind, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.settimeout(0.25)
        raw.bind((source, 0))
        raw.sendto(segment(source, destination, port, flags), (destination, 0))
        deadline = time.monotonic() + 0.25
        while time.monotonic() < deadline:
            try:
                data = raw.recv(200)
            except TimeoutError:
                break
            # Raw sockets of IPv4 hand over the header as well.
            data = data if kind == socket.AF_INET6 else data[4 * (data[0] & 15):]
            if struct.unpack_from("!HH", data) == (25, port) and data[13] & RST:
                return True
    return False


@all_ways_and_door
@FAMILIES
def test_a_lone_segment_is_no_new_connection(
        guarded: Lab, client: Host, way: Way, sender: str, fake: str, real: str) -> None:
    """Each reaches the host, which answers it; mxallowd sees none of them, and nobody is whitelisted."""
    with start(guarded, way) as daemon:
        port = 20_000
        for address in (fake, real):
            for flags in (ACK, FIN | ACK, SYN | ACK, FIN, RST, RST | ACK):
                port += 1
                assert answers(client, sender, address, flags, port) == (
                    not flags & RST and (flags != FIN or address == fake)), flags
        time.sleep(0.1)
        counters = daemon.counters()
        assert (counters["received"], counters["entries"], counters["blocked"]) == (0, 0, 0)
        # The rules do see a SYN of this form, at both.
        assert not answers(client, sender, real, SYN, port + 1)
        assert answers(client, sender, fake, SYN, port + 2)
        daemon.wait_for(rf"whitelisted \[{sender}\]")


@all_ways_and_door
def test_a_completed_handshake_is_learned(guarded: Lab, client: Host, way: Way) -> None:
    """From the kernel, in every way, with the rulesets as they are: once for each host, however it got in later."""
    with start(guarded, way) as daemon:
        for sender, fake, real in ((SENDER4, FAKE4, REAL4), (SENDER6, FAKE6, REAL6)):
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            for _ in range(2):
                assert client.attempt(real, source=sender, timeout=4) is Attempt.CONNECTED
        deadline = time.monotonic() + 2
        while daemon.counters()["proven"] != 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@all_ways
def test_the_kernel_tracks_connections(lab: Lab, client: Host, way: Way) -> None:
    """Who completed a connection is known, without any rule of the operator's; `track=no` is for who has it not."""
    with connected(lab, client, REAL4) as (near, far):
        talk(near, far)
        assert table_of_connections(lab) == 0
        lab.load_ruleset(*way.rulesets, tracked=False)
        talk(near, far)
        assert table_of_connections(lab) == 0
        lab.load_ruleset(*way.rulesets)
        talk(near, far)
        assert table_of_connections(lab) == 1
