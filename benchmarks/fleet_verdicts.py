"""What a fleet costs a verdict: the time of a refused connection, without a fleet, with one, and with a broken engine.

    python benchmarks/fleet_verdicts.py [--blocks 40] [--block-ms 1000] [--states off,again,on,dead,hanging,black-holed]

Each state is a gateway of its own with its engine (redis-server), which stays in that state; all run side by side. The
client of each contacts its fake server again and again, from addresses in turn: SYN, queue, verdict, RST, and some of
these contacts have to be said. Meanwhile another gateway says 2,000 entries a second, to the engine of this one where
it answers, else to one that nobody listens to, so that the machine has the same to do. A block of one state follows on
a block of another, in an order by chance; what is told are medians over the rounds of the ratio to the block without a
fleet. `again` is another gateway without one: its ratio is what chance does. Daemons and clients have real-time
priority: what they wait for is the verdict, and not what else this machine does. As root.
"""
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, parser, positive, run
from benchmarks.gateway_site import DAEMON
from benchmarks.scrape import quantile
from lab.engine import Engine, cut_off
from lab.gateways import Site
from lab.hosts import FAKE4, REAL4
from lab.programs import own_places
from lab.ptrace import thread_named
from mxallowd.engine._table import CONTACT
from mxallowd.fleet.batch import Batch, entry, seal
from mxallowd.fleet.keys import Keys, new_key

OFF, AGAIN, ON, DEAD, HANGING, BLACK_HOLED = STATES = ("off", "again", "on", "dead", "hanging", "black-holed")
QUEUE = "23"
# Each daemon stands for a machine of its own. As there, its queue thread comes before its other ones.
URGENT = ("chrt", "-r", "2")
QUEUE_PRIORITY = 3
PAUSE_S = 0.001
SETTLES_S = 3.0  # longer than the client waits for an answer
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
SITE, LIFETIME_S = "bench", 8  # a contact is said when an eighth of that has gone by
TOLD_PER_S, STEP_S = 2000, 0.01
ADDRESSES = [f"192.0.2.{number}" for number in range(101, 251)]
# In the client: for each line with a number of seconds, the times of the connections, in microseconds.
SENDER = f"""
import itertools, os, socket, sys, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
addresses = itertools.cycle({ADDRESSES!r})
for line in sys.stdin:
    end, found = time.monotonic() + float(line), []
    while time.monotonic() < end:
        with socket.socket() as one:
            one.bind((next(addresses), 0))
            begun = time.perf_counter()
            one.connect_ex(("{FAKE4}", 25))
            found.append(round((time.perf_counter() - begun) * 1e6))
        time.sleep({PAUSE_S})
    print(*found, flush=True)
"""


class Gateway:
    """A daemon in a state of its fleet, and the client whose connections it refuses."""

    def __init__(self, state: str, client: "subprocess.Popen[str]", engine: Engine, keys: Keys) -> None:
        """`engine` is where the other gateway says something meanwhile."""
        self.state = state
        self._client = client
        self._engine, self._keys = engine, keys
        self._said = 0
        self.blocks: list[list[int]] = []

    def _tell(self, ending: threading.Event) -> None:
        """What the other gateway says, until this block ends."""
        while not ending.wait(STEP_S):
            count, first = int(TOLD_PER_S * STEP_S), 0x0A000000 + self._said
            hosts = (bytes(10) + b"\xff\xff" + (first + number).to_bytes(4, "big") for number in range(count))
            content = b"".join(entry(host, LIFETIME_S * 1000, 0, CONTACT) for host in hosts)
            self._said += count
            batch = Batch("other", 1, self._said, int(time.time() * 1000), LIFETIME_S, content, ())
            self._engine.do("XADD", f"mxallowd:{SITE}:log", "*", "d", seal(batch, self._keys))

    def block(self, seconds: float) -> None:
        """Let the client connect for so long."""
        assert self._client.stdin and self._client.stdout
        self._client.stdin.write(f"{seconds}\n")
        self._client.stdin.flush()
        ending = threading.Event()
        telling = threading.Thread(target=self._tell, args=(ending,))
        telling.start()
        times = [int(word) for word in self._client.stdout.readline().split()]
        ending.set()
        telling.join()
        if not times:
            raise BenchError(f"the client of the gateway whose fleet is {self.state} has ended")
        self.blocks.append(times)


