"""The pid file: one daemon for each file, as long as the daemon runs.

A lock says whether the daemon runs; the number is for people and scripts, so everybody may read it. Who may read a file
may also lock it, so the lock is on another file beside it, NAME.lock, that nobody but its owner can open. A number that
is left after a crash is taken over, whatever process has it today. The old program does not lock: its number counts
while a process of the same owner runs its executable under that number, and has done so since the file was written.

Which way it fails: a file of ours that is no pid file, by its type or its content, is refused and left as it is. What
another user put there, or may change, ends no start: the daemon runs without a pid file and says so, and the same where
the disk fails or is full. Mail must not wait for that, and the kernel gives a queue to one daemon alone.
"""
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.text import quoted

# A longer text is no process id.
MAX_BYTES = 32
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# Each needs another daemon that ends between two system calls of ours.
MOST_TRIES = 100
# How much later than its process a pid file may seem to be written: clocks are set, and count in ticks.
SLACK_S = 5.0
OLD_DAEMON = b"mxallowd"


class _Foreign(Exception):
    """Another user stands in the way."""


class PidFile:
    """A pid file that this process holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._descriptor = -1
        self._lock = -1
        self.fault = ""  # of the disk, or of another user, while the id is not written
        self.remove: Callable[[Path], None] = os.unlink  # later the sandbox may have another way

    def removable(self) -> list[Path]:
        """What release() removes."""
        return [self._path, self._lock_path]

    def acquire(self) -> None:
        """Take the file and write this process's id, or set `fault`.

        Raises StartError where another daemon has the file, it is none, or there can be none.
        """
        try:
            self._take_lock()
            self._open()
            self._write()
        except _Foreign as error:
            self._let_go()
            self.fault = str(error)
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            message = f"cannot {'open' if self._descriptor < 0 else 'write'} the pid file {self._name}: {reason}"
            if error.errno not in DISK_FAULTS:
                raise StartError(message) from None
            self.fault = message

    def mend(self) -> bool:
        """Try again to write the id. Whether it stands there now; never, where the file could not be opened."""
        if self._descriptor >= 0 and self.fault:
            with suppress(OSError):
                self._write()
        return not self.fault

    def _take_lock(self) -> None:
        for _ in range(MOST_TRIES):
            descriptor = _open_own(self._lock_path, 0o600, closed_to=0o077)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise StartError(f"already running with process id {self._number() or '?'} ({self._name})") from None
            # Else its last holder removed it between our open and our lock.
            if _is_at(self._lock_path, descriptor):
                self._lock = descriptor
                return
            os.close(descriptor)
        raise StartError(f"somebody removes {quoted(str(self._lock_path))} again and again")

    def _number(self) -> str:
        """What stands in the file, for people."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                text = (file.read(MAX_BYTES) or b"").strip()
                return text.decode() if text.isdigit() else ""
        return ""

    def _open(self) -> None:
        descriptor = _open_own(self._path, 0o644, closed_to=0o022)
        try:
            text = os.pread(descriptor, MAX_BYTES, 0).decode("ascii", "replace").strip()
            if text and not (text.isascii() and text.isdigit()):
                raise StartError(f"{self._name} holds something else than a process id, and is left as it is")
            if text and _is_old_daemon(int(text), os.fstat(descriptor)):
                raise StartError(f"already running with process id {text} ({self._name})")
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _write(self) -> None:
        text = f"{os.getpid()}\n".encode()
        try:
            # Not emptied first: on a full disk the room of an older number will do.
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
        except OSError:
            # That older number is nobody's.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            raise
        self.fault = ""

    def release(self) -> None:
        """Remove the file, if it is still ours, and let it go; the lock as the last."""
        if self._descriptor >= 0:
            # Its directory may be closed to us by now: then it stays, empty, and its lock goes with this process.
            with suppress(OSError):
                os.truncate(self._descriptor, 0)
        for path, descriptor in ((self._path, self._descriptor), (self._lock_path, self._lock)):
            with suppress(OSError):
                if descriptor >= 0 and _is_at(path, descriptor):
                    self.remove(path)
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                with suppress(OSError):
                    # Some file systems tell of a full disk only now.
                    os.close(descriptor)
        self._descriptor = self._lock = -1

    @property
    def _name(self) -> str:
        return quoted(str(self._path))


def _open_own(path: Path, mode: int, closed_to: int) -> int:
    """Open a file, or make it, that is root's or ours and gives others none of the rights `closed_to`.

    Raises _Foreign where another user owns or may change what is there, else StartError and OSError.
    """
    try:
        # Non-blocking: a FIFO must not hold up the start.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, mode)
    except OSError:
        # The kernel may refuse to open what another user put into a directory of everybody (fs.protected_regular).
        with suppress(FileNotFoundError):
            _check_owner(path, path.lstat())
        raise
    try:
        status = os.fstat(descriptor)
        _check_owner(path, status)
        if not stat.S_ISREG(status.st_mode):
            raise StartError(f"the pid file {quoted(str(path))} is not a file")
        if status.st_mode & closed_to:
            rights = f"{status.st_mode & 0o7777:04o}"
            raise _Foreign(f"will not use {quoted(str(path))}: others may open it (mode {rights}); remove it")
        if status.st_nlink > 1:
            raise _Foreign(f"will not use {quoted(str(path))}: it has another name as well; remove it")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise _Foreign(f"will not use {quoted(str(path))}: it belongs to the user with id {status.st_uid}; remove it")


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _is_old_daemon(number: int, written: os.stat_result) -> bool:
    """Whether the process of that number is the old program, and the one that wrote this pid file.

    By the executable: this program is the interpreter's, whatever it calls itself. A number that was given anew belongs
    to a process that is younger than the file; and a process of another user has not written it.
    """
    process = Path(f"/proc/{number}")
    try:
        # It stays the same process while this is open: of one that has ended, nothing can be read through it.
        descriptor = os.open(process, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, OverflowError):
        return False
    try:
        # Bytes: a name is what its owner chose.
        program = os.readlink(b"exe", dir_fd=descriptor).removesuffix(b" (deleted)").rpartition(b"/")[2]
        if program != OLD_DAEMON:
            return False
        owners = next(line for line in _content(descriptor, b"status").splitlines() if line.startswith(b"Uid:"))
        if int(owners.split()[1]) not in {0, written.st_uid}:
            return False
        # Behind the last parenthesis: the name may contain anything (proc(5)). The start is the 22nd field of all.
        started_s = int(_content(descriptor, b"stat").rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return False
    finally:
        os.close(descriptor)
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    return age_s + SLACK_S >= time.time() - written.st_mtime


def _content(directory: int, name: bytes) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
        return file.read()
