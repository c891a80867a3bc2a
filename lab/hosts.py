"""A gateway and its clients, each a network namespace with addresses of its own.

The gateway holds a bridge; each client is one end of a veth pair in it. The addresses are those that documents use
(RFC 5737, RFC 3849), and nothing can leave: no namespace has a way out. What a lab made it takes away again, whatever
happened in between; a process it started is ended by its own id.
"""
import itertools
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.namespaces import make_socket, visit

FAKE4, FAKE6 = "192.0.2.10", "2001:db8::10"
REAL4, REAL6 = "192.0.2.20", "2001:db8::20"
SMTP = 25
BRIDGE = "br0"
RULESETS = Path(__file__).parent.parent / "rulesets"
# The lines of the rulesets that let the kernel track connections, and what stands there without.
UNTRACKED = {"track=yes": "track=no", "\t\tct state established return\n": ""}

# The kernel sends a SYN again after 1 s: what is not answered by then was dropped.
DROPPED_AFTER_S = 0.6
FORWARDING_AFTER_S = 5.0

_numbers = itertools.count()


class Attempt(Enum):
    """What became of a SYN."""

    CONNECTED = "connected"
    REFUSED = "refused"
    DROPPED = "dropped"


def supported() -> str | None:
    """None, or the reason why this machine cannot hold a lab."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "iptables", "ip6tables"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed"
    if not Path("/proc/net/netfilter/nfnetlink_queue").exists():
        # It may be a module that loads with its first rule.
        subprocess.run(["modprobe", "-q", "nfnetlink_queue"], check=False)
        if not Path("/proc/net/netfilter/nfnetlink_queue").exists():
            return "this kernel has no NFQUEUE (nfnetlink_queue)"
    return None


class Host:
    """One host: a network namespace and the interface that bears its addresses."""

    def __init__(self, name: str, interface: str) -> None:
        self.name = name
        self.interface = interface
        self._processes: list[subprocess.Popen[Any]] = []

    def command(self, argv: Sequence[str]) -> list[str]:
        """The words that run a program in this host."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, argv: Sequence[str], **keywords: Any) -> "subprocess.CompletedProcess[Any]":
        """subprocess.run in this host."""
        keywords.setdefault("check", False)
        return subprocess.run(self.command(argv), **keywords)

    def popen(self, argv: Sequence[str], **keywords: Any) -> "subprocess.Popen[Any]":
        """subprocess.Popen in this host; ended with the lab at the latest."""
        process = subprocess.Popen(self.command(argv), **keywords)
        self._processes.append(process)
        return process

    @contextmanager
    def meanwhile(self, *commands: Sequence[str]) -> Iterator[None]:
        """Programs that run meanwhile, and whose output nobody reads."""
        running = [self.popen(argv, stdout=subprocess.DEVNULL) for argv in commands]
        try:
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this host."""
        return make_socket(self.name, family, kind, protocol)

    def add_address(self, *addresses: str) -> None:
        """Give the host more addresses, each with its prefix length."""
        ip(*(f"-n {self.name} {_address_command(address, self.interface)}" for address in addresses))

    def attempt(
        self, address: str, port: int = SMTP, timeout: float = DROPPED_AFTER_S, source: str | None = None
    ) -> Attempt:
        """Connect once and say what became of it."""
        with self.socket(_family(address), socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            if source:
                client.bind((source, 0))
            try:
                client.connect((address, port))
            except ConnectionRefusedError:
                return Attempt.REFUSED
            except TimeoutError:
                return Attempt.DROPPED
            return Attempt.CONNECTED

    @contextmanager
    def serve(self, address: str, port: int = SMTP) -> Iterator[None]:
        """The smallest server: accepts connections on an address of this host, and closes them."""
        with self.socket(_family(address), socket.SOCK_STREAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            # All that a test connects while this process does not get to accept: a full queue would lose SYNs.
            server.listen(4096)
            thread = threading.Thread(target=_accept_until_closed, args=(server,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                # Wakes accept(), which closing the descriptor would not.
                server.shutdown(socket.SHUT_RDWR)
                thread.join(5)

    def end(self) -> None:
        """End what was started here."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait(5)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        self._processes.clear()


