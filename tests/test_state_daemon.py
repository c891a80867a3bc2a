"""The state in the running daemon: who was let in is let in after a restart, after kill -9, and as another user."""
import signal
import time
from pathlib import Path

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.daemon_process import serving


def test_who_was_let_in_is_let_in_after_kill(lab: Lab, client: Host, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    lab.queue_rule("23")
    with lab.gateway.serve(REAL4):
        with serving(lab, *state) as daemon:
            assert client.attempt(FAKE4) is Attempt.REFUSED
            assert client.attempt(REAL4) is Attempt.CONNECTED
            time.sleep(1)
            daemon.send(signal.SIGKILL)
            daemon.process.wait(5)
        for name in (tmp_path / "state").iterdir():
            print(name, name.stat().st_size)
        with serving(lab, *state) as daemon:
            print(daemon.lines)
            daemon.wait_for("state-read .* entered=1 known=0 left-out=0 refused=0")
            assert client.attempt(REAL4) is Attempt.CONNECTED
            assert daemon.stop() == 0
            print(daemon.lines)
