#!/usr/bin/env python3
"""What --network-key costs a decision: the same packets without and with it, in one process, in turn.

    python benchmarks/neighbouring.py [--packets N] [--hosts N] [--networks N] [--repeat N] [--json]

`known`: hosts that are whitelisted and connect to the real server again. `refused`: hosts that are not, of networks
that no contact has let in, beside N networks that one has. `let in`: hosts of such networks, without an entry.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import random
import struct
from array import array
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from benchmarks import workload
from benchmarks.command import give, measured, parser, positive
from benchmarks.engine import MAX_REFUSED, RING_EVENTS, packed
from benchmarks.report import median, show
from mxallowd._fastpath import Fastpath
from mxallowd.captures._capture import CANDIDATE_SIZE
from mxallowd.captures._replay import preload, replay
from mxallowd.captures.files import CHUNK
from mxallowd.engine._meetings import Meetings
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import LATEST_US, Table

LIFETIME_S, ENTRIES, ROOM = 3600, 100_000, 1_000_000
FAKE, REAL = ([packed(ip_address(text)) for text in servers] for servers in (workload.FAKE, workload.REAL))
NOW_US = 1_000_000
OTHERS = 0x50000000  # networks of hosts that send nothing here


def candidates(hosts: Sequence[bytes]) -> list[bytes]:
    """A SYN of each at the real server, as a capture gives them."""
    packets = (workload.syn(host, workload.REAL4 if len(host) == 4 else workload.REAL6) for host in hosts)
    rows = [struct.pack("=QI", NOW_US, len(packet)) + packet.ljust(CANDIDATE_SIZE - 12, b"\0") for packet in packets]
    return [b"".join(rows[at : at + CHUNK]) for at in range(0, len(rows), CHUNK)]


class Decision:
    """The decision with its memories."""

    def __init__(self, hosts: Sequence[bytes], kind: str, networks: int, *, key: bool) -> None:
        self.table = Table(ROOM)
        preload(self.table, ENTRIES, LATEST_US, 0)
        mapped = [host if len(host) == 16 else bytes(10) + b"\xff\xff" + host for host in hosts]
        for host in mapped if kind == "known" else ():
            self.table.add(host, LATEST_US, 0)
            self.table.mark_used(host, 0)
        self.ring = Ring(RING_EVENTS, -1)
        refused, listed = (Refused(MAX_REFUSED, 1, self.table) for _ in range(2))
        meetings = Meetings(ROOM, 24, 64) if key else None
        if meetings:
            others = (bytes(10) + b"\xff\xff" + struct.pack("!I", OTHERS + 256 * number) for number in range(networks))
            for host in (*others, *(mapped if kind == "let in" else ())):
                meetings.note(host, LATEST_US, 0)
        rules = Rules(FAKE, REAL, LIFETIME_S, {server: refused.number_of(server) for server in REAL},
                      meetings=meetings)
        self.fastpath = Fastpath(self.table, self.ring, rules, refused=refused, listed=listed)

    def run(self, chunks: Sequence[bytes]) -> "array[int]":
        """Nanoseconds of each batch."""
        taken, last_us = array("I"), 0
        for chunk in chunks:
            # A daemon finds its packets in the cache, where the kernel wrote.
            times, last_us = replay(self.fastpath, bytes(bytearray(chunk)), last_us, since_us=NOW_US)
            taken.frombytes(times)
            self.ring.drain(RING_EVENTS)
        return taken


def compare(kind: str, options: Any) -> dict[str, object]:
    """One row: ns a packet without and with, medians of all turns, and with each batch in its best turn.

    The latter is what a quiet machine would say: no other process disturbs the same batch in every turn.
    """
    everybody = [workload._host(number) for number in range(options.hosts)]
    choose = random.Random(1)
    chunks = candidates([choose.choice(everybody) for _ in range(options.packets)])
    paths = [Decision(everybody, kind, options.networks, key=key) for key in (False, True)]
    times: tuple[list[float], list[float]] = ([], [])
    best: list[array[int]] = [array("I"), array("I")]
    for turn in range(options.repeat + 1):
        for which in ((0, 1), (1, 0))[turn % 2]:
            taken = paths[which].run(chunks)
            # The first turn fills the caches and the memory of refused hosts.
            if turn:
                times[which].append(sum(taken) / options.packets)
                best[which] = array("I", map(min, best[which], taken)) if turn > 1 else taken
    decided = paths[1].fastpath.counters()
    expected = {"known": "real-again", "refused": "real-refused", "let in": "real-network"}[kind]
    # Of so many networks, a few find their line full.
    if decided[expected] < 0.99 * options.packets * (options.repeat + 1):
        raise RuntimeError(f"not all packets of {kind} were {expected}")
    off_ns, on_ns = (sum(one) / options.packets for one in best)
    return {"packets": kind, "median_off_ns": median(times[0]), "median_on_ns": median(times[1]), "off_ns": off_ns,
            "on_ns": on_ns, "more_ns": on_ns - off_ns}


def main() -> int:
    made = parser(__doc__, repeat=25)
    made.add_argument("--packets", type=positive, default=200_000, help="default: %(default)s")
    made.add_argument("--hosts", type=positive, default=200_000, help="sources of the packets (default: %(default)s)")
    made.add_argument("--networks", type=positive, default=100_000, help="that are let in (default: %(default)s)")
    options = made.parse_args()
    rows = measured(lambda: [compare(kind, options) for kind in ("known", "refused", "let in")], hosts=False)
    return give(options, "packets hosts networks repeat", {"rows": rows}, lambda: show(
        f"{options.packets:,} packets of {options.hosts:,} hosts, {options.networks:,} networks let in, ns a packet",
        ["packets", "median off", "median on", "best turns off", "best turns on", "on - off"],
        [[row["packets"], *(f"{row[key]:.1f}" for key in (
            "median_off_ns", "median_on_ns", "off_ns", "on_ns", "more_ns"))] for row in rows]))
