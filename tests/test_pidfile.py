"""The pid file: one daemon a file, links refused, leftovers taken over. What other users try: test_pidfile_users.py."""
import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd.errors import StartError
from mxallowd.process.pidfile import PidFile


def test_it_holds_the_number_and_goes_with_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    holder = PidFile(path)
    holder.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(StartError, match=f"already running with process id {os.getpid()}"):
        PidFile(path).acquire()
    holder.release()
    assert not path.exists()
    holder.release()


def test_what_a_release_removes(tmp_path: Path) -> None:
    holder = PidFile(tmp_path / "pid")
    holder.acquire()
    there = holder.removable()
    assert [path.exists() for path in there] == [True, True]
    removed: list[Path] = []
    holder.remove = removed.append
    holder.release()
    assert removed == there


@pytest.mark.parametrize("content", [
    "", "1\n", f"{os.getppid()}\n", f"{os.getpid()}\n", "999999999\n", "12345678901234567890123"],
    # By names: several processes that share the tests must call them the same.
    ids=["nothing", "init", "parent", "own", "none", "too-long"])
def test_a_leftover_is_taken_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    holder = PidFile(path)
    holder.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    holder.release()


def test_a_daemon_of_the_old_program_is_respected(tmp_path: Path) -> None:
    program = tmp_path / "mxallowd"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([str(program), "60"]) as old:
        try:
            path = tmp_path / "pid"
            path.write_text(f"{old.pid}\n")
            with pytest.raises(StartError, match=f"already running with process id {old.pid}"):
                PidFile(path).acquire()
            assert path.read_text() == f"{old.pid}\n"
        finally:
            old.kill()


def test_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("content")
    link = tmp_path / "pid"
    link.symlink_to(target)
    with pytest.raises(StartError, match="it is a symbolic link"):
        PidFile(link).acquire()
    assert target.read_text() == "content"


@pytest.mark.parametrize("content", ["precious", "12 34", "fake-mailserver 192.0.2.1\n", "1" * 31 + "x"])
def test_what_is_no_pid_file_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious"
    path.write_text(content)
    with pytest.raises(StartError, match="holds something else than a process id"):
        PidFile(path).acquire()
    assert path.read_text() == content


def test_a_device_or_fifo_is_refused_at_once_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    null = tmp_path / "null"
    paths = [fifo]
    if os.geteuid() == 0:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        paths.append(null)
    for path in paths:
        mode = path.stat().st_mode
        with pytest.raises(StartError, match="is not a file"):
            PidFile(path).acquire()
        assert path.stat().st_mode == mode


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file or directory"):
        PidFile(tmp_path / "none" / "pid").acquire()


def test_a_disk_without_room_is_said(tmp_path: Path) -> None:
    """A daemon whose number is nowhere could not be stopped by it: it does not start."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StartError, match=r"cannot write .*pid.: File too large"):
            PidFile(tmp_path / "pid").acquire()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    holder = PidFile(path)
    holder.acquire()
    path.unlink()
    path.write_text("another\n")
    holder.release()
    assert path.read_text() == "another\n"


def test_the_lock_is_the_processes(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    script = "import sys; from pathlib import Path; from mxallowd.process.pidfile import PidFile\n" \
             "PidFile(Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StartError, match=f"process id {other.pid}"):
            PidFile(path).acquire()
        other.kill()
    holder = PidFile(path)
    holder.acquire()
    holder.release()


class Failing:
    """Stands for a function of os: fails, until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
        real = getattr(os, name)

        def call(*words: object) -> object:
            if self.broken:
                raise OSError(number, os.strerror(number))
            return real(*words)

        self.broken = True
        monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_fault_of_the_disk_is_no_reason_not_to_start(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "pid"
    opening = Failing(monkeypatch, "open", number)
    holder = PidFile(path)
    holder.acquire()
    assert holder.fault == f'cannot open the pid file "{path}": {os.strerror(number)}'
    opening.broken = False
    # It was never opened, so there is nothing to write.
    assert not holder.mend()
    holder.release()
    assert not path.exists()

    path.write_text("999999999\n")
    writing = Failing(monkeypatch, "pwrite", number)
    holder = PidFile(path)
    holder.acquire()
    assert holder.fault == f'cannot write the pid file "{path}": {os.strerror(number)}'
    # The number of a dead one is gone, and the lock holds.
    assert path.read_text() == ""
    with pytest.raises(StartError, match=r"already running with process id \?"):
        PidFile(path).acquire()
    assert not holder.mend()
    writing.broken = False
    assert holder.mend()
    assert holder.fault == ""
    assert path.read_text() == f"{os.getpid()}\n"
    # Nor is it one at the end.
    Failing(monkeypatch, "truncate", number)
    holder.release()
    assert not path.exists()


@pytest.mark.parametrize("name", ["open", "pwrite"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG])
def test_any_other_fault_ends_the_start(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    holder = PidFile(tmp_path / "pid")
    failing = Failing(monkeypatch, name, number)
    with pytest.raises(StartError, match=os.strerror(number)):
        holder.acquire()
    failing.broken = False
    holder.release()


def test_a_longer_number_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("9999999999999999999\n")
    holder = PidFile(path)
    holder.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    holder.release()