@contextmanager
def gateway(site: Site, state: str, spare: Engine) -> Iterator[Gateway]:
    """A gateway whose fleet comes into this state before the first block; to the spare engine nobody listens."""
    with ExitStack() as running:
        lab, at_site = site.gateway(state)
        place = Path(running.enter_context(tempfile.TemporaryDirectory()))
        host = lab.gateway
        client = lab.client("client", *ADDRESSES)
        lab.queue_rule(QUEUE)
        fleet: list[str] = []
        key_text, engine = new_key(), spare
        if state not in (OFF, AGAIN):
            engine = running.enter_context(Engine(site.place(f"engine-{state}")))
            key = place / "fleet.key"
            key.write_text(key_text + "\n", encoding="ascii")
            key.chmod(0o600)
            fleet = ["--fleet", f"redis://{engine.address}", "--fleet-site", SITE, "--fleet-key-file", str(key),
                     "--fleet-origin", "mx1"]
        command = [*URGENT, *DAEMON, "-F", "-s", "--user", "root", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4,
                   "-n", QUEUE, "-b", "-t", str(LIFETIME_S), *fleet, *own_places(place)]
        log = running.enter_context((place / "log").open("w+", encoding="utf-8"))
        daemon = running.enter_context(host.popen(command, stdout=log, stderr=log))
        running.callback(daemon.terminate)
        _wait_for(log.name, " start ")
        queue_thread = thread_named(daemon.pid, f"mxallowd-q{QUEUE}")
        os.sched_setscheduler(queue_thread, os.SCHED_FIFO, os.sched_param(QUEUE_PRIORITY))
        if state not in (OFF, AGAIN):
            _wait_for(log.name, "fleet-")
        if state == DEAD:
            engine.kill()
        elif state == HANGING:
            running.enter_context(engine.paused())
        elif state == BLACK_HOLED:
            running.enter_context(cut_off(at_site))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        sender = running.enter_context(client.popen([sys.executable, "-c", SENDER], **pipes))
        running.callback(sender.kill)
        yield Gateway(state, sender, engine if state == ON else spare, Keys([bytes.fromhex(key_text)], SITE))
        said = Path(log.name).read_text(encoding="utf-8")
        if state == ON and ("fleet-broken" in said or "fleet-refused" in said):
            raise BenchError(f"the gateway did not hear the other one: {said[-300:]}")


def _wait_for(log: str, word: str) -> None:
    deadline = time.monotonic() + 10
    while word not in (said := Path(log).read_text(encoding="utf-8")):
        if time.monotonic() > deadline:
            raise BenchError(f"the daemon did not say '{word.strip()}': {said[-500:]}")
        time.sleep(0.02)


def measure(states: Sequence[str], blocks: int, seconds: float) -> list[Gateway]:
    """So many rounds of a block of each state."""
    with ExitStack() as running:
        site = running.enter_context(Site())
        spare = running.enter_context(Engine(site.place("spare")))
        gateways = [running.enter_context(gateway(site, state, spare)) for state in states]
        time.sleep(SETTLES_S)
        for _ in range(blocks):
            for one in random.sample(gateways, len(gateways)):
                one.block(seconds)
    return gateways


def ratio(without: Gateway, one: Gateway, share: float) -> float:
    """The median over the rounds of its time to that without a fleet, at this share of a block's connections."""
    return median(quantile(own, share) / quantile(base, share)
                  for base, own in zip(without.blocks, one.blocks, strict=True))


def states_of(text: str) -> list[str]:
    """Names of states, for argparse; the one without a fleet is always there."""
    names = text.split(",")
    for name in names:
        if name not in STATES:
            raise BenchError(f"{name!r} is none of {', '.join(STATES)}")
    return [OFF, *(name for name in names if name != OFF)]


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__)
    arguments.add_argument("--blocks", type=positive, default=40, help="blocks of each state")
    arguments.add_argument("--block-ms", type=positive, default=1000)
    arguments.add_argument("--states", default=",".join(STATES), help="default: %(default)s")
    options = arguments.parse_args()
    states = states_of(options.states)
    gateways = measured(lambda: measure(states, options.blocks, options.block_ms / 1000))
    without = gateways[0]
    rows = [{"state": one.state, "connections": sum(map(len, one.blocks))} | {
        f"{name}_us": median(quantile(times, share) for times in one.blocks) for name, share in SHARES.items()} | {
        f"{name}_ratio": round(ratio(without, one, share), 3) for name, share in SHARES.items()} for one in gateways]

    def show() -> None:
        for row in rows:
            print(f"{row['state']:12} " + "  ".join(
                f"{name} {row[f'{name}_us']:.0f} us, {row[f'{name}_ratio']:.3f}" for name in SHARES))

    return give(options, "blocks block_ms", {"rows": rows}, show)


if __name__ == "__main__":
    sys.exit(run("fleet_verdicts", main))
