"""The state directory, the kernel's sets and the daemon say the same, in whatever order it is stopped and changed."""
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Host, Lab
from lab.programs import Sources, flood
from mxallowd.engine._table import ORIGINS
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import packed
from mxallowd.mirrors.disk.blocks import Clock, boot_id
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.reading import load
from mxallowd.whitelist import unpack
from tests.daemon_process import DaemonProcess
from tests.ways import WAYS, Way

CLIENT = ("192.0.2.101",)
ROUNDS, CONTACTS = 5, 20
SECONDS = 3600
WRITTEN_S = 1.0  # what is older is on the disk


class Scene:
    """What ought to be true, beside what is."""

    def __init__(self, lab: Lab, client: Host, way: Way, place: Path) -> None:
        self.lab, self.client, self.way, self.place = lab, client, way, place
        self.true: set[str] = set()  # the whitelist
        self.disk: set[str] = set()
        self.ended: set[str] = set()  # as the disk knows
        self._next = 0

    def start(self, *, kept: bool) -> DaemonProcess:
        """With the state directory, or with none that can be."""
        self.true = self.disk | (self.kernel() - self.ended) if kept else self.kernel()
        daemon = DaemonProcess(self.lab.gateway, [
            "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-b", "-t", str(SECONDS), "--state-dir",
            str(self.place) if kept else "/dev/null/state", *self.way.arguments])
        daemon.wait_for("start ", timeout=15)
        return daemon

    def contact(self) -> None:
        """Hosts that have never been seen meet the fake server."""
        first = f"10.{1 + self._next}.0.1"
        self._next += 1
        done = self.client.run(flood(FAKE4, Sources(first, CONTACTS), count=CONTACTS), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.true |= {f"10.{self._next}.0.{1 + number}" for number in range(CONTACTS)}

    def ask(self, daemon: DaemonProcess, *words: str) -> str:
        """What mxallowctl prints."""
        done = self.lab.gateway.run(
            [sys.executable, "-m", "mxallowd.ctl", words[0], "--socket", str(daemon.control), *words[1:]],
            capture_output=True, text=True, check=True)
        return str(done.stdout)

    def listed(self, daemon: DaemonProcess) -> set[str]:
        """Whom the daemon lists."""
        return {json.loads(line)["address"] for line in self.ask(daemon, "list", "--json").splitlines()}

    def kernel(self) -> set[str]:
        """Whom the kernel's set holds."""
        return set(self.way.members(self.lab, "mx_white4"))

    def empty_kernel(self) -> None:
        """From outside."""
        self.lab.gateway.run(["nft", "flush", "set", "inet", "mxallowd", "mx_white4"] if self.way.sets == "nft" else
                             ["ipset", "flush", "mx_white4"], check=True)

    def on_disk(self) -> set[str]:
        """Whom the next start would find."""
        directory = Directory(self.place, None)
        longest_us = [SECONDS * 1_000_000] * (len(ORIGINS) + 1)
        saved = load(directory, Clock(boot_id(), boottime_us(), 0), longest_us, [], 1 << 30)
        directory.close()
        assert saved.damage == []
        known = {packed(address): address for address in self.true | self.disk | self.ended}
        return {known.get(host, host.hex()) for host, _, _ in unpack(saved.records)}


def until(true: Callable[[], bool], limit_s: float = 12.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def play(scene: Scene, chance: random.Random, number: int) -> str:
    """One life; what was done, for who reads a failure."""
    # The directory is there most of the time, and at least at first and at last.
    kept = number in (0, ROUNDS - 1) or chance.random() < 0.4
    done = [f"state {kept}"]
    with scene.start(kept=kept) as daemon:
        assert until(lambda: scene.listed(daemon) == scene.true), (done, scene.listed(daemon) ^ scene.true)
        for what in chance.sample(("contact", "contact", "remove", "flush", "emptied"), 3):
            done.append(what)
            if what == "contact":
                scene.contact()
                assert until(lambda: scene.listed(daemon) == scene.true), (done, scene.listed(daemon) ^ scene.true)
            elif what == "emptied":
                scene.empty_kernel()
            else:
                gone = set(scene.true) if what == "flush" else set(chance.sample(
                    sorted(scene.true), min(3, len(scene.true))))
                for word in ["--yes"] if what == "flush" else sorted(gone):
                    scene.ask(daemon, what, word)
                scene.true -= gone
                scene.ended |= gone if kept else set()
        # A set that was emptied is filled again when it is looked at the next time.
        if "emptied" not in done or chance.random() < 0.5:
            assert until(lambda: scene.kernel() == scene.true), (done, scene.kernel() ^ scene.true)
        ending = chance.choice((signal.SIGTERM, signal.SIGKILL))
        done.append(ending.name)
        if ending is signal.SIGKILL:
            time.sleep(WRITTEN_S)
        daemon.send(ending)
        daemon.process.wait(10)
    if kept:
        scene.disk = set(scene.true)
        assert scene.on_disk() == scene.disk, (done, scene.on_disk() ^ scene.disk)
    # Between two lives somebody brings back what was ended: a copy that was restored, or that could not be changed.
    if scene.ended and chance.random() < 0.6:
        address = chance.choice(sorted(scene.ended))
        if address not in scene.kernel():
            scene.way.add(scene.lab, "mx_white4", address)
            done.append(f"back {address}")
    return " ".join(done)


@pytest.mark.parametrize(("name", "seed"), [("queue-set-mark", 4), ("queue-set-ipset", 7)])
def test_disk_and_kernel_agree_whatever_happens(
        lab: Lab, client: Host, tmp_path: Path, name: str, seed: int) -> None:
    way = WAYS[name]
    lab.load_ruleset(*way.rulesets, tracked=False)
    lab.take_any_source()
    scene = Scene(lab, client, way, tmp_path / "state")
    chance = random.Random(seed)
    for number in range(ROUNDS):
        print(play(scene, chance, number))
    with scene.start(kept=True) as daemon:
        assert until(lambda: scene.listed(daemon) == scene.true == scene.kernel()), (
            scene.listed(daemon) ^ scene.true, scene.kernel() ^ scene.true)
        daemon.stop()
    assert scene.on_disk() == scene.true == scene.kernel()
