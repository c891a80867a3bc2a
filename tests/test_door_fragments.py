"""No unknown host's SYN gets in, however it is cut or hidden; a known host's does, unless no network cuts so."""
import itertools
import socket
import struct
import time
from collections.abc import Callable

import pytest

from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab, ip_output
from tests.daemon_process import SENDER4, SENDER6
from tests.fragments import ACK, SYN, attempts4, attempts6, hidden6

Attempts = Callable[[str, str, int], dict[str, list[bytes]]]
FAMILIES: dict[int, tuple[Attempts, str, str]] = {4: (attempts4, SENDER4, REAL4), 6: (attempts6, SENDER6, REAL6)}
ETHERTYPES = {4: 0x0800, 6: 0x86dd}
# What comes to the server where nothing filters: the kernel itself discards the others.
REACH = {
    4: {"plain", "options", "tcp options", "fast open", "flags 0xc2", "flags 0xa", "flags 0x22", "flags 0x42", "8",
        "8, reserved", "8, may not be cut", "8, options", "8, 8", "8 last", "16", "16, options", "24", "64", "64 last"},
    6: {"plain", "hop by hop", "destination", "both", "eight", "routing", "atomic", "atomic between", "flags 0xc2",
        "flags 0xa", "flags 0x22", "24", "64", "64 last", "second options cut"},
}
# First fragments that hide the flags, which no network makes: dropped whoever sends them, where they come in pieces.
TOO_SHORT = {4: {name for name in REACH[4] if name.startswith("8")}, 6: {"second options cut"}}
_ports = itertools.count(20000)


def answered(
    lab: Lab, client: Host, version: int, expected: set[str], attempts: Attempts | None = None,
) -> set[str]:
    """The attempts that the server answers with SYN and ACK, all made at once."""
    usual, source, server = FAMILIES[version]
    attempts = attempts or usual
    kind = ETHERTYPES[version]
    [mac] = [line.split()[1] for line in ip_output(f"-n {lab.gateway.name} link show dev {BRIDGE}").splitlines()
             if "link/ether" in line]
    found: set[str] = set()
    with client.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind)) as link:
        link.bind(("eth0", kind))
        sent = {}
        for name in attempts(source, server, 1):
            port = next(_ports)
            sent[port] = name
            for packet in attempts(source, server, port)[name]:
                link.sendto(packet, ("eth0", kind, 0, 0, bytes.fromhex(mac.replace(":", ""))))
        link.settimeout(0.05)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                packet = link.recvfrom(2048)[0]
            except TimeoutError:
                if expected <= found:
                    break
                continue
            header = packet[20:] if version == 4 else packet[40:]
            port, to = struct.unpack_from("!HH", header)
            if port == 25 and header[13] & 0x3f == SYN | ACK:
                found.add(sent[to])
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_no_syn_gets_by_however_it_is_cut(served: Lab, client: Host, version: int) -> None:
    """At ingress and in raw, with connection tracking, which puts fragments together, and without."""
    for fake in (FAKE4, FAKE6):
        assert client.attempt(fake) is Attempt.REFUSED  # Both ends know each other's link address.
    assert answered(served, client, version, REACH[version]) == REACH[version]
    known = f"{{ {FAMILIES[version][1]} timeout 1h }}"
    for name, tracked in itertools.product(("door.nft", "door-raw.nft"), (True, False)):
        served.load_ruleset(name, tracked=tracked)
        assert answered(served, client, version, set()) == set(), (name, tracked)
        served.gateway.run(["nft", "add", "element", "inet", "mxallowd", f"mx_white{version}", known], check=True)
        expected = REACH[version]
        if name == "door.nft" or not tracked:
            expected = expected - TOO_SHORT[version]
        if name == "door-raw.nft":
            expected = expected - {"atomic between"}
        assert answered(served, client, version, expected) == expected, (name, tracked)
        served.gateway.run(["nft", "delete", "table", "inet", "mxallowd"], check=True)


TRACKING = "table inet tracking { chain c { type filter hook input priority 0; ct state established accept; }; }"


def test_no_header_of_ipv6_hides_a_syn(served: Lab, client: Host) -> None:
    """Each ruleset that stands behind connection tracking, and the door at ingress in front of it."""
    served.gateway.run(["nft", TRACKING], check=True)
    assert client.attempt(REAL6) is Attempt.CONNECTED
    every = set(hidden6(SENDER6, REAL6, 1))
    # All of them reach the server where nothing filters.
    assert answered(served, client, 6, every, hidden6) == every
    for name in ("door.nft", "door-raw.nft", "set.nft", "set-ipset.sh"):
        said = served.load_ruleset(name)
        assert answered(served, client, 6, set(), hidden6) == set(), (name, said)
        served.gateway.run(["sh", "-c", "nft delete table inet mxallowd; ip6tables -F; ip6tables -X"], check=False,
                           capture_output=True)
    # It was no shortage of memory for fragments.
    assert answered(served, client, 6, every, hidden6) == every
