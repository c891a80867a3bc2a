#!/usr/bin/env python3
"""A soak: mail and floods for minutes, and the faults of docs/reliability.md in random order meanwhile.

    python benchmarks/soak.py --minutes N [--seed S] [--way a|b] [--json]

In namespaces of their own (needs root): a gateway with a real server behind the rules of docs/firewall.md, the daemon
under a keeper that starts it again at once, senders and spammers in IPv4 and IPv6 (senders.py), and made-up SYNs all
the time. Each fault is inflicted, taken away, and followed until all is as before; a line says the longest that a
connection of a sender took meanwhile. In the end nobody who met the fake server may have been lost, nobody let in who
did not, the daemon never have ended unless it was meant to, and it must take no more than before: status 0; else 1.
Status 2: it could not be run.

Faults that end the daemon come in the first part alone. The second part is one life of it: each other fault once, some
three times, so that all that is bounded has grown to its bound; a rest, and what memory and descriptors are then; then
faults again at random, a rest, and the same figures once more. Their difference is the drift. (Not measured where that
life ended.)

The rules have --syn in place of state NEW, as in offload.py.
"""
import sys
from pathlib import Path

if __name__ == "__main__":
    # Where the packages of this checkout are.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import json
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.faults import (
    FAULTS,
    FLOODED_FAKE,
    FLOODED_FAKE6,
    FLOODED_REAL,
    MAX_ENTRIES,
    QUEUE_LENGTH,
    TABLE,
    Fault,
    Scene,
    ended_in_order,
)
from benchmarks.gateway_site import BenchError, another_machine
from benchmarks.keeper import Keeper, Size
from benchmarks.report import machine, natural, run, say, show, show_json
from benchmarks.senders import LIFETIME_S, SENDERS
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Host, Lab, supported
from lab.namespaces import visit
from lab.nsd import Nsd
from lab.programs import Sources

NAMES = "127.0.0.1:5353"
ZONE_HOSTS = 2 * SENDERS
SENDER4, SENDER6, FLOODERS = "192.0.2.101", "2001:db8::101", ("192.0.2.102", "2001:db8::102")
WAYS = {"a": ("queue.sh",), "b": ("queue-set-mark.nft", "queue-set-mark.sh")}
FLOOD_PER_S, FLOOD_SOURCES = 1000, 200_000  # of each of the three floods that never stop
FLOODS = ((FAKE4, Sources(FLOODED_FAKE, FLOOD_SOURCES)), (FAKE6, Sources(FLOODED_FAKE6, FLOOD_SOURCES)),
          (REAL4, Sources(FLOODED_REAL, FLOOD_SOURCES)))
