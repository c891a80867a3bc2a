"""The faults of docs/reliability.md, one function each: it does the harm, holds it, and takes it away again.

Not here: a clock that is set and a machine that sleeps (promise 7), which would hit the machine and not the lab.
"""
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.keeper import Keeper
from lab.hosts import FAKE4, FAKE6, REAL4, Host, Lab, ip
from lab.nsd import Nsd
from lab.programs import ENDLESS, Sources, flood
from lab.ptrace import frozen, thread_named

QUEUE_THREAD = "mxallowd-q23"
TABLE = "inet mxallowd"
SETS = ("mx_white4", "mx_white6", "mx_used4", "mx_used6")
MAX_ENTRIES = 50_000
QUEUE_LENGTH = 1024
UNBOUND_AFTER_S = 5.0
GUARDED_AFTER_S = 8.0
# Sources of floods, which nobody answers; each kind of flood has its own.
FLOODED_FAKE, FLOODED_REAL, OVERFLOWING, SPOOFED = "10.16.0.0", "10.24.0.0", "10.32.0.0", "10.48.0.0"
# They stand for other machines, and should not take the processors that the gateway's programs need.
OTHERS = ("nice", "-n", "10")
FLOODED_FAKE6, SPOOFED6 = "fd00:1::", "fd00:2::"


@dataclass
class Scene:
    """What a fault can lay hands on."""

    lab: Lab
    flooder: Host
    keeper: Keeper
    names: Nsd
    config: Path
    load_rules: Callable[[], object]
    chance: random.Random

    def flooded(self, *floods: tuple[str, Sources], rate: int = 0) -> AbstractContextManager[None]:
        """Endless floods meanwhile, each with its destination; `rate` 0: as fast as possible."""
        return self.flooder.meanwhile(*([*OTHERS, *flood(*one, count=ENDLESS, rate=rate)] for one in floods))


def killed(scene: Scene) -> None:
    scene.keeper.end(signal.SIGKILL, -signal.SIGKILL)


def ended_in_order(scene: Scene) -> None:
    scene.keeper.end(signal.SIGTERM, 0)


def main_thread_hangs(scene: Scene) -> None:
    with frozen(scene.keeper.life.process.pid):
        time.sleep(3)


def queue_thread_hangs(scene: Scene) -> None:
    life = scene.keeper.expect_end(70)
    with frozen(thread_named(life.process.pid, QUEUE_THREAD)):
        deadline = time.monotonic() + UNBOUND_AFTER_S
        # Its end cannot be collected before the one who traces it lets go.
        while scene.lab.queues() and time.monotonic() < deadline:
            time.sleep(0.01)
    scene.keeper.wait_for_end(life)


def stopped(scene: Scene) -> None:
    """The guard has to end it."""
    scene.keeper.end(signal.SIGSTOP, -signal.SIGKILL)


def stopped_shortly(scene: Scene) -> None:
    process = scene.keeper.life.process
    for _ in range(4):
        process.send_signal(signal.SIGSTOP)
        time.sleep(scene.chance.uniform(0.1, 0.45))
        process.send_signal(signal.SIGCONT)
        time.sleep(0.3)


def guard_killed(scene: Scene) -> None:
    """The daemon starts another one, some seconds after the last start."""
    before = scene.keeper.life.guards()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + GUARDED_AFTER_S
    while not set(scene.keeper.life.guards()) - set(before):
        if time.monotonic() > deadline:
            scene.keeper.surprises.append("no guard was started in the place of one that was killed")
            break
        time.sleep(0.1)


def queue_overflows(scene: Scene) -> None:
    """More than a thread can take that stands still now and then."""
    with scene.flooded((REAL4, Sources(OVERFLOWING, 1_000_000)), (REAL4, Sources(SPOOFED, 1_000_000))):
        for _ in range(10):
            time.sleep(0.3)
            # Far from the half second after which the process would end itself.
            with frozen(thread_named(scene.keeper.life.process.pid, QUEUE_THREAD)):
                time.sleep(0.1)


