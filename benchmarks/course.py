"""The course of a soak: the gateway and all who come to it, and each fault from before it to after it."""
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.command import BenchError
from benchmarks.faults import MAX_ENTRIES, QUEUE_LENGTH, TABLE, Fault, Scene
from benchmarks.gateway_site import DAEMON, another_machine
from benchmarks.keeper import Keeper, Size
from benchmarks.report import say
from benchmarks.senders import LIFETIME_S, SENDERS
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Host, Lab
from lab.namespaces import visit
from lab.nsd import Nsd
from lab.programs import own_places

NAMES = "127.0.0.1:5353"
ZONE_HOSTS = 2 * SENDERS
SENDER4, SENDER6, FLOODERS = "192.0.2.101", "2001:db8::101", ("192.0.2.102", "2001:db8::102")
WAYS = {"a": ("queue.sh",), "b": ("queue-set-mark.nft", "queue-set-mark.sh")}
BLIND_BEFORE_S, SEES_AFTER_S, FOLLOWED_S = 0.3, 0.7, 3.0
LOOKS, LOOK_S = 5, 0.2
SHOWN = 5  # of those who were lost
# Counts every SYN that comes, whatever becomes of the rules under test.
COUNTING = """table inet soak {
    counter syns { }
    chain input {
        type filter hook input priority raw; policy accept;
        tcp dport 25 tcp flags & (fin | syn | rst | ack) == syn counter name syns
    }
}
"""


@dataclass(frozen=True)
class Done:
    """A host that is done: a line of senders.py."""

    kind: str
    begun: float
    stall_s: float
    outcome: str
    source: str


