"""What scrapes cost a verdict: the time of a refused connection, with so many scrapes a second and without any.

    python benchmarks/scrape.py [--blocks 40] [--block-ms 1000] [--rate 10] [--json]

A client in a namespace of its own contacts the fake server again and again: SYN, queue, verdict, RST. Blocks with and
without scrapes alternate, so that both meet the same machine; the order within each pair changes. As root.
"""
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
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
os.nice(19)  # it stands for another machine
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


class Result(NamedTuple):
    """Times of both kinds in microseconds, and how many scrapes were answered."""

    quiet: list[int]
    scraped: list[int]
    scrapes: int

    def ratio(self, share: float) -> float:
        """Of the times below which this share of all lies: with scrapes to without."""
        return quantile(self.scraped, share) / quantile(self.quiet, share)


def quantile(times: Sequence[int], share: float) -> int:
    """The time below which this share of all lies."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def measure(blocks: int, seconds: float, rate: float) -> Result:
    """`blocks` pairs of blocks of so many seconds, with `rate` scrapes a second in one of each pair."""
    found = Result([], [], 0)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with Lab() as lab:
        client = lab.client("client", CLIENT)
        lab.queue_rule(QUEUE)
        with tempfile.TemporaryDirectory() as place, lab.gateway.popen(
                [*DAEMON, "-F", "-s", "--user", "root", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", QUEUE, "-b",
                 "--metrics", f"{WHERE[0]}:{WHERE[1]}", *own_places(place)],
                stdout=subprocess.PIPE, text=True) as daemon, \
                client.popen([sys.executable, "-c", SENDER], **pipes) as senders, \
                lab.gateway.popen([sys.executable, "-c", SCRAPER], **pipes) as scrapers:
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
                    (found.scraped if scraped else found.quiet).extend(times)
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
    options = arguments.parse_args()
    found = measured(lambda: measure(options.blocks, options.block_ms / 1000, options.rate))
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    result = {"connections": len(found.quiet) + len(found.scraped), "scrapes": found.scrapes} | {
        f"{name}_{kind}_us": quantile(times, share) for name, share in shares.items()
        for kind, times in (("quiet", found.quiet), ("scraped", found.scraped))} | {
        f"{name}_ratio": round(found.ratio(share), 3) for name, share in shares.items()}

    def show() -> None:
        print(f"{result['connections']} connections, {found.scrapes} scrapes")
        for name in shares:
            print(f"{name}: {result[f'{name}_quiet_us']} us without scrapes, {result[f'{name}_scraped_us']} us with, "
                  f"ratio {result[f'{name}_ratio']}")

    return give(options, "blocks block_ms rate", result, show)


if __name__ == "__main__":
    sys.exit(run("scrape", main))
