"""The pid file: one daemon for each file, as long as the daemon runs.

A lock on the open file says whether the daemon runs; the number in it is for people and scripts. So a file that is left
after a crash is taken over, whatever process has its number today. The old program does not lock: its number counts
while its executable runs under that number. A file that is no pid file, by its type or its content, is refused and left
as it is. If the disk fails or is full, the daemon runs without a pid file, since mail must not wait for that.
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
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class PidFile:
    """A pid file that this process holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.fault = ""  # of the disk, while the id is not written

    def removable(self) -> list[Path]:
        """The directory in which release() removes the file."""
        return [self._path.parent]

    def acquire(self) -> None:
        """Take the file and write this process's id, or set `fault`.

        Raises StartError where another daemon has the file, it is none, or there can be none.
        """
        try:
            while not self._take():
                pass
            self._write()
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

    def _take(self) -> bool:
        """Open and lock the file. False: its last holder removed it between our open and our lock."""
        # Non-blocking: a FIFO must not hold up the start.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o644)
        try:
            self._lock(descriptor)
            current = self._is_current(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if current:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return current

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
        """Remove the file, if it is still ours, and let it go."""
        if self._descriptor < 0:
            return
        # Its directory may be closed to us by now: then it stays, empty, and its lock goes with this process.
        with suppress(OSError):
            os.truncate(self._descriptor, 0)
        with suppress(OSError):
            if self._is_current(self._descriptor):
                self._path.unlink()
        with suppress(OSError):
            # Some file systems tell of a full disk only now.
            os.close(self._descriptor)
        self._descriptor = -1

    @property
    def _name(self) -> str:
        return quoted(str(self._path))

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))


def _is_old_daemon(text: str) -> bool:
    # By the executable: this program is the interpreter's, whatever it calls itself.
    try:
        return text != "" and Path(f"/proc/{int(text)}/exe").readlink().name.split()[0] == "mxallowd"
    except OSError:
        return False
