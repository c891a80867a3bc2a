"""What the console takes and what it costs: pages with many entries, and verdicts while many look.

    python benchmarks/console.py [--part pages,load] [--entries 1000000] [--blocks 40] [--block-ms 1000] [--watch 60]

`pages`: the median time of whole answers of a console before a daemon with so many entries and as many refused hosts;
the first page with all its files, each on a connection of its own. `load`: gateways side by side, each with a daemon of
its own. One has no console (`off`, and `again` is another one: what chance does), one has a console with ten viewers of
live plots, one a console with a viewer and 1,000 clients, half of which are silent and half send a byte a second. As in
fleet_verdicts.py the client of each contacts its fake server, block after block, and what is told are medians over the
rounds of the ratio to `off`. Then, for some seconds without clients: what share of a core each daemon takes, how soon
its control socket answers, and how long the viewer waited at most for the next point of his plots. Daemons and clients
have real-time priority; viewers and silent clients stand for other machines, and get what is left. As root.
"""
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, natural, parser, positive, run
from benchmarks.fleet_verdicts import ADDRESSES, QUEUE, QUEUE_PRIORITY, SENDER, SHARES, URGENT, _wait_for
from benchmarks.gateway_site import DAEMON
from benchmarks.holds import filled
from benchmarks.scrape import quantile
from lab.console import Console, Session, console
from lab.hosts import FAKE4, REAL4, Lab
from lab.programs import own_places
from lab.ptrace import thread_named

OFF, AGAIN, VIEWERS, CROWD = STATES = ("off", "again", "viewers", "crowd")
VIEWS, CLIENTS = 10, 1000
IDLE = ("chrt", "--idle", "0")
PAGES = ("/search", "/search?q=10.0.0.0", "/search?q=91.0.0.0", "/search?q=10.99.7.0%2F24", "/search?q=10.0.0.0%2F8",
         "/refused", "/whitelist", "/whitelist?note=nowhere", "/lists", "/trial", "/doctor", "/log")
FILES = tuple(f"/files/{name}" for name in (
    "console.css", "uplot.css", "uplot.js", "console.js", "parts.js", "overview.js", "following.js", "icon.svg"))
# Reads streams of the console: port, cookie, how many.
VIEWER = """
import selectors, socket, sys
port, cookie, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
waiting = selectors.DefaultSelector()
def open_one():
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.sendall(f"GET /api/stream HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nCookie: {cookie}\\r\\n\\r\\n".encode())
    waiting.register(one, selectors.EVENT_READ)
for _ in range(count):
    open_one()
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        if not key.fileobj.recv(65536):
            waiting.unregister(key.fileobj)
            open_one()
"""
# Clients that want nothing: port, how many. Each tenth of a second a tenth of the slow ones send a byte of a head.
SILENT = """
import random, socket, sys, time
port, count = int(sys.argv[1]), int(sys.argv[2])
head = b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nX-Slow: " + b"a" * 10000
def connected(number):
    one = socket.socket()
    one.settimeout(0.2)
    one.bind((f"127.0.1.{number % 250 + 1}", 0))
    try:
        one.connect(("127.0.0.1", port))
    except OSError:
        pass
    one.setblocking(False)
    return one
clients = [[connected(number), 0] for number in range(count)]
print("ready", flush=True)
turn = 0
while True:
    turn += 1
    for number, client in enumerate(clients):
        if number % 10 != turn % 10:
            continue
        try:
            gone = client[0].recv(65536) == b""
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            client[0].close()
            client[:] = [connected(number), 0]
        elif number % 20 >= 10:
            try:
                client[0].send(head[client[1]:client[1] + 1])
                client[1] += 1
            except OSError:
                pass
    time.sleep(0.1)
"""


