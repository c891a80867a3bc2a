"""The unit of systemd: its own judgement of it, and a supervisor's view of the real daemon."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import REAL4, Attempt, Lab
from lab.ptrace import frozen
from mxallowd import cli
from mxallowd.settings.options import OPTIONS
from tests.daemon_process import SERVERS, DaemonProcess

UNIT = Path(__file__).parent.parent / "packaging" / "systemd" / "mxallowd.service"
WORST_EXPOSURE = 1.7  # 0.2 of it for capset, which takes capabilities away: no new one can be had


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the path of a program that is there."""
    path = tmp_path / "mxallowd.service"
    path.write_text(UNIT.read_text(encoding="utf-8").replace(
        "/usr/local/bin/mxallowd", str(Path(sys.executable).parent / "mxallowd")), encoding="utf-8")
    return path


def test_the_unit_is_clean(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_starts_what_is_installed() -> None:
    """The link that docs/install.md makes, and a place that the daemon's user can read: not below /root or /home."""
    page = (UNIT.parent.parent.parent / "docs" / "install.md").read_text(encoding="utf-8")
    link = re.search(r"^    ln -sf (\S+) (\S+)$", page, re.MULTILINE)
    assert link
    assert not link[1].startswith(("/root/", "/home/"))
    assert f"    python3 -m venv {Path(link[1]).parent.parent}\n" in page
    started = re.findall(r"^Exec(?:Start|Reload)=(\S+/mxallowd) ", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert started == [link[2]] * 2


def test_only_what_is_not_set_up_stays_ended() -> None:
    """A condition would make systemd pass over its own failures, too, and never try again."""
    text = UNIT.read_text(encoding="utf-8")
    assert re.findall(r"^(Restart.*)$", text, re.MULTILINE) == [
        "Restart=always", "RestartSec=1", f"RestartPreventExitStatus={cli.NOT_SET_UP}"]
    assert "ExecCondition=" not in text and "StartLimitIntervalSec=0\n" in text


def test_a_reload_asks_first_whether_the_file_can_be_used() -> None:
    reloads = re.findall(r"^ExecReload=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert reloads == ["/usr/local/bin/mxallowd --check", "/bin/kill -HUP $MAINPID"]


def test_the_default_places_are_writable() -> None:
    """All else is read-only there (ProtectSystem=strict): without these, no state and no mxallowctl."""
    text = UNIT.read_text(encoding="utf-8")
    defaults = {option.name: Path(str(option.default)) for option in OPTIONS if option.name in ("state-dir", "control")}
    assert f"\nStateDirectory={defaults['state-dir'].relative_to('/var/lib')}\n" in text
    assert f"\nRuntimeDirectory={defaults['control'].parent.relative_to('/run')}\n" in text


def test_its_exposure_is_small(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
                          capture_output=True, text=True)
    found = re.search(r"Overall exposure level for mxallowd.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= WORST_EXPOSURE


class Systemd:
    """The socket that a supervisor listens on."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.settimeout(5)

    def next(self, *, but: str = "") -> str:
        """The next message that is none of those."""
        while (text := self._socket.recv(4096).decode()) == but:
            pass
        return text

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(5)
        return False

    def drain(self) -> None:
        """Forget what came."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(4096):
                pass
        except BlockingIOError:
            self._socket.settimeout(5)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            lab: Lab) -> Iterator[Systemd]:
    """A supervisor, and the environment that it gives to what it starts."""
    name = f"mxallowd-test-{os.getpid()}"
    if request.param == "path":
        made = Systemd(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    else:
        # Abstract sockets belong to a network namespace: the daemon's.
        from lab.namespaces import visit

        with visit(lab.gateway.name):
            made = Systemd(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    yield made
    made.close()


def test_what_a_supervisor_is_told(lab: Lab, systemd: Systemd) -> None:
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-b"]) as daemon:
        assert systemd.next() == "READY=1"
        assert lab.queues()
        assert systemd.next() == "WATCHDOG=1"
        daemon.send(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", systemd.next(but="WATCHDOG=1"))
        assert systemd.next() == "READY=1"
        # A main loop that hangs is silent, and systemd would end the process after WatchdogSec.
        with frozen(daemon.process.pid):
            systemd.drain()
            assert systemd.silent_for(2.5)
        assert systemd.next() == "WATCHDOG=1"
        daemon.send(signal.SIGTERM)
        assert systemd.next(but="WATCHDOG=1") == "STOPPING=1"
        assert daemon.process.wait(5) == 0


def test_a_supervisor_is_told_why_it_ends(lab: Lab, systemd: Systemd) -> None:
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-b"]) as first:
        assert systemd.next() == "READY=1"
        for arguments, status in (([*SERVERS, "-n", "23", "-b"], 1), (SERVERS[:2], 1), (["-n", "none"], 1), ([], 78)):
            with DaemonProcess(lab.gateway, ["-c", "/dev/null", *arguments]) as other:
                assert other.process.wait(5) == status
                assert other.process.stderr
                # One line: the usage would stand in the log after each of many starts.
                [said] = other.process.stderr.read().splitlines()
            assert systemd.next(but="WATCHDOG=1") == said.replace("mxallowd: ", "STATUS=", 1)
        assert first.stop() == 0


def test_it_works_where_no_memory_may_be_written_and_executed(lab: Lab) -> None:
    """MemoryDenyWriteExecute of the unit, by prctl(PR_SET_MDWE) of linux/prctl.h."""
    script = ("import ctypes, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n"
              "from mxallowd import cli; sys.exit(cli.main(sys.argv[1:]))")
    lab.load_ruleset("queue-set-mark.nft")
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--nft-table", "mxallowd", "-p",
                                     "nflog:5"], script=script) as daemon:
        daemon.wait_for("start ")
        time.sleep(1.5)
        assert not [line for line in daemon.messages()
                    if line.startswith(("defect", "kernel-table-broken", "privileges"))]
        assert daemon.stop() == 0


def test_it_works_where_proc_shows_processes_alone(lab: Lab) -> None:
    """ProcSubset=pid and ProtectProc=invisible of the unit: proc(5), subset=pid and hidepid=invisible."""
    client = lab.client("client", "192.0.2.101")
    lab.queue_rule("23", bypass=True)
    prefix = ["unshare", "--mount", "sh", "-c",
              'mount -t proc -o subset=pid,hidepid=invisible proc /proc && exec "$0" "$@"']
    arguments = ["-c", "/dev/null", *SERVERS, "-n", "23", "-p", "nflog:5", "-b", "--user", "nobody"]
    with lab.gateway.serve(REAL4), DaemonProcess(lab.gateway, arguments, prefix=prefix) as daemon:
        daemon.wait_for("start ")
        time.sleep(1.5)
        assert not [line for line in daemon.messages() if line.startswith(("degraded", "defect", "privileges"))]
        # The guard sees through its own part of it.
        daemon.send(signal.SIGSTOP)
        stopped = time.monotonic()
        while client.attempt(REAL4, timeout=0.3) is not Attempt.CONNECTED:
            assert time.monotonic() - stopped < 2.3
        assert daemon.process.wait(5) == -signal.SIGKILL
