#!/usr/bin/env python3
"""Whom a flood of made-up SYNs harms: each way to run (docs/firewall.md), beside no filter and beside hashlimit.

    python benchmarks/flooding.py [--ways WAY,...] [--at real,fake] [--family 4|6] [--seconds N] [--repeat N]
                                  [--restart] [--one-queue] [--max-entries N] [--pause SECONDS] [--json]

One core sends as many SYNs as it can, each of another source, to the real server or to the fake one. Meanwhile known
senders connect to the real server, 20 a second of 250 addresses, and 5 newcomers a second meet the fake server and then
the real one. A connection succeeds if the server has accepted it within 3 seconds; "at the first SYN" is within 0.95,
since a SYN that gets no answer comes again after a second. --restart: mxallowd is ended and started in the middle.
Needs root.

The flood's sender is pinned to the first core, and what the kernel does with a packet of it is done there, too; so a
way that costs less is flooded more. (SYNs for a second of that core's time do not depend on who else uses it.) The good
senders are pinned to the last core, where their packets are handled, as with an interface that has several queues;
--one-queue: by the flood's core. mxallowd and the mail server run where there is room. Each run has new namespaces with
the kernel's own settings, which the command prints.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.command import BenchError, give, measured, parser, positive
from benchmarks.gateway_site import DAEMON
from benchmarks.good_senders import FIRST_SYN_S, NEWCOMER_RATE, NICENESS, GoodSenders
from benchmarks.report import median, say, show
from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, SMTP, Host, Lab
from lab.namespaces import visit
from lab.programs import ENDLESS, Sources, flood, own_places
from lab.rules import WAYS as RULES
from mxallowd.ctl.client import Client
from mxallowd.text import quoted

SERVERS = {4: {"fake": FAKE4, "real": REAL4}, 6: {"fake": FAKE6, "real": REAL6}}
FLOODER4, FLOODER6 = "192.0.2.101", "2001:db8::101"
MADE_UP = {4: Sources("10.0.0.0", 1 << 24), 6: Sources("fd00::", 1 << 24)}
NETWORKS = {4: "8.0.0.0/5", 6: "fd00::/8"}
SETTINGS = ("net/netfilter/nf_conntrack_max", "net/ipv4/tcp_syncookies", "net/ipv4/tcp_max_syn_backlog",
            "net/core/somaxconn", "net/core/netdev_max_backlog")
# What manuals of firewalls show: of a source that makes more than ten connections a minute, the others are dropped. The
# size of its table, and when an entry ends, are the module's own defaults.
HASHLIMIT = ("-p", "tcp", "--dport", str(SMTP), "--syn", "-m", "hashlimit", "--hashlimit-above", "10/minute",
             "--hashlimit-burst", "10", "--hashlimit-mode", "srcip", "--hashlimit-name", "smtp", "-j", "DROP")
TRACKED = ("-p", "tcp", "--dport", str(SMTP), "-m", "conntrack", "--ctstate", "ESTABLISHED")
# Without a daemon: whether the kernel tracks connections, as with nearly every firewall, and what the rules count.
BARE = {"no filter, no tracking": (), "no filter": (TRACKED,), "hashlimit": (HASHLIMIT, TRACKED)}
FILTERS = {name: RULES[name] for name in ("a", "b", "c", "d", "d-raw")}
NAMES = (*BARE, *FILTERS)
AFTERWARDS_S = 0.3
FIGURES = ("syns_per_s", "syns_per_core_s", "known", "known_first", "known_p50_ms", "known_p99_ms", "new", "new_first",
           "new_p99_ms", "machine_cores", "sender_cores", "daemon_cores", "tracked", "daemon_mib", "counted",
           "restart_s")


@dataclass
class Guard:
    """What protects the servers, and how to ask it. `control`: mxallowd's socket; without it there is no mxallowd."""

    lab: Lab
    command: list[str]
    control: str = ""
    process: "subprocess.Popen[str] | None" = None
    restart_s: float | None = None

    def start(self) -> None:
        """Start mxallowd, if there is one."""
        if not self.control:
            return
        self.process = self.lab.gateway.popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        if not any(" start " in line or line.startswith("start ") for line in self.process.stdout):
            raise BenchError(f"mxallowd ended before it was ready, status {self.process.wait()}")
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    @staticmethod
    def _read(output: Any) -> None:
        # Its log: nobody may make it wait. At the end it is closed.
        with suppress(ValueError):
            while output.read(1 << 16):
                pass

    def end(self) -> None:
        """End mxallowd in order."""
        if self.process:
            self.process.terminate()
            self.process.wait(30)

    def restart(self) -> None:
        """End and start it, as an operator does."""
        started = time.monotonic()
        self.end()
        self.start()
        self.restart_s = time.monotonic() - started

    def cpu_ns(self) -> int:
        """Its processor time so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat") if self.process else ()
        return sum(int(path.read_text(encoding="ascii").split()[0]) for path in tasks)

    def resident_mib(self) -> float:
        """Its resident memory."""
        if not self.process:
            return 0.0
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def counted(self, at: str, way: str) -> int | None:
        """How many SYNs it says it refused, or saw at the fake server; None where nothing counts.

        Of hashlimit, what its rule dropped: not what it drops without a word once its table is full.
        """
        if self.control:
            values = Client(self.control).ask("GET", "/v1/counters").body
            assert isinstance(values, dict)
            return int(values["blocked"] if at == "real" else values["fake-new"] + values["fake-known"])
        if way != "hashlimit":
            return None
        return sum(int(line.split()[0]) for program in ("iptables", "ip6tables") for line in self.lab.gateway.run(
            [program, "-w", "10", "-nvxL", "INPUT"], capture_output=True, text=True, check=True).stdout.splitlines()
            if " DROP " in line)


@contextmanager
def guarded(lab: Lab, way: str, options: argparse.Namespace) -> Iterator[Guard]:
    """The gateway run in one way."""
    if way in BARE:
        for words in BARE[way]:
            lab.input_rule(*words)
        yield Guard(lab, [])
        return
    rules = FILTERS[way]
    lab.load_ruleset(*rules.rulesets)
    with tempfile.TemporaryDirectory(prefix="mxallowd-bench-") as directory:
        places = own_places(directory)
        servers = SERVERS[options.family]
        guard = Guard(lab, [*DAEMON, "-F", "-s", "-c", "/dev/null", "-b", "-f", servers["fake"], "-r", servers["real"],
                            "--max-entries", str(options.max_entries), *places, *rules.arguments], places[-1])
        guard.start()
        try:
            yield guard
        finally:
            guard.end()


def busy_s() -> float:
    """Processor time of the machine that was not idle."""
    words = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, words[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def sent_packets(host: Host) -> int:
    """Packets that left the host."""
    path = "/sys/class/net/eth0/statistics/tx_packets"
    return int(host.run(["cat", path], capture_output=True, text=True, check=True).stdout)


def under_flood(options: argparse.Namespace, way: str, at: str) -> dict[str, float | None]:
    """One run: the flood, and what the good senders met meanwhile."""
    family = options.family
    servers = SERVERS[family]
    first_core, last_core = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench"))
        flooder = flood_host(lab, family)
        good = GoodSenders(lab, family, last_core, options.seconds * NEWCOMER_RATE)
        if options.one_queue:
            one_queue(lab, first_core)
        guard = stack.enter_context(guarded(lab, way, options))
        stack.enter_context(lab.gateway.serve(servers["real"]))
        if guard.control:
            # To hashlimit a sender is known for a minute. Good ones come more rarely, so here it has not seen them.
            good.introduce(servers["fake"], servers["real"])
        own, busy, sent = guard.cpu_ns(), busy_s(), sent_packets(flooder)
        counted = guard.counted(at, way) or 0
        started = time.monotonic()
        process = flooder.popen(["nice", "-n", str(NICENESS), "taskset", "-c", str(first_core),
                                 *flood(servers[at], MADE_UP[family], count=ENDLESS)], stdout=subprocess.DEVNULL)
        restarter = threading.Timer(options.seconds / 2, guard.restart)
        if options.restart and guard.control:
            own = 0
            restarter.start()
        known, new = good.come(servers["fake"], servers["real"], options.seconds, options.pause)
        if restarter.ident:
            restarter.join()
        if process.poll() is not None:
            raise BenchError("flood failed")
        tracked = tracked_connections(lab.gateway)
        sender_s = time_of(process.pid)
        process.kill()
        process.wait()
        taken = time.monotonic() - started
        busy, sent, own = busy_s() - busy, sent_packets(flooder) - sent, guard.cpu_ns() - own
        time.sleep(AFTERWARDS_S)
        after = guard.counted(at, way)
        return {
            "syns_per_s": sent / taken, "syns_per_core_s": sent / sender_s, "known": known.share(),
            "known_first": known.share(FIRST_SYN_S),
            "known_p50_ms": known.quantile_ms(0.5), "known_p99_ms": known.quantile_ms(0.99), "new": new.share(),
            "new_first": new.share(FIRST_SYN_S), "new_p99_ms": new.quantile_ms(0.99), "machine_cores": busy / taken,
            "sender_cores": sender_s / taken, "daemon_cores": own / 1e9 / taken, "tracked": tracked,
            "daemon_mib": guard.resident_mib(), "counted": None if after is None else (after - counted) / sent,
            "restart_s": guard.restart_s}


def flood_host(lab: Lab, family: int) -> Host:
    """The flood's host. Answers to made-up sources go there, as they would leave by the interface of a real gateway."""
    host = lab.client("flooder", FLOODER4, FLOODER6)
    lab.take_any_source()
    address = host.run(["cat", "/sys/class/net/eth0/address"], capture_output=True, text=True).stdout.strip()
    via = FLOODER4 if family == 4 else FLOODER6
    for words in (["neighbour", "replace", via, "lladdr", address, "dev", BRIDGE, "nud", "permanent"],
                  ["route", "add", NETWORKS[family], "via", via]):
        lab.gateway.run(["ip", *words], check=True)
    return host


