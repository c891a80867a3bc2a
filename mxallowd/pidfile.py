"""The pid file: one daemon a file, for as long as the daemon lives.

A lock on the open file says whether the daemon lives; the number in it is for people and scripts. So a file that a
crash left behind is taken over, whatever process has its number today. A daemon of the old program does not lock: its
number counts while a process of that name has it.
"""
import errno
import fcntl
import os
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.text import quoted


class PidFile:
    """A pid file that this process holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the file and write this process's id. Raises StartError where another daemon has it, or on a link."""
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = os.read(descriptor, 20).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise StartError(f"already running with process id {text or '?'} ({self._name})") from None
            if self._is_current(descriptor):
                break
            # Its last holder removed the file between our open and our lock.
            os.close(descriptor)
        text = os.read(descriptor, 20).decode("ascii", "replace").strip()
        if _is_old_daemon(text):
            os.close(descriptor)
            raise StartError(f"already running with process id {text} ({self._name})")
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise StartError(f"cannot write {self._name}: {error.strerror}") from None

    def release(self) -> None:
        """Remove the file, if it is still ours, and let it go."""
        if self._descriptor < 0:
            return
        try:
            if self._is_current(self._descriptor):
                self._path.unlink()
        except OSError:
            # Its directory may be read-only by now; the lock goes with the process all the same.
            os.truncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1

    @property
    def _name(self) -> str:
        return quoted(str(self._path))

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
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
    if not text.isdigit() or int(text) == os.getpid():
        return False
    try:
        name = Path(f"/proc/{int(text)}/comm").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return name.strip() == "mxallowd"
