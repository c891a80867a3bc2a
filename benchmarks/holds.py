"""How long requests of the control socket hold the daemon's main loop: the longest of its steps, for each request.

    python benchmarks/holds.py [--entries 100000] [--networks 100000] [--by-hand 10000] [--repeat 3] [--json]

The daemon runs with so many entries, refused hosts, hosts of a trial, networks of files and networks that were added by
hand. Each step of its loop is timed: by the clock, which counts what else the machine does meanwhile, and by the time
that the main thread itself had a processor. The largest of each is told, with the time of the whole answer. As root.
"""
import http.client
import json
import mmap
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, natural, parser, run
from lab.hosts import FAKE4, REAL4, Lab

LINES = 2000
LONGEST = struct.Struct("=ddd")  # seconds: by the clock, of the main thread, of its collector of garbage
# The daemon, whose main loop times its steps.
TIMED = """
import asyncio.events, gc, mmap, os, struct, sys, threading, time

path, entries = sys.argv.pop(1), int(sys.argv.pop(1))
with open(path, "r+b") as file:
    shared = mmap.mmap(file.fileno(), 0)
LONGEST = struct.Struct("=ddd")
run = asyncio.events.Handle._run

def timed(self):
    begun, used = time.perf_counter(), time.thread_time()
    run(self)
    spent, used = time.perf_counter() - begun, time.thread_time() - used
    longest = LONGEST.unpack_from(shared)
    LONGEST.pack_into(shared, 0, max(spent, longest[0]), max(used, longest[1]), longest[2])

collecting = [0.0]

def collector(phase, info):
    if phase == "start":
        collecting[0] = time.thread_time()
    else:
        longest = LONGEST.unpack_from(shared)
        LONGEST.pack_into(shared, 0, *longest[:2], max(longest[2], time.thread_time() - collecting[0]))

gc.callbacks.append(collector)

asyncio.events.Handle._run = timed

from mxallowd import cli
from mxallowd.daemon import Daemon
from mxallowd.engine.events import MAPPED, Event, Kind

begin = Daemon._begin
"""
# What it is filled with before it serves.
FILLED = """
def filled(self):
    backend, now_us = self._backend, self._backend.clock_us()
    fake, real = MAPPED + bytes([192, 0, 2, 10]), MAPPED + bytes([192, 0, 2, 20])
    events = []
    for number in range(entries):
        then_us = max(1, now_us - 3_600_000_000 * (number % 24))  # so that all hours of the trial's memories fill
        listed, refused = (MAPPED + struct.pack("!I", first + 97 * number) for first in (0x0A000000, 0x5B000000))
        backend.table.admit(listed, now_us + 28_800_000_000, now_us)
        self._whitelist.provenance.note(listed, 1_000_000_000, "mail.example.org")
        self._trial.named(refused, f"mail{number}.example.org", True)
        for times in (1, 2):
            backend.refused.note(refused, 0, 1024 + times, now_us)
            backend.contacts.note(listed, 0, 1024 + times, now_us)
            events.append(Event(Kind.REFUSED, 0, 23, times, then_us, refused, real, 0))
        events.append(Event(Kind.WHITELISTED, 0, 23, 1024, then_us, listed, fake, now_us + 28_800_000_000))
        events += [Event(Kind.MET, 0, 23, times, then_us, listed, fake, 1025) for times in (1, 2, 3)]
    self._trial.handle(events)
    begin(self)
"""
STARTED = """
Daemon._begin = filled
sys.exit(cli.main())
"""
PAIRS = b'{"a":1},'


class Hold(NamedTuple):
    """What a request did to the main loop, in milliseconds."""

    request: str
    status: int
    clock_ms: float
    processor_ms: float
    collector_ms: float
    answer_ms: float


class Asked(NamedTuple):
    """A request that is measured."""

    name: str
    method: str
    target: str
    body: bytes | None = None


