#!/usr/bin/env python3
"""Reverse DNS: how many lookups, at what cost, and whether any verdict waits for them, in namespaces of its own.

    python benchmarks/rdns.py [--hosts N] [--rate N] [--connects N] [--repeat N] [--json]

Lookups: so many hosts meet the fake server at once; until all of them are looked up, confirmed, and their children
admitted. The peer asks the same questions through pycares and does nothing else. Latency: from the SYN of a connect()
until its SYN-ACK, while new hosts meet the fake server at a rate, each of which is looked up; against the same packets
with lookups switched off (-b). The name server is nsd, with a name and two addresses for each host. Needs root.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import re
import signal
import tempfile
import time
from types import TracebackType

from benchmarks.command import BenchError, give, measured, parser, positive
from benchmarks.gateway_site import DAEMON, Program, Site, another_machine, latency, listening, site
from benchmarks.peers import SOURCES
from benchmarks.report import median, ratios, say, show
from lab.hosts import FAKE4, REAL4
from lab.nsd import FIRST, Nsd
from lab.programs import ENDLESS, Sources, flood, own_places

ZONE_HOSTS = 65_536
MOST_HOSTS = 8000  # the line of waiting hosts has 8,192 places
SERVER = "127.0.0.1:5353"
WINDOW = "256"  # queries in flight, as the daemon has
# One name server has all zones here, so the limits that protect other people's do not matter.
UNLIMITED = ("--dns-query-rate", "1000000", "--dns-zone-rate", "1000000")
BACKLOG = 65_535
READY_AFTER_S, LOOKED_UP_AFTER_S = 20.0, 60.0


class Daemon:
    """mxallowd with its log in a file; a context manager."""

    def __init__(self, place: Site, *arguments: str) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="mxallowd-rdns-", suffix=".log")  # noqa: SIM115
        process = place.lab.gateway.popen(
            [*DAEMON, "-F", "-s", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "0", "--queue-length", "65535",
             "--dns-server", SERVER, *own_places(place.directory), *arguments], stdout=self._log)
        self.program = Program("mxallowd", 0, [process])
        place.programs.append(self.program)
        self._lines_for(" start ", 0, READY_AFTER_S)
        place.direct(self.program)

    def _lines_for(self, word: str, before: int, limit_s: float) -> list[str]:
        deadline = time.monotonic() + limit_s
        while True:
            found = self._lines_with(word)
            if len(found) > before:
                return found
            if time.monotonic() > deadline or self.program.processes[0].poll() is not None:
                raise BenchError(f"mxallowd did not log{word}in {limit_s:g} s")
            time.sleep(0.005)

    def _lines_with(self, word: str) -> list[str]:
        # The last one may be half written.
        lines = Path(self._log.name).read_text(encoding="utf-8").split("\n")[:-1]
        return [line for line in lines if word in line]

    def counters(self) -> dict[str, int]:
        """What SIGUSR1 logs."""
        before = len(self._lines_with(" counters "))
        self.program.signal(signal.SIGUSR1)
        line = self._lines_for(" counters ", before, READY_AFTER_S)[-1]
        return {key: int(value) for key, value in re.findall(r"([a-z-]+)=(\d+)", line)}

    def main_cpu_s(self) -> float:
        """Processor time of its main thread, where lookups happen."""
        pid = self.program.processes[0].pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.program.processes:
            process.terminate()
            process.wait(10)
        self._log.close()


def meet(count: int, rate: int) -> list[str]:
    """The words that send SYNs of so many hosts to the fake server."""
    return flood(FAKE4, Sources(str(FIRST + 1), ZONE_HOSTS - 1), count=count, rate=rate)


def look_up(place: Site, hosts: int) -> tuple[float, float]:
    """Lookups/s, and CPU microseconds of the main thread for each, contact and log included."""
    with Daemon(place, "--dns-rate", "100000", *UNLIMITED) as daemon:
        cpu, started = daemon.main_cpu_s(), time.perf_counter()
        place.flood(meet(hosts, 0))
        counters = daemon.counters()
        while counters["confirmed"] < hosts:
            if time.perf_counter() - started > LOOKED_UP_AFTER_S or counters["lookup-failed"] + counters["timed-out"]:
                raise BenchError(f"not all of {hosts} hosts could be looked up: {counters}")
            time.sleep(0.02)
            counters = daemon.counters()
        taken = time.perf_counter() - started
        if counters["children"] != hosts:
            raise BenchError(f"{counters['children']} children of {hosts} hosts")
        return hosts / taken, (daemon.main_cpu_s() - cpu) / hosts * 1e6


def bare(place: Site, hosts: int) -> tuple[float, float]:
    """The same questions through pycares alone."""
    done = place.lab.gateway.run(
        [sys.executable, str(SOURCES / "bare_pycares.py"), SERVER, str(FIRST + 1), str(hosts), WINDOW],
        capture_output=True, text=True)
    if done.returncode:
        raise BenchError(done.stderr.strip())
    taken, cpu = map(float, done.stdout.split())
    return hosts / taken, cpu / hosts * 1e6


def beside(place: Site, options: argparse.Namespace, *, lookups: bool) -> tuple[float, float, float]:
    """Latency p50 and p99 in microseconds while hosts meet the fake server; lookups/s meanwhile."""
    with Daemon(place, "--dns-rate", str(options.rate * 2), *UNLIMITED, *([] if lookups else ["-b"])) as daemon:
        started = time.perf_counter()
        with place.client.meanwhile(meet(ENDLESS, options.rate)):
            with listening(place, BACKLOG), another_machine():
                half, most = latency(place, daemon.program, options.connects, 0, 1)
                taken = time.perf_counter() - started
            return half, most, daemon.counters().get("looked-up", 0) / taken


def options_of() -> argparse.Namespace:
    made = parser(__doc__, repeat=5)
    made.add_argument("--hosts", type=positive, default=6000, help="hosts that are looked up (default: %(default)s)")
    made.add_argument("--rate", type=positive, default=1000,
                      help="lookups/s beside which the latency is taken (default: %(default)s)")
    made.add_argument("--connects", type=positive, default=2000,
                      help="connections of a latency (default: %(default)s)")
    options = made.parse_args()
    if options.hosts > MOST_HOSTS:
        made.error(f"--hosts {options.hosts}: at most {MOST_HOSTS}")
    return options


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """One figure a run of everything."""
    names = ("lookups_per_s", "lookup_cpu_us", "bare_per_s", "bare_cpu_us", "off_p50_us", "off_p99_us", "off_lookups",
             "on_p50_us", "on_p99_us", "on_lookups")
    found: dict[str, list[float]] = {name: [] for name in names}
    with site(1) as place, Nsd(place.lab.gateway, ZONE_HOSTS):
        for _ in range(options.repeat):
            values = (*look_up(place, options.hosts), *bare(place, options.hosts),
                      *beside(place, options, lookups=False), *beside(place, options, lookups=True))
            for name, value in zip(names, values, strict=True):
                found[name].append(value)
    return found


def print_figures(options: argparse.Namespace, found: dict[str, list[float]], p99: float) -> None:
    """The tables, and the ratio that counts."""
    show(f"Lookups of {options.hosts:,} hosts: PTR, A and AAAA each", ["", "lookups/s", "CPU us a lookup"],
         [[name, f"{median(found[f'{key}_per_s']):,.0f}", f"{median(found[f'{cpu}_cpu_us']):,.0f}"]
          for name, key, cpu in (("mxallowd", "lookups", "lookup"), ("pycares alone", "bare", "bare"))])
    show(f"Latency of a connect() beside {options.rate:,} new hosts a second", ["", "p50 us", "p99 us", "lookups/s"],
         [[name, *(f"{median(found[f'{key}_{what}']):,.0f}" for what in ("p50_us", "p99_us", "lookups"))]
          for name, key in (("lookups off", "off"), ("lookups on", "on"))])
    say(f"\np99 with lookups against without, median of the runs' ratios: {p99:.2f}")


def main() -> int:
    options = options_of()
    found = measured(lambda: measure(options))
    p99 = ratios(found["on_p99_us"], found["off_p99_us"])
    return give(options, "hosts rate repeat", {**found, "p99_ratio": p99}, lambda: print_figures(options, found, p99))
