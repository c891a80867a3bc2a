"""Promise 8 of docs/reliability.md, end to end: a log that is full, closed or not there, and a disk without room."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab, ip_output
from lab.programs import Sources, flood
from mxallowd.daemon.start import NO_SYSLOG
from tests.daemon_process import SERVERS, STAMP
from tests.until import until

COMMAND = [sys.executable, "-m", "mxallowd", "-c", "/dev/null", *SERVERS, "-n", "23", "-b"]
FIRST = "192.0.2.101"
CLIENT = SENDERS = [f"192.0.2.{number}" for number in range(101, 161)]
# `start`, and a line for each server.
GREETING = 5
PAGE = 4096


@contextmanager
def disk(place: Path, options: str = "size=64k,mode=755") -> Iterator[Path]:
    """A file system of its own on a new directory."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "mxallowd-test", place], check=True)
    try:
        yield place
    finally:
        # Lazily: whoever has a file of it open does not hold it here.
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    """Take all room that is left; the file that has it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    return filler


@contextmanager
def running(host: Host, command: Sequence[str], **streams: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process that is ended with the block."""
    process = host.popen(command, **streams)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(5)


def meet_the_fake_server(client: Host, senders: Sequence[str]) -> None:
    """As many lines of log; each sender is let in then."""
    for sender in senders:
        assert client.attempt(FAKE4, source=sender) is Attempt.REFUSED


def suppressed(message: str) -> int:
    """N of a line `suppressed lines=N`."""
    found = re.fullmatch(r"suppressed lines=(\d+)", message)
    assert found, message
    return int(found[1])


def messages_of(path: Path) -> list[str]:
    """The messages of a file; each line is whole and has its time stamp."""
    text = path.read_text(encoding="ascii")
    assert text.endswith("\n")
    assert all(STAMP.match(line) for line in text.splitlines()), text
    return [STAMP.sub("", line, count=1) for line in text.splitlines()]


def test_8_a_full_disk_costs_lines_that_are_counted(guarded: Lab, client: Host, tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as place, (place / "log").open("ab") as output, \
            running(guarded.gateway, [*COMMAND, "-F", "-s", "--user", "nobody"], stdout=output,
                    stderr=subprocess.PIPE, text=True) as daemon:
        log = place / "log"
        assert until(lambda: log.read_bytes().count(b"\n") >= GREETING)
        greeting = messages_of(log)
        filler = fill(place)
        # The rest of the file's last page takes some lines, the last of them not whole.
        meet_the_fake_server(client, SENDERS[:-1])
        assert client.attempt(REAL4, source=SENDERS[0]) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=SENDERS[-1]) is Attempt.DROPPED
        assert until(lambda: log.stat().st_size == PAGE)
        time.sleep(0.3)
        assert not log.read_bytes().endswith(b"\n")
        filler.unlink()
        meet_the_fake_server(client, SENDERS[-1:])
        assert until(lambda: b"whitelisted [%s]" % SENDERS[-1].encode() in log.read_bytes())
        messages = messages_of(log)[len(greeting):]
        assert messages[-1].startswith(f"whitelisted [{SENDERS[-1]}]")
        assert all(message.startswith("whitelisted ") for message in messages[:-2])
        # All others met it, one was accepted, one refused.
        assert suppressed(messages[-2]) == len(SENDERS) - 1 + 2 - len(messages[:-2])
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
        assert messages_of(log)[-1].startswith("stop signal=SIGTERM")
        assert daemon.stderr
        assert daemon.stderr.read() == ""


def test_8_a_reader_that_goes_and_comes_again(guarded: Lab, client: Host, tmp_path: Path) -> None:
    """Standard output is a named pipe."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with path.open("wb") as output, running(
            guarded.gateway, [*COMMAND, "-F", "-s", "--user", "nobody"], stdout=output, stderr=subprocess.PIPE,
            text=True) as daemon:
        output.close()
        read = b""
        while read.count(b"\n") < GREETING:
            with suppress(BlockingIOError):
                read += os.read(reader, PAGE)
            time.sleep(0.02)
        os.close(reader)
        meet_the_fake_server(client, SENDERS[:7])
        assert client.attempt(REAL4) is Attempt.CONNECTED
        time.sleep(0.3)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            meet_the_fake_server(client, SENDERS[7:8])
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(10) == 0
            lines = [STAMP.sub("", line) for line in os.read(reader, PAGE).decode("ascii").splitlines()]
        finally:
            os.close(reader)
        assert lines == ["suppressed lines=8", lines[1], "stop signal=SIGTERM received=9"]
        assert lines[1].startswith(f"whitelisted [{SENDERS[7]}]")
        assert daemon.stderr
        assert daemon.stderr.read() == ""


def test_8_a_reader_that_is_gone_for_good(guarded: Lab, client: Host) -> None:
    reader, writer = os.pipe()
    with running(guarded.gateway, [*COMMAND, "-F", "-s", "--user", "root"], stdout=writer, stderr=subprocess.PIPE,
                 text=True) as daemon:
        os.close(writer)
        assert b" - start " in os.read(reader, PAGE)
        os.close(reader)
        meet_the_fake_server(client, SENDERS[:3])
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=SENDERS[9]) is Attempt.DROPPED
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
        assert daemon.stderr
        assert daemon.stderr.read() == ""


class Syslog:
    """A syslog at `log` in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = os.open(directory, os.O_PATH)
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin to listen."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        # A socket's path must be short.
        name = f"/proc/self/fd/{self._directory}/log"
        self._socket.bind(name)
        Path(name).chmod(0o666)

    def message(self) -> str:
        """The next message."""
        assert self._socket
        found = re.fullmatch(r"<\d+>mxallowd\[\d+\]: ([ -~]*)\0?", self._socket.recv(PAGE).decode("ascii"))
        assert found
        return found[1]

    def leave(self) -> None:
        """Listen no more; the socket's name stays, as when a syslog dies."""
        assert self._socket
        self._socket.close()
        self._socket = None

    def close(self) -> None:
        """The last call."""
        if self._socket:
            self._socket.close()
        os.close(self._directory)