def spoofed(scene: Scene) -> None:
    """Five times as many hosts as there is room for meet the fake server."""
    hosts = 5 * MAX_ENTRIES // 2
    senders = [scene.flooder.popen([*OTHERS, *flood(fake, Sources(first, hosts))], stdout=subprocess.DEVNULL)
               for fake, first in ((FAKE4, SPOOFED), (FAKE6, SPOOFED6))]
    for sender in senders:
        sender.wait()


def interface_down(scene: Scene) -> None:
    # That of the senders: the gateway is host 0.
    for _ in range(2):
        ip(f"-n {scene.lab.gateway.name} link set c1 down")
        time.sleep(scene.chance.uniform(0.1, 0.5))
        ip(f"-n {scene.lab.gateway.name} link set c1 up")
        time.sleep(0.5)


def rules_replaced(scene: Scene) -> None:
    for _ in range(3):
        scene.lab.flush_rules()
        scene.load_rules()
        time.sleep(0.3)


def set_flushed(scene: Scene) -> None:
    for name in SETS:
        scene.lab.gateway.run(["nft", "flush", "set", *TABLE.split(), name], check=True)
    time.sleep(4)


def reloads(scene: Scene) -> None:
    """SIGHUP upon SIGHUP, with what is half written, wrong, or not there at all in between."""
    good = scene.config.read_text(encoding="ascii")
    bad = (good[: len(good) // 3], good + "real-mailserver 192.0.2.400\n", good + "max-entries many\n", "", None)
    deadline = time.monotonic() + 3
    try:
        while time.monotonic() < deadline:
            text = scene.chance.choice((good, *bad))
            if text is None:
                scene.config.unlink(missing_ok=True)
            else:
                scene.config.write_text(text, encoding="ascii")
            scene.keeper.life.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
    finally:
        scene.config.write_text(good, encoding="ascii")
    scene.keeper.life.process.send_signal(signal.SIGHUP)


def log_unread(scene: Scene) -> None:
    life = scene.keeper.life
    life.log_unread = True
    try:
        time.sleep(4)
    finally:
        life.log_unread = False


def log_closed(scene: Scene) -> None:
    """For this life there is no log any more, so the daemon is started again afterwards, in order."""
    scene.keeper.life.log_closed = True
    time.sleep(3)
    ended_in_order(scene)


def name_server_down(scene: Scene) -> None:
    scene.names.stop()
    time.sleep(4)
    scene.names.start()


@dataclass(frozen=True)
class Fault:
    """`ends`: the daemon is another one afterwards. `blind`: a contact may be seen by nobody meanwhile.

    `peaks`: memory takes some of them to get where it stays, since what a peak leaves behind is in pieces.
    """

    name: str
    inflict: Callable[[Scene], None]
    ends: bool = False
    blind: bool = False
    peaks: bool = False
    ways: str = "ab"


FAULTS: Sequence[Fault] = (
    Fault("killed (-9)", killed, ends=True, blind=True),
    Fault("stopped in order, started again", ended_in_order, ends=True, blind=True),
    Fault("main thread hangs", main_thread_hangs),
    Fault("queue thread hangs", queue_thread_hangs, ends=True, blind=True),
    Fault("process stopped for good", stopped, ends=True, blind=True),
    Fault("process stopped shortly, 4 times", stopped_shortly),
    Fault("guard killed", guard_killed),
    Fault("queue overflows", queue_overflows, blind=True),
    Fault("spoofed SYNs, 5 times the bound", spoofed, blind=True, peaks=True),
    Fault("interface down and up, twice", interface_down),
    Fault("rules replaced, 3 times", rules_replaced, blind=True),
    Fault("kernel's sets flushed", set_flushed, peaks=True, ways="b"),
    Fault("SIGHUP storm, bad files between", reloads),
    Fault("log not read", log_unread),
    Fault("log closed", log_closed, ends=True, blind=True),
    Fault("name server down", name_server_down),
)
