#!/usr/bin/env python3
"""What --patience adds to a packet: the same ones without it, with it, and for networks, in one process, in turn.

    python benchmarks/patience.py [--hosts N] [--packets N] [--repeat N] [--json]

`known`: hosts that are let in. `again`: SYNs of hosts that wait, sent again. `attempt`: new attempts of these, before
TIME is over. `flood`: each packet from another host, which nobody knows. IPv4; nanoseconds a packet.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import random
from array import array

from benchmarks.command import give, measured, parser, positive
from benchmarks.engine import MAX_REFUSED
from benchmarks.report import median, show
from mxallowd._fastpath import Fastpath
from mxallowd.captures._capture import CANDIDATE_SIZE
from mxallowd.captures._replay import replay
from mxallowd.engine._patience import Patience
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table

MAPPED = bytes(10) + b"\xff\xff"
FAKE, REAL = MAPPED + bytes((192, 0, 2, 10)), MAPPED + bytes((192, 0, 2, 20))
MODES = ("off", "patience", "patience-network")
KINDS = ("known", "again", "attempt", "flood")
KNOWN_HOSTS, FLOODS, SEED = 2000, 6, 16


def packet(source: bytes, destination: bytes, port: int) -> bytes:
    """A SYN as a capture hands it over."""
    head = (b"\x45\0\0\x28" + bytes(5) + b"\6" + bytes(2) + source + destination[12:]
            + port.to_bytes(2, "big") + b"\0\x19" + bytes(8) + b"\x50\2" + bytes(6))
    return (bytes(8) + len(head).to_bytes(4, sys.byteorder) + head).ljust(CANDIDATE_SIZE, b"\0")


class Decision:
    """A decision with its memories."""

    def __init__(self, mode: str, events: int) -> None:
        table = Table(65_536)
        refused = Refused(MAX_REFUSED, 1, table)
        patience = Patience(MAX_REFUSED, 1, table) if mode != "off" else None
        rules = Rules([FAKE], [REAL], 28_800, {REAL: refused.number_of(REAL)}, patience=patience, patience_times=2,
                      patience_us=600_000_000, patience_networks=mode == "patience-network")
        self._ring = Ring(events, -1)
        self._path = Fastpath(table, self._ring, rules, refused=refused)
        self._events, self._now_us = events, 10**12

    def take(self, packets: bytes) -> float:
        """Nanoseconds a packet, the median of all batches; a tenth of a second passes."""
        # Fresh, as the kernel has just written them.
        times, _ = replay(self._path, bytes(bytearray(packets)), self._now_us)
        self._now_us += 100_000
        self._ring.drain(self._events)
        return median([float(one) for one in array("I", times)]) / 64


def made(arguments: argparse.Namespace) -> dict[str, list[bytes]]:
    """The packets of each kind."""
    dice = random.Random(SEED)
    count = -(-arguments.packets // 64) * 64

    def host() -> bytes:
        return bytes((16 + dice.randrange(16), *dice.randbytes(3)))

    known, waiting = [host() for _ in range(KNOWN_HOSTS)], [host() for _ in range(arguments.hosts)]
    return {
        "met": [b"".join(packet(one, FAKE, 1000) for one in known)],
        "known": [b"".join(packet(dice.choice(known), REAL, 1000) for _ in range(count))],
        "again": [b"".join(packet(dice.choice(waiting), REAL, 1000) for _ in range(count))],
        "attempt": [b"".join(packet(dice.choice(waiting), REAL, port) for _ in range(count)) for port in (7, 8, 9)],
        "flood": [b"".join(packet(host(), REAL, dice.randrange(65536)) for _ in range(count)) for _ in range(FLOODS)]}


def measure(arguments: argparse.Namespace) -> list[dict[str, str | float]]:
    """A row for each kind of packet."""
    packets = made(arguments)
    found: dict[tuple[str, str], list[float]] = {}
    for kinds in (KINDS[:3], KINDS[3:]):
        # A flood has memories of its own: it would push out the others.
        paths = {mode: Decision(mode, 1 << 18) for mode in MODES}
        for path in paths.values():
            for kind in ("met", *kinds):
                for some in packets[kind]:
                    path.take(some)
        for number in range(arguments.repeat):
            for kind in kinds:
                for mode, path in paths.items():
                    one = packets[kind][number % len(packets[kind])]
                    found.setdefault((kind, mode), []).append(path.take(one))
    return [{"packet": kind, **{mode: median(found[kind, mode]) for mode in MODES}} for kind in KINDS]


def main() -> int:
    """Run the command."""
    options = parser(__doc__, repeat=60)
    options.add_argument("--hosts", type=positive, default=50_000, help="that wait (default: %(default)s)")
    options.add_argument("--packets", type=positive, default=32_768, help="in each run (default: %(default)s)")
    arguments = options.parse_args()
    rows = measured(lambda: measure(arguments), hosts=False)
    return give(arguments, "hosts packets repeat", {"rows": rows}, lambda: show(
        f"ns a packet, medians of {arguments.repeat}", ["packet", *MODES],
        [[row["packet"], *(f"{row[mode]:.1f}" for mode in MODES)] for row in rows]))
