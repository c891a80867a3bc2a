"""Where packets meet the door: what each place of the chain `door` sees, and what passes it by."""
import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab, ip, ip_output
from lab.namespaces import visit
from tests.fragments import ACK, RST, SYN, address, ipv4, segment

SERVED = ((REAL4, FAKE4), (REAL6, FAKE6))
FAR4, NEAR4 = "10.1.0.2", "10.1.0.1"
ETHERTYPE_IPV4 = b"\x08\x00"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000  # linux/if_tun.h


def load(lab: Lab, *interfaces: str) -> None:
    """The door at these interfaces, as new; without any the one in prerouting."""
    lab.gateway.run(["nft", "delete", "table", "inet", "mxallowd"], capture_output=True)
    if interfaces:
        lab.load_ruleset("door.nft", edits={"{ eth0 }": f"{{ {', '.join(interfaces)} }}"})
    else:
        lab.load_ruleset("door-raw.nft")


def counted(lab: Lab, *names: str) -> list[int]:
    """Packets of named counters."""
    done = lab.gateway.run(["nft", "-j", "list", "counters"], capture_output=True, check=True)
    found = [one["counter"] for one in json.loads(done.stdout)["nftables"] if "counter" in one]
    return [one["packets"] for name in names for one in found if one["name"] == name]


def newcomers(lab: Lab) -> int:
    """Hosts that the kernel alone lets in at the moment."""
    done = lab.gateway.run(["nft", "list", "set", "inet", "mxallowd", "mx_white4"], capture_output=True, text=True)
    return str(done.stdout).count(" expires ")


def decided(lab: Lab, host: Host) -> list[int]:
    """Let a host come straight, then properly, by both families; the door's counts of accepted and refused SYNs."""
    for real, fake in SERVED:
        assert host.attempt(real, timeout=0.1) is Attempt.DROPPED
        assert host.attempt(fake) is Attempt.REFUSED
        assert host.attempt(real) is Attempt.CONNECTED
    return counted(lab, "mx_accepted", "mx_refused")


def attach(lab: Lab, far: Host) -> None:
    """A wire from the gateway's interface eth0 to the far host's."""
    gateway = lab.gateway.name
    ip(f"link add eth0 netns {gateway} type veth peer name eth0 netns {far.name}",
       f"-n {gateway} link set eth0 up", f"-n {far.name} link set eth0 up",
       f"-n {gateway} address add {NEAR4}/24 dev eth0", f"-n {gateway} address add fd00:1::1/64 dev eth0 nodad",
       f"-n {far.name} address add {FAR4}/24 dev eth0", f"-n {far.name} address add fd00:1::2/64 dev eth0 nodad",
       f"-n {far.name} route add 192.0.2.0/24 via {NEAR4}", f"-n {far.name} route add 2001:db8::/64 via fd00:1::1")


@pytest.fixture
def far(served: Lab) -> Host:
    """A host beyond an interface that is in no bridge."""
    host = served.empty_host("far", "eth0")
    attach(served, host)
    return host


def test_each_interface_that_the_chain_names(served: Lab, client: Host, far: Host) -> None:
    """Several; a port of a bridge, the bridge, and both: there each SYN that passes is decided twice."""
    port = next(line.split()[1].partition("@")[0] for line in ip_output(
        f"-n {served.gateway.name} -o link show master {BRIDGE}").splitlines())
    load(served, "eth0", BRIDGE)
    assert decided(served, far) == [2, 2]
    assert decided(served, client) == [4, 4]
    load(served, port)
    assert decided(served, client) == [2, 2]
    # One that the chain does not name is open.
    assert far.attempt(REAL4) is Attempt.CONNECTED
    load(served, port, BRIDGE)
    assert decided(served, client) == [4, 2]
    # In prerouting each comes by once, whatever bridge-nf-call says.
    for called in "01":
        with visit(served.gateway.name):
            for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*"):
                path.write_text(called, encoding="ascii")
        load(served)
        assert decided(served, client) == [2, 2]


