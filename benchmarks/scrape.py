"""What scrapes cost a verdict: the time of a refused connection, with so many scrapes a second and without any.

    python -m benchmarks.scrape [--blocks 40] [--seconds 1] [--rate 10]

A client in a namespace of its own contacts the fake server again and again: SYN, queue, verdict, RST. Blocks with and
without scrapes alternate, so that both meet the same machine; the order within each pair changes. As root.
"""
import argparse
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from lab.hosts import FAKE4, Lab
from tests.daemon_process import QUEUE, SENDER4, serving

WHERE = ("127.0.0.1", 9199)
PAUSE_S = 0.001
# In the client: for each line with a number of seconds, the times of the connections, in microseconds.
CLIENT = f"""
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
        client = lab.client("client", SENDER4)
        lab.queue_rule(QUEUE)
        with serving(lab, "--metrics", f"{WHERE[0]}:{WHERE[1]}"), \
                client.popen([sys.executable, "-c", CLIENT], **pipes) as senders, \
                lab.gateway.popen([sys.executable, "-c", SCRAPER], **pipes) as scrapers:
            assert senders.stdin and senders.stdout and scrapers.stdin and scrapers.stdout
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
    return found._replace(scrapes=scrapes)


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=10.0)
    given = parser.parse_args()
    begun = time.monotonic()
    found = measure(given.blocks, given.seconds, given.rate)
    print(f"{len(found.quiet)} connections without, {len(found.scraped)} with {found.scrapes} scrapes, "
          f"{time.monotonic() - begun:.0f} s, {socket.gethostname()}")
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        print(f"{name}: {quantile(found.quiet, share)} us without, {quantile(found.scraped, share)} us with, "
              f"ratio {found.ratio(share):.3f}")
    print(f"mean ratio {statistics.mean(found.scraped) / statistics.mean(found.quiet):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
