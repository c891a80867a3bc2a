#!/usr/bin/env python3
"""The decision of mxallowd beside others on the same packets, in one process, in turn.

    python benchmarks/decisions.py [--packets N] [--hosts N] [--entries N,N,...] [--repeat N] [--json]

Beside it stand C that does nothing but the same decision (peers/decide.c), a Python loop of dpkt and a set
(peers/dpkt_set.py), and a model of the linear list of mxallowd 1.9 (peers/linear.c). The slow ones get fewer packets.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import ctypes
import tempfile
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from benchmarks import workload
from benchmarks.command import give, measured, parser, positive, sizes
from benchmarks.engine import NEVER_US, Engine, packed
from benchmarks.peers import compiled, dpkt_set
from benchmarks.report import median, ratios, say, show
from mxallowd.captures._capture import CANDIDATE_SIZE
from mxallowd.captures.files import read
from mxallowd.captures.filters import destination_port

LIFETIME_S = 3600
DPKT_PACKETS, DPKT_ENTRIES = 100_000, 1_000_000
LINEAR_PACKETS, LINEAR_ENTRIES = 2_000, 100_000
FAKE, REAL = [ip_address(text) for text in workload.FAKE], [ip_address(text) for text in workload.REAL]


def fresh(chunks: Sequence[bytes]) -> Iterator[bytes]:
    """Each chunk copied just before it is decided: a daemon finds its packets in the cache, where the kernel wrote."""
    for chunk in chunks:
        yield bytes(bytearray(chunk))


def ours(chunks: Sequence[bytes], room: int, entries: int) -> tuple[float, int]:
    """Nanoseconds for all chunks, and packets dropped."""
    engine = Engine(FAKE, REAL, LIFETIME_S, room + entries, entries)
    for chunk in fresh(chunks):
        engine.decide(chunk)
    return engine.deciding_ns, engine.outcomes()["real-refused"]


class BestC:
    """peers/decide.c, with or without -DTAGS."""

    def __init__(self, *flags: str) -> None:
        self._library = ctypes.CDLL(str(compiled("decide.c", "-shared", "-fPIC", *flags)))
        for name, result in (("new", ctypes.c_void_p), ("decide", ctypes.c_uint64),
                             ("outcomes", ctypes.POINTER(ctypes.c_uint64))):
            getattr(self._library, f"gateway_{name}").restype = result

    def __call__(self, chunks: Sequence[bytes], room: int, entries: int) -> tuple[float, int]:
        """Nanoseconds for all chunks, and packets dropped."""
        gateway = ctypes.c_void_p(
            self._library.gateway_new(ctypes.c_uint64(room + entries), ctypes.c_uint64(LIFETIME_S * 1_000_000)))
        for servers, fake in ((FAKE, 1), (REAL, 0)):
            for server in servers:
                self._library.gateway_server(gateway, packed(server), fake)
        self._library.gateway_preload(gateway, ctypes.c_uint64(entries), ctypes.c_uint64(NEVER_US))
        taken = sum(
            self._library.gateway_decide(gateway, chunk, ctypes.c_uint64(len(chunk) // CANDIDATE_SIZE))
            for chunk in fresh(chunks))
        dropped = self._library.gateway_outcomes(gateway)[5]
        self._library.gateway_free(gateway)
        return taken, dropped


class Linear:
    """peers/linear.c."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(compiled("linear.c", "-shared", "-fPIC")))
        self._library.linear_decide.restype = ctypes.c_uint64

    def __call__(self, candidates: bytes, entries: int) -> tuple[float, int]:
        """Nanoseconds for all candidates, and packets dropped."""
        lists = [(ctypes.c_char_p * 3)(*(text.encode() for text in servers), None)
                 for servers in (workload.FAKE, workload.REAL)]
        dropped = ctypes.c_uint64()
        taken = self._library.linear_decide(
            *lists, ctypes.c_uint64(LIFETIME_S * 1_000_000), ctypes.c_uint64(entries), candidates,
            ctypes.c_uint64(len(candidates) // CANDIDATE_SIZE), ctypes.byref(dropped))
        return taken, dropped.value


def dpkt_loop(candidates: bytes, entries: int) -> tuple[float, int]:
    """Nanoseconds for all candidates, and packets dropped."""
    packets = [candidates[at + 12:at + 12 + int.from_bytes(candidates[at + 8:at + 12], sys.byteorder)]
               for at in range(0, len(candidates), CANDIDATE_SIZE)]
    known = {b"\1" + bytes(7) + number.to_bytes(8, "little") for number in range(entries)}
    taken, _, dropped = dpkt_set.decide(
        packets, {server.packed for server in FAKE}, {server.packed for server in REAL}, known)
    return taken, dropped


def compare(chunks: Sequence[bytes], entries: int, repeat: int, room: int) -> dict[str, float | int | None]:
    """One row: ns a packet of each, and the ratios. Each answer is held against ours."""
    plain_c, tagged_c, linear = BestC(), BestC("-DTAGS"), Linear()
    candidates = b"".join(chunks)
    few, fewer = candidates[:DPKT_PACKETS * CANDIDATE_SIZE], candidates[:LINEAR_PACKETS * CANDIDATE_SIZE]
    times: dict[str, list[float]] = {"mxallowd": [], "C": [], "dpkt": [], "linear": []}

    def note(name: str, part: bytes, answer: tuple[float, int], expected: int) -> None:
        if answer[1] != expected:
            raise RuntimeError(f"{name} dropped {answer[1]} packets, mxallowd {expected}")
        times[name].append(answer[0] / (len(part) // CANDIDATE_SIZE))

    for _ in range(repeat):
        answer = ours(chunks, room, entries)
        note("mxallowd", candidates, answer, answer[1])
        # The better of the two is the best C for this size.
        variants = [variant(chunks, room, entries) for variant in (plain_c, tagged_c)]
        for variant_answer in variants:
            if variant_answer[1] != answer[1]:
                raise RuntimeError(f"C dropped {variant_answer[1]} packets, mxallowd {answer[1]}")
        note("C", candidates, min(variants), answer[1])
        if entries <= DPKT_ENTRIES:
            note("dpkt", few, dpkt_loop(few, entries), ours([few], room, 0)[1])
        if entries <= LINEAR_ENTRIES:
            note("linear", fewer, linear(fewer, entries), ours([fewer], room, 0)[1])
    row: dict[str, float | int | None] = {"entries": entries}
    for name, taken in times.items():
        row[f"{name}_ns"] = median(taken) if taken else None
        if name != "mxallowd":
            row[f"{name}_ratio"] = ratios(taken, times["mxallowd"]) if taken else None
    return row


def options_of() -> argparse.Namespace:
    made = parser(__doc__, repeat=5)
    made.add_argument("--packets", type=positive, default=1_000_000, help="default: %(default)s")
    made.add_argument("--hosts", type=positive, default=200_000, help="sources of the packets (default: %(default)s)")
    made.add_argument("--entries", type=sizes, default="10,1000,100000,1000000,10000000",
                      help="other hosts in the whitelist (default: %(default)s)")
    return made.parse_args()


def measure(options: argparse.Namespace) -> list[dict[str, float | int | None]]:
    """A row for each size of the whitelist."""
    with tempfile.TemporaryDirectory() as directory:
        capture = Path(directory) / "attempts.pcap"
        workload.write_capture(capture, options.packets, options.hosts)
        chunks = [chunk.candidates for chunk in read(capture, lambda _: destination_port(25))]
    return [compare(chunks, entries, options.repeat, options.hosts) for entries in options.entries]


def main() -> int:
    options = options_of()
    rows = measured(lambda: measure(options), hosts=False)
    first, last = rows[0], rows[-1]
    growth = float(last["mxallowd_ns"] or 0) / float(first["mxallowd_ns"] or 1)

    def tables() -> None:
        headers = ["entries", "mxallowd ns", "C ns", "dpkt ns", "linear list ns", "C / mxallowd", "dpkt / mxallowd",
                   "linear list / mxallowd"]
        show(f"{options.packets:,} packets of {options.hosts:,} hosts, ns a packet, medians of {options.repeat}",
             headers, [[int(row["entries"] or 0), *(
                 "-" if row[key] is None else f"{row[key]:,.{2 if 'ratio' in key else 1}f}"
                 for key in ("mxallowd_ns", "C_ns", "dpkt_ns", "linear_ns", "C_ratio", "dpkt_ratio", "linear_ratio"))]
                 for row in rows])
        say(f"\nmxallowd with {last['entries']:,} entries takes {growth:.2f} times as long as with "
            f"{first['entries']:,}.")

    return give(options, "packets hosts repeat", {"rows": rows, "growth": growth}, tables)
