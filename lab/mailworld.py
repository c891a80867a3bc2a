"""Senders, a gateway and the name server, whose clocks move together: days of mail in seconds.

MX 10 is the fake server and MX 20 the real one, for each of three domains: `both.test` with addresses of both families,
`four.test` and `six.test` with one. Mail is sent by plan: at a time of this world, by a sender. While a message waits,
time goes on by the queue runs of its sender; when none waits such a run has nothing to do, so it is left out. Senders
that have something to do at the same time do it side by side, since most of it is to wait for a dropped SYN.
"""
import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from types import TracebackType

from lab import exim, firstmx, postfix
from lab.clocks import Clocks, shim
from lab.exim import Exim
from lab.firstmx import FirstMxOnly
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Host, Lab, ip
from lab.mailgate import MailGate, Setting, copy_shim
from lab.namespaces import visit
from lab.postfix import Postfix
from lab.rules import WAYS
from lab.zone import ADDRESS, ADDRESS6, Zone, host_records

Agent = Exim | Postfix | FirstMxOnly
# Real mail servers, and the seconds between two of their queue runs.
AGENTS = {"exim": exim.QUEUE_RUN_S, "postfix": postfix.QUEUE_RUN_S}
FIRST_MX = "first MX only"
QUEUE_RUNS_S = {**AGENTS, FIRST_MX: firstmx.QUEUE_RUN_S}
LOCAL, ELSEWHERE = ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8")
MX = [
    record for domain, addresses in (("both.test", (FAKE4, FAKE6, REAL4, REAL6)), ("four.test", (FAKE4, REAL4)),
                                     ("six.test", (FAKE6, REAL6)))
    for record in (f"{domain} MX 10 mx1.{domain}.", f"{domain} MX 20 mx2.{domain}.",
                   *(f"{'mx1' if one in (FAKE4, FAKE6) else 'mx2'}.{domain} {'AAAA' if ':' in one else 'A'} {one}"
                     for one in addresses))
]


@dataclass
class Mail:
    """A message: when it was sent, and after how many seconds it came. `late`: not by the first try."""

    sender: str
    sent_s: int
    begun: float = 0.0  # time.time()
    delay_s: float | None = None
    late: bool = False


@dataclass
class Sender:
    """A mail server of its own, and the addresses from which it comes, by chance where it has more than one.

    Those of IPv4 are in 192.0.2.0/24 or 10.0.0.0/8. `names`: all addresses have "one" name, each has its "own" under
    one registered domain, or they are "apart": each has a name under a domain of its own.
    """

    name: str
    agent: str
    addresses: Sequence[str]
    names: str = "one"
    domain: str = "four.test"
    program: Agent | None = field(default=None, init=False)

    def records(self) -> list[str]:
        """What the name server says of it."""
        under = self.name.replace(" ", "-")
        if self.names == "one":
            return host_records(f"mail.{under}.test", *self.addresses)
        return [record for number, address in enumerate(self.addresses) for record in host_records(
            f"{chr(97 + number)}.out.{under}.test" if self.names == "own" else f"out.{under}-{number}.test", address)]


def supported() -> str | None:
    """None, or the reason why one of the programs is missing."""
    return exim.supported() or postfix.supported()


def turn_over(host: Host, addresses: Sequence[str]) -> None:
    """Let each connection of a host come from one of these addresses of one family, by chance."""
    program = "ip6tables" if ":" in addresses[0] else "iptables"
    for number, address in enumerate(addresses):
        chance = 1 / (len(addresses) - number)
        match = [] if chance == 1 else ["-m", "statistic", "--mode", "random", "--probability", f"{chance:.6f}"]
        host.run([program, "-w", "10", "-t", "nat", "-A", "POSTROUTING", "-p", "tcp", "--dport", "25", *match,
                  "-j", "SNAT", "--to-source", address], check=True, capture_output=True)


