"""Process 1 of a container: whatever hangs or stops there, mail flows again, and the log says what was done."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.hosts import FAKE4, Attempt, Host, Lab, ip_output
from lab.ptrace import frozen, thread_named
from tests.daemon_process import DaemonProcess, serving
from tests.start_faults import ROOT
from tests.test_faults import AGAIN_S, flows_again

BYPASS = True
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def process(lab: Lab, number: int) -> int:
    """The process that has this number inside the container."""
    for pid in ip_output(f"netns pids {lab.gateway.name}").split():
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        if status.partition("NSpid:")[2].split("\n")[0].split()[1:] == [str(number)]:
            return int(pid)
    raise AssertionError(f"there is no process {number}")


def test_signals_reach_the_daemon(guarded: Lab, client: Host) -> None:
    with serving(guarded, prefix=CONTAINER) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        os.kill(process(guarded, 1), signal.SIGUSR1)
        daemon.wait_for("counters .*fake-new=1 ")
        os.kill(process(guarded, 1), signal.SIGHUP)
        daemon.wait_for("reloaded ")
        os.kill(process(guarded, 1), signal.SIGTERM)
        assert daemon.process.wait(10) == 0
        assert daemon.messages()[-1] == "stop signal=SIGTERM received=1"
    assert guarded.queues() == []


def test_a_daemon_that_is_stopped_is_ended(guarded: Lab, client: Host) -> None:
    with serving(guarded, prefix=CONTAINER) as daemon:
        os.kill(process(guarded, 2), signal.SIGSTOP)
        assert flows_again(client, time.monotonic()) < AGAIN_S + 0.3
        # The container ends as the daemon did: whoever started it starts it again.
        assert daemon.process.wait(5) == 128 + signal.SIGKILL
        daemon.wait_for("guard-killed queue=23")
    assert guarded.queues() == []


def test_a_queue_thread_that_hangs_ends_the_process(guarded: Lab, client: Host) -> None:
    with serving(guarded, prefix=CONTAINER) as daemon:
        with frozen(thread_named(process(guarded, 2), "mxallowd-q23")):
            assert flows_again(client, time.monotonic()) < AGAIN_S
        assert daemon.process.wait(5) == 70
        daemon.wait_for("watchdog-exit queue=23 status=70")


def test_it_takes_the_status_of_orphans(guarded: Lab) -> None:
    with serving(guarded, prefix=CONTAINER) as daemon:
        init = process(guarded, 1)
        subprocess.run(["nsenter", "-t", str(init), "-p", "-m", "sh", "-c", "(sleep 0.1 &)"], check=True)
        children = Path(f"/proc/{init}/task/{init}/children")
        deadline = time.monotonic() + 5
        while len(children.read_text(encoding="ascii").split()) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(init, signal.SIGTERM)
        assert daemon.process.wait(10) == 0


def test_a_start_that_fails_has_its_status_and_line(guarded: Lab) -> None:
    with serving(guarded), DaemonProcess(guarded.gateway, [
            "-c", "/dev/null", "-f", FAKE4, "-r", "192.0.2.20", "-n", "23"], prefix=CONTAINER) as second:
        assert second.process.wait(10) == 1
        assert second.process.stderr
        assert "cannot bind queue 23" in second.process.stderr.read()


def test_it_does_not_go_to_the_background(guarded: Lab, client: Host, tmp_path: Path) -> None:
    """Its end would be the container's."""
    command = guarded.gateway.popen(
        [*CONTAINER, sys.executable, "-m", "mxallowd", "-c", "/dev/null", "-f", FAKE4, "-r", "192.0.2.20", "-n", "23",
         "--user", "root", "--pid-file", str(tmp_path / "pid")], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not guarded.queues():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert command.poll() is None
    assert (tmp_path / "pid").read_text() == "2\n"
    os.kill(process(guarded, 1), signal.SIGTERM)
    assert command.wait(10) == 0
    assert not (tmp_path / "pid").exists()


ENDLESS = """
import os, time
from mxallowd.watchdog import guard
if os.fork():
    time.sleep(60)
print(guard.end(1, os.pidfd_open(1), []), flush=True)
os._exit(0)
"""


def test_the_guard_does_not_say_what_it_has_not_done(namespaces: None) -> None:
    """SIGKILL to a process 1 from within has no effect, and is no end of anything."""
    with subprocess.Popen([*CONTAINER, sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True,
                          cwd=ROOT) as container:
        assert container.stdout
        said = container.stdout.readline()
        assert container.poll() is None
        (first,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(first), signal.SIGKILL)
    assert said == "packets wait, and SIGKILL has not ended the process; it is tried again\n"