def test_an_interface_that_goes_and_one_that_comes(served: Lab, far: Host) -> None:
    """Newer kernels bind the chain to names; with older ones nft refuses a name that does not exist."""
    load(served, "eth0")
    ip(f"-n {served.gateway.name} link delete eth0")
    try:
        served.load_ruleset("door.nft", edits={"{ eth0 }": "{ eth0 }"})
    except RuntimeError as error:
        assert "No such file or directory" in str(error)
        return
    attach(served, far)
    assert decided(served, far) == [2, 2]
    # Under another name it has no door.
    ip(f"-n {served.gateway.name} link set eth0 down", f"-n {served.gateway.name} link set eth0 name wan0",
       f"-n {served.gateway.name} link set wan0 up")
    load(served, "eth0")
    assert far.attempt(REAL4) is Attempt.CONNECTED
    load(served, "wan0")
    assert far.attempt(REAL4, timeout=0.1) is Attempt.DROPPED


def test_a_tagged_packet_at_the_parent_gets_a_lost_rst(served: Lab, far: Host) -> None:
    """The kernel takes the outer tag off before the door, and the door's RST has none: name the VLAN interface."""
    load(served, "eth0")
    macs = [bytes.fromhex(line.split()[1].replace(":", "")) for host in (served.gateway, far) for line in ip_output(
        f"-n {host.name} link show dev eth0").splitlines() if "link/ether" in line]
    with far.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as link:
        link.bind(("eth0", 0x0800))
        link.settimeout(0.1)

        def send(server: str, tags: bytes) -> bytes:
            ends = address(FAR4), address(server)
            link.send(b"".join(macs) + tags + ETHERTYPE_IPV4 + ipv4(*ends, segment(*ends, 4000)))
            try:
                return link.recv(2048)
            except TimeoutError:
                return b""

        vlan, service = b"\x81\x00\x00\x0a", b"\x88\xa8\x00\x0b"
        assert send(REAL4, vlan) == b""
        assert counted(served, "mx_refused") == [1]
        answer = send(FAKE4, vlan)
        assert (answer[12:14], answer[14 + 20 + 13]) == (ETHERTYPE_IPV4, RST | ACK)
        assert newcomers(served) == 1
        # Of two tags the inner one stays: the door does not see what is in it.
        load(served, "eth0")
        assert send(FAKE4, service + vlan) == b""
        assert newcomers(served) == 0


@contextmanager
def tunnel(host: Host) -> Iterator[int]:
    """The far end of an interface without Ethernet, as a program holds it."""
    with visit(host.name):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        with visit(host.name):
            fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN | IFF_NO_PI))
        ip(f"-n {host.name} link set tun0 up", f"-n {host.name} address add 10.9.0.1/24 dev tun0")
        yield end
    finally:
        os.close(end)


def test_an_interface_without_ethernet(served: Lab) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("this kernel has no tun")
    with tunnel(served.gateway) as end:

        def answer(server: str) -> int:
            """The flags of what comes back for a SYN; 0 for nothing."""
            ends = address("10.9.0.2"), address(server)
            os.write(end, ipv4(*ends, segment(*ends, 4000)))
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                try:
                    packet = os.read(end, 2048)
                except BlockingIOError:
                    time.sleep(0.01)
                    continue
                if packet[0] >> 4 == 4:
                    return packet[20 + 13]
            return 0

        for interfaces in ("tun0",), ():
            load(served, *interfaces)
            assert [answer(REAL4), answer(FAKE4), answer(REAL4)] == [0, RST | ACK, SYN | ACK]


def test_programs_of_this_host_never_meet_it(served: Lab) -> None:
    """They reach its own addresses through lo, whichever interface bears these; a door there would refuse them."""
    for interfaces in (BRIDGE,), ():
        load(served, *interfaces)
        for real, fake in SERVED:
            assert served.gateway.attempt(real) is Attempt.CONNECTED
            assert served.gateway.attempt(fake) is Attempt.REFUSED
        assert counted(served, "mx_accepted", "mx_refused") == [0, 0]
        assert newcomers(served) == 0
    load(served, "lo")
    assert served.gateway.attempt(REAL4, timeout=0.1) is Attempt.DROPPED
