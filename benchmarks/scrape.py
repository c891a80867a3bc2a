"""What scrapes cost a verdict: the time of a refused connection, with so many scrapes a second and without any.

    python benchmarks/scrape.py [--blocks 40] [--block-ms 1000] [--rate 10] [--attack] [--json]

A client in a namespace of its own contacts the fake server again and again: SYN, queue, verdict, RST. Blocks with and
without scrapes alternate, so that both meet the same machine; the order within each pair changes. --attack: hostile
clients of the control socket in place of scrapes, as fast as they can. As root.
"""
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, parser, positive, run
from benchmarks.gateway_site import CLIENT, DAEMON
from lab.hosts import FAKE4, REAL4, Lab
from lab.programs import own_places

QUEUE = "23"
WHERE = ("127.0.0.1", 9199)
PAUSE_S = 0.001
# In the client: for each line with a number of seconds, the times of the connections, in microseconds.
SENDER = f"""
import os, socket, sys, time
os.nice(-19)  # as above: what it waits for is the verdict, not a processor
for line in sys.stdin:
    end, found = time.monotonic() + float(line), []
    while time.monotonic() < end:
        with socket.socket() as one:
            begun = time.perf_counter()
            one.connect_ex(("{FAKE4}", 25))
            found.append(round((time.perf_counter() - begun) * 1e6))
        time.sleep({PAUSE_S})
    print(*found, flush=True)
"""
# In the gateway: for each line with seconds and rate, that many scrapes.
SCRAPER = f"""
import os, socket, sys, time
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # it stands for another machine
for line in sys.stdin:
    seconds, rate = map(float, line.split())
    begun, done = time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        with socket.create_connection({WHERE!r}, 5) as one:
            one.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
            read = b""
            while more := one.recv(65536):
                read += more
        done += read.startswith(b"HTTP/1.1 200")
        time.sleep(max(0.0, min(begun + seconds, begun + done / rate) - time.monotonic()))
    print(done, flush=True)
"""
# In the gateway, as above: one attack after the other, and idle clients all the while; the rate is theirs.
ATTACKER = """
import json, os, socket, sys, time
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # what the daemon does for it is measured, not what it does
START, POST = b"GET /v1/counters HTTP/1.1\\r\\nHost: x\\r\\n", b"POST /v1/import HTTP/1.1\\r\\nHost: x\\r\\n"
OBJECTS = b'{"entries":[' + (b'{"a":1},' * 65000)[:-1] + b"]}"
ENTRIES = json.dumps({"entries": [{"address": f"10.9.{n >> 8}.{n & 255}"} for n in range(1000)]}).encode()
ATTACKS = [
    START + b"A: b\\r\\n" * 20000, START + b"A: " + b"a" * (1 << 20), (START + b"\\r\\n") * 100,
    START.replace(b"counters", b"entries") + b"\\r\\n", START.replace(b"counters", b"top") + b"\\r\\n",
    START.replace(b"counters", b"explain/0.0.0.0/0") + b"\\r\\n", POST + b"Content-Length: 999999999\\r\\n\\r\\n",
    POST + b"Content-Length: 2\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n", START.replace(b"\\r\\n", b"\\n") + b"\\n",
    POST + b"Transfer-Encoding: chunked\\r\\n\\r\\n1;a=" + b"b" * 10000 + b"\\r\\n",
    *(POST + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body for body in (OBJECTS, ENTRIES))]
idle, done = [], 0
def connected():
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(0.05)
    one.connect(sys.argv[1])
    return one
for line in sys.stdin:
    seconds, _ = map(float, line.split())
    end, begun = time.monotonic() + seconds, done
    while time.monotonic() < end:
        for attack in ATTACKS:
            try:
                idle.append(connected())
                idle.append(one := connected())
                one.sendall(attack)
                one.recv(100)
            except FileNotFoundError:
                raise
            except OSError:
                pass
            done += 1
        while len(idle) > 1000:
            idle.pop(0).close()
    for one in idle:
        one.close()
    idle.clear()
    print(done - begun, flush=True)
"""


