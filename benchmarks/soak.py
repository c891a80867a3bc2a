#!/usr/bin/env python3
"""A soak: mail and floods for minutes, and the faults of docs/reliability.md in random order meanwhile.

    python benchmarks/soak.py --minutes N [--seed S] [--way a|b] [--json]

In namespaces of their own (needs root): a gateway with a real server behind the rules of docs/firewall.md, the daemon
under a keeper that starts it again at once, senders and spammers in IPv4 and IPv6 (senders.py), and made-up SYNs all
the time. Each fault is inflicted, taken away, and followed until all is as before; a line says the longest that a
connection of a sender took meanwhile. In the end nobody who met the fake server may have been lost, nobody let in who
did not, the daemon never have ended unless it was meant to, and it must take no more than before: status 0; else 1.
Status 2: no lab can be made here, or it broke down.

Faults that end the daemon come in the first part alone. The second part is one life of it: each other fault once, some
three times, so that all that is bounded has grown to its bound; a rest, and what memory and descriptors are then; then
faults again at random, a rest, and the same figures once more. Their difference is the drift. (Not measured where that
life ended.)

The rules have --syn in place of state NEW, as in offload.py.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import random
import time
from typing import Any

from benchmarks.command import JSON_HELP, BenchError, give, measured, natural, parser
from benchmarks.course import WAYS, Course, course_of
from benchmarks.faults import FAULTS, FLOODED_FAKE, FLOODED_FAKE6, FLOODED_REAL, Fault, ended_in_order
from benchmarks.judging import judged, print_figures
from lab.hosts import FAKE4, FAKE6, REAL4
from lab.programs import Sources

FLOOD_PER_S, FLOOD_SOURCES = 1000, 200_000  # of each of the three floods that never stop
FLOODS = ((FAKE4, Sources(FLOODED_FAKE, FLOOD_SOURCES)), (FAKE6, Sources(FLOODED_FAKE6, FLOOD_SOURCES)),
          (REAL4, Sources(FLOODED_REAL, FLOOD_SOURCES)))
QUIET_S = 10.0
FIRST_PART = 0.35
MOST_MINUTES = 100_000


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
    made = parser(__doc__, json_help=f"{JSON_HELP}, and the course to standard error")
    made.add_argument("--minutes", type=minutes, required=True,
                      help="how long; 5 at least for a figure of drift, 10 for each fault several times")
    made.add_argument("--seed", type=natural, help="of the order of faults (default: another one each time)")
    made.add_argument("--way", choices=sorted(WAYS), default="b",
                      help="the way to run, as in docs/firewall.md (default: %(default)s)")
    options = made.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1_000_000)
    return options


def run_through(options: argparse.Namespace) -> dict[str, Any]:
    """A whole soak, and what it came to."""
    with course_of(options.way, options.seed, quietly=options.json) as course:
        course.note(f"seed {options.seed}")
        try:
            soak(course, options.minutes * 60)
        except BenchError as error:
            course.failures.append(str(error))
        course.senders.finish()
        course.scene.keeper.stop()
        return {"seed": options.seed, "minutes": options.minutes, **judged(course)}


def main() -> int:
    options = options_of()
    try:
        found = measured(lambda: run_through(options))
    except (BenchError, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    give(options, "", found, lambda: print_figures(found))
    return 1 if found["failures"] else 0
