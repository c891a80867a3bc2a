"""From start to stop: signals, pid file, background, faults of the log's target, and what a stop leaves behind."""
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.daemon.start import NO_SYSLOG
from mxallowd.log.handlers import syslog_listens
from tests.daemon_process import SERVERS, DaemonProcess

ARGUMENTS = [*SERVERS, "-n", "23"]
COMMAND = [sys.executable, "-m", "mxallowd"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(guarded: Lab, number: signal.Signals) -> None:
    with DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert daemon.stop(number) == 0
        assert daemon.messages()[-1] == f"stop signal={number.name} received=0"
        assert daemon.process.stderr
        assert daemon.process.stderr.read() == ""
    assert guarded.queues() == []


def test_a_stop_loses_no_connection(lab: Lab, client: Host) -> None:
    """Stops and starts under a stream of connects, with the rule's bypass: not one SYN has to be sent twice."""
    lab.queue_rule("23", bypass=True)
    with lab.gateway.serve("192.0.2.10"), lab.gateway.serve(REAL4):
        # Connections to a third address take rule 3: accepted, or past the queue while nobody has bound it.
        lab.gateway.add_address("192.0.2.30/24")
        with lab.gateway.serve("192.0.2.30"):
            slow = 0
            for _ in range(3):
                with DaemonProcess(lab.gateway, ARGUMENTS) as daemon:
                    daemon.wait_for("start ")
                    pending = []
                    for number in range(150):
                        one = client.socket(socket.AF_INET, socket.SOCK_STREAM)
                        one.setblocking(False)
                        with pytest.raises(BlockingIOError):
                            one.connect(("192.0.2.30", 25))
                        pending.append(one)
                        if number == 75:
                            daemon.send(signal.SIGTERM)
                    assert daemon.process.wait(10) == 0
                    deadline = time.monotonic() + 0.8
                    for one in pending:
                        left = max(0.0, deadline - time.monotonic())
                        slow += not select.select([], [one], [], left)[1]
                        one.close()
            assert slow == 0


def test_sighup_takes_a_new_configuration_and_keeps_entries(
        guarded: Lab, client: Host, tmp_path: Path) -> None:
    guarded.gateway.add_address("192.0.2.40/24")
    file = tmp_path / "mx.conf"
    file.write_text(f"fake-mailserver {FAKE4}\nfake-mailserver 192.0.2.40\nreal-mailserver {REAL4}\nqueue-num 23\n")
    with DaemonProcess(guarded.gateway, ["-c", str(file)]) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        file.write_text(f"fake-mailserver 192.0.2.40\nreal-mailserver {REAL4}\nqueue-num 24\nwhitelist-time 7\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded changed=fake-mailserver,whitelist-time")
        assert "restart-needed options=queue-num" in daemon.messages()
        client.add_address("192.0.2.102/24")
        # The old fake server is none any more, the listed host stays listed, the new lifetime holds.
        assert client.attempt(FAKE4, source="192.0.2.102") is Attempt.REFUSED
        assert client.attempt(REAL4, source="192.0.2.102") is Attempt.DROPPED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt("192.0.2.40", source="192.0.2.102") is Attempt.REFUSED
        assert daemon.wait_for(r"whitelisted \[192.0.2.102\]").endswith("fake=192.0.2.40 seconds=7")
        assert client.attempt(REAL4, source="192.0.2.102") is Attempt.CONNECTED


def test_an_invalid_file_changes_nothing(guarded: Lab, client: Host, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    good = f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\n"
    file.write_text(good)
    with DaemonProcess(guarded.gateway, ["-c", str(file)]) as daemon:
        daemon.wait_for("start ")
        file.write_text(good + "fake-mailserver 192.0.2.400\nreal-mailserver 192.0.2.99\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reload-failed ")
        assert daemon.messages()[-1] == \
            f'reload-failed where={file}:4 reason="fake-mailserver: \\\\"192.0.2.400\\\\" is not an IPv4 or IPv6 ' \
            'address"'.replace("\\\\", "\\")
        file.unlink()
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reload-failed where=configuration")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        file.write_text(good)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded changed=nothing")
        assert daemon.stop() == 0


def test_a_storm_of_reloads_loses_nothing(guarded: Lab, client: Host) -> None:
    with DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        for _ in range(60):
            daemon.send(signal.SIGHUP)
            assert client.attempt(REAL4) is Attempt.CONNECTED
        assert daemon.stop() == 0


def test_a_queue_that_is_taken(guarded: Lab, tmp_path: Path) -> None:
    with DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        for more in (["-F"], ["--pid-file", str(tmp_path / "pid")]):
            second = guarded.gateway.run([*COMMAND, *ARGUMENTS, *more], capture_output=True, text=True, timeout=30)
            assert second.returncode == 1
            assert second.stderr.startswith("mxallowd: cannot bind queue 23: it is held by another program (netlink")
            assert second.stderr.count("\n") == 1
        assert not (tmp_path / "pid").exists()
        assert daemon.stop() == 0


def test_one_taken_queue_of_several_gives_the_others_back(guarded: Lab) -> None:
    with DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        second = guarded.gateway.run([*COMMAND, *SERVERS, "-n", "21:23", "-F"], capture_output=True, text=True,
                                     timeout=30)
        assert second.returncode == 1
        assert [row[0] for row in guarded.queues()] == [23]


def test_memory_that_is_not_there(guarded: Lab) -> None:
    limited = ["prlimit", "--as=1000000000", *COMMAND, *ARGUMENTS, "-F", "--max-entries", "90000000"]
    failed = guarded.gateway.run(limited, capture_output=True, text=True, timeout=30)
    assert failed.returncode == 1
    assert failed.stderr.startswith(
        "mxallowd: max-entries 90000000 and max-refused 262144: no 2880000032 bytes of memory for a table: ")
    assert failed.stderr.count("\n") == 1


@pytest.fixture
def background(guarded: Lab, tmp_path: Path) -> Iterator[Path]:
    """A daemon in the background; its pid file."""
    pid_file = tmp_path / "mxallowd.pid"
    started = guarded.gateway.run([*COMMAND, *ARGUMENTS, "--pid-file", str(pid_file)], capture_output=True, text=True,
                                  timeout=30)
    silence = "" if syslog_listens() else f"mxallowd: {NO_SYSLOG}\n"
    assert (started.returncode, started.stdout, started.stderr) == (0, "", silence)
    pid = int(pid_file.read_text())
    yield pid_file
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_the_background_daemon_serves_and_stops(guarded: Lab, client: Host, background: Path) -> None:
    # The command has returned: from now on the daemon serves.
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert client.attempt(REAL4) is Attempt.CONNECTED
    pid = int(background.read_text())
    assert background.read_text() == f"{pid}\n"
    assert background.stat().st_mode & 0o777 == 0o644
    assert Path(f"/proc/{pid}/cwd").samefile("/")
    for descriptor in range(3):
        assert Path(f"/proc/{pid}/fd/{descriptor}").samefile("/dev/null")
    assert os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)
    # Its directory is root's, and the daemon is not: then the file stays, and says nobody.
    assert background.read_text() == ""
    assert guarded.queues() == []


