"""A local user cannot prevent a start: by locks, processes, names, and what he puts where the pid file is to be."""
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mxallowd.errors import StartError
from mxallowd.process.pidfile import PidFile

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="does what another user would do")
USER = 65533
HOLDING = """
import fcntl, os, sys, time
for path in sys.argv[1:]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        print("closed", flush=True)
        continue
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory that everybody may enter, and the path of a pid file in it."""
    made = Path("/tmp") / f"mxallowd-test-{os.getpid()}"
    made.mkdir()
    made.chmod(0o755)
    yield made / "pid"
    shutil.rmtree(made)


@contextmanager
def process_of(user: int, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*map(str, command)], user=user, group=user, extra_groups=[], stdout=subprocess.PIPE,
                          text=True, cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


def taken(path: Path) -> None:
    """A start takes the file, without a fault, and leaves nothing behind."""
    holder = PidFile(path)
    holder.acquire()
    assert holder.fault == ""
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(StartError, match=f"already running with process id {os.getpid()} "):
        PidFile(path).acquire()
    holder.release()
    assert list(path.parent.glob("pid*")) == []


def test_locks_of_another_user_prevent_no_start(place: Path) -> None:
    """He can read the number, so he can lock that file; the file that is the lock is closed to him."""
    lock = place.with_name("pid.lock")
    left = PidFile(place)
    left.acquire()
    left.remove = lambda _: None
    left.release()
    assert (place.stat().st_mode & 0o777, lock.stat().st_mode & 0o777) == (0o644, 0o600)
    with process_of(USER, "/usr/bin/python3", "-c", HOLDING, place, lock) as other:
        assert other.stdout
        assert [other.stdout.readline(), other.stdout.readline()] == ["locked\n", "closed\n"]
        taken(place)


@pytest.mark.parametrize("name", ["mxallowd", " ", "mxallowd ", "a) R 1 1 (b", "a\nb", "mxallowd (deleted)", "\udcff"],
                         ids=["own", "blank", "blank-behind", "parenthesis", "line", "deleted", "bytes"])
def test_a_process_of_another_user_counts_nothing(place: Path, name: str) -> None:
    program = place.parent / name
    shutil.copy("/bin/sleep", program)
    with process_of(USER, program, "60") as other:
        place.write_text(f"{other.pid}\n")
        taken(place)


@pytest.mark.parametrize("name", ["mxallowd", " ", "a) R 1 1 (b", "a\nb", "mxallowd (deleted)"],
                         ids=["own", "blank", "parenthesis", "line", "deleted"])
def test_a_number_that_was_given_anew_counts_nothing(place: Path, name: str) -> None:
    """A process that is younger than the file is another one, even root's of that name."""
    program = place.parent / name
    shutil.copy("/bin/sleep", program)
    with process_of(0, program, "60") as other:
        place.write_text(f"{other.pid}\n")
        os.utime(place, (time.time() - 60,) * 2)
        taken(place)


@pytest.mark.parametrize("after", ["", "removed"])
def test_the_old_daemon_counts_whatever_became_of_its_file(place: Path, after: str) -> None:
    program = place.parent / "mxallowd"
    shutil.copy("/bin/sleep", program)
    with process_of(0, program, "60") as old:
        if after:
            program.unlink()
        place.write_text(f"{old.pid}\n")
        with pytest.raises(StartError, match=f"already running with process id {old.pid}"):
            PidFile(place).acquire()
        assert place.read_text() == f"{old.pid}\n"


def _directory(path: Path) -> None:
    path.mkdir()
    os.chown(path, USER, USER)


def _fifo(path: Path) -> None:
    os.mkfifo(path, 0o666)
    os.chown(path, USER, USER)


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")
    os.lchown(path, USER, USER)


def _file(path: Path) -> None:
    path.write_text("precious")
    os.chown(path, USER, USER)


def _writable(path: Path) -> None:
    path.write_text("1\n")
    path.chmod(0o666)


def _other_name(path: Path) -> None:
    path.with_name("precious").write_text("12\n")
    path.with_name("precious").chmod(0o600)
    path.hardlink_to(path.with_name("precious"))


@pytest.mark.parametrize("make", [_directory, _fifo, _link, _file, _writable, _other_name])
@pytest.mark.parametrize("name", ["pid", "pid.lock"])
def test_what_another_user_put_there_is_said_and_left(place: Path, name: str, make: Callable[[Path], None]) -> None:
    place.parent.chmod(0o1777)
    path = place.with_name(name)
    make(path)
    before = path.lstat()
    holder = PidFile(place)
    started = time.monotonic()
    holder.acquire()
    assert time.monotonic() - started < 1
    assert holder.fault.startswith(f'will not use "{path}": ')
    assert holder.fault.endswith("; remove it")
    assert not holder.mend()
    holder.release()
    after = path.lstat()
    assert (after.st_ino, after.st_uid, after.st_mtime_ns) == (before.st_ino, before.st_uid, before.st_mtime_ns)


def test_the_command_starts_beside_a_locked_pid_file(place: Path) -> None:
    """The whole way, up to what fails later and for another reason: there is no such interface."""
    place.write_text("4000000\n")
    command = [sys.executable, "-m", "mxallowd", "-c", "/dev/null", "-f", "192.0.2.1", "-r", "192.0.2.2", "-b", "-p",
               "mxnone0", "--pid-file", str(place)]
    with process_of(USER, "/usr/bin/python3", "-c", HOLDING, place) as other:
        assert other.stdout
        assert other.stdout.readline() == "locked\n"
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert "already running" not in done.stderr
        assert 'cannot capture from "mxnone0"' in done.stderr
