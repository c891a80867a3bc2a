#!/usr/bin/env python3
"""What the lists add to a decision: the same packets with and without networks, in one process, in turn.

    python benchmarks/networks.py [--networks N] [--packets N] [--repeat N] [--json]

Seven of ten networks are IPv4, with lengths as block lists have them, in clusters; one source of two is in a network.
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
from collections.abc import Sequence

from benchmarks.command import give, measured, parser, positive
from benchmarks.report import median, say
from mxallowd._fastpath import Fastpath
from mxallowd.captures._capture import CANDIDATE_SIZE
from mxallowd.captures._replay import replay
from mxallowd.engine._networks import Networks
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.lists.composition import record_of

MAPPED = bytes(10) + b"\xff\xff"
FAKE, REAL = [MAPPED + bytes((192, 0, 2, 3)), b"\x20\1\x0d\xb8" + bytes(11) + b"\3"], [
    MAPPED + bytes((192, 0, 2, 5)), b"\x20\1\x0d\xb8" + bytes(11) + b"\5"]
LENGTHS4 = (32,) * 40 + (24,) * 30 + (22, 23) * 5 + (16, 18, 20, 28) * 5
LENGTHS6 = (32, 40, 44, 48, 48, 48, 56, 64, 64, 128)
PART4 = 7  # of ten
SEED = 15


def made(count: int, dice: random.Random) -> tuple[bytes, list[bytes]]:
    """Records of so many networks, and an address in each."""
    clusters4 = [dice.getrandbits(16) << 16 for _ in range(2000)]
    clusters6 = [0x2A << 120 | dice.getrandbits(19) << 101 for _ in range(1000)]
    records, inside = bytearray(), []
    for number in range(count):
        if number % 10 < PART4:
            length, bits, address = dice.choice(LENGTHS4), 32, dice.choice(clusters4) | dice.getrandbits(16)
        else:
            length, bits, address = dice.choice(LENGTHS6), 128, dice.choice(clusters6) | dice.getrandbits(101)
        address = address >> (bits - length) << (bits - length)
        records += record_of(address.to_bytes(bits // 8, "big"), length, dice.choice(("allow", "deny")))
        host = (address | dice.getrandbits(bits - length) if length < bits else address).to_bytes(bits // 8, "big")
        inside.append(host if bits == 128 else MAPPED + host)
    return bytes(records), inside


def packets(sources: Sequence[bytes], dice: random.Random, count: int) -> bytes:
    """Candidates: SYNs to the real server, one source of two out of `sources`, few of them often."""
    out = bytearray()
    for number in range(count):
        source = sources[int(len(sources) * dice.random() ** 3)] if number % 2 else MAPPED + dice.randbytes(4)
        tcp = b"\xc0\0\0\x19" + bytes(8) + b"\x50\2" + bytes(6)
        if source.startswith(MAPPED):
            head = b"\x45\0\0\x28" + bytes(5) + b"\6" + bytes(2) + source[12:] + REAL[0][12:] + tcp
        else:
            head = b"\x60" + bytes(3) + b"\0\x14\6\x40" + source + REAL[1] + tcp
        candidate = (number // 1000).to_bytes(8, sys.byteorder) + len(head).to_bytes(4, sys.byteorder) + head
        out += candidate.ljust(CANDIDATE_SIZE, b"\0")
    return bytes(out)


def deciding_ns(candidates: bytes, networks: Networks | None) -> float:
    """Nanoseconds a packet."""
    table = Table(100_000)
    memories = [Refused(262_144, 1, table), Refused(16_384, 1, table)]
    ring = Ring(8192, -1)
    path = Fastpath(table, ring, Rules(FAKE, REAL, 3600, networks=networks), refused=memories[0], listed=memories[1])
    times, _ = replay(path, candidates)
    return sum(memoryview(times).cast("I")) / (len(candidates) // CANDIDATE_SIZE)


def look_up_ns(networks: Networks, addresses: bytes) -> float:
    """Nanoseconds a look-up, in batches as the packet path makes them."""
    begun = time.perf_counter_ns()
    networks.look_up(addresses)
    return (time.perf_counter_ns() - begun) / (len(addresses) // 16)


def main() -> int:
    """Run the command."""
    options = parser(__doc__, repeat=7)
    options.add_argument("--networks", type=positive, default=100_000, help="of both lists (default: %(default)s)")
    options.add_argument("--packets", type=positive, default=500_000, help="in each run (default: %(default)s)")
    arguments = options.parse_args()
    return give(arguments, "networks packets repeat", found := measured(lambda: measure(arguments), hosts=False),
                lambda: show(arguments.networks, found))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """All figures."""
    dice = random.Random(SEED)
    records, inside = made(arguments.networks, dice)
    begun = time.perf_counter()
    networks = Networks(records)
    build_ms = (time.perf_counter() - begun) * 1000
    dice.shuffle(inside)
    candidates = packets(inside, dice, arguments.packets)
    sources = b"".join(inside[int(len(inside) * dice.random() ** 3)] for _ in range(arguments.packets))
    without, with_lists, alone = [], [], []
    for _ in range(arguments.repeat):
        without.append(deciding_ns(bytes(bytearray(candidates)), None))
        with_lists.append(deciding_ns(bytes(bytearray(candidates)), networks))
        alone.append(look_up_ns(networks, sources))
    return {
        "without_ns": median(without), "with_ns": median(with_lists),
        "more_ns": median([one - other for one, other in zip(with_lists, without, strict=True)]),
        "ratio": median([one / other for one, other in zip(with_lists, without, strict=True)]),
        "look_up_ns": median(alone), "memory_mib": networks.memory() / (1 << 20), "build_ms": build_ms}


def show(networks: int, result: dict[str, float]) -> None:
    """Print them for people."""
    say(f"{networks} networks, {result['memory_mib']:.1f} MiB, laid out in {result['build_ms']:.0f} ms")
    say(f"a decision: {result['without_ns']:.1f} ns without, {result['with_ns']:.1f} ns with them: "
        f"{result['more_ns']:+.1f} ns, ratio {result['ratio']:.2f}; a look-up alone {result['look_up_ns']:.1f} ns")
