#!/usr/bin/env python3
"""mxallowd on the kernel's queue beside other programs on the same packets, in namespaces of its own.

    python benchmarks/kernel_queue.py [--packets N] [--entries N,N] [--repeat N] [--mark] [--json]

Draining: the program is stopped while SYNs fill its queue, then goes on; how long until none waits? Steady: SYNs at a
rate; what does each cost? Latency: from the SYN of a connect() until its SYN-ACK. The peers decide nothing. All
take the same packets in turn, each in queues of its own; what counts is the ratio. Needs root. The rule says --syn
and nothing tracks connections: a million made-up ones would fill the connection tracking before the queue.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import signal
import time
from ipaddress import ip_address
from typing import Any

from benchmarks.command import BenchError, give, measured, parser, positive, sizes
from benchmarks.gateway_site import DAEMON, KNOWN, Program, Site, latency, scenario_flood, site
from benchmarks.peers import SOURCES, compiled
from benchmarks.report import median, ratios, say, show
from lab.hosts import FAKE4, REAL4
from lab.programs import Sources, flood, own_places
from mxallowd.settings.values import MAX_QUEUES

QUEUE_LENGTH = 65535
SCENARIOS = ("drop", "accept", "mixed")
MAX_ENTRIES = 8_000_000  # KNOWN has no more room before UNKNOWN
AFTERWARDS_S = 0.3  # what a program does behind its verdicts is its cost as well
LIBRARY = "-lnetfilter_queue"
MARK, MARKED = "0x20000000/0x20000000", "mxallowd, with a mark"
OURS, PLAIN, CALLBACK, LIMIT = "mxallowd", "libnetfilter_queue in C", "NetfilterQueue, callback", "limit in C"

# The daemon with a sink that keeps the interpreter busy: one second of Python at every tick of its clock.
SPINNING = """
import sys, time
from mxallowd import cli
from mxallowd.sinks.log import LogSink

def spin(sink):
    end = time.monotonic() + 1
    while time.monotonic() < end:
        pass

