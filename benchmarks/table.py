#!/usr/bin/env python3
"""The whitelist alone: lookups, insertions and expiry from ten to ten million entries, and what an entry takes.

    python benchmarks/table.py [--entries N,N,...] [--lookups N] [--repeat N] [--json]

Beside it stand a dict of Python with 16-byte keys, and the C hash table of peers/decide.c, which neither bounds itself
nor knows an order of age. A lookup here is that of a packet at the real server, so it counts the whole decision; that
of dict is `key in dict` in a loop of Python.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import ctypes
import random
import struct
import subprocess
from collections.abc import Iterable
from ipaddress import ip_address
from time import perf_counter_ns

from benchmarks.command import give, measured, parser, positive, sizes
from benchmarks.engine import Engine
from benchmarks.peers import compiled
from benchmarks.report import median, show
from benchmarks.workload import FAKE4, REAL4, syn
from mxallowd.captures._capture import CANDIDATE_SIZE, HEAD

LIFETIME_S = 3600
CHUNK = 4096
LARGEST_DICT = 1_000_000  # ten million take Python a gigabyte and a half


def candidates(numbers: Iterable[int], destination: bytes, time_us: int) -> list[bytes]:
    """SYNs of the hosts 10.0.0.0 + number, in chunks, as _capture gives them."""
    packets, chunks = [], []
    for number in numbers:
        head = syn((0x0a000000 + number).to_bytes(4, "big"), destination)
        packets.append(struct.pack("=QI", time_us, len(head)) + head.ljust(HEAD, b"\0"))
        if len(packets) == CHUNK:
            chunks.append(b"".join(packets))
            packets.clear()
    return [*chunks, b"".join(packets)] if packets else chunks


def decide_all(engine: Engine, chunks: Iterable[bytes]) -> tuple[float, int]:
    """Nanoseconds a packet, and their number."""
    before = engine.deciding_ns
    packets = 0
    for chunk in chunks:
        engine.decide(chunk)
        packets += len(chunk) // CANDIDATE_SIZE
    return (engine.deciding_ns - before) / packets, packets


def measure_ours(entries: int, lookups: list[int]) -> dict[str, float]:
    """Insert, look up and expire; nanoseconds each, and the resident bytes an entry takes in a process of its own."""
    engine = Engine([ip_address(FAKE4)], [ip_address(REAL4)], LIFETIME_S, max(entries, 64))
    # At most a million packets at a time: they are of no interest, and ten million take a gigabyte.
    inserted = 0
    insert_ns = 0.0
    for first in range(0, entries, 1_000_000):
        numbers = range(first, min(first + 1_000_000, entries))
        taken, count = decide_all(engine, candidates(numbers, FAKE4, 0))
        insert_ns += taken * count
        inserted += count
    hits, _ = decide_all(engine, candidates(lookups, REAL4, 1))
    misses, _ = decide_all(engine, candidates((number + entries for number in lookups), REAL4, 1))
    if len(engine.table) != entries:
        raise RuntimeError(f"{len(engine.table)} of {entries} entries are there")
    # A sweep takes all expired entries away, as SIGUSR1 does; in a batch, two for each packet go.
    started = perf_counter_ns()
    engine.table.sweep(LIFETIME_S * 1_000_000 * 2)
    expire = (perf_counter_ns() - started) / entries
    return {"insert_ns": insert_ns / inserted, "hit_ns": hits, "miss_ns": misses, "expire_ns": expire}


def measure_dict(entries: int, lookups: list[int]) -> dict[str, float]:
    """The same of a dict."""
    keys = [bytes(10) + b"\xff\xff" + (0x0a000000 + number).to_bytes(4, "big") for number in range(entries)]
    asked = [bytes(10) + b"\xff\xff" + (0x0a000000 + number).to_bytes(4, "big") for number in lookups]
    absent = [bytes(10) + b"\xff\xff" + (0x0a000000 + number + entries).to_bytes(4, "big") for number in lookups]
    known: dict[bytes, int] = {}
    started = perf_counter_ns()
    for key in keys:
        known[key] = 0
    times = [perf_counter_ns() - started]
    for wanted in (asked, absent):
        started = perf_counter_ns()
        found = 0
        for key in wanted:
            found += key in known
        times.append(perf_counter_ns() - started)
    started = perf_counter_ns()
    for key in keys:
        del known[key]
    times.append(perf_counter_ns() - started)
    names = ("insert_ns", "hit_ns", "miss_ns", "expire_ns")
    counts = (entries, len(lookups), len(lookups), entries)
    return {name: taken / count for name, taken, count in zip(names, times, counts, strict=True)}


def measure_c(entries: int, lookups: list[int]) -> dict[str, float]:
    """The same of the hash table in C, by packets like ours; it has no expiry."""
    library = ctypes.CDLL(str(compiled("decide.c", "-shared", "-fPIC")))
    library.gateway_new.restype = ctypes.c_void_p
    library.gateway_decide.restype = ctypes.c_uint64
    gateway = ctypes.c_void_p(library.gateway_new(
        ctypes.c_uint64(entries), ctypes.c_uint64(LIFETIME_S * 1_000_000)))
    for server, fake in ((FAKE4, 1), (REAL4, 0)):
        library.gateway_server(gateway, bytes(10) + b"\xff\xff" + server, fake)

    def decide(chunks: Iterable[bytes]) -> tuple[int, int]:
        taken = packets = 0
        for chunk in chunks:
            count = len(chunk) // CANDIDATE_SIZE
            taken += library.gateway_decide(gateway, chunk, ctypes.c_uint64(count))
            packets += count
        return taken, packets

    insert_ns = 0
    for first in range(0, entries, 1_000_000):
        insert_ns += decide(candidates(range(first, min(first + 1_000_000, entries)), FAKE4, 0))[0]
    hits = decide(candidates(lookups, REAL4, 1))
    misses = decide(candidates((number + entries for number in lookups), REAL4, 1))
    library.gateway_free(gateway)
    return {"insert_ns": insert_ns / entries, "hit_ns": hits[0] / hits[1], "miss_ns": misses[0] / misses[1]}


RESIDENT = """
import sys
from mxallowd.captures._replay import preload
from mxallowd.engine._table import LATEST_US, Table
entries = int(sys.argv[1])
table = Table(max(entries, 64))
preload(table, entries, LATEST_US, 0)
with open("/proc/self/status", encoding="ascii") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")))
"""


def resident_kib(entries: int) -> int:
    """Resident memory of a process with a table that holds so many entries."""
    done = subprocess.run([sys.executable, "-P", "-c", RESIDENT, str(entries)], capture_output=True, text=True,
                          check=True)
    return int(done.stdout)


def measure(entries: int, lookups: int, repeat: int) -> dict[str, float]:
    """One row: medians of each, in turn."""
    choose = random.Random(entries)
    numbers = [choose.randrange(entries) for _ in range(lookups)]
    runs: dict[str, list[dict[str, float]]] = {"mxallowd": [], "C": [], "dict": []}
    for _ in range(repeat):
        runs["mxallowd"].append(measure_ours(entries, numbers))
        runs["C"].append(measure_c(entries, numbers))
        if entries <= LARGEST_DICT:
            runs["dict"].append(measure_dict(entries, numbers))
    row: dict[str, float] = {"entries": entries}
    for name, taken in runs.items():
        if taken:
            row |= {f"{name}_{what}": median([one[what] for one in taken]) for what in taken[0]}
    row["resident_kib"] = resident_kib(entries)
    row["bytes_per_entry"] = (row["resident_kib"] - resident_kib(64)) * 1024 / entries if entries > 10_000 else 0
    return row


def options_of() -> argparse.Namespace:
    made = parser(__doc__, repeat=5)
    made.add_argument("--entries", type=sizes, default="10,1000,100000,1000000,10000000", help="default: %(default)s")
    made.add_argument("--lookups", type=positive, default=500_000, help="of each kind (default: %(default)s)")
    return made.parse_args()


def print_figures(rows: list[dict[str, float]], repeat: int) -> None:
    """A table for each kind of access, and that of the memory."""
    for what in ("hit", "miss", "insert", "expire"):
        names = [name for name in ("mxallowd", "C", "dict") if any(f"{name}_{what}_ns" in row for row in rows)]
        show(f"{what}: ns each, medians of {repeat}", ["entries", *names],
             [[int(row["entries"]), *(f"{row[f'{name}_{what}_ns']:,.1f}" if f"{name}_{what}_ns" in row else "-"
                                      for name in names)] for row in rows])
    show("memory", ["entries", "resident MiB", "bytes an entry"],
         [[int(row["entries"]), f"{row['resident_kib'] / 1024:,.1f}",
           f"{row['bytes_per_entry']:.1f}" if row["bytes_per_entry"] else "-"] for row in rows])


def main() -> int:
    options = options_of()
    rows = measured(
        lambda: [measure(entries, options.lookups, options.repeat) for entries in options.entries], hosts=False)
    return give(options, "lookups repeat", {"rows": rows}, lambda: print_figures(rows, options.repeat))