BLIND_BEFORE_S, SEES_AFTER_S, FOLLOWED_S = 0.3, 0.7, 3.0
QUIET_S = 10.0
FIRST_PART = 0.35
MOST_MINUTES = 100_000
# Two looks at an idle daemon differ by less. A leak of 100 bytes a refusal would be more after a minute.
DRIFT_PERCENT = 2.0
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
def course_of(options: argparse.Namespace) -> Iterator[Course]:
    """All that a soak needs, running."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("soak"))
        client, flooder = prepare_client(lab)
        for address in (REAL4, REAL6):
            stack.enter_context(lab.gateway.serve(address))
        names = stack.enter_context(Nsd(lab.gateway, ZONE_HOSTS))
        load_rules = partial(lab.load_ruleset, *WAYS[options.way], tracked=False)
        lab.gateway.run(["nft", "-f", "-"], input=COUNTING, text=True, check=True)
        load_rules()
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mxallowd-soak-")))
        config = directory / "mxallowd.conf"
        config.write_text(
            f"fake-mailserver {FAKE4}\nfake-mailserver {FAKE6}\nqueue-num 23\nmax-entries {MAX_ENTRIES}\n"
            f"whitelist-time {LIFETIME_S}\nqueue-length {QUEUE_LENGTH}\n"
            f"dns-server {NAMES}\nstdout\n{f'nft-table {TABLE}' if options.way == 'b' else ''}\n"
            f"real-mailserver {REAL4}\nreal-mailserver {REAL6}\n", encoding="ascii")
        # Root, since no other user can read that directory.
        keeper = stack.enter_context(Keeper(lab.gateway, [
            sys.executable, "-m", "mxallowd", "-F", "-c", str(config), "--user", "root"]))
        scene = Scene(lab, flooder, keeper, names, config, load_rules, random.Random(options.seed))
        keeper.wait_until_ready()
        senders = stack.enter_context(Senders(client))
        yield Course(scene, senders, options.way, options.json)


def soak(course: Course, seconds: float) -> None:
    """Both parts; see above."""
    faults = [fault for fault in FAULTS if course.way in fault.ways]
    lasting = [fault for fault in faults if not fault.ends]
    scene, quiet_s = course.scene, min(QUIET_S, seconds / 10)
    middle, end = course.begun + FIRST_PART * seconds, course.begun + seconds - quiet_s
    # The half of the last life is for growing to bounds, or one round of faults, where that takes longer.
    grown = (middle + end) / 2
    with scene.flooded(*FLOODS, rate=FLOOD_PER_S):
        course.note("mail and floods come")
        time.sleep(min(3.0, seconds / 20))
        in_turn(course, faults, middle)
        course.inflict(Fault("stopped in order, started again", ended_in_order, ends=True, blind=True))
        peaks = [fault for fault in lasting if fault.peaks]
        whole = in_turn(course, lasting + 2 * peaks, end - quiet_s, once=True)
        if whole:
            in_turn(course, lasting, grown)
    if whole:
        life, course.before = scene.keeper.life, course.rest(quiet_s)
        compared_from = time.monotonic()
        course.note(f"a rest: {course.before.memory_kib:,} KiB, {course.before.descriptors} descriptors")
        with scene.flooded(*FLOODS, rate=FLOOD_PER_S):
            in_turn(course, lasting, end)
        course.compared_over_s = time.monotonic() - compared_from
        if scene.keeper.life is not life:
            course.before = None
    course.after = course.rest(quiet_s)
    course.note(f"a rest: {course.after.memory_kib:,} KiB, {course.after.descriptors} descriptors")
    course.answered()


def in_turn(course: Course, faults: list[Fault], until: float, *, once: bool = False) -> bool:
    """Each of them in random order, then again, until it is time; whether all had their turn."""
    while True:
        for fault in course.scene.chance.sample(faults, len(faults)):
            if time.monotonic() >= until:
                return False
            course.inflict(fault)
        if once:
            return True


def syns(lab: Lab, name: str, table: str) -> int:
    """A counter of the kernel's."""
    done = lab.gateway.run(["nft", "-j", "list", "counter", *table.split(), name], capture_output=True, text=True,
                           check=True)
    return sum(int(entry["counter"]["packets"]) for entry in json.loads(done.stdout)["nftables"] if "counter" in entry)


def judged(course: Course, options: argparse.Namespace) -> dict[str, Any]:
    """The figures, and what of them must not be."""
    keeper, done = course.scene.keeper, course.senders.done
    outcomes = Counter((one.kind, one.outcome) for one in done)
    lost = [one for one in done if one.outcome == "lost"]
    let_in = [one for one in done if one.outcome == "let-in"]
    reached = [one for one in done if one.kind != "spammer" and one.outcome != "lost"]
    longest = max(reached, key=lambda one: one.stall_s, default=None)
    during = [window.name for window in course.windows if longest and window.begun < longest.begun + longest.stall_s
              and longest.begun < window.over]
    packets = syns(course.scene.lab, "syns", "inet soak")
    by_kernel = syns(course.scene.lab, "mx_accepted", TABLE) if course.way == "b" else 0
    verdicts = keeper.total("verdict-accept", "verdict-drop")
    memory = descriptors = percent = None
    if course.before and course.after:
        memory = course.after.memory_kib - course.before.memory_kib
        descriptors = course.after.descriptors - course.before.descriptors
        percent = 100 * memory / course.before.memory_kib
    failures = [*course.failures, *keeper.surprises, *(line for life in keeper.lives for line in life.defects)]
    failures += [f"lost: {one.kind} [{one.source}] at {one.begun - course.begun:.1f} s" for one in lost]
    failures += [f"let in: [{one.source}] at {one.begun - course.begun:.1f} s" for one in let_in]
    if course.unanswered:
        failures.append(f"{course.unanswered} packets without a verdict")
    if descriptors:
        failures.append(f"descriptors drift by {descriptors}")
    if percent is not None and percent > DRIFT_PERCENT:
        failures.append(f"memory drifts by {percent:.1f} %")
    if keeper.said():
        failures.append(f"standard error: {keeper.said()[-1000:]}")
    return {
        "seed": options.seed, "minutes": options.minutes, "way": options.way, "packets": packets,
        "by_kernel": by_kernel, "verdicts": verdicts, "by_neither": packets - by_kernel - verdicts,
        "overflow": keeper.total("overflow"),
        "connections": len(reached) + len(lost), "lost": len(lost),
        "came_again": outcomes["newcomer", "came-again"], "spammers_dropped": outcomes["spammer", "dropped"],
        "spammers_unfiltered": outcomes["spammer", "unfiltered"], "spammers_let_in": len(let_in),
        "longest_stall_s": longest.stall_s if longest else 0.0, "longest_stall_during": during,
        "memory_kib": course.after.memory_kib if course.after else 0, "memory_drift_kib": memory,
        "memory_drift_percent": percent, "descriptors": course.after.descriptors if course.after else 0,
        "descriptors_drift": descriptors, "compared_over_s": course.compared_over_s, "lives": len(keeper.lives),
        "faults": [{"name": window.name, "at_s": window.begun - course.begun, "stall_s": window.stall_s(done)}
                   for window in course.windows],
        "failures": failures,
    }