def requests() -> Iterator[Asked]:
    """All that can be asked, and bodies that are made to take long."""
    for target in ("/v1/status", "/v1/entries?limit=1", "/v1/entries", "/v1/entries?note=nowhere",
                   "/v1/entries?network=198.51.100.0/24", "/v1/entries/10.0.0.0", "/v1/counters", "/v1/log-level",
                   "/v1/doctor", "/v1/export", "/v1/lists", "/v1/lists/networks",
                   "/v1/lists/networks?limit=1000000", "/v1/lists/networks?note=nowhere",
                   "/v1/lists/networks?network=11.0.0.0/8&limit=1000000", "/v1/explain/10.0.0.0",
                   "/v1/explain/0.0.0.0/0", "/v1/explain/10.0.0.0/8", "/v1/top", "/v1/forecast?limit=1000",
                   "/v1/first-mx-only?limit=1000", "/v1/trust", "/v1/fleet", "/v1/openapi.json", "/metrics", "/healthz",
                   "/readyz", "/v1/series", "/v1/log?limit=2000", "/v1/log?level=error"):
        yield Asked(f"GET {target}", "GET", target)
    note = "\\u00e4" * 60
    entries = [{"address": f"100.64.{number >> 8}.{number & 255}", "note": note} for number in range(1000)]
    networks = [{"network": f"100.{64 + (number >> 8)}.{number & 255}.0/24", "verdict": "allow", "note": note}
                for number in range(1000)]
    yield _posted("1,000 addresses", "/v1/import", {"entries": entries})
    yield _posted("1,000 networks", "/v1/import", {"networks": networks})
    yield _posted("1,000 faults", "/v1/import", {"entries": [{"address": note}] * 1000})
    for name, body in (
            ("objects", b'{"entries":[' + (PAIRS * 65_000)[:-1] + b"]}"),
            ("an object of objects", b'{"entries":[{"a":[' + (PAIRS * 65_000)[:-1] + b"]}]}"),
            ("numbers", b'{"entries":[' + (b"1," * 260_000)[:-1] + b"]}"),
            ("lists", b"[" + (b"[]," * 170_000)[:-1] + b"]"),
            ("keys", b"{" + b",".join(b'"%d":1' % number for number in range(50_000)) + b"}"),
            ("one long text", b'{"entries":"' + b"\\\\u00e4" * 87_000 + b'"}'),
            ("brackets", b"[" * 520_000)):
        yield Asked(f"POST /v1/import of 512 KiB, {name}", "POST", "/v1/import", body)
        if name in ("objects", "lists"):
            yield Asked(f"POST /v1/entries of 512 KiB, {name}", "POST", "/v1/entries", body)
    yield _posted("a network", "/v1/entries", {"network": "198.51.100.0/24"})
    yield _posted("a network", "/v1/lists/deny", {"network": "198.51.100.0/25"})
    yield Asked("DELETE /v1/lists/deny", "DELETE", "/v1/lists/deny", b'{"network": "198.51.100.0/25"}')
    yield Asked("DELETE /v1/entries/198.51.100.0/24", "DELETE", "/v1/entries/198.51.100.0/24")
    findings = [{"check": "x", "state": "broken", "what": "\u00e4" * 250, "why": "z" * 100, "command": "w" * 100}] * 200
    yield Asked("PUT /v1/doctor/report", "PUT", "/v1/doctor/report", json.dumps({"findings": findings}).encode())
    yield Asked("GET /v1/doctor with that report", "GET", "/v1/doctor")
    yield Asked("PUT /v1/log-level", "PUT", "/v1/log-level", b'{"level": "info"}')
    yield Asked("POST /v1/trust/refresh", "POST", "/v1/trust/refresh")
    yield Asked("PUT /v1/doctor/report", "PUT", "/v1/doctor/report", json.dumps({"findings": [
        {"check": "rules", "state": "ok", "what": note * 4, "why": note * 4, "command": note * 4}] * 200}).encode())
    yield Asked("POST /v1/reload", "POST", "/v1/reload")