class Gateway:
    """A daemon in a state, and the client whose connections it refuses."""

    def __init__(self, state: str, daemon: int, control: Path, client: "subprocess.Popen[str]", viewer: "Viewer | None",
                 ) -> None:
        self.state = state
        self.control = control
        self.viewer = viewer
        self.blocks: list[list[int]] = []
        self.watched: dict[str, float] = {}
        self._daemon = daemon
        self._client = client

    def block(self, seconds: float) -> None:
        """Let the client connect for so long."""
        assert self._client.stdin and self._client.stdout
        self._client.stdin.write(f"{seconds}\n")
        self._client.stdin.flush()
        times = [int(word) for word in self._client.stdout.readline().split()]
        if not times:
            raise BenchError(f"the client of the gateway {self.state} has ended")
        self.blocks.append(times)

    def spent_ns(self) -> int:
        """The processor time of the daemon so far."""
        tasks = Path(f"/proc/{self._daemon}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks)


class Viewer:
    """Somebody who looks, and how long he has waited for the next point."""

    def __init__(self, made: Console) -> None:
        self.longest_s = 0.0
        self.points = 0
        self._stream = made.session().stream("/api/stream")
        self._stream.settimeout(1)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        held, last = b"", time.monotonic()
        while not self._ending.is_set():
            try:
                some = self._stream.recv(65_536)
            except TimeoutError:
                some = b"\0"
            if not some:
                return
            *lines, held = (held + some.strip(b"\0")).split(b"\n")
            now = time.monotonic()
            if any(line.startswith(b"event: point") for line in lines):
                self.points += 1
                self.longest_s = max(self.longest_s, now - last) if self.points > 1 else 0.0
                last = now

    def again(self) -> None:
        """Count from now on."""
        self.points, self.longest_s = 0, 0.0

    def close(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join()
        self._stream.close()


@contextmanager
def gateway(state: str) -> Iterator[Gateway]:
    """A gateway that is in this state before the first block."""
    with ExitStack() as running:
        lab = running.enter_context(Lab())
        place = Path(running.enter_context(tempfile.TemporaryDirectory()))
        client = lab.client("client", *ADDRESSES)
        lab.queue_rule(QUEUE)
        command = [*URGENT, *DAEMON, "-F", "-s", "--user", "root", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4,
                   "-n", QUEUE, "-b", *(places := own_places(place))]
        control = Path(places[-1])
        log = running.enter_context((place / "log").open("w+", encoding="utf-8"))
        daemon = running.enter_context(lab.gateway.popen(command, stdout=log, stderr=log))
        running.callback(daemon.terminate)
        _wait_for(log.name, " start ")
        queue_thread = thread_named(daemon.pid, f"mxallowd-q{QUEUE}")
        os.sched_setscheduler(queue_thread, os.SCHED_FIFO, os.sched_param(QUEUE_PRIORITY))
        viewer = None
        if state in (VIEWERS, CROWD):
            made = running.enter_context(console(control))
            viewer = Viewer(made)
            running.callback(viewer.close)
            script, words = (VIEWER, [made.session().cookie, str(VIEWS - 1)]) if state == VIEWERS else (
                SILENT, [str(CLIENTS)])
            others = running.enter_context(subprocess.Popen(
                [*IDLE, sys.executable, "-c", script, str(made.port), *words], stdout=subprocess.PIPE, text=True))
            running.callback(others.kill)
            assert others.stdout
            if others.stdout.readline() != "ready\n":
                raise BenchError(f"the clients of the console have ended: {made.said()[-300:]}")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        sender = running.enter_context(client.popen([sys.executable, "-c", SENDER], **pipes))
        running.callback(sender.kill)
        yield Gateway(state, daemon.pid, control, sender, viewer)


def load(blocks: int, seconds: float, watch_s: float) -> list[Gateway]:
    """So many rounds of a block of each state; then all of them are watched."""
    with ExitStack() as running:
        gateways = [running.enter_context(gateway(state)) for state in STATES]
        time.sleep(1)
        for _ in range(blocks):
            for one in random.sample(gateways, len(gateways)):
                one.block(seconds)
        answers: dict[str, list[int]] = {state: [] for state in STATES}
        begun, spent = time.monotonic(), {one.state: one.spent_ns() for one in gateways}
        for one in gateways:
            if one.viewer:
                one.viewer.again()
        while time.monotonic() < begun + watch_s:
            time.sleep(0.2)
            for one in random.sample(gateways, len(gateways)):
                answers[one.state].append(_answer_us(one.control))
        taken = time.monotonic() - begun
        for one in gateways:
            one.watched = {
                "core_share": (one.spent_ns() - spent[one.state]) / taken / 1e9,
                "answer_us": median(answers[one.state]), "answer_p99_us": quantile(answers[one.state], 0.99),
                **({"points": one.viewer.points, "longest_s": one.viewer.longest_s} if one.viewer else {})}
    return gateways


def _answer_us(control: Path) -> int:
    begun = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(str(control))
        one.sendall(b"GET /v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while one.recv(65_536):
            pass
    return round((time.perf_counter() - begun) * 1e6)


class Timed(NamedTuple):
    """How long a page took."""

    page: str
    status: int
    ms: float
    kib: float


def pages(entries: int, repeat: int) -> list[Timed]:
    """The medians of so many times."""
    from benchmarks.answers import FILLED
    with filled(entries, min(entries, 100_000), 1000, FILLED, 2) as daemon, console(daemon.control) as made:
        client = made.session()
        time.sleep(5)  # the plots have begun
        found = [_timed(client, "first page, all files", ("/", *FILES), repeat)]
        return found + [_timed(client, page, (page,), repeat) for page in ("/", *PAGES)]


def _timed(client: Session, name: str, paths: tuple[str, ...], repeat: int) -> Timed:
    times, size, status = [], 0, 200
    for _ in range(repeat):
        begun, size = time.perf_counter(), 0
        for path in paths:
            answer = client.get(path)
            size += len(answer.body.encode())
            status = max(answer.status, status)
        times.append((time.perf_counter() - begun) * 1000)
    return Timed(name, status, median(times), size / 1024)


def _rows(gateways: list[Gateway]) -> list[dict[str, Any]]:
    off = gateways[0]
    return [{"state": one.state, "connections": sum(map(len, one.blocks))} | {
        f"{name}_us": median(quantile(times, share) for times in one.blocks) for name, share in SHARES.items()} | {
        f"{name}_ratio": round(median(quantile(own, share) / quantile(base, share) for base, own in zip(
            off.blocks, one.blocks, strict=True)), 3) for name, share in SHARES.items()} | one.watched
        for one in gateways]


def _show(found: dict[str, Any]) -> None:
    for one in found.get("pages", ()):
        print(f"{one['page']:32} {one['status']} {one['ms']:8.1f} ms {one['kib']:7.1f} KiB")
    for row in found.get("load", ()):
        print(f"{row['state']:8} " + "  ".join(
            f"{name} {row[f'{name}_us']:.0f} us, {row[f'{name}_ratio']:.3f}" for name in SHARES)
            + f"  daemon {row['core_share'] * 100:.2f} % of a core, answers {row['answer_us'] / 1000:.1f} ms, p99 "
            f"{row['answer_p99_us'] / 1000:.1f} ms"
            + (f", viewer: {row['points']:.0f} points, waited {row['longest_s']:.1f} s at most" if "points" in row
               else ""))


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__, repeat=9)
    arguments.add_argument("--part", default="pages,load", help="default: %(default)s")
    arguments.add_argument("--entries", type=natural, default=1_000_000, help="entries, and refused hosts")
    arguments.add_argument("--blocks", type=positive, default=40, help="blocks of each state")
    arguments.add_argument("--block-ms", type=positive, default=1000)
    arguments.add_argument("--watch", type=positive, default=60, help="seconds")
    options = arguments.parse_args()
    parts = options.part.split(",")
    if not set(parts) <= {"pages", "load"}:
        raise BenchError(f"{options.part!r} is not made of pages and load")
    found: dict[str, Any] = {}
    if "pages" in parts:
        found["pages"] = [one._asdict() for one in measured(lambda: pages(options.entries, options.repeat))]
    if "load" in parts:
        found["load"] = _rows(measured(lambda: load(options.blocks, options.block_ms / 1000, options.watch)))
    return give(options, "entries blocks block_ms watch", found, lambda: _show(found))


if __name__ == "__main__":
    sys.exit(run("console", main))
