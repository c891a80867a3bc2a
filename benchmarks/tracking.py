#!/usr/bin/env python3
"""What connection tracking costs a SYN in the ways b), c) and d) (docs/firewall.md), in namespaces of its own.

    python benchmarks/tracking.py [--ways b,c,d] [--packets N] [--entries N] [--rate N] [--repeat N] [--json]

The same SYNs to the real server, from hosts that it refuses and from known ones, with the rulesets as they are, so that
the kernel tracks connections, and with their option notrack. Cost: the processor time of the sender, of the kernel's
threads for packets and of the daemon. Each run has hosts of its own, whose table of connections is empty. Needs root.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.command import BenchError, give, measured, parser, positive
from benchmarks.gateway_site import DAEMON, KNOWN, UNKNOWN, Program, Site, listening, site
from benchmarks.report import median, show
from lab.hosts import FAKE4, REAL4
from lab.programs import Sources, flood, own_places
from mxallowd.text import quoted

TABLE = "inet mxallowd"
MOST_PACKETS = 200_000  # below what the kernel tracks at most
BACKLOG = 65_535
AFTERWARDS_S = 0.2
LIFETIME_S = 86_400
NOTRACK = {"track=yes": "track=notrack", "\t#notrack ": "\t", "\t\tct state established return\n": ""}
GROUP = ("-p", "nflog:5", "--nft-table", TABLE)
WAYS = {
    "b": (("queue-set-mark.nft", "queue-set-mark.sh"), ("-n", "23", "--queue-length", "65535", "--nft-table", TABLE)),
    "c": (("set.nft",), GROUP),
    "d": (("door.nft",), GROUP),
}


@contextmanager
def guarded(place: Site, way: str, tracked: bool, entries: int) -> Iterator[Program]:
    """The gateway run in one way, with known hosts in its sets."""
    rulesets, arguments = WAYS[way]
    edits = {} if tracked else NOTRACK
    text = "".join((Path(__file__).parent.parent / "rulesets" / name).read_text(encoding="utf-8") for name in rulesets)
    place.lab.load_ruleset(*rulesets, edits={old: new for old, new in edits.items() if old in text})
    first = int.from_bytes(bytes(map(int, KNOWN.split("."))))
    elements = ",".join(f"{'.'.join(map(str, (first + number).to_bytes(4)))} timeout 1d" for number in range(entries))
    commands = "".join(f"add element {TABLE} {name} {{ {elements} }}\n" for name in ("mx_white4", "mx_used4"))
    place.lab.gateway.run(["nft", "-f", "-"], input=commands, text=True, check=True)
    process = place.lab.gateway.popen(
        [*DAEMON, "-F", "-s", "-c", "/dev/null", "-b", "-f", FAKE4, "-r", REAL4, "-t", str(LIFETIME_S),
         "--max-entries", str(4 * entries), *own_places(place.directory), *arguments],
        stdout=subprocess.PIPE, text=True)
    program = Program(way, 0, [process])
    place.programs.append(program)
    assert process.stdout
    if not any(" start " in line for line in process.stdout):
        raise BenchError(f"mxallowd ended before it was ready, status {process.wait()}")
    yield program


def kernel_ns() -> int:
    """Processor time of the kernel's threads that handle packets where no other task does."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="ascii", errors="replace").startswith("ksoftirqd/"):
                total += int((path.parent / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue
    return total


def cost(place: Site, program: Program | None, options: argparse.Namespace, first: str) -> float:
    """Nanoseconds a SYN."""
    before = kernel_ns() + (program.cpu_ns() if program else 0)
    process = place.client.popen(flood(REAL4, Sources(first, options.entries), count=options.packets,
                                       rate=options.rate), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError("flood failed")
    place.settle()
    time.sleep(AFTERWARDS_S)
    own = kernel_ns() + (program.cpu_ns() if program else 0) - before
    return (own + (usage.ru_utime + usage.ru_stime) * 1e9) / float(options.packets)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Costs of each kind of SYN, run by run."""
    found: dict[str, dict[str, list[float]]] = {"refused": {}, "known": {}}
    for _ in range(options.repeat):
        for costs, first in zip(found.values(), (UNKNOWN, KNOWN), strict=True):
            with site(1) as place, listening(place, BACKLOG):
                costs.setdefault("no filter", []).append(cost(place, None, options, first))
            for way, tracked in itertools.product(options.ways, (True, False)):
                with (site(1) as place, listening(place, BACKLOG),
                      guarded(place, way, tracked, options.entries) as program):
                    name = f"{way}, {'tracked' if tracked else 'notrack'}"
                    costs.setdefault(name, []).append(cost(place, program, options, first))
    return {"cost_ns": found}


def price(costs: dict[str, list[float]], way: str) -> float:
    """Of tracking: the median of the differences of the runs."""
    return median([tracked - plain for tracked, plain in zip(
        costs[f"{way}, tracked"], costs[f"{way}, notrack"], strict=True)])


def print_figures(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """A table for each kind."""
    for kind, costs in found["cost_ns"].items():
        show(f"CPU ns of a {kind} SYN with its sender, {options.rate:,} SYNs/s, {options.entries:,} entries "
             f"(no filter: {median(costs['no filter']):,.0f})", ["", "tracked", "notrack", "difference"],
             [[way, *(f"{median(costs[f'{way}, {how}']):,.0f}" for how in ("tracked", "notrack")),
               f"{price(costs, way):,.0f}"] for way in options.ways])


def ways(text: str) -> list[str]:
    """Some of the ways, for argparse."""
    found = text.split(",")
    if not set(found) <= set(WAYS):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not some of {','.join(WAYS)}")
    return found


def main() -> int:
    made = parser(__doc__, repeat=5)
    made.add_argument("--ways", type=ways, default="b,c,d", help="some of these (default: %(default)s)")
    made.add_argument("--packets", type=positive, default=100_000, help="SYNs of one run (default: %(default)s)")
    made.add_argument("--entries", type=positive, default=100_000, help="hosts in the sets (default: %(default)s)")
    made.add_argument("--rate", type=positive, default=50_000, help="SYNs/s (default: %(default)s)")
    options = made.parse_args()
    if options.packets > MOST_PACKETS:
        made.error(f"--packets {options.packets}: at most {MOST_PACKETS}")
    found = measured(lambda: measure(options))
    return give(options, "packets entries rate repeat", found, lambda: print_figures(options, found))
