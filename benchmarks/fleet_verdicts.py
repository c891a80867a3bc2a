"""What a fleet costs a verdict: the time of a refused connection, without a fleet, with one, and with a broken engine.

    python benchmarks/fleet_verdicts.py [--blocks 40] [--block-ms 1000] [--states off,again,on,dead,hanging,black-holed]

Each state is a gateway of its own with its engine (redis-server), which stays in that state; all run side by side. The
client of each contacts its fake server again and again: SYN, queue, verdict, RST, and each contact is an entry to be
said. A block of one state follows on a block of another, in an order by chance, so that all meet the same machine; what
is told are medians over the rounds of the ratio to the block without a fleet. `again` is another gateway without one:
its ratio is what chance does. Daemons and clients have real-time priority: what they wait for is the verdict, and not
what else this machine does. As root.
"""
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.command import BenchError, give, measured, parser, positive, run
from benchmarks.gateway_site import CLIENT, DAEMON
from benchmarks.scrape import quantile
from lab.engine import Engine, cut_off
from lab.gateways import Site
from lab.hosts import FAKE4, REAL4
from lab.programs import own_places
from mxallowd.fleet.keys import new_key

OFF, AGAIN, ON, DEAD, HANGING, BLACK_HOLED = STATES = ("off", "again", "on", "dead", "hanging", "black-holed")
QUEUE = "23"
# Each daemon stands for a machine of its own. All its threads have the same priority, so nothing but a free processor
# keeps its main thread from holding up a verdict.
URGENT = ("chrt", "-r", "2")
PAUSE_S = 0.001
SETTLES_S = 3.0  # longer than the client waits for an answer
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# In the client: for each line with a number of seconds, the times of the connections, in microseconds. It comes from
# addresses in turn, so each contact is of a host that is new or of which the last one is a while ago.
SENDER = f"""
import os, socket, sys, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
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


class Gateway:
    """A daemon in a state of its fleet, and the client whose connections it refuses."""

    def __init__(self, state: str, client: "subprocess.Popen[str]") -> None:
        self.state = state
        self._client = client
        self.blocks: list[list[int]] = []

    def block(self, seconds: float) -> None:
        """Let the client connect for so long."""
        assert self._client.stdin and self._client.stdout
        self._client.stdin.write(f"{seconds}\n")
        self._client.stdin.flush()
        times = [int(word) for word in self._client.stdout.readline().split()]
        if not times:
            raise BenchError(f"the client of the gateway whose fleet is {self.state} has ended")
        self.blocks.append(times)


@contextmanager
def gateway(site: Site, state: str) -> Iterator[Gateway]:
    """A gateway whose fleet comes into this state before the first block."""
    with ExitStack() as running:
        lab, at_site = site.gateway(state)
        place = Path(running.enter_context(tempfile.TemporaryDirectory()))
        host = lab.gateway
        client = lab.client("client", CLIENT)
        lab.queue_rule(QUEUE)
        fleet: list[str] = []
        if state not in (OFF, AGAIN):
            engine = running.enter_context(Engine(site.place(f"engine-{state}")))
            key = place / "fleet.key"
            key.write_text(new_key() + "\n", encoding="ascii")
            key.chmod(0o600)
            fleet = ["--fleet", f"redis://{engine.address}", "--fleet-site", "bench", "--fleet-key-file", str(key),
                     "--fleet-origin", "mx1"]
        command = [*URGENT, *DAEMON, "-F", "-s", "--user", "root", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4,
                   "-n", QUEUE, "-b", *fleet, *own_places(place)]
        log = running.enter_context((place / "log").open("w+", encoding="utf-8"))
        daemon = running.enter_context(host.popen(command, stdout=log, stderr=log))
        running.callback(daemon.terminate)
        _wait_for(log.name, " start ")
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
        yield Gateway(state, sender)


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
        gateways = [running.enter_context(gateway(site, state)) for state in states]
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
