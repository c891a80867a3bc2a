"""The state in the running daemon: who was let in is let in after a restart, after kill -9, and as another user."""
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.daemon_process import serving


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
    assert {file.stat().st_uid for file in state.iterdir()} == {65534}
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