def print_figures(found: dict[str, Any]) -> None:
    """The tables, and what must not be."""
    stalls: dict[str, list[float]] = {}
    for one in found["faults"]:
        stalls.setdefault(one["name"], []).append(one["stall_s"])
    show("The longest that a connection of a sender took", ["", "times", "s"],
         [[name, len(values), f"{max(values):.2f}"] for name, values in stalls.items()])
    if found["memory_drift_kib"] is None:
        memory = descriptors = "not measured"
    else:
        memory = (f"{found['memory_drift_kib']:+,} KiB of {found['memory_kib']:,} "
                  f"({found['memory_drift_percent']:+.2f} %) in {found['compared_over_s']:.0f} s")
        descriptors = f"{found['descriptors_drift']:+} of {found['descriptors']}"
    during = f", {' and '.join(found['longest_stall_during'])}" if found["longest_stall_during"] else ""
    show(f"A soak of {found['minutes']:g} minutes, seed {found['seed']}, way {found['way']}", ["", "seen"], [
        ["packets: SYNs to port 25", found["packets"]],
        ["of these, let pass by the kernel's set", found["by_kernel"]],
        ["verdicts of the daemon", found["verdicts"]],
        ["seen by neither: bypass, overflow, a life's last moment", found["by_neither"]],
        ["of these, a full queue", found["overflow"]],
        ["connections of senders", found["connections"]],
        ["lost", found["lost"]],
        ["met the fake server a second time, since nobody had looked", found["came_again"]],
        ["spammers: dropped", found["spammers_dropped"]],
        ["spammers: unfiltered, during a fault", found["spammers_unfiltered"]],
        ["spammers: let in", found["spammers_let_in"]],
        ["longest stall", f"{found['longest_stall_s']:.2f} s{during}"],
        ["lives of the daemon", found["lives"]],
        ["memory drift", memory],
        ["descriptors drift", descriptors],
    ])
    drifted = "" if found["memory_drift_kib"] is None else ", nothing drifted"
    say("\n" + ("\n".join(found["failures"]) or f"Nothing was lost{drifted}."))


def minutes(text: str) -> float:
    """A number of minutes, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"not a number of minutes from 0.1 to {MOST_MINUTES:,}")
    return value


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=minutes, required=True,
                        help="how long; 5 at least for a figure of drift, 10 for each fault several times")
    parser.add_argument("--seed", type=natural, help="of the order of faults (default: another one each time)")
    parser.add_argument("--way", choices=sorted(WAYS), default="b",
                        help="the way to run, as in docs/firewall.md (default: %(default)s)")
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object in place of the tables, and the course to standard error")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1_000_000)
    return options


def main() -> int:
    options = options_of()
    reason = supported()
    if reason:
        print(f"soak: {reason}", file=sys.stderr)
        return 2
    try:
        with course_of(options) as course:
            course.note(f"seed {options.seed}")
            try:
                soak(course, options.minutes * 60)
            except BenchError as error:
                course.failures.append(str(error))
            course.senders.finish()
            course.scene.keeper.stop()
            found = judged(course, options)
    except (BenchError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    if options.json:
        show_json({**machine(), **found})
    else:
        print_figures(found)
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(run(main))
