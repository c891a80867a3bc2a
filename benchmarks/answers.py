#!/usr/bin/env python3
"""How long the answers take that a console's pages ask for, with a million entries and as many refused hosts.

    python benchmarks/answers.py [--entries 1000000] [--networks 100000] [--by-hand 1000] [--repeat 5] [--json]

For each request the median time of the whole answer, as a client at the control socket sees it, and of the longest step
of the main loop meanwhile: by the clock, and by the processor that the main thread had. As root.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import time
from collections.abc import Sequence

from benchmarks.command import give, measured, natural, parser
from benchmarks.holds import Asked, Hold, filled
from benchmarks.report import median

GOAL_MS, HOLD_MS = 100, 5
# Listed hosts stand in 10.0.0.0/8, one of ten by its name and with a note; refused ones in 91.0.0.0/8 and the networks
# behind it, most of them once.
FILLED = """
def filled(self):
    from mxallowd.engine._refused import STEP_US

    backend, now_us = self._backend, self._backend.clock_us()
    entry, refused = struct.Struct("=16sQBBB5x"), struct.Struct("=16sIIIB3x")
    until_us, now = now_us + 28_800_000_000, now_us // STEP_US
    real = MAPPED + bytes([192, 0, 2, 20])
    for first in range(0, entries, 10_000):
        numbers = range(first, min(entries, first + 10_000))
        listed = [MAPPED + struct.pack("!I", 0x0A000000 + 13 * number) for number in numbers]
        strangers = [MAPPED + struct.pack("!I", 0x5B000000 + 211 * number) for number in numbers]
        backend.table.restore(b"".join(
            entry.pack(host, until_us, 7 if number == 77_777 else {0: 1, 1: 3}.get(number % 10, 0), number % 2,
                       number % 4 == 1)
            for number, host in zip(numbers, listed)), now_us, shard=0)
        for number, host in zip(numbers, listed):
            if number % 10 == 0:
                self._whitelist.provenance.note(host, 1_000_000_000, f"mail{number}.example.org")
        backend.refused.restore(b"".join(
            refused.pack(host, max(0, now - 60), now, 1 + (number % 1000 == 0) * (number % 977), 0)
            for number, host in zip(numbers, strangers)), bytes(range(256)), now_us, 0)
        self._trial.handle([Event(Kind.REFUSED, 0, 23, 1, now_us, host, real, 0) for host in strangers])
    begin(self)
"""
TARGETS = (
    "/v1/status", "/v1/entries?limit=200", "/v1/entries?limit=200&origin=contact",
    "/v1/entries?limit=200&origin=outbound", "/v1/entries?limit=200&used=true", "/v1/entries?limit=200&proven=true",
    "/v1/entries?limit=200&used=true&origin=outbound", "/v1/entries?limit=200&network=10.0.0.0/8",
    "/v1/entries?limit=200&network=10.99.7.0/24", "/v1/entries?limit=200&network=2001:db8::/32",
    "/v1/entries?limit=200&note=example", "/v1/entries?limit=200&note=mail1000.", "/v1/entries?limit=200&note=nowhere",
    "/v1/entries?limit=200&gateway=mx9", "/v1/explain/10.0.0.0", "/v1/explain/91.0.0.0", "/v1/explain/10.0.0.0/8",
    "/v1/explain/10.99.7.0/24", "/v1/explain/91.0.0.0/8", "/v1/explain/2001:db8:1:2::/64", "/v1/explain/0.0.0.0/0",
    "/v1/top", "/v1/forecast", "/v1/first-mx-only", "/v1/lists", "/v1/lists/networks",
    "/v1/lists/networks?verdict=deny", "/v1/lists/networks?network=11.0.7.1", "/v1/lists/networks?note=nowhere",
    "/v1/lists/networks?source=allow.list", "/v1/doctor", "/v1/fleet", "/v1/counters", "/metrics")


def measure(entries: int, networks: int, by_hand: int, repeat: int) -> list[Hold]:
    """Medians of all requests; one that is not there has its status, and no more."""
    found = []
    with filled(entries, networks, by_hand, FILLED, 2) as daemon:
        for target in TARGETS:
            times = []
            for _ in range(repeat):
                # What is made for all who ask within a second is made anew.
                time.sleep(1.1 if target == "/v1/top" or target.count("/") > 3 else 0)
                times.append(daemon.hold(Asked(target, "GET", target)))
            found.append(Hold(target, times[0].status, *(
                median(column) for column in zip(*(one[2:] for one in times), strict=True))))
    return found


def show(holds: Sequence[Hold]) -> None:
    """Print them; what is above a goal has a mark."""
    width = max(len(one.request) for one in holds)
    print(f"{'GET':<{width}} {'status':>6} {'answer ms':>10}  {'longest step ms':>15}  {'processor ms':>12}")
    for one in holds:
        print(f"{one.request:<{width}} {one.status:>6} {one.answer_ms:>10.1f}{'!' if one.answer_ms > GOAL_MS else ' '} "
              f"{one.clock_ms:>15.1f}{'!' if one.processor_ms > HOLD_MS else ' '} {one.processor_ms:>12.1f}")


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__, repeat=5)
    arguments.add_argument("--entries", type=natural, default=1_000_000, help="entries, and refused hosts")
    arguments.add_argument("--networks", type=natural, default=100_000, help="networks of two files")
    arguments.add_argument("--by-hand", type=natural, default=1_000, help="networks added by hand")
    options = arguments.parse_args()
    holds = measured(lambda: measure(options.entries, options.networks, options.by_hand, options.repeat))
    return give(options, "entries networks by_hand", {"holds": [one._asdict() for one in holds]}, lambda: show(holds))
