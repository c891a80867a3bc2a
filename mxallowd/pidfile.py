"""The pid file: one daemon a file, for as long as the daemon lives.

A lock on the open file says whether the daemon lives; the number in it is for people and scripts. So a file that a
crash left behind is taken over, whatever process has its number today. A daemon of the old program does not lock: its
number counts while that program's executable runs under it. What is not a pid file, by its type or its
content, is refused and left as it is.
"""
import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.text import quoted

# A longer text is no process id.
MAX_BYTES = 32


class PidFile:
    """A pid file that this process holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the file and write this process's id. Raises StartError where another daemon has it or it is none."""
        while True:
            descriptor = self._open()
            try:
                self._lock(descriptor)
                if self._is_current(descriptor):
                    self._write(descriptor)
                    self._descriptor = descriptor
                    return
            except BaseException:
                os.close(descriptor)
                raise
            # Its last holder removed the file between our open and our lock.
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StartError(f"the pid file {self._name} is not a file")
        text = os.pread(descriptor, MAX_BYTES, 0).decode("ascii", "replace").strip()
        if text and not text.isdigit():
            raise StartError(f"{self._name} holds something else than a process id, and is left as it is")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"already running with process id {text or '?'} ({self._name})") from None
        if _is_old_daemon(text):
            raise StartError(f"already running with process id {text} ({self._name})")

    def _write(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise StartError(f"cannot write {self._name}: {error.strerror}") from None

    def release(self) -> None:
        """Remove the file, if it is still ours, and let it go."""
        if self._descriptor < 0:
            return
        # Its directory may be closed to us by now: then it stays, empty, and its lock goes with this process.
        os.truncate(self._descriptor, 0)
        if self._is_current(self._descriptor):
            with suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    @property
    def _name(self) -> str:
        return quoted(str(self._path))

    def _open(self) -> int:
        # Non-blocking: a FIFO must not hold up the start.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(self._path, flags, 0o644)
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise StartError(f"cannot open the pid file {self._name}: {reason}") from None

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = self._path.lstat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))


def _is_old_daemon(text: str) -> bool:
    # By the executable: this program is the interpreter's, whatever it calls itself.
    try:
        return text != "" and Path(f"/proc/{int(text)}/exe").readlink().name.split()[0] == "mxallowd"
    except OSError:
        return False
