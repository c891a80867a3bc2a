"""The state in the running daemon: who was let in is let in after a restart, after kill -9, and as another user."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.engine.clock import boottime_us
from mxallowd.mirrors.disk import blocks, files
from mxallowd.mirrors.disk.blocks import Clock
from mxallowd.mirrors.disk.directory import Directory
from tests.daemon_process import DaemonProcess, serving
from tests.strategies import record

MILLION = 1_000_000


def let_in(client: Host) -> None:
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert client.attempt(REAL4) is Attempt.CONNECTED


def test_who_was_let_in_is_let_in_after_kill(lab: Lab, client: Host, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    lab.queue_rule("23")
    with lab.gateway.serve(REAL4):
        with serving(lab, *state) as daemon:
            let_in(client)
            time.sleep(1)
            daemon.send(signal.SIGKILL)
            daemon.process.wait(5)
        with serving(lab, *state) as daemon:
            daemon.wait_for("state-read .* entered=1 known=0 left-out=0 refused=0")
            assert client.attempt(REAL4) is Attempt.CONNECTED
            assert daemon.stop() == 0


def test_another_user_writes_it_in_the_sandbox(lab: Lab, client: Host, tmp_path: Path) -> None:
    """Nobody cannot enter the directories above it: the open one is enough."""
    state = tmp_path / "closed" / "state"
    state.parent.mkdir(0o700)
    lab.queue_rule("23")
    with lab.gateway.serve(REAL4), serving(lab, "--state-dir", str(state), "--user", "nobody") as daemon:
        let_in(client)
        assert daemon.stop() == 0
    status = state.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (65534, 0o700)
    assert [file.stat().st_uid for file in state.iterdir()] == [65534]
    with serving(lab, "--state-dir", str(state), "--user", "nobody") as daemon:
        daemon.wait_for("state-read .* entered=1 ")
        assert not any(line.startswith("state-broken") for line in daemon.messages())


def test_a_second_daemon_is_told_who_has_it(lab: Lab, tmp_path: Path) -> None:
    lab.queue_rule("23")
    with serving(lab, "--state-dir", str(tmp_path)) as daemon:
        second = lab.gateway.popen(
            [sys.executable, "-m", "mxallowd", "-F", "-s", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "24",
             "-b", "--user", "root", "--state-dir", str(tmp_path)], stderr=subprocess.PIPE, text=True)
        said = second.communicate(timeout=10)[1]
        assert second.returncode == 1
        assert "another mxallowd keeps its state in" in said
        assert daemon.stop() == 0


def write_million(place: Path) -> None:
    directory = Directory(place, None)
    now = Clock(blocks.boot_id(), boottime_us(), time.time_ns() // 1000)
    records = b"".join(record(b"\x20" + number.to_bytes(15, "big"), now.boot_us + 3_600_000_000, 0, number % 2 == 0)
                       for number in range(MILLION))
    files.write_snapshot(directory, 1, lambda: now, files.host_contents(records, 32))
    directory.close()


@pytest.mark.alone
def test_a_million_are_there_in_a_second(lab: Lab, tmp_path: Path) -> None:
    """How much later than without them the daemon serves; the best of three, since others use the machine."""
    lab.queue_rule("23")
    write_million(tmp_path / "state")

    def start_s(*more: str) -> float:
        began = time.monotonic()
        with DaemonProcess(lab.gateway, ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23", "-b", *more]) as made:
            made.wait_for("start ", timeout=15)
            took_s = time.monotonic() - began
            if more:
                assert f"entered={MILLION} " in made.wait_for("state-read ")
                # Nothing is gone by the next start, whenever this one ends.
                os.kill(made.process.pid, signal.SIGKILL)
        return took_s

    seen = []
    for _ in range(3):
        seen.append(start_s("--state-dir", str(tmp_path / "state")) - start_s())
        if seen[-1] < 1.0:
            return
    assert min(seen) < 1.0, seen