class Result(NamedTuple):
    """Times in microseconds of the blocks without and with, pair by pair, and how many scrapes (or attacks) there were.

    What other work the machine has meanwhile hits one block of a pair or the other, so the median of pairs is told.
    """

    quiet: list[list[int]]
    scraped: list[list[int]]
    scrapes: int

    def ratio(self, share: float) -> float:
        """Of the times below which this share of all lies: with scrapes to without, the median of all pairs."""
        return median(self._ratios(share))

    def beyond(self, share: float, bound: float) -> int:
        """In how many pairs that ratio is larger than this."""
        return sum(ratio > bound for ratio in self._ratios(share))

    def _ratios(self, share: float) -> list[float]:
        return [quantile(scraped, share) / quantile(quiet, share)
                for quiet, scraped in zip(self.quiet, self.scraped, strict=True)]

    def plus(self, other: "Result") -> "Result":
        """The pairs of both."""
        return Result(self.quiet + other.quiet, self.scraped + other.scraped, self.scrapes + other.scrapes)


def quantile(times: Sequence[int], share: float) -> int:
    """The time below which this share of all lies."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def measure(blocks: int, seconds: float, rate: float, script: str = SCRAPER) -> Result:
    """`blocks` pairs of blocks of so many seconds, with `rate` scrapes a second (or attacks) in one of each pair."""
    found = Result([], [], 0)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with Lab() as lab:
        client = lab.client("client", CLIENT)
        lab.queue_rule(QUEUE)
        with tempfile.TemporaryDirectory() as place, lab.gateway.popen(
                [*DAEMON, "-F", "-s", "--user", "root", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", QUEUE, "-b",
                 "--metrics", f"{WHERE[0]}:{WHERE[1]}", *(places := own_places(place))],
                stdout=subprocess.PIPE, text=True) as daemon, \
                client.popen([sys.executable, "-c", SENDER], **pipes) as senders, \
                lab.gateway.popen([sys.executable, "-c", script, places[-1]], **pipes) as scrapers:
            assert senders.stdin and senders.stdout and scrapers.stdin and scrapers.stdout and daemon.stdout
            if " start " not in daemon.stdout.readline():
                raise BenchError("the daemon did not start")
            scrapes = 0
            # The first scrape collects what the next ones for a minute do not.
            _say(scrapers, f"0.2 {rate}")
            scrapers.stdout.readline()
            for _ in range(blocks):
                for scraped in random.sample((True, False), 2):
                    if scraped:
                        _say(scrapers, f"{seconds} {rate}")
                    _say(senders, str(seconds))
                    times = [int(word) for word in senders.stdout.readline().split()]
                    (found.scraped if scraped else found.quiet).append(times)
                    if scraped:
                        scrapes += int(scrapers.stdout.readline())
            senders.stdin.close()
            scrapers.stdin.close()
            daemon.terminate()
    return found._replace(scrapes=scrapes)


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__)
    arguments.add_argument("--blocks", type=positive, default=40, help="pairs of blocks")
    arguments.add_argument("--block-ms", type=positive, default=1000)
    arguments.add_argument("--rate", type=positive, default=10, help="scrapes/s")
    arguments.add_argument("--attack", action="store_true", help="hostile clients in place of scrapes")
    options = arguments.parse_args()
    script = ATTACKER if options.attack else SCRAPER
    found = measured(lambda: measure(options.blocks, options.block_ms / 1000, options.rate, script))
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    result = {"connections": sum(map(len, found.quiet + found.scraped)), "scrapes": found.scrapes} | {
        f"{name}_{kind}_us": median(quantile(times, share) for times in blocks) for name, share in shares.items()
        for kind, blocks in (("quiet", found.quiet), ("scraped", found.scraped))} | {
        f"{name}_ratio": round(found.ratio(share), 3) for name, share in shares.items()}

    def show() -> None:
        what = "attacks" if options.attack else "scrapes"
        print(f"{result['connections']} connections, {found.scrapes} {what}; medians of {options.blocks} pairs")
        for name in shares:
            print(f"{name}: {result[f'{name}_quiet_us']:.0f} us without, {result[f'{name}_scraped_us']:.0f} us with, "
                  f"ratio {result[f'{name}_ratio']}")

    return give(options, "blocks block_ms rate attack", result, show)


if __name__ == "__main__":
    sys.exit(run("scrape", main))
