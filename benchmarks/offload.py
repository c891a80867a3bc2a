#!/usr/bin/env python3
"""The ways to run on Linux (docs/firewall.md): what a SYN costs the whole machine, in namespaces of its own.

    python benchmarks/offload.py [--part ways,door] [--entries N,N] [--packets N] [--flood N] [--repeat N] [--json]

`ways`: the same SYNs in turn with no filter at all, a) queue only, b) queue plus set, c) set plus NFLOG, d) at the
door; none, half, and 99 of 100 of them from hosts that have reached the real server before. Cost: the processor time of
every task of the machine while SYNs come at a rate, the sender's included, a SYN each; what counts is how much it is
beyond "no filter". Speed: as fast as the sender can, until all are settled. User space: the daemon's own time while
known hosts alone come. Change: from a host's SYN at the fake server until the kernel's set has the host. The rules are
those of rulesets/, but without connection tracking: it would cost the first three the same, and some hundred thousand
made-up connections a second would fill it.

`door`: a flood by one processor, and what a SYN of it costs where it is dropped: way d) beside way c), plain rules of
nft, and XDP as the physical limit (clang and libbpf-dev; else without); with all of connection tracking, IPv4 and IPv6,
each number of entries (`ways` takes the first one). Needs root.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any

from benchmarks import door, door_report
from benchmarks.command import BenchError, give, measured, parser, positive, sizes
from benchmarks.door_site import LIFETIME_S, TABLE, fill
from benchmarks.engine import packed
from benchmarks.gateway_site import DAEMON, KNOWN, UNKNOWN, Program, Site, listening, site
from benchmarks.report import median, say, show
from benchmarks.workload import syn
from lab.hosts import BRIDGE, FAKE4, REAL4
from lab.namespaces import visit
from lab.programs import ENDLESS, Sources, flood, own_places
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.text import quoted

BACKLOG = 65_535
MOST_ENTRIES = door.MOST_ENTRIES
FILLED = 200_000  # entries of one filling
CHANGE_LOAD = 500
KERNELS_OWN_S = 2
AFTERWARDS_S = 0.3
READY_AFTER_S = 60.0
SHARES = door.SHARES  # known of a hundred, and which source is left out of the known ones: every so many-th
PLACES = ("no filter", "a", "b", "c", "d")
PARTS = ("ways", "door")


@dataclass(frozen=True)
class Way:
    """One way to run: rulesets and arguments."""

    rulesets: tuple[str, ...]
    arguments: tuple[str, ...]


WAYS = {
    "a": Way(("queue.sh",), ("-n", "23", "--queue-length", "65535")),
    "b": Way(("queue-set-mark.nft", "queue-set-mark.sh"),
             ("-n", "23", "--queue-length", "65535", "--nft-table", TABLE)),
    "c": Way(("set.nft",), ("-p", "nflog:5", "--nft-table", TABLE)),
    "d": Way(("door.nft",), ("-p", "nflog:5", "--nft-table", TABLE, "--door", BRIDGE)),
}


def known_hosts(entries: int, share: int) -> list[bytes]:
    """The hosts in the whitelist, so that of the sources from KNOWN on so many of a hundred are in it."""
    first, without = int(ip_address(KNOWN)), SHARES[share]
    kept = max(1, without - 1)
    return [packed(IPv4Address(first + number + (number // kept if without > 1 else 0))) for number in range(entries)]


def sources(entries: int, share: int) -> Sources:
    """Those of the traffic."""
    if share == 0:
        return Sources(UNKNOWN, entries)
    return Sources(KNOWN, entries + entries // max(1, SHARES[share] - 1))


@contextmanager
def guarded(place: Site, name: str, entries: int, share: int) -> Iterator[Program | None]:
    """The gateway run in one way, its whitelist full of known hosts; without a program where there is no filter."""
    if name == "no filter":
        yield None
        return
    way = WAYS[name]
    place.lab.load_ruleset(*way.rulesets, tracked=False)
    if name != "a":
        fill(place.lab.gateway, known_hosts(entries, share))
    process = place.lab.gateway.popen(
        [*DAEMON, "-F", "-s", "-c", "/dev/null", "-b", "-f", FAKE4, "-r", REAL4, "-t", str(LIFETIME_S),
         "--max-entries", str(4 * MOST_ENTRIES), *own_places(place.directory), *way.arguments],
        stdout=subprocess.PIPE, text=True)
    program = Program(name, 0, [process])
    place.programs.append(program)
    assert process.stdout
    if not any(" start " in line for line in process.stdout):
        raise BenchError(f"mxallowd ended before it was ready, status {process.wait()}")
    try:
        if name == "a":
            # All of them meet the fake server, then the real one.
            hosts = Sources(KNOWN, entries, without=SHARES[share] if share else None)
            for server in (FAKE4, REAL4):
                place.flood(flood(server, hosts, rate=30_000))
                place.settle()
        yield program
    finally:
        place.end_programs()
        place.lab.gateway.run(["nft", "flush", "ruleset"], check=True)


def all_tasks_ns() -> dict[str, int]:
    """Processor time of every task of the machine. (Softirqs count for the task that they run in.)"""
    times = {}
    for path in Path("/proc").glob("[0-9]*/task/[0-9]*/schedstat"):
        try:
            times[path.parent.name] = int(path.read_text(encoding="ascii").split()[0])
        except (OSError, IndexError):
            continue
    return times


def flooded(place: Site, command: list[str]) -> tuple[float, float]:
    """Send SYNs; the seconds until the last one was sent, and the CPU nanoseconds of the sender."""
    started = time.perf_counter()
    process = place.client.popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    sender_ns: float = (usage.ru_utime + usage.ru_stime) * 1e9
    taken = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError("flood failed")
    return taken, sender_ns


def cost(place: Site, program: Program | None, options: argparse.Namespace, share: int) -> tuple[float, float]:
    """CPU nanoseconds a SYN of the whole machine, and of the daemon alone, at a rate."""
    command = flood(REAL4, sources(options.entries[0], share), count=options.packets, rate=options.rate)
    own = program.cpu_ns() if program else 0
    before = all_tasks_ns()
    _, sender_ns = flooded(place, command)
    place.settle()
    time.sleep(AFTERWARDS_S)
    after = all_tasks_ns()
    total = sender_ns + sum(after[task] - before[task] for task in after if task in before)
    return total / options.packets, ((program.cpu_ns() if program else 0) - own) / options.packets


def speed(place: Site, options: argparse.Namespace, share: int) -> tuple[float, float]:
    """SYNs a second, as fast as the sender can, those not counted that the kernel had to throw away; and their part."""
    lost = place.lost()
    command = flood(REAL4, sources(options.entries[0], share), count=options.packets)
    started = time.perf_counter()
    flooded(place, command)
    place.settle()
    taken = time.perf_counter() - started
    lost = place.lost() - lost
    return (options.packets - lost) / taken, lost / options.packets


def user_space(place: Site, program: Program, options: argparse.Namespace) -> float:
    """CPU nanoseconds of the daemon for a SYN of a known host, what it takes without any SYN being taken off."""
    known = Sources(KNOWN, options.entries[0], without=SHARES[99])
    command = flood(REAL4, known, count=options.packets, rate=options.rate)
    before = program.cpu_ns()
    taken, _ = flooded(place, command)
    between = program.cpu_ns()
    time.sleep(taken)
    idle_ns = program.cpu_ns() - between
    return max(0, between - before - idle_ns) / int(options.packets)


def changes(place: Site, count: int, load_rate: int) -> list[float]:
    """Milliseconds from a host's SYN at the fake server until the kernel's set has the host, beside other contacts."""
    taken = []
    first = int(ip_address("12.0.0.1"))
    others = [flood(FAKE4, Sources("13.0.0.0", 1 << 20), count=ENDLESS, rate=load_rate)] if load_rate else []
    with visit(place.lab.gateway.name):
        query = NfQuery(*TABLE.split())
    try:
        with (place.client.meanwhile(*others),
              place.client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender):
            for number in range(count):
                host = packed(IPv4Address(first + number + 100_000 * bool(load_rate)))
                started = time.perf_counter()
                sender.sendto(syn(host[12:], IPv4Address(FAKE4).packed), (FAKE4, 0))
                # At the door the kernel itself lets the host in at once, for two seconds; mxallowd's entry lasts.
                while not any(left > KERNELS_OWN_S for left in query.get("mx_white4", [host[12:]]).values()
                              if not isinstance(left, bytes)):
                    if time.perf_counter() - started > 5:
                        raise BenchError("a host did not come into the kernel's set")
                    time.sleep(0.0002)
                taken.append((time.perf_counter() - started) * 1000)
                time.sleep(0.003)
    finally:
        query.close()
    return sorted(taken)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One figure a run of everything."""
    found: dict[str, Any] = {"cost_ns": {}, "daemon_ns": {}, "speed": {}, "lost": {}, "known_ns": {}, "changes_ms": {},
                             "filling_s": []}

    def note(what: str, name: str, share: int, value: float) -> None:
        found[what].setdefault(f"{name}, {share} %", []).append(value)

    with site(1) as place, listening(place, BACKLOG):
        for _ in range(options.repeat):
            for share in options.known:
                for name in PLACES:
                    with guarded(place, name, options.entries[0], share) as program:
                        total, own = cost(place, program, options, share)
                        note("cost_ns", name, share, total)
                        note("daemon_ns", name, share, own)
                        rate, lost = speed(place, options, share)
                        note("speed", name, share, rate)
                        note("lost", name, share, lost)
                        if share == 99 and program and name != "a":
                            note("known_ns", name, 100, user_space(place, program, options))
        for name in ("b", "c", "d"):
            with guarded(place, name, 1000, 50):
                for load_rate in (0, CHANGE_LOAD):
                    found["changes_ms"][f"{name}, {load_rate} others/s"] = changes(
                        place, options.changes, load_rate)
        place.lab.load_ruleset("set.nft", tracked=False)
        found["filling_s"] = [fill(place.lab.gateway, known_hosts(FILLED, 50)) for _ in range(options.repeat)]
    return found