def test_a_daemon_that_stays_root_removes_its_pid_file(guarded: Lab, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = guarded.gateway.run([*COMMAND, *ARGUMENTS, "--user", "root", "--pid-file", str(pid_file)], timeout=30)
    assert started.returncode == 0
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_living_daemon_is_respected_and_a_dead_one_is_not(guarded: Lab, background: Path) -> None:
    pid = int(background.read_text())
    again = [*COMMAND, *SERVERS, "-n", "24", "--pid-file", str(background)]
    second = guarded.gateway.run(again, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert second.stderr == f'mxallowd: already running with process id {pid} ("{background}")\n'
    assert int(background.read_text()) == pid
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert background.exists()
    third = guarded.gateway.run(again, capture_output=True, text=True, timeout=30)
    assert third.returncode == 0
    new = int(background.read_text())
    assert new != pid
    os.kill(new, signal.SIGTERM)
    wait_until_gone(new)


def test_a_background_daemon_may_log_to_standard_output(guarded: Lab, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with (tmp_path / "out").open("w") as output:
        started = guarded.gateway.run([*COMMAND, *ARGUMENTS, "-s", "--pid-file", str(pid_file)], stdout=output,
                                      timeout=30)
    assert started.returncode == 0
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)
    lines = (tmp_path / "out").read_text().splitlines()
    assert " - start version=" in lines[0]
    assert " - stop signal=SIGTERM" in lines[-1]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_background_start_with_closed_streams(guarded: Lab, tmp_path: Path, closed: str) -> None:
    pid_file = tmp_path / "pid"
    command = " ".join([*COMMAND, *ARGUMENTS, "-s", "--pid-file", str(pid_file)])
    with (tmp_path / "out").open("w") as output:
        started = guarded.gateway.run(["sh", "-c", f"exec {command} {closed}"], stdout=output, stderr=output,
                                      timeout=30)
    assert started.returncode == 0
    pid = int(pid_file.read_text())
    assert "Traceback" not in (tmp_path / "out").read_text()
    assert Path(f"/proc/{pid}/fd/0").samefile("/dev/null")
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)


def test_relative_paths_are_meant_from_where_it_was_started(guarded: Lab, tmp_path: Path) -> None:
    (tmp_path / "mx.conf").write_text("".join(
        f"{name} {value}\n" for name, value in (
            ("fake-mailserver", FAKE4), ("real-mailserver", REAL4), ("queue-num", 23), ("pid-file", "pid"))))
    with (tmp_path / "out").open("w") as output:
        started = guarded.gateway.run(
            [*COMMAND, "-s", "--user", "root", "-c", "mx.conf"], stdout=output, cwd=tmp_path, timeout=30,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    assert started.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + 5
    while "reload" not in (tmp_path / "out").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)
    lines = [line.partition(" - ")[2] for line in (tmp_path / "out").read_text().splitlines()]
    assert [line for line in lines if line.startswith(("reload", "restart"))] == ["reloaded changed=nothing"]


def test_a_reload_from_a_pipe_holds_nobody_up(guarded: Lab, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\n")
    with DaemonProcess(guarded.gateway, ["-c", str(file)]) as daemon:
        daemon.wait_for("start ")
        file.unlink()
        os.mkfifo(file)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reload-failed .*it is a pipe")
        assert daemon.stop() == 0


def test_what_needs_a_restart_is_held_against_what_is_in_force(guarded: Lab, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    servers = f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\n"
    file.write_text(f"{servers}queue-num 23\n")
    with DaemonProcess(guarded.gateway, ["-c", str(file)]) as daemon:
        daemon.wait_for("start ")
        file.write_text(f"{servers}queue-num 24\n")
        for times in (1, 2):
            daemon.send(signal.SIGHUP)
            daemon.wait_for("reloaded ", times=times)
            assert daemon.messages().count("restart-needed options=queue-num") == times
        file.write_text(f"{servers}queue-num 23\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded ", times=3)
        assert daemon.messages().count("restart-needed options=queue-num") == 2
        assert daemon.stop() == 0


def test_a_start_that_is_interrupted_starts_nothing(guarded: Lab, tmp_path: Path) -> None:
    """Ctrl-C ends the command, and the daemon that it waits for with it."""
    pid_file = tmp_path / "pid"
    command = guarded.gateway.popen(
        [*COMMAND, *ARGUMENTS, "--pid-file", str(pid_file)], stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    deadline = time.monotonic() + 10
    while not pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    command.send_signal(signal.SIGTERM)
    assert command.wait(10) in {1, 0}
    if command.returncode:
        assert command.stderr
        assert command.stderr.read().endswith(b"mxallowd: ended by SIGTERM before it served\n")
        deadline = time.monotonic() + 10
        # Where it had given up its privileges, the file stays, and says nobody.
        while (guarded.queues() or (pid_file.exists() and pid_file.read_text())) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not pid_file.exists() or pid_file.read_text() == ""
        assert guarded.queues() == []
    else:
        # It was faster than the signal.
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until_gone(pid)


@pytest.mark.parametrize("fault", ["unread", "closed", "full-device"])
def test_a_log_that_nobody_takes_stops_no_verdict(guarded: Lab, client: Host, fault: str) -> None:
    reader, writer = os.pipe()
    # One page: the lines below do not fit.
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    if fault == "full-device":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    daemon = guarded.gateway.popen([*COMMAND, "-F", "-s", *ARGUMENTS], stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        wait_for_queue(guarded)
        if fault == "closed":
            os.close(reader)
        addresses = [f"192.0.2.{n}" for n in range(150, 220)]
        for address in addresses:
            client.add_address(f"{address}/24")
        for address in addresses:
            assert client.attempt(FAKE4, source=address) is Attempt.REFUSED
        if fault == "unread":
            time.sleep(0.2)
            # FIONREAD: what lies in the pipe, all but full, and a line of the log does not fit any more.
            waiting = int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder)
            assert waiting > 4096 - 100
        assert client.attempt(REAL4, source=addresses[0]) is Attempt.CONNECTED
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
    finally:
        daemon.kill()
        daemon.wait(5)
        if fault != "closed":
            os.close(reader)


def wait_for_queue(lab: Lab) -> None:
    deadline = time.monotonic() + 5
    while not lab.queues() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lab.queues()
    time.sleep(0.2)


def test_the_loss_of_a_queue_ends_the_daemon(guarded: Lab) -> None:
    """Somebody unbinds the queue under the daemon: it says so and ends, so that the rule's bypass can act."""
    with DaemonProcess(guarded.gateway, ARGUMENTS, script=UNBINDING) as daemon:
        daemon.wait_for("start ")
        assert daemon.process.wait(10) == 1
        daemon.wait_for("queue-failed ")


UNBINDING = """
import asyncio, os, sys
from mxallowd import cli
from mxallowd.backends import nfqueue

start = nfqueue.NfqueueBackend.start

def start_and_break(backend):
    start(backend)
    # NFQNL_CFG_CMD_UNBIND, then a verdict for a queue that is not there.
    fd = backend._queues[0].fd
    import struct
    from mxallowd.backends._nfnetlink import verdict
    os.write(fd, struct.pack("=IHHII", 28, 3 << 8 | 2, 1, 0, 0) + struct.pack("!BBHHHBBH", 0, 0, 23, 0x0800, 0x0100,
             2, 0, 0))
    message = bytearray(verdict(23, 1, True))
    message[6] |= 4  # NLM_F_ACK
    os.write(fd, message)

nfqueue.NfqueueBackend.start = start_and_break
sys.exit(cli.main(sys.argv[1:]))
"""