def one_queue(lab: Lab, core: int) -> None:
    """Let this core handle all packets that come in, those of the good senders behind those of the flood (RPS)."""
    mask = f"{1 << core:x}"
    lab.gateway.run(["sh", "-c", f"for one in /sys/class/net/c*/queues/rx-*/rps_cpus; do echo {mask} >$one; done"],
                    check=True)


def time_of(pid: int) -> float:
    """Processor time of a process in seconds, the softirqs in it included."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def tracked_connections(host: Host) -> int:
    """Entries of connection tracking."""
    with visit(host.name):
        path = Path("/proc/sys/net/netfilter/nf_conntrack_count")
        return int(path.read_text(encoding="ascii")) if path.exists() else 0


def settings() -> dict[str, str]:
    """What a new namespace of this kernel has."""
    with Lab("bench") as lab, visit(lab.gateway.name):
        return {name: path.read_text(encoding="ascii").strip() for name in SETTINGS
                if (path := Path("/proc/sys") / name).exists()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, way by way: of each figure the values of the runs."""
    runs: dict[str, dict[str, list[Any]]] = {}
    for _ in range(options.repeat):
        for at in options.at:
            for way in options.ways:
                found = under_flood(options, way, at)
                row = runs.setdefault(f"{way}, flood at the {at} server", {name: [] for name in FIGURES})
                for name, value in found.items():
                    row[name].append(value)
    return {"settings": settings(), "cores": os.cpu_count(), "runs": runs}