class Senders:
    """The process of senders.py, and what it tells. A context manager."""

    def __init__(self, host: Host) -> None:
        with another_machine():
            self._process = host.popen([sys.executable, str(Path(__file__).with_name("senders.py"))],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.done: list[Done] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Senders":
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            kind, begun, stall, outcome, source = line.split()
            self.done.append(Done(kind, float(begun), float(stall), outcome, source))

    def tell(self, word: str) -> None:
        """Say what is to be expected. Raises BenchError."""
        assert self._process.stdin
        if self._process.poll() is not None:
            raise BenchError(f"senders.py ended with status {self._process.returncode}")
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def finish(self, limit_s: float = 60) -> None:
        """Wait for those who are on their way. Raises BenchError."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            status = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise BenchError("senders.py does not end") from None
        self._reader.join()
        if status:
            raise BenchError(f"senders.py ended with status {status}")


@dataclass
class Window:
    """The time of a fault, until all was as before."""

    name: str
    begun: float
    over: float = 0.0

    def stall_s(self, done: list[Done]) -> float:
        """The longest that a connection took which was made at some time of it."""
        return max((one.stall_s for one in done if one.kind != "spammer" and one.outcome != "lost"
                    and one.begun < self.over and one.begun + one.stall_s > self.begun), default=0.0)


@dataclass
class Course:
    """The course of a soak: what was inflicted, and what was found."""

    scene: Scene
    senders: Senders
    way: str
    quietly: bool
    begun: float = field(default_factory=time.monotonic)
    windows: list[Window] = field(default_factory=list)
    before: Size | None = None
    after: Size | None = None
    compared_over_s: float = 0.0
    unanswered: int = 0
    failures: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """A line while it goes on."""
        line = f"{time.monotonic() - self.begun:7.1f} s  {text}"
        if self.quietly:
            print(line, file=sys.stderr, flush=True)
        else:
            say(line)

    def inflict(self, fault: Fault) -> None:
        """One fault, from before it to after it."""
        keeper, senders = self.scene.keeper, self.senders
        window = Window(fault.name, time.monotonic())
        if fault.ends:
            keeper.count()
        if fault.blind:
            senders.tell("blind")
            time.sleep(BLIND_BEFORE_S)
        try:
            fault.inflict(self.scene)
        except (BenchError, OSError, RuntimeError) as error:
            self.failures.append(f"{fault.name}: {error}")
        taken = time.monotonic() - window.begun
        keeper.wait_until_ready()
        time.sleep(SEES_AFTER_S)
        if fault.ends and self.way == "a":
            senders.tell("forgotten")
        if fault.blind:
            senders.tell("sees")
        time.sleep(FOLLOWED_S)
        window.over = time.monotonic()
        self.windows.append(window)
        self.note(f"{fault.name:<34} {taken:5.1f} s, longest stall {window.stall_s(senders.done):.3f} s, "
                  f"{keeper.life.size().memory_kib:,} KiB{self._news()}")

    def _news(self) -> str:
        """What must not be and has been since the last line."""
        found = [one for one in self.senders.done if one.outcome in ("lost", "let-in")]
        failures = [*self.failures, *self.scene.keeper.surprises]
        lost, failed = found[self._told[0]:], failures[self._told[1]:]
        self._told = len(found), len(failures)
        text = "; ".join([*(f"{one.outcome} {one.kind} [{one.source}]" for one in lost[:SHOWN]),
                          *([f"{len(lost) - SHOWN} more"] if len(lost) > SHOWN else []), *failed])
        return f"  ** {text}" if text else ""

    _told: tuple[int, int] = (0, 0)

    def rest(self, quiet_s: float) -> Size:
        """Nobody comes for some seconds; what the daemon takes then."""
        self.senders.tell("rest")
        time.sleep(quiet_s)
        sizes = []
        for _ in range(LOOKS):
            sizes.append(self.scene.keeper.life.size())
            time.sleep(LOOK_S)
        self.senders.tell("go-on")
        return min(sizes, key=lambda size: (size.descriptors, size.memory_kib))

    def answered(self) -> None:
        """In a rest every packet has its verdict."""
        counters = self.scene.keeper.count()
        waiting = sum(row[2] for row in self.scene.lab.queues())
        self.unanswered = waiting + counters.get("received", 0) - counters.get("verdict-accept", 0) - counters.get(
            "verdict-drop", 0)


def prepare_client(lab: Lab) -> tuple[Host, Host]:
    """The host of all senders, who have networks of their own, and that of the floods."""
    client, flooder = lab.client("senders", SENDER4, SENDER6), lab.client("flooder", *FLOODERS)
    with visit(client.name):
        for path in ("ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind"):
            Path(f"/proc/sys/net/{path}").write_text("1\n", encoding="ascii")
    # Answers to made-up sources go nowhere.
    lab.take_any_source("10.0.0.0/8", "fd00::/8")
    for host, words in (
            (client, "route add local 10.0.0.0/16 dev lo"), (client, "route add local 10.64.0.0/16 dev lo"),
            (client, "-6 route add local 2001:db8:1::/48 dev lo"),
            (client, "-6 route add local 2001:db8:2::/48 dev lo"),
            (lab.gateway, f"route add 10.0.0.0/16 via {SENDER4}"),
            (lab.gateway, f"route add 10.64.0.0/16 via {SENDER4}"),
            (lab.gateway, f"-6 route add 2001:db8:1::/48 via {SENDER6}"),
            (lab.gateway, f"-6 route add 2001:db8:2::/48 via {SENDER6}")):
        host.run(["ip", *words.split()], check=True)
    return client, flooder


@contextmanager
def course_of(way: str, seed: int, *, quietly: bool) -> Iterator[Course]:
    """All that a soak needs, running. `quietly`: its lines go to standard error."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("soak"))
        client, flooder = prepare_client(lab)
        for address in (REAL4, REAL6):
            stack.enter_context(lab.gateway.serve(address))
        names = stack.enter_context(Nsd(lab.gateway, ZONE_HOSTS))
        load_rules = partial(lab.load_ruleset, *WAYS[way], tracked=False)
        lab.gateway.run(["nft", "-f", "-"], input=COUNTING, text=True, check=True)
        load_rules()
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mxallowd-soak-")))
        config = directory / "mxallowd.conf"
        config.write_text(
            f"fake-mailserver {FAKE4}\nfake-mailserver {FAKE6}\nqueue-num 23\nmax-entries {MAX_ENTRIES}\n"
            f"whitelist-time {LIFETIME_S}\nqueue-length {QUEUE_LENGTH}\n"
            f"dns-server {NAMES}\nstdout\n{f'nft-table {TABLE}' if way == 'b' else ''}\n"
            f"real-mailserver {REAL4}\nreal-mailserver {REAL6}\n", encoding="ascii")
        # Root, since no other user can read that directory. All lives have the same state, as those of a gateway do.
        keeper = stack.enter_context(Keeper(
            lab.gateway, [*DAEMON, "-F", "-c", str(config), "--user", "root", *own_places(directory)]))
        scene = Scene(lab, flooder, keeper, names, config, load_rules, random.Random(seed))
        keeper.wait_until_ready()
        senders = stack.enter_context(Senders(client))
        yield Course(scene, senders, way, quietly)
