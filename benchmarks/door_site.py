"""Where floods at the door are measured: for each way to meet them a gateway of its own, a client, and one cable.

Two network namespaces and one veth pair, no bridge. Nothing is loaded or taken away between two floods: another pair is
flooded. The sender has one processor; what counts is its time there, that of the kernel's receiving side included.
"""
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from benchmarks.command import BenchError
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, RULESETS, SMTP, Host, ip
from lab.namespaces import visit
from mxallowd.mirrors import Listing
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.kernel.nft import NftTable
from mxallowd.whitelist import pack

CLIENT4, CLIENT6 = "192.0.2.101", "2001:db8::101"
ROUTER4, ROUTER6 = "192.0.2.1", "2001:db8::1"
SOURCES4, SOURCES6 = "8.0.0.0/5", "fd00::/8"  # of all floods
TABLE = "inet mxallowd"
LIFETIME_S = 86_400
INTERFACE = "eth0"  # as in door.nft
BACKLOG = 4096
# So many of a flood may be dropped more or less than were to be: it need not end where a cycle of its sources does.
TOLERATED = 0.02
SIOCGIFHWADDR = 0x8927  # linux/sockios.h
# linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h: delete, and of no one in particular.
CONNTRACK_DELETE, REQUEST_ACK, NETLINK_NETFILTER = 1 << 8 | 2, 0x5, 12


def fill(host: Host, hosts: Sequence[bytes]) -> float:
    """Fill the sets of a host with hosts that were used, in one transaction; the seconds that it took."""
    with visit(host.name):
        table = NftTable(TABLE, setup=False, max_entries=1)
        table.open()
    try:
        started = time.perf_counter()
        table.refill(Listing([b"".join(pack(one, 1_000_000 * LIFETIME_S, used=True) for one in hosts)], 0))
        return time.perf_counter() - started
    finally:
        table.close()


class Pair:
    """A gateway with the servers' addresses and a client, joined by one cable. To be closed."""

    def __init__(self, name: str) -> None:
        prefix = f"bench-{os.getpid()}-{name}"
        self.name = name
        self.gateway = Host(f"{prefix}-gateway", INTERFACE)
        self.client = Host(f"{prefix}-client", INTERFACE)
        self.dropped: Callable[[], int] | None = None  # SYNs that were refused here so far
        self._closing = ExitStack()
        self._closing.callback(self._take_away)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        gateway, client = self.gateway.name, self.client.name
        for host in (gateway, client):
            ip(f"netns add {host}")
            with visit(host):
                _write("net/ipv6/conf/default/accept_dad", 0)
                _write("net/ipv6/conf/default/router_solicitations", 0)
                for which in ("all", "default"):
                    _write(f"net/ipv4/conf/{which}/rp_filter", 0)
        with visit(gateway):
            # A server in a flood answers by cookies and remembers nothing. So it is from the first SYN on: else some
            # thousand half-open connections are sent again while the next flood is measured.
            _write("net/ipv4/tcp_syncookies", 2)
        ip(f"link add {INTERFACE} netns {gateway} type veth peer name {INTERFACE} netns {client}")
        macs = [_hardware_address(host) for host in (self.gateway, self.client)]
        up = [f"link set {interface} up" for interface in ("lo", INTERFACE)]
        # The client sends by a router, which is the gateway: to a neighbour a raw socket makes a route anew for each
        # packet, and throwing them away would disturb the next flood.
        _configure(self.gateway, [
            *up, *_addresses(FAKE4, REAL4, FAKE6, REAL6), *_neighbours(macs[1], CLIENT4, CLIENT6),
            f"route add {SOURCES4} via {CLIENT4}", f"route add {SOURCES6} via {CLIENT6}"])
        _configure(self.client, [
            *up, *_addresses(CLIENT4, CLIENT6), *_neighbours(macs[0], ROUTER4, ROUTER6),
            *(f"route add {one} via {ROUTER6 if ':' in one else ROUTER4}" for one in (FAKE4, REAL4, FAKE6, REAL6))])

    def unplug(self) -> None:
        """Let what the client sends end in its own interface."""
        ip(f"-n {self.gateway.name} link set {INTERFACE} down")

    def rules(self, text: str) -> None:
        """Load rules of nft. What they drop they count in mx_refused of the table, where they have it."""
        done = self.gateway.run(["nft", "-f", "-"], input=text, text=True, capture_output=True)
        if done.returncode:
            raise BenchError(f"{self.name}: {done.stderr.strip().splitlines()[0]}")
        if "counter mx_refused" in text:
            with visit(self.gateway.name):
                query = NfQuery(*TABLE.split())
            self.dropped = lambda: query.packets("mx_refused") or 0
            self.closing(query.close)

    def ruleset(self, name: str, edits: Sequence[tuple[str, str]] = ()) -> None:
        """Load a file of rulesets/, as delivered but for what is replaced."""
        text = (RULESETS / name).read_text(encoding="utf-8")
        for old, new in edits:
            if old not in text:
                raise BenchError(f"{name} has no {old!r}")
            text = text.replace(old, new)
        self.rules(text)

    def listen(self) -> None:
        """A mail server that the kernel answers for; nobody accepts."""
        for family, address in ((socket.AF_INET, REAL4), (socket.AF_INET6, REAL6)):
            server = self.gateway.socket(family, socket.SOCK_STREAM)
            self.closing(server.close)
            server.bind((address, SMTP))
            server.listen(BACKLOG)

    def closing(self, call: Callable[[], object]) -> None:
        """What is to be called when the pair is closed, the last one first."""
        self._closing.callback(call)

    def forget_connections(self) -> None:
        """Empty the gateway's table of connection tracking, which the next flood would fill."""
        with visit(self.gateway.name), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
            kernel.settimeout(10)
            kernel.send(struct.pack("=IHHIIBBH", 20, CONNTRACK_DELETE, REQUEST_ACK, 1, 0, socket.AF_UNSPEC, 0, 0))
            kernel.recv(4096)

    def flood(self, words: Sequence[str], count: int, refused: float | None = None) -> float:
        """Send SYNs from one processor, as fast as it can; its nanoseconds a SYN.

        `refused`: the part that is to be dropped here, which is looked at. Raises BenchError where it is not.
        """
        self.forget_connections()
        processor = sender_processor()
        before, dropped = softirq_ns(processor), self.dropped() if self.dropped else 0
        done = self.client.run(["taskset", "-c", str(processor), *words], capture_output=True, text=True)
        after = softirq_ns(processor)
        if done.returncode:
            raise BenchError(f"flood: {done.stderr.strip()}")
        if self.dropped and refused is not None:
            seen = self.dropped() - dropped
            if abs(seen - refused * count) > TOLERATED * count:
                raise BenchError(f"{self.name}: {seen:,} of {count:,} SYNs were dropped, not {refused:.0%}")
        return (float(done.stdout.split()[2]) * 1e9 + after - before) / count

    def close(self) -> None:
        """End what was started, and take both hosts away."""
        self._closing.close()

    def _take_away(self) -> None:
        for host in (self.client, self.gateway):
            host.end()
            with suppress(RuntimeError):
                ip(f"netns del {host.name}")