def print_figures(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Two tables for each flood."""
    say(f"{options.seconds} s, IPv{options.family}, {found['cores']} cores{', mxallowd restarted' * options.restart}; "
        + ", ".join(f"{name.replace('/', '.')} {value}" for name, value in found["settings"].items()))
    for at in options.at:
        rows = [(way, found["runs"][f"{way}, flood at the {at} server"]) for way in options.ways]
        show(f"Good senders while the flood comes to the {at} server",
             ["", "flood SYNs/s", "a second of its core", "known % in 3 s", "at the first SYN", "p50 ms", "p99 ms",
              "newcomers % in 3 s", "at the first SYN", "p99 ms"],
             [[way, cell(row["syns_per_s"]), cell(row["syns_per_core_s"]), cell(row["known"], 1, 100),
               cell(row["known_first"], 1, 100), cell(row["known_p50_ms"], 2), cell(row["known_p99_ms"], 2),
               cell(row["new"], 1, 100), cell(row["new_first"], 1, 100), cell(row["new_p99_ms"], 2)]
              for way, row in rows])
        show(f"The machine while the flood comes to the {at} server",
             ["", "cores busy", "of these the sender's", "mxallowd", "connections tracked", "mxallowd MiB",
              f"{'refused' if at == 'real' else 'contacts'} counted %", *["restart s"] * options.restart],
             [[way, cell(row["machine_cores"], 2), cell(row["sender_cores"], 2), cell(row["daemon_cores"], 2),
               cell(row["tracked"]), cell(row["daemon_mib"]) if way in FILTERS else "", cell(row["counted"], 1, 100),
               *[cell(row["restart_s"], 2)] * options.restart] for way, row in rows])


def cell(values: list[float | None], digits: int = 0, factor: float = 1) -> str:
    """The median; a dash where it was never measured."""
    known = [value for value in values if value is not None]
    return f"{median(known) * factor:,.{digits}f}" if known else "-"


def chosen(*names: str) -> Any:
    """Some of these, N,N,..., for argparse."""
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if not set(wanted) <= set(names):
            raise argparse.ArgumentTypeError(f"{quoted(text)} is none of {', '.join(names)}")
        return wanted

    return parse


def main() -> int:
    made = parser(__doc__, repeat=1)
    made.add_argument("--ways", type=chosen(*NAMES), default=list(NAMES), help=f"some of: {', '.join(NAMES)}")
    made.add_argument("--at", type=chosen("real", "fake"), default=["real", "fake"], help="real, fake or both")
    made.add_argument("--family", type=int, choices=(4, 6), default=4)
    made.add_argument("--seconds", type=positive, default=30, help="of each flood (default: %(default)s)")
    made.add_argument("--max-entries", type=positive, default=1_000_000, help="of mxallowd (default: %(default)s)")
    made.add_argument("--pause", type=float, default=0.1,
                      help="seconds between the fake server and the real one (default: %(default)s)")
    made.add_argument("--one-queue", action="store_true",
                      help="the core of the flood handles the good senders' packets, too")
    made.add_argument("--restart", action="store_true", help="end and start mxallowd in the middle")
    options = made.parse_args()
    if options.seconds > 200:
        made.error(f"--seconds {options.seconds}: at most 200")
    found = measured(lambda: measure(options))
    return give(options, "family seconds restart one_queue max_entries pause", found,
                lambda: print_figures(options, found))