class Lab:
    """A gateway on a bridge, and clients around it. A context manager."""

    def __init__(self, prefix: str = "mxa") -> None:
        self._prefix = f"{prefix}-{os.getpid()}-{next(_numbers)}"
        self._hosts: list[Host] = []
        self.gateway = Host(f"{self._prefix}-gateway", BRIDGE)

    def __enter__(self) -> "Lab":
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _build(self) -> None:
        name = self.gateway.name
        self._make(self.gateway)
        with visit(name):
            # The bridge is a switch: what it hands to the gateway passes the firewall there, and not before as well.
            for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
                path.write_text("0\n", encoding="ascii")
        ip(
            # No IPv6 autoconfiguration and no waiting for a duplicate address: the addresses are ours.
            f"-n {name} link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0",
            f"-n {name} link set lo up",
            f"-n {name} link set {BRIDGE} up",
            *(f"-n {name} {_address_command(address, BRIDGE)}"
              for address in (f"{FAKE4}/24", f"{REAL4}/24", f"{FAKE6}/64", f"{REAL6}/64")),
        )

    def client(self, name: str, *addresses: str) -> Host:
        """A host beside the gateway with these addresses (/24 and /64)."""
        port = f"c{len(self._hosts)}"
        host = self.empty_host(name, "eth0")
        ip(
            f"link add {port} netns {self.gateway.name} type veth peer name eth0 netns {host.name}",
            f"-n {self.gateway.name} link set {port} master {BRIDGE} up",
            f"-n {host.name} link set eth0 up",
        )
        host.add_address(*(f"{address}/{64 if ':' in address else 24}" for address in addresses))
        wait_until_forwarding(self.gateway.name, port)
        return host

    def empty_host(self, name: str, interface: str) -> Host:
        """A host without any wire; `interface` is the one that will bear its addresses."""
        host = Host(f"{self._prefix}-{name}", interface)
        self._make(host)
        ip(f"-n {host.name} link set lo up")
        return host

    def _make(self, host: Host) -> None:
        ip(f"netns add {host.name}")
        self._hosts.append(host)
        with visit(host.name):
            for setting in ("accept_dad", "accept_ra", "router_solicitations"):
                # New interfaces take their settings from `default`.
                for interface in ("default", "all"):
                    path = Path(f"/proc/sys/net/ipv6/conf/{interface}/{setting}")
                    if path.exists():
                        path.write_text("0\n", encoding="ascii")

    def queue_rule(self, queue: str, *, bypass: bool = False, tracked: bool = True, unmarked: str = "") -> None:
        """The rule of the contract, for IPv4 and IPv6. `queue` is a number or A:B.

        Not `tracked`: every SYN, since made-up connections would fill the table of connection tracking. `unmarked`:
        only packets without this mark, MARK/MASK.
        """
        option = "--queue-balance" if ":" in queue else "--queue-num"
        match = ["-m", "state", "--state", "NEW"] if tracked else ["--syn"]
        if unmarked:
            match += ["-m", "mark", "!", "--mark", unmarked]
        self.input_rule(
            "-p", "tcp", "--dport", str(SMTP), *match, "-j", "NFQUEUE", option, queue,
            *(["--queue-bypass"] if bypass else []),
        )

    def input_rule(self, *words: str, programs: Sequence[str] = ("iptables", "ip6tables")) -> None:
        """Append a rule to the gateway's INPUT chain."""
        for program in programs:
            self.gateway.run([program, "-w", "10", "-A", "INPUT", *words], check=True, capture_output=True)

    def load_ruleset(
        self, *names: str, tracked: bool = True, edits: Mapping[str, str] | None = None, host: Host | None = None
    ) -> str:
        """Load rulesets of the project's `rulesets/` into the gateway, or another host, in this order; what was said.

        `edits` are texts that an operator replaces, in whichever of the files they stand. Not `tracked`: without the
        rule that lets the kernel track connections. At the door stands the host's own interface, where no edit names
        one. Raises RuntimeError with what was said, ValueError on an edit of what is in none of them.
        """
        texts = {name: (RULESETS / name).read_text(encoding="utf-8") for name in names}
        for old, new in (dict(edits or {}) | ({} if tracked else UNTRACKED)).items():
            if not any(old in text for text in texts.values()) and old not in UNTRACKED:
                raise ValueError(f"{old!r} is not in {', '.join(names)}")
            texts = {name: text.replace(old, new) for name, text in texts.items()}
        if not any("eth0" in old for old in edits or ()):
            door = f"devices = {{ {(host or self.gateway).interface} }}"
            texts = {name: text.replace("devices = { eth0 }", door) for name, text in texts.items()}
        return self.load_texts(texts, host)

    def load_texts(self, texts: Mapping[str, str], host: Host | None = None) -> str:
        """Load rulesets by their text, each under its name (NAME.nft or NAME.sh); otherwise as load_ruleset()."""
        said = ""
        for name, text in texts.items():
            program = ["nft", "-f"] if name.endswith(".nft") else ["sh"]
            done = (host or self.gateway).run([*program, "/dev/stdin"], input=text, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stderr.strip()}")
            said += done.stderr
        return said

    def leave_out_bridge_netfilter(self) -> None:
        """Let packets to the gateway pass its firewall once, and not before in the bridge as well: it costs a quarter.

        Those that wait in a queue then came in by the bridge, and not by one of its ports.
        """
        with visit(self.gateway.name):
            for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
                path.write_text("0\n", encoding="ascii")

    def take_any_source(self, *nowhere: str) -> None:
        """Let the gateway take packets from sources to which it has no way; answers to these networks go nowhere."""
        with visit(self.gateway.name):
            for name in ("all", BRIDGE):
                Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0\n", encoding="ascii")
        ip(*(f"-n {self.gateway.name} route add blackhole {network}" for network in nowhere))

    def flush_rules(self) -> None:
        """Empty the gateway's INPUT chain."""
        for program in ("iptables", "ip6tables"):
            self.gateway.run([program, "-w", "10", "-F", "INPUT"], check=True, capture_output=True)

    def queues(self) -> list[list[int]]:
        """The gateway's bound queues, a row of /proc/net/netfilter/nfnetlink_queue each.

        Queue, port id, waiting, copy mode, copy range, queue dropped, user dropped, last id, 1.
        """
        with visit(self.gateway.name):
            text = Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text(encoding="ascii")
        return [[int(word) for word in line.split()] for line in text.splitlines()]

    def close(self) -> None:
        """Take everything away again."""
        for host in reversed(self._hosts):
            host.end()
        for host in reversed(self._hosts):
            with suppress(RuntimeError):
                ip(f"netns del {host.name}")
        self._hosts.clear()


def ip(*commands: str) -> None:
    """Run commands of ip(8) in order. Raises RuntimeError with what it said."""
    for command in commands:
        ip_output(command)


def ip_output(command: str) -> str:
    """The output of one command of ip(8). Raises RuntimeError with what it said."""
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {command}: {done.stderr.strip()}")
    return done.stdout


def wait_until_forwarding(namespace: str, port: str) -> None:
    """Wait until the bridge in a namespace forwards what comes in by one of its ports. Raises RuntimeError."""
    # The kernel tells the bridge of a new carrier at its leisure, up to a second later.
    deadline = time.monotonic() + FORWARDING_AFTER_S
    while "state forwarding" not in ip_output(f"-n {namespace} -d link show dev {port}"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the bridge does not forward for {port}")
        time.sleep(0.01)


def _address_command(address: str, interface: str) -> str:
    return f"address add {address} dev {interface}{' nodad' if ':' in address else ''}"


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _accept_until_closed(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        connection.close()