def beyond(found: dict[str, Any], name: str, share: int) -> list[float]:
    """What a SYN cost more than with no filter, run by run."""
    return [own - bare for own, bare in zip(
        found["cost_ns"][f"{name}, {share} %"], found["cost_ns"][f"no filter, {share} %"], strict=True)]


def part_of_a(found: dict[str, Any], name: str) -> float:
    """That of a way as a part of way a), 99 % known: the median of the runs."""
    return median([own / whole for own, whole in zip(beyond(found, name, 99), beyond(found, "a", 99), strict=True)])


def print_figures(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """The tables, and what counts."""
    def cells(what: str, digits: int = 0, factor: float = 1) -> list[list[str]]:
        return [[name, *(f"{median(found[what][f'{name}, {share} %']) * factor:,.{digits}f}"
                         for share in options.known)] for name in PLACES]

    headers = ["", *(f"{share} % known" for share in options.known)]
    show(f"CPU ns a SYN, whole machine with the sender, {options.rate:,} SYNs/s, {options.entries[0]:,} entries"
         f" ({command_of(options, 'ways')})", headers, cells("cost_ns"))
    show("of these, the daemon", headers, cells("daemon_ns"))
    show("SYNs/s as fast as the sender can", headers, cells("speed"))
    show("% of those lost by the kernel", headers, cells("lost", 1, 100))
    show("Beyond no filter, 99 % known", ["", "CPU ns a SYN", "part of a"],
         [[name, f"{median(beyond(found, name, 99)):,.0f}", f"{part_of_a(found, name):.2f}"] for name in WAYS])
    show("The daemon's CPU ns for a SYN of a known host", ["", "ns"],
         [[name, f"{median(values):,.1f}"] for name, values in found["known_ns"].items()])
    show("From the packet to the kernel's set, ms", ["", "p50", "p99"],
         [[name, f"{values[len(values) // 2]:.1f}", f"{values[len(values) * 99 // 100]:.1f}"]
          for name, values in found["changes_ms"].items()])
    say(f"\n{FILLED:,} entries in one transaction: {median(found['filling_s']):.2f} s")


def shares(text: str) -> list[int]:
    """Known hosts of a hundred, N,N,..., for argparse."""
    found = [int(one) if one.isascii() and one.isdigit() else -1 for one in text.split(",")]
    if not set(found) <= SHARES.keys() or 99 not in found:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is none of 99; 50,99; 0,99; 0,50,99")
    return found


def parts(text: str) -> list[str]:
    """What is measured, for argparse."""
    found = text.split(",")
    if not set(found) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is none of {'; '.join(PARTS)}; {','.join(PARTS)}")
    return found


def options_of() -> argparse.Namespace:
    made = parser(__doc__, repeat=5)
    made.add_argument("--part", type=parts, default=",".join(PARTS), help="what is measured (default: %(default)s)")
    made.add_argument("--packets", type=positive, default=150_000,
                      help="SYNs of a run of `ways` (default: %(default)s)")
    made.add_argument("--flood", type=positive, default=100_000, help="SYNs of a run of `door` (default: %(default)s)")
    made.add_argument("--entries", type=sizes, default="100000,1000000",
                      help="hosts in the set, of `ways` the first number alone (default: %(default)s)")
    made.add_argument("--rate", type=positive, default=50_000, help="SYNs/s of the cost (default: %(default)s)")
    made.add_argument("--known", type=shares, default="0,50,99",
                      help="known hosts of a hundred, some of 0, 50 and 99, which must be one (default: %(default)s)")
    made.add_argument("--changes", type=positive, default=300, help="contacts that are timed (default: %(default)s)")
    options = made.parse_args()
    if max(options.entries) > MOST_ENTRIES:
        made.error(f"--entries {max(options.entries)}: at most {MOST_ENTRIES}")
    if options.flood > door.MOST_PACKETS:
        made.error(f"--flood {options.flood}: at most {door.MOST_PACKETS}")
    return options


def command_of(options: argparse.Namespace, part: str) -> str:
    """What repeats a table."""
    own = f"--packets {options.packets} --rate {options.rate}" if part == "ways" else f"--flood {options.flood}"
    return (f"offload.py --part {part} {own} --entries {','.join(map(str, options.entries))}"
            f" --known {','.join(map(str, options.known))} --repeat {options.repeat}")


def main() -> int:
    options = options_of()
    found: dict[str, Any] = {}
    if "ways" in options.part:
        found |= measured(lambda: measure(options))
        found["part_of_a"] = {name: part_of_a(found, name) for name in ("b", "c", "d")}
    if "door" in options.part:
        found |= measured(lambda: door.measure(options))

    def tables() -> None:
        if "ways" in options.part:
            print_figures(options, found)
        if "door" in options.part:
            door_report.print_tables(found, command_of(options, "door"))

    return give(options, "packets flood entries rate repeat", found, tables)
