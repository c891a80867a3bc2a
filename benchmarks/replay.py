#!/usr/bin/env python3
"""How fast mxallowd decides: the connection attempts of a capture through the very code that the daemon runs.

    python benchmarks/replay.py capture.pcap [-f FAKE ...] [-r REAL ...] [-t SECONDS] [--entries N] [--repeat N]

Taken are the packets that the firewall rule would have queued: TCP, SYN without ACK, RST and FIN, to port 25 or --port.
The clock of the capture drives expiry. Reading the file and deciding are timed apart: packets/s is deciding alone. The
file may be compressed with gzip; - is standard input, which can be read once.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from ipaddress import IPv6Address
from time import perf_counter_ns

from benchmarks import command
from benchmarks.engine import BATCH, Engine
from benchmarks.report import show, show_json
from mxallowd.captures._capture import CANDIDATE_SIZE, count_destinations
from mxallowd.captures.files import STANDARD_INPUT, CaptureDamage, CaptureError, read
from mxallowd.captures.filters import destination_port
from mxallowd.engine._table import MAX_ENTRIES_LIMIT
from mxallowd.settings.options import BY_NAME
from mxallowd.settings.values import Address, address, number
from mxallowd.text import printable, quoted

BATCH_BYTES = BATCH * CANDIDATE_SIZE
PLOT_SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


@dataclass
class Result:
    """What a replay came to; counts are those of one pass, times those of all."""

    packets: int = 0  # records read
    candidates: int = 0  # would be queued
    fake: int = 0  # candidates to a fake server
    accept: int = 0  # candidates to a real server, accepted
    drop: int = 0  # candidates to a real server, dropped
    other: int = 0  # candidates to neither
    malformed: int = 0  # records of which it cannot be told
    whitelisted: int = 0  # entries at the end, those of --entries among them
    seconds: float = 0  # deciding
    pps: float = 0
    ns_per_packet: float = 0  # median over batches
    ns_per_packet_p99: float = 0
    reading_seconds: float = 0
    repeat: int = 0


@dataclass(frozen=True)
class Plan:
    """What is replayed, and how."""

    path: Path
    port: int
    fake: tuple[Address, ...]
    real: tuple[Address, ...]
    lifetime_s: int
    max_entries: int


@contextmanager
def progress(path: Path, text: str) -> Iterator[Callable[[int], object]]:
    """What is told of bytes that were read; it shows a bar on long files, where somebody looks and tqdm is there."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda _: None
        return
    size = path.stat().st_size if path.is_file() else 0
    with tqdm(total=size, desc=text, unit="B", unit_scale=True, delay=1, leave=False, disable=None) as bar:
        yield bar.update


def two_most_frequent(path: Path, port: int) -> list[Address]:
    """The destinations of most candidates. What is damaged ends the count; the replay will tell."""
    counts: dict[bytes, int] = {}
    with progress(path, "looking for the servers") as advance:
        try:
            for chunk in read(path, lambda _: destination_port(port)):
                count_destinations(chunk.candidates, counts)
                advance(chunk.file_bytes)
        except CaptureDamage:
            pass
    ranked = sorted(counts, key=lambda server: (-counts[server], server))
    return [mapped.ipv4_mapped or mapped for mapped in map(IPv6Address, ranked[:2])]