class MailWorld:
    """A context manager. Raises RuntimeError where a part does not start or hangs."""

    def __init__(
        self, way: str, setting: Setting, senders: Sequence[Sender], records: Sequence[str] = ()
    ) -> None:
        """`records`: what the name server says besides."""
        self.now_s = 0
        self.mails: dict[str, Mail] = {}
        self._way, self._setting = WAYS[way], setting
        self._senders = {sender.name: sender for sender in senders}
        self._plan: list[tuple[int, int, Callable[[], None] | str]] = []
        self._records = records
        self._hosts: dict[str, Host] = {}
        self._numbers = itertools.count()
        self._stack = ExitStack()

    def __enter__(self) -> "MailWorld":
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(TemporaryDirectory(prefix="mxallowd-mail-")))
            self.directory.chmod(0o755)
            self.lab = stack.enter_context(Lab("mail"))
            self._clocks = Clocks(self.directory / "clocks")
            library = copy_shim(shim(), self.directory)
            names = self.lab.client("names", ADDRESS, ADDRESS6)
            records = [record for sender in self._senders.values() for record in sender.records()]
            stack.enter_context(Zone(names, [*MX, *records, *self._records], ADDRESS, ADDRESS6))
            for host in (self.lab.gateway, names):
                ip(f"-n {host.name} route add {ELSEWHERE} dev {host.interface}")
            (self.directory / "gate").mkdir()
            self.gate = stack.enter_context(MailGate(self.lab, self.directory / "gate", self._way, self._setting))
            clocks = {"LD_PRELOAD": f"/etc/{library.name}", "MXALLOWD_CLOCKS": f"/etc/{self._clocks.path.name}"}
            for sender in self._senders.values():
                host = self._hosts[sender.name] = self.lab.client(sender.name.replace(" ", "-"), *sender.addresses)
                if all("." in address and ip_address(address) not in LOCAL for address in sender.addresses):
                    ip(f"-n {host.name} route add {LOCAL} dev {host.interface}")
                for four in (True, False):
                    pool = [address for address in sender.addresses if (":" not in address) == four]
                    if len(pool) > 1:
                        turn_over(host, pool)
                server = ADDRESS if any("." in address for address in sender.addresses) else ADDRESS6
                given = (host, self.directory / sender.name, [self._clocks.path, library], clocks, server)
                made: Agent = _postfix(*given) if sender.agent == "postfix" else (
                    _exim(*given) if sender.agent == "exim" else FirstMxOnly(host, FAKE4))
                stack.enter_context(made)
                sender.program = made
            # Each in a thread of its own, while the clocks stand still.
            self._threads = stack.enter_context(ThreadPoolExecutor(max(1, len(self._senders))))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def at(self, seconds: int, action: Callable[[], None] | str) -> None:
        """Plan something for a time of this world: an action, or a message of the sender of this name."""
        heapq.heappush(self._plan, (seconds, next(self._numbers), action))

    def send(self, name: str, count: int = 1) -> None:
        """Let a sender have a message for `count` recipients now, and wait until it has tried to deliver it."""
        self._send_all([name], count)

    def _send_all(self, names: Sequence[str], count: int = 1) -> None:
        """The same for several senders at once; one that has several messages has them one after the other."""
        subjects = {f"m{next(self._numbers)}": name for name in names}
        self.mails |= {subject: Mail(name, self.now_s) for subject, name in subjects.items()}

        def hand(name: str) -> None:
            sender = self._senders[name]
            assert sender.program
            for subject in (one for one, whose in subjects.items() if whose == name):
                self.mails[subject].begun = time()
                sender.program.send(subject, *(f"r{number}@{sender.domain}" for number in range(count)))

        self._together([lambda name=name: hand(name) for name in dict.fromkeys(names)])  # type: ignore[misc]
        self._collect()
        for subject in subjects:
            self.mails[subject].late = self.mails[subject].delay_s is None

    def _together(self, actions: Sequence[Callable[[], None]]) -> None:
        """Do what several senders have to do now. Raises what the first of them raised."""
        if len(actions) == 1:
            actions[0]()
        for done in [self._threads.submit(action) for action in actions] if len(actions) > 1 else []:
            done.result()

    def run(self, until_s: int) -> None:
        """Let time go on up to `until_s`, with what is planned and the queue runs."""
        while True:
            planned_s = self._plan[0][0] if self._plan else until_s
            runs = {name: due_s for name in self._senders if (due_s := self._next_run(name)) is not None}
            next_s = min(planned_s, until_s, *runs.values())
            if next_s > self.now_s:
                self.pass_time(next_s - self.now_s)
            programs = [self._senders[name].program for name, due_s in runs.items() if due_s <= self.now_s]
            self._together([program.run_queue for program in programs if program])
            self._collect()
            while self._plan and self._plan[0][0] <= self.now_s:
                self._do_planned()
            if self.now_s >= until_s:
                return

    def _do_planned(self) -> None:
        """The next thing that is planned for now, and the messages of others that come directly behind it."""
        action = heapq.heappop(self._plan)[2]
        if not isinstance(action, str):
            action()
            return
        names = [action]
        while self._plan and self._plan[0][0] <= self.now_s and isinstance(self._plan[0][2], str):
            names.append(str(heapq.heappop(self._plan)[2]))
        self._send_all(names)

    def pass_time(self, seconds: int) -> None:
        """Move all clocks."""
        self.now_s += seconds
        self._clocks.set(self.now_s, self.now_s, self.now_s)
        self.gate.pass_time(seconds)
        for sender in self._senders.values():
            assert sender.program
            sender.program.moved(self.now_s)

    def bounced(self, name: str) -> int:
        """How many recipients a sender gave up."""
        program = self._senders[name].program
        assert program
        return program.bounced()

    def host(self, name: str) -> Host:
        """The host of a sender."""
        return self._hosts[name]

    def sent_again(self, name: str) -> int:
        """How many SYNs a sender's host had to send a second time, after 1 s."""
        with visit(self._hosts[name].name):
            names, values = [line.split() for line in Path("/proc/thread-self/net/netstat").read_text(
                encoding="ascii").splitlines() if line.startswith("TcpExt:")]
        return int(values[names.index("TCPSynRetrans")])

    def log(self, name: str) -> str:
        """What a sender did with each message and address."""
        program = self._senders[name].program
        assert program
        return program.log()

    def waiting(self) -> bool:
        """Whether any message waits."""
        return any(sender.program and sender.program.waiting() for sender in self._senders.values())

    def _next_run(self, name: str) -> int | None:
        """The time of a sender's next queue run that may do something."""
        program = self._senders[name].program
        assert program
        left_s = program.due_s()
        every_s = QUEUE_RUNS_S[self._senders[name].agent]
        return None if left_s is None else (int(self.now_s + left_s) // every_s + 1) * every_s

    def _collect(self) -> None:
        for subject, came in self.gate.arrived():
            mail = self.mails[subject]
            if mail.delay_s is None:
                # In the first try the world's clock stands still, so the machine's counts.
                mail.delay_s = self.now_s - mail.sent_s if mail.sent_s != self.now_s else came - mail.begun


def _exim(host: Host, directory: Path, shared: Sequence[Path], environment: Mapping[str, str], server: str) -> Exim:
    return Exim(host, directory, shared=shared, environment=environment, name_server=server)


def _postfix(
    host: Host, directory: Path, shared: Sequence[Path], environment: Mapping[str, str], server: str
) -> Postfix:
    return Postfix(host, directory, shared=shared, environment=environment, name_server=server)