def sender_processor() -> int:
    """The processor of the sender: the first that this process may use."""
    return min(os.sched_getaffinity(0))


def beside_the_sender() -> list[str]:
    """The words that keep a program off the sender's processor, where there is another one."""
    others = os.sched_getaffinity(0) - {sender_processor()}
    return ["taskset", "-c", ",".join(map(str, sorted(others)))] if others else []


def softirq_ns(processor: int) -> int:
    """Time of the kernel's thread that handles packets where the sender's own time is not enough."""
    return int((Path("/proc") / _softirq_thread(processor) / "schedstat").read_text(encoding="ascii").split()[0])


@cache
def _softirq_thread(processor: int) -> str:
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text(encoding="ascii").strip() == f"ksoftirqd/{processor}":
                return path.parent.name
    raise BenchError(f"there is no ksoftirqd/{processor}")


def _hardware_address(host: Host) -> str:
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        answer = fcntl.ioctl(one, SIOCGIFHWADDR, struct.pack("256s", INTERFACE.encode()))
    return answer[18:24].hex(":")


def _addresses(*addresses: str) -> list[str]:
    return [f"address add {one}/{64 if ':' in one else 24} dev {INTERFACE}{' nodad' if ':' in one else ''}"
            for one in addresses]


def _neighbours(mac: str, *addresses: str) -> list[str]:
    return [f"neighbour replace {one} lladdr {mac} dev {INTERFACE} nud permanent" for one in addresses]


def _configure(host: Host, commands: Sequence[str]) -> None:
    """Run commands of ip(8) in a host, all by one process."""
    done = subprocess.run(["ip", "-n", host.name, "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True,
                          text=True)
    if done.returncode:
        raise BenchError(f"ip: {done.stderr.strip()}")


def _write(path: str, value: int) -> None:
    (Path("/proc/sys") / path).write_text(f"{value}\n", encoding="ascii")
