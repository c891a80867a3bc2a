"""Whether newcomers get in while somebody fills the whitelist with made-up hosts.

    python benchmarks/newcomers.py [--way a|b|c|c-ipset|d|d-raw] [--family 4|6] [--pairs N] [--seconds N] [--senders N]
                                   [--max-entries N] [--filling SECONDS] [--pause SECONDS] [--restart] [--json]

One core sends pairs of SYNs, each from another made-up source: one to the fake server, then one to the real one. Beside
it, good senders come one after the other, each for the first time: it is refused by the fake server, pauses, and
connects to the real one. It gets in at its first try if that connect succeeds, a SYN that is sent again after a second
included: no sender gives up before. Way a) is the queue alone, b) the queue with a set, c) the set with NFLOG,
d) the door.
"""
import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, natural, parser, positive, run
from benchmarks.gateway_site import DAEMON, another_machine
from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from lab.programs import ENDLESS, Sources, flood, own_places

SENDERS4, SENDERS6 = "9.1.{}.{}", "2001:db8::9:{:x}:{:x}"
MADE_UP = {4: "10.0.0.0", 6: "fd00::"}
SOURCES = 1 << 24
PATIENCE_S = 2.5
AT_ONCE = 32
RULESETS = {"a": (), "b": ("queue-set-mark.nft", "queue-set-mark.sh"), "c": ("set.nft",),
            "c-ipset": ("set-ipset.sh",), "d": ("door.nft",), "d-raw": ("door-raw.nft",)}
WORDS = {"a": ["-n", "23"], "b": ["-n", "23", "--nft-table", "inet mxallowd"],
         "c": ["-p", "nflog:5", "--nft-table", "inet mxallowd"], "c-ipset": ["-p", "nflog:5", "--ipset"],
         "d": ["-p", "nflog:5", "--nft-table", "inet mxallowd", "--door", BRIDGE],
         "d-raw": ["-p", "nflog:5", "--nft-table", "inet mxallowd"]}
TITLE = "newcomers beside {pairs} made-up pairs/s: way {way}, IPv{family}, --max-entries {max_entries}"


@dataclass
class Found:
    """What became of the good senders."""

    senders: int
    first_try: int
    slowest_s: float  # of those who got in


def servers(family: int) -> tuple[str, str]:
    """The fake and the real address."""
    return (FAKE4, REAL4) if family == 4 else (FAKE6, REAL6)


def address_of(family: int, number: int) -> str:
    """The address of a good sender."""
    high, low = divmod(number, 200)
    return (SENDERS4 if family == 4 else SENDERS6).format(high, low + 1)


def prepare(lab: Lab, way: str, senders: int, family: int) -> Host:
    """Rules, routes and a client that has the addresses of all good senders."""
    client = lab.client("client", "192.0.2.101", "2001:db8::101")
    lab.take_any_source("8.0.0.0/5", "fd00::/8")
    addresses = [address_of(family, number) for number in range(senders)]
    client.add_address(*(f"{address}/{24 if family == 4 else 64}" for address in addresses))
    if family == 4:
        for network in sorted({address.rpartition(".")[0] for address in addresses}):
            lab.gateway.run(["ip", "route", "add", f"{network}.0/24", "via", "192.0.2.101"], check=True)
    if RULESETS[way]:
        lab.load_ruleset(*RULESETS[way], tracked=False)
    else:
        lab.queue_rule("23", tracked=False)
    # Connection tracking works where a rule asks for it.
    lab.input_rule("-p", "tcp", "--dport", "25", "-m", "state", "--state", "ESTABLISHED")
    return client


@contextmanager
def pairs(client: Host, family: int, rate: int) -> Iterator[None]:
    """Made-up hosts meanwhile, `rate` pairs a second, 0: as many as one core sends."""
    fake, real = servers(family)
    with client.meanwhile(flood(
            fake, Sources(MADE_UP[family], SOURCES), count=ENDLESS, rate=2 * rate, second=real)):
        yield


def come(client: Host, family: int, senders: int, seconds: float, pause_s: float) -> Found:
    """Let the good senders come, evenly over so many seconds."""
    fake, real = servers(family)
    taken: list[float] = []
    lock = threading.Lock()

    def send(number: int) -> None:
        time.sleep(max(0.0, started + number * seconds / senders - time.monotonic()))
        source = address_of(family, number)
        if client.attempt(fake, source=source, timeout=PATIENCE_S) is not Attempt.REFUSED:
            return
        time.sleep(pause_s)
        began = time.monotonic()
        if client.attempt(real, source=source, timeout=PATIENCE_S) is Attempt.CONNECTED:
            with lock:
                taken.append(time.monotonic() - began)

    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(send, range(senders)))
    return Found(senders, len(taken), max(taken, default=0.0))


@contextmanager
def daemon(gateway: Host, command: list[str]) -> Iterator[None]:
    """The daemon, serving meanwhile."""
    process = gateway.popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    if not any(" start " in line or line.startswith("start ") for line in process.stdout):
        raise BenchError(f"mxallowd ended before it was ready, status {process.wait()}")
    reading = threading.Thread(target=process.stdout.read, daemon=True)
    reading.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
        reading.join()
        process.stdout.close()


def measure(options: argparse.Namespace) -> Found:
    """One run."""
    family = options.family
    with Lab("bench") as lab, tempfile.TemporaryDirectory(prefix="mxallowd-bench-") as directory:
        client = prepare(lab, options.way, options.senders, family)
        fake, real = servers(family)
        command = [*DAEMON, "-F", "-s", "-c", "/dev/null", "-b", "-f", fake, "-r", real, "--max-entries",
                   str(options.max_entries), *own_places(directory), *WORDS[options.way]]
        with lab.gateway.serve(real), another_machine(), pairs(client, family, options.pairs):
            if options.restart:
                # What it leaves in its state and in the kernel's sets is there for the next one.
                with daemon(lab.gateway, command):
                    time.sleep(options.filling)
            with daemon(lab.gateway, command):
                time.sleep(options.filling)
                return come(client, family, options.senders, options.seconds, options.pause)


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__)
    arguments.add_argument("--way", choices=sorted(WORDS), default="a")
    arguments.add_argument("--family", type=int, choices=(4, 6), default=4)
    arguments.add_argument("--pairs", type=natural, default=0, help="pairs/s, 0: as many as one core sends")
    arguments.add_argument("--seconds", type=positive, default=30)
    arguments.add_argument("--senders", type=positive, default=200)
    arguments.add_argument("--max-entries", type=positive, default=1_000_000)
    arguments.add_argument("--filling", type=float, default=3, help="seconds of the flood before they come")
    arguments.add_argument("--pause", type=float, default=0.9, help="seconds between the fake server and the real one")
    arguments.add_argument("--restart", action="store_true", help="restart the daemon in the middle of the flood")
    options = arguments.parse_args()
    if options.senders > 20_000:
        raise BenchError("at most 20,000 senders")
    found = measured(lambda: measure(options))

    def show() -> None:
        print(TITLE.format(**vars(options)))
        print(f"{found.first_try} of {found.senders} got in at their first try; the slowest connect took "
              f"{found.slowest_s:.3f} s")

    return give(options, "way family pairs seconds senders max_entries filling pause restart", asdict(found), show)


if __name__ == "__main__":
    sys.exit(run("newcomers", main))