def _posted(what: str, target: str, body: object) -> Asked:
    return Asked(f"POST {target}, {what}", "POST", target, json.dumps(body).encode())


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        """Connect by the UNIX socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


class Filled:
    """A daemon with much in its tables."""

    def __init__(self, control: Path, shared: mmap.mmap) -> None:
        self.control = control
        self._shared = shared

    def ask(self, method: str, target: str, body: bytes | None = None) -> int:
        """The status of the answer, which is read to its end."""
        connection = _Connection(self.control)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def hold(self, asked: Asked, rest_s: float = 0.0) -> Hold:
        """Ask, and look how long the loop was held; `rest_s` is waited for what goes on behind the answer."""
        LONGEST.pack_into(self._shared, 0, 0.0, 0.0, 0.0)
        begun = time.perf_counter()
        status = self.ask(asked.method, asked.target, asked.body)
        taken = time.perf_counter() - begun
        time.sleep(rest_s)
        clock, processor, collector = LONGEST.unpack_from(self._shared)
        return Hold(asked.name, status, 1000 * clock, 1000 * processor, 1000 * collector, 1000 * taken)


@contextmanager
def filled(
    entries: int, networks: int, by_hand: int, filling: str = FILLED, room: int = 8,
) -> Iterator[Filled]:
    """One that serves; `filling` defines filled(), which has `entries`; there is `room` times their room."""
    with Lab() as lab, tempfile.TemporaryDirectory() as made:
        place = Path(made)
        (place / "state").mkdir()
        (place / "longest").write_bytes(bytes(LONGEST.size))
        for name, first, most in (("allow.list", 11 << 24, networks * 7 // 10),
                                  ("deny.list", 12 << 24, networks - networks * 7 // 10)):
            (place / name).write_text(_lines(f"{{}}/26 # {name}\n", first, 64, most), encoding="ascii")
        (place / "state" / "own.list").write_text(_lines("allow {}/24 # by hand\n", 13 << 24, 256, by_hand),
                                                  encoding="ascii")
        with (place / "longest").open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared, lab.gateway.popen(
                [sys.executable, "-P", "-c", TIMED + filling + STARTED, str(place / "longest"), str(entries), "-F",
                 "-s", "-q", "--user", "root", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23", "-b", "--allow",
                 str(place / "allow.list"), "--deny", str(place / "deny.list"), "--max-entries",
                 str(max(1_000_000, room * entries)), "--max-refused", str(max(1_000_000, room * entries)), "--control",
                 str(place / "control"), "--state-dir", str(place / "state")],
                stdout=subprocess.DEVNULL) as daemon:
            try:
                found = Filled(place / "control", shared)
                deadline = time.monotonic() + 120
                while True:
                    try:
                        if found.ask("GET", "/readyz") == 200:
                            break
                    except OSError:
                        pass
                    if daemon.poll() is not None or time.monotonic() > deadline:
                        raise BenchError("the daemon did not start")
                    time.sleep(0.1)
                # So that the last lines of the log are as many as can be.
                for _ in range(LINES):
                    found.ask("PUT", "/v1/log-level", b'{"level": "error"}')
                time.sleep(1)
                yield found
            finally:
                daemon.terminate()
                daemon.wait(30)


def _lines(form: str, first: int, step: int, count: int) -> str:
    return "".join(form.format(socket.inet_ntoa(struct.pack("!I", first + step * number))) for number in range(count))


def measure(entries: int, networks: int, by_hand: int, repeat: int) -> list[Hold]:
    """The holds of all requests, medians of so many times each."""
    with filled(entries, networks, by_hand) as daemon:
        found = []
        for asked in requests():
            times = [daemon.hold(asked, 0.5 if asked.target == "/v1/reload" else 0.0) for _ in range(repeat)]
            found.append(Hold(asked.name, times[0].status, *(
                statistics.median(column) for column in zip(*(one[2:] for one in times), strict=True))))
        return found


def show(holds: Sequence[Hold]) -> None:
    """Print them."""
    width = max(len(one.request) for one in holds)
    print(f"{'request':<{width}} {'status':>6} {'held ms':>8} {'processor ms':>12} {'collector ms':>12} "
          f"{'answer ms':>10}")
    for one in holds:
        print(f"{one.request:<{width}} {one.status:>6} {one.clock_ms:>8.1f} {one.processor_ms:>12.1f} "
              f"{one.collector_ms:>12.1f} {one.answer_ms:>10.1f}")


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__, repeat=3)
    arguments.add_argument("--entries", type=natural, default=100_000, help="entries, and refused hosts")
    arguments.add_argument("--networks", type=natural, default=100_000, help="networks of two files")
    arguments.add_argument("--by-hand", type=natural, default=10_000, help="networks added by hand")
    options = arguments.parse_args()
    holds = measured(lambda: measure(options.entries, options.networks, options.by_hand, options.repeat))
    return give(options, "entries networks by_hand", {"holds": [one._asdict() for one in holds]}, lambda: show(holds))


if __name__ == "__main__":
    sys.exit(run("holds", main))
