"""Patience in the running daemon: in the queue, in the kernel's ways, after a reload and after a restart."""
import time
from pathlib import Path

import pytest

from lab.hosts import REAL4, REAL6, Attempt, Host, Lab
from tests.control_client import ask
from tests.daemon_process import QUEUE, SENDER4, SERVERS, DaemonProcess
from tests.test_cli import run

PATIENT = ["-n", QUEUE, "-b", "--patience", "2/2"]


def refused(client: Host, real: str) -> None:
    assert client.attempt(real) is Attempt.DROPPED


@pytest.mark.parametrize("real", [REAL4, REAL6])
def test_who_comes_back_is_let_in(guarded: Lab, client: Host, real: str) -> None:
    with DaemonProcess(guarded.gateway, [*SERVERS, *PATIENT]) as daemon:
        daemon.wait_for("start ")
        refused(client, real)
        time.sleep(2.1)
        # Refused once more; the SYN that is sent again after a second is the next one.
        assert client.attempt(real, timeout=4.5) is Attempt.CONNECTED
        daemon.wait_for(r"patient .* real=.* seconds=28800")
        counters = daemon.counters()
        assert (counters["patience-let-in"], counters["patience-waiting"], counters["fake-new"]) == (1, 1, 0)
        if real == REAL4:
            status, found = ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")
            assert (status, found["origin"]) == (200, "patience")
            # Removed, listed or not, it waits anew, and its next SYN is refused.
            assert ask(daemon.control, "DELETE", f"/v1/entries/{SENDER4}") == (200, {"removed": 1})
            assert daemon.counters()["patience-waiting"] == 0
            refused(client, real)
            assert daemon.counters()["patience-waiting"] == 1
            assert ask(daemon.control, "DELETE", "/v1/entries") == (200, {"removed": 0})
            assert daemon.counters()["patience-waiting"] == 0


def test_a_reload_turns_it_on_and_off(guarded: Lab, client: Host, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    options = "\n".join([f"fake-mailserver {SERVERS[1]}", f"real-mailserver {REAL4}", f"queue-num {QUEUE}",
                         "no-rdns-whitelist\n"])
    file.write_text(options)
    with DaemonProcess(guarded.gateway, ["-c", str(file)]) as daemon:
        daemon.wait_for("start ")
        refused(client, REAL4)
        file.write_text(options + "patience 1/1\n")
        status, _ = ask(daemon.control, "POST", "/v1/reload")
        assert status == 200
        assert client.attempt(REAL4, timeout=4.5) is Attempt.CONNECTED
        daemon.wait_for("patient ")


def test_a_restart_keeps_who_waits(guarded: Lab, client: Host, tmp_path: Path) -> None:
    options = [*SERVERS, *PATIENT, "--state-dir", str(tmp_path / "state")]
    with DaemonProcess(guarded.gateway, options) as daemon:
        daemon.wait_for("start ")
        refused(client, REAL4)
        assert daemon.stop() == 0
    with DaemonProcess(guarded.gateway, options) as daemon:
        daemon.wait_for("start ")
        assert daemon.counters()["patience-waiting"] == 1
        # The two seconds of its patience: an attempt that begins sooner does not count, however often it is sent again.
        time.sleep(2)
        assert client.attempt(REAL4, timeout=4.5) is Attempt.CONNECTED


@pytest.mark.parametrize(("options", "text"), [
    (["--patience", "2"], 'patience: "2" is not N/TIME, as in 2/10min'),
    (["--patience", "2/10weeks"], 'patience: "2/10weeks" is not N/TIME'),
    (["--patience", "0/10min"], 'patience: "0/10min" is out of range: 1 to 15'),
    (["--patience", "3/13h"], 'patience: "3/13h" cannot be: 3 refusals of one day are 1 s to 43200 s apart'),
    (["--patience-network"], "patience-network needs patience"),
])
def test_what_cannot_be_is_said(options: list[str], text: str) -> None:
    status, output, error = run("--check", *SERVERS, "-n", "23", *options)
    assert status != 0
    assert text in output + error