def replay_once(plan: Plan, entries: int, result: Result, batch_ns: "array[int]") -> CaptureDamage | None:
    """One pass with a fresh table. Times are added to the result, counts set. The damage, where there is some."""
    engine = Engine(plan.fake, plan.real, plan.lifetime_s, plan.max_entries, entries)
    records = malformed = 0
    waiting = bytearray()
    damage = None
    started = perf_counter_ns()
    with progress(plan.path, "replay") as advance:
        try:
            for chunk in read(plan.path, lambda _: destination_port(plan.port)):
                waiting += chunk.candidates
                # Full batches only: candidates may be few among the records of a capture.
                ready = len(waiting) // BATCH_BYTES * BATCH_BYTES
                if ready:
                    batch_ns.fromlist(engine.decide(bytes(waiting[:ready])).tolist())
                    del waiting[:ready]
                records += chunk.records
                malformed += chunk.malformed
                advance(chunk.file_bytes)
        except CaptureDamage as error:
            damage = error
    if waiting:
        [taken] = engine.decide(bytes(waiting))
        if not batch_ns:
            # All there is: what a full batch would have taken at the same time a packet.
            batch_ns.append(taken * BATCH * CANDIDATE_SIZE // len(waiting))
    seconds = (perf_counter_ns() - started) / 1e9
    counts = engine.outcomes()
    result.packets, result.malformed = records, malformed
    result.candidates = sum(counts.values())
    result.fake = counts["fake-new"] + counts["fake-known"] + counts["fake-no-host"]
    result.accept = counts["real-first"] + counts["real-again"]
    result.drop = counts["real-refused"]
    result.other = counts["other"]
    result.whitelisted = engine.entries()
    result.seconds += engine.deciding_ns / 1e9
    result.reading_seconds += seconds - engine.deciding_ns / 1e9
    result.repeat += 1
    return damage


def measure(plan: Plan, entries: int, repeat: int) -> tuple[Result, CaptureDamage | None]:
    """Replay `repeat` times."""
    result, batch_ns = Result(), array("Q")
    damage = None
    for _ in range(repeat):
        damage = replay_once(plan, entries, result, batch_ns)
    if batch_ns:
        ranked = sorted(batch_ns)
        result.pps = result.candidates * repeat / result.seconds
        result.ns_per_packet = ranked[len(ranked) // 2] / BATCH
        result.ns_per_packet_p99 = ranked[len(ranked) * 99 // 100] / BATCH
    return result, damage


def plot(plan: Plan, target: Path, repeat: int) -> None:
    """A picture of packets/s over the size of the whitelist."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    spare = plan.max_entries
    sizes = [size for size in PLOT_SIZES if size + spare <= MAX_ENTRIES_LIMIT] or [0]
    rates = []
    for size in sizes:
        sized = Plan(plan.path, plan.port, plan.fake, plan.real, plan.lifetime_s, spare + size)
        rates.append(measure(sized, size, repeat)[0].pps / 1e6)
    figure, axes = pyplot.subplots(figsize=(8, 5))
    axes.semilogx(sizes, rates, marker="o")
    axes.set_title(f"Decisions of {printable(plan.path.name)}", parse_math=False)
    axes.set(xlabel="other hosts in the whitelist",
             ylabel="million packets/s", ylim=(0, None))
    axes.grid(visible=True, which="both", alpha=0.3)
    figure.tight_layout()
    figure.savefig(target)
    pyplot.close(figure)


def as_type(convert: Callable[[str], object]) -> Callable[[str], object]:
    """A converter of the daemon's table of options for argparse."""
    def converted(text: str) -> object:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{quoted(text)} {error}") from None
    return converted


def picture(text: str) -> Path:
    """A file that can be drawn; said before anything is measured."""
    path = Path(text)
    if path.suffix != ".png":
        raise argparse.ArgumentTypeError(f"{quoted(text)} does not end in .png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{quoted(text)}: there is no such directory")
    return path


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__, json_help="print one JSON object in place of the table")
    made.add_argument("capture", type=Path, metavar="CAPTURE", help="pcap, nanosecond pcap or pcapng file")
    made.add_argument("-f", "--fake-mailserver", type=as_type(address), action="append", default=[], metavar="ADDRESS",
                      help="fake server, may be repeated; default: the second most frequent destination")
    made.add_argument("-r", "--real-mailserver", type=as_type(address), action="append", default=[], metavar="ADDRESS",
                      help="real server, may be repeated; default: the most frequent destination")
    time = BY_NAME["whitelist-time"]
    made.add_argument("-t", "--whitelist-time", type=as_type(time.convert), default=time.default, metavar="SECONDS",
                      help="lifetime of an entry in the capture's time (default: %(default)s)")
    made.add_argument("--port", type=as_type(number(1, 65535)), default=25, help="destination port (default: 25)")
    made.add_argument("--entries", type=as_type(number(0, 50_000_000)), default=0, metavar="N",
                      help="other hosts that are in the whitelist at the start (default: 0)")
    bound = BY_NAME["max-entries"]
    made.add_argument("--max-entries", type=as_type(bound.convert), default=bound.default, metavar="N",
                      help="room in the whitelist beside those of --entries (default: %(default)s)")
    made.add_argument("--repeat", type=as_type(number(1, 10_000)), default=1, metavar="N",
                      help="replay so often, each time with a fresh whitelist (default: 1)")
    made.add_argument("--plot", type=picture, metavar="FILE.png", help="draw packets/s over the size of the whitelist")
    return made


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan of the command line; servers that were not given are taken from the capture. Raises CaptureError."""
    fake, real = arguments.fake_mailserver, arguments.real_mailserver
    if arguments.capture == STANDARD_INPUT and (arguments.repeat > 1 or arguments.plot or not (fake or real)):
        raise CaptureError("standard input can be read once: give -f and -r, and neither --repeat nor --plot")
    if not fake and not real:
        found = two_most_frequent(arguments.capture, arguments.port)
        real, fake = found[:1], found[1:]
        names = [f"the most frequent destination, {real[0]}, as the real server" if real else "",
                 f"the second, {fake[0]}, as the fake one" if fake else "no fake one: there is no second destination"]
        if real:
            print(f"taken {' and '.join(names)} (-r and -f choose others)", file=sys.stderr)
    both = set(fake) & set(real)
    if both:
        raise CaptureError(f"{both.pop()} is both fake and real")
    room = min(arguments.entries + arguments.max_entries, MAX_ENTRIES_LIMIT)
    return Plan(arguments.capture, arguments.port, tuple(fake), tuple(real), arguments.whitelist_time, room)


def rows_of(result: Result) -> list[tuple[str, object]]:
    return [
        ("records read", result.packets), ("candidates (would be queued)", result.candidates),
        ("met a fake server", result.fake), ("real server: accepted", result.accept),
        ("real server: dropped", result.drop), ("neither server", result.other),
        ("malformed records", result.malformed), ("whitelist entries at the end", result.whitelisted),
        ("reading, seconds", f"{result.reading_seconds:.3f}"), ("deciding, seconds", f"{result.seconds:.3f}"),
        ("packets/s", f"{result.pps:,.0f}"),
        ("ns a packet, median of batches", f"{result.ns_per_packet:.1f}"),
        ("ns a packet, 99th percentile", f"{result.ns_per_packet_p99:.1f}"),
    ]


def main() -> int:
    arguments = parser().parse_args()
    if arguments.plot:
        # What draws may be missing, which is better said now than when all is measured.
        import_module("matplotlib")
    try:
        plan = plan_of(arguments)
        result, damage = measure(plan, arguments.entries, arguments.repeat)
        if arguments.plot:
            plot(plan, arguments.plot, arguments.repeat)
    except (CaptureError, MemoryError, OSError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        show_json({**asdict(result), "real": [*map(str, plan.real)], "fake_servers": [*map(str, plan.fake)],
                   "entries": arguments.entries})
    else:
        names = [", ".join(map(str, servers)) or "none" for servers in (plan.real, plan.fake)]
        show(f"{printable(str(plan.path))}: real {names[0]}; fake {names[1]}", ("", ""), rows_of(result))
    if result.packets and not result.candidates:
        print(f"replay: none of the {result.packets:,} records is a SYN to port {plan.port}", file=sys.stderr)
    if damage is None and result.packets == 0:
        damage = CaptureDamage(f"{quoted(str(plan.path))} is empty: it holds no record")
    if damage:
        print(f"replay: {damage}; reported is what came before", file=sys.stderr)
        return 1
    return 0