LogSink.tick = spin
sys.exit(cli.main(sys.argv[1:]))
"""


def start_daemon(place: Site, entries: int, script: str = "", mark: str = "") -> Program:
    """mxallowd with `entries` hosts in its whitelist, all of which met the fake server through the queue."""
    command = [*([sys.executable, "-P", "-c", script] if script else DAEMON), "-F", "-s", "-n"]
    room = str(max(2 * entries, 100_000))
    arguments = ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "--queue-length", str(QUEUE_LENGTH),
                 "--max-entries", room, "-t", "86400", *own_places(place.directory),
                 *(["--verdict-mark", mark] if mark else [])]
    program = place.start(MARKED if mark else OURS, command, arguments, " start ", single=True)
    program.mark = mark
    # Its lines go nowhere, as on a terminal that hangs: they are left out, which is not what is measured.
    place.direct(program)
    step = QUEUE_LENGTH // 2
    for done in range(0, entries, step):
        count = min(step, entries - done)
        first = str(ip_address(KNOWN) + 2 * done)
        place.flood(flood(FAKE4, Sources(first, count, step=2)))
        place.settle()
    return program


def start_peers(place: Site, verdict: str) -> list[Program]:
    """The peers, each giving every packet that verdict."""
    commands = {
        PLAIN: [str(compiled("plain.c", LIBRARY))],
        CALLBACK: [sys.executable, str(SOURCES / "callback.py")],
        LIMIT: [str(compiled("limit.c", LIBRARY))],
    }
    # The daemon's queue threads have this priority, so the peers get it as well.
    nice = ["nice", "-n", "-10"]
    return [place.start(name, [*nice, *command], [verdict], "ready", single=False)
            for name, command in commands.items()]


def drain_filled(place: Site, program: Program, scenario: str, packets: int, entries: int) -> tuple[float, float]:
    """Fill the queues while the program is stopped, let it go on; packets/s, and CPU ns a packet."""
    place.direct(program)
    lost = place.lost()
    program.signal(signal.SIGSTOP)
    time.sleep(0.01)
    place.flood(scenario_flood(scenario, entries, REAL4, count=packets))
    waiting = place.waiting()
    if waiting != packets or place.lost() != lost:
        raise BenchError(f"{program.name}: {waiting} of {packets} packets wait, {place.lost() - lost} are lost")
    cpu, started = program.cpu_ns(), time.perf_counter()
    program.signal(signal.SIGCONT)
    place.settle()
    taken = time.perf_counter() - started
    time.sleep(AFTERWARDS_S)
    return packets / taken, (program.cpu_ns() - cpu) / packets


def steady(place: Site, program: Program, rate: int, count: int, entries: int) -> tuple[float, float]:
    """A mixed load at a rate: CPU ns a packet, and packets lost."""
    place.direct(program)
    lost, cpu = place.lost(), program.cpu_ns()
    place.flood(scenario_flood("mixed", entries, REAL4, count=count, rate=rate))
    place.settle()
    time.sleep(AFTERWARDS_S)
    return (program.cpu_ns() - cpu) / count, place.lost() - lost


Figures = dict[str, dict[str, list[float]]]  # of a program, by what was measured: one for each run


def note(figures: Figures, program: str, **values: float) -> None:
    """Remember the figures of one run."""
    for what, value in values.items():
        figures.setdefault(program, {}).setdefault(what, []).append(value)


def measure(entries: int, queue_count: int, options: argparse.Namespace) -> Figures:
    """All figures with so many entries and queues, every program in turn."""
    figures: Figures = {}
    with site(queue_count) as place, place.lab.gateway.serve(REAL4):
        ours = [start_daemon(place, entries), *([start_daemon(place, entries, mark=MARK)] if options.mark else [])]
        peers = {scenario: start_peers(place, scenario) for scenario in SCENARIOS}
        for scenario in SCENARIOS:
            for _ in range(options.repeat):
                for program in (*ours, *peers[scenario]):
                    speed, cost = drain_filled(place, program, scenario, options.packets, entries)
                    note(figures, program.name, **{f"{scenario} speed": speed, f"{scenario} cpu": cost})
        for _ in range(options.repeat):
            for program in (*ours, *peers["mixed"]):
                cost, lost = steady(place, program, options.rate, options.packets, entries)
                note(figures, program.name, **{"steady cpu": cost, "steady lost": lost})
            for program in (*ours, *peers["accept"]):
                for load in (0, options.rate):
                    half, most = latency(place, program, options.connects, load, entries)
                    name = "loaded" if load else "idle"
                    note(figures, program.name, **{f"{name} p50": half, f"{name} p99": most})
    return figures


def measure_busy(options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """99th percentiles of the latency: of an idle daemon, and of one whose interpreter is never free."""
    idle, busy = [], []
    with site(1) as place, place.lab.gateway.serve(REAL4):
        calm, spinning = start_daemon(place, 1), start_daemon(place, 1, SPINNING)
        for _ in range(options.repeat):
            spinning.signal(signal.SIGSTOP)
            idle.append(latency(place, calm, options.connects, 0, 1)[1])
            spinning.signal(signal.SIGCONT)
            busy.append(latency(place, spinning, options.connects, 0, 1)[1])
    return idle, busy


def print_figures(entries: int, queue_count: int, figures: Figures) -> None:
    """The tables of one set of figures, and the ratios that count."""
    def row(program: str, *keys: str, factor: float = 1, digits: int = 0) -> list[str]:
        return [program, *(f"{median(figures[program][key]) * factor:,.{digits}f}" for key in keys)]

    what = f"{entries:,} entries, {queue_count} queue{'s' if queue_count > 1 else ''}"
    show(f"Draining a filled queue, {what}: packets/s, CPU ns a packet",
         ["", *SCENARIOS, *(f"CPU {scenario}" for scenario in SCENARIOS)],
         [row(program, *(f"{scenario} speed" for scenario in SCENARIOS), *(f"{scenario} cpu" for scenario in SCENARIOS))
          for program in figures])
    show(f"mxallowd against the others, {what}: packets/s, median of the runs' ratios", ["", *SCENARIOS],
         [[program, *(f"{speed_ratio(figures, program, scenario):.2f}" for scenario in SCENARIOS)]
          for program in figures if program != OURS])
    show(f"Steady mixed load, {what}: CPU ns a packet, packets lost; latency of a connect() in us",
         ["", "CPU", "lost", "idle p50", "idle p99", "loaded p50", "loaded p99"],
         [row(program, "steady cpu", "steady lost", "idle p50", "idle p99", "loaded p50", "loaded p99")
          for program in figures])


def speed_ratio(figures: Figures, program: str, scenario: str) -> float:
    """How many times as many packets/s mxallowd takes."""
    return ratios(figures[OURS][f"{scenario} speed"], figures[program][f"{scenario} speed"])


def options_of() -> argparse.Namespace:
    made = parser(__doc__, repeat=5)
    made.add_argument("--packets", type=positive, default=60_000,
                      help="SYNs of one run, at most 65535 (default: 60000)")
    made.add_argument("--entries", type=sizes, default="1000,1000000",
                      help="sizes of the whitelist (default: %(default)s)")
    made.add_argument("--queues", type=sizes, default="1,2", help="numbers of queues (default: %(default)s)")
    made.add_argument("--rate", type=positive, default=50_000,
                      help="SYNs/s of the steady load (default: %(default)s)")
    made.add_argument("--mark", action="store_true", help="also with --verdict-mark, accepted packets passing again")
    made.add_argument("--connects", type=positive, default=500,
                      help="connections of a latency (default: %(default)s)")
    options = made.parse_args()
    if not 0 < options.packets <= QUEUE_LENGTH:
        made.error(f"--packets {options.packets}: a queue holds at most {QUEUE_LENGTH}")
    if max(options.entries) > MAX_ENTRIES:
        made.error(f"--entries {max(options.entries)}: at most {MAX_ENTRIES}")
    if max(options.queues) > MAX_QUEUES:
        made.error(f"--queues {max(options.queues)}: at most {MAX_QUEUES}")
    return options


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Every set of figures, whose tables are printed as soon as they are there, and the latency of a busy daemon."""
    sets: list[dict[str, Any]] = []
    for entries in options.entries:
        for queue_count in options.queues:
            figures = measure(entries, queue_count, options)
            sets.append({"entries": entries, "queues": queue_count, "figures": figures, "ratios": {
                program: {scenario: speed_ratio(figures, program, scenario) for scenario in SCENARIOS}
                for program in figures if program != OURS}})
            if not options.json:
                print_figures(entries, queue_count, figures)
    idle, busy = measure_busy(options)
    return {"sets": sets, "busy": {"idle_p99_us": idle, "busy_p99_us": busy, "ratio": ratios(busy, idle)}}


def main() -> int:
    options = options_of()
    found = measured(lambda: measure_all(options))
    busy = found["busy"]
    return give(options, "packets rate repeat", found, lambda: say(
        f"\nLatency p99 with an interpreter that is never free: {median(busy['busy_p99_us']):,.0f} us, "
        f"idle: {median(busy['idle_p99_us']):,.0f} us, ratio {busy['ratio']:.2f}"))