# What a program needs of /dev, in a directory that is /dev for this command alone.
PRIVATE_DEV = """
for name in null zero random urandom; do touch "$0/$name" && mount --bind "/dev/$name" "$0/$name" || exit 9; done
mount --rbind "$0" /dev && exec "$@"
"""


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[Syslog]:
    """A syslog in tmp_path/dev, which does not listen yet."""
    (tmp_path / "dev").mkdir()
    made = Syslog(tmp_path / "dev")
    yield made
    made.close()


def with_dev(directory: Path, command: Sequence[str]) -> list[str]:
    """The command with this directory as its /dev, in a mount namespace of its own."""
    return ["unshare", "-m", "sh", "-c", PRIVATE_DEV, str(directory), *command]


def test_8_a_syslog_that_comes_goes_and_comes_again(
        guarded: Lab, client: Host, tmp_path: Path, syslog: Syslog) -> None:
    """As another user, and under the sandbox, as by default."""
    command = with_dev(tmp_path / "dev", [*COMMAND, "-F", "--user", "nobody"])
    with running(guarded.gateway, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        assert daemon.stderr.readline() == f"mxallowd: {NO_SYSLOG}\n"
        meet_the_fake_server(client, SENDERS[:4])
        assert client.attempt(REAL4) is Attempt.CONNECTED
        for times, before in ((1, GREETING + 5), (2, 3)):
            # The main loop collects events for some milliseconds; then their lines are tried.
            time.sleep(0.3)
            with suppress(FileNotFoundError):
                (tmp_path / "dev" / "log").unlink()
            syslog.open()
            sender = SENDERS[10 * times]
            meet_the_fake_server(client, [sender])
            assert suppressed(syslog.message()) == before
            assert syslog.message().startswith(f"whitelisted [{sender}]")
            syslog.leave()
            meet_the_fake_server(client, SENDERS[10 * times + 1:10 * times + 4])
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
        assert daemon.stdout
        assert (daemon.stdout.read(), daemon.stderr.read()) == ("", "")


def test_8_a_start_without_syslog_says_so(guarded: Lab, client: Host, tmp_path: Path, syslog: Syslog) -> None:
    """In the background, and where a socket is left of a syslog that died."""
    syslog.open()
    syslog.leave()
    pid_file = tmp_path / "pid"
    command = with_dev(tmp_path / "dev", [*COMMAND, "--user", "root", "--pid-file", str(pid_file)])
    with started(guarded.gateway, command, pid_file, f"mxallowd: {NO_SYSLOG}\n"):
        meet_the_fake_server(client, SENDERS[:1])
        assert client.attempt(REAL4) is Attempt.CONNECTED


AGAIN_AT_ONCE = "import sys; from mxallowd import cli; from mxallowd.daemon import start; " \
    "start.PID_FILE_AGAIN_S = 0.1; sys.exit(cli.main(sys.argv[1:]))"


@pytest.mark.parametrize("before", ["", "1\n"])
def test_8_a_pid_file_is_written_when_the_disk_has_room(
        guarded: Lab, client: Host, tmp_path: Path, before: str) -> None:
    """As another user and under the sandbox, which leave no way to open it again; or over the number of a dead one."""
    log = tmp_path / "log"
    with disk(tmp_path / "disk") as place, log.open("wb") as output:
        pid_file = place / "pid"
        pid_file.write_text(before)
        filler = fill(place)
        command = [sys.executable, "-c", AGAIN_AT_ONCE, *COMMAND[3:], "-s", "--user", "nobody", "--pid-file",
                   str(pid_file)]
        reason = f'cannot write the pid file "{pid_file}": No space left on device'
        with started(guarded.gateway, command, None, "" if before else f"mxallowd: {reason}; it starts without\n",
                     output):
            meet_the_fake_server(client, SENDERS[:1])
            assert client.attempt(REAL4) is Attempt.CONNECTED
            if not before:
                assert pid_file.read_bytes() == b""
                filler.unlink()
                assert until(lambda: b"pid-file written=" in log.read_bytes())
            pid = pid_file.read_text(encoding="ascii")
            assert Path(f"/proc/{int(pid)}").exists()
            fill(place)
        # Its directory is root's: it cannot be removed, and says nobody.
        assert pid_file.read_bytes() == b""
    messages = [message for message in messages_of(log) if message.startswith(("pid-file", "stop", "defect"))]
    said = [] if before else [
        'pid-file reason="' + reason.replace('"', '\\"') + '"', f"pid-file written={pid_file}"]
    assert messages == [*said, "stop signal=SIGTERM received=2"]


@pytest.mark.parametrize(("options", "reason"), [
    ("mode=755,nr_inodes=1", "No space left on device"), ("mode=755,ro", "Read-only file system")])
def test_8_without_room_for_a_pid_file_it_serves(
        guarded: Lab, client: Host, tmp_path: Path, options: str, reason: str) -> None:
    with disk(tmp_path / "disk", options) as place:
        pid_file = place / "pid"
        said = f'mxallowd: cannot open the pid file "{pid_file}": {reason}; it starts without\n'
        command = [*COMMAND, "-s", "--user", "nobody", "--pid-file", str(pid_file)]
        with started(guarded.gateway, command, None, said):
            meet_the_fake_server(client, SENDERS[:1])
            assert client.attempt(REAL4) is Attempt.CONNECTED
        assert not pid_file.exists()


def is_child(pid: str) -> bool:
    """Whether it is one of the processes beside the daemon, or has ended."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return not command or b"process/child.py" in command


@contextmanager
def started(
    host: Host, command: Sequence[str], pid_file: Path | None, said: str, output: IO[bytes] | int = subprocess.DEVNULL,
) -> Iterator[None]:
    """A daemon in the background, which said just this at its start; it is stopped with the block."""
    done = host.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=30)
    daemons: list[int] = []

    def alone() -> bool:
        # A child that is about to run its own program looks like the daemon for a moment.
        daemons[:] = [int(pid) for pid in ip_output(f"netns pids {host.name}").split() if not is_child(pid)]
        return len(daemons) == 1

    try:
        assert (done.returncode, done.stderr) == (0, said)
        assert until(alone)
        if pid_file:
            assert pid_file.read_text(encoding="ascii") == f"{daemons[0]}\n"
        yield
        os.kill(daemons[0], signal.SIGTERM)
        assert until(lambda: not Path(f"/proc/{daemons[0]}").exists())
    finally:
        for pid in daemons:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_12_a_log_that_nobody_takes_is_stress_until_it_is_taken(lab: Lab, client: Host) -> None:
    """Without a rule for the state of connections, whose table so many made-up hosts would fill."""
    lab.queue_rule("23", tracked=False)
    lab.take_any_source("10.0.0.0/8")
    reader, writer = os.pipe()
    with lab.gateway.serve(REAL4), running(
            lab.gateway, [*COMMAND, "-F", "-s", "--user", "root"], stdout=writer, stderr=subprocess.DEVNULL) as daemon:
        os.close(writer)
        with os.fdopen(reader, encoding="ascii") as output:
            assert " - start " in output.readline()
            # 500 lines a second after the first 2,000, until nine tenths of 4,096 wait.
            client.run(flood(FAKE4, Sources("10.0.0.0", 16_000), rate=2_500), check=True, stdout=subprocess.DEVNULL)
            meet_the_fake_server(client, SENDERS[:1])
            assert client.attempt(REAL4, source=SENDERS[0]) is Attempt.CONNECTED
            messages = []
            for line in output:
                messages.append(STAMP.sub("", line.rstrip("\n"), count=1))
                if "stress state=off" in line:
                    break
            meet_the_fake_server(client, SENDERS[1:2])
            assert f"whitelisted [{SENDERS[1]}]" in output.readline()
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(10) == 0
    stress = [message for message in messages if message.startswith("stress ")]
    assert stress[0] == "stress state=on bound=log-queue percent=90"
    assert len(stress) == 2
    at = messages.index(stress[0])
    # From then on nothing is said of single hosts; all of them are counted.
    assert not [message for message in messages[at:] if message.startswith("whitelisted ")]
    told = sum(message.startswith("whitelisted ") for message in messages)
    counted = sum(suppressed(message) for message in messages if message.startswith("suppressed "))
    # The two of the client are a contact and a first use.
    assert told + counted == 16_000 + 2
