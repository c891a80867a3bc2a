"""The place of the control socket in the file system: its directory, its lock, its owner, and its end.

Made while privileges are there. A lock beside the socket, NAME.lock, says whether another daemon serves it; what is
left of one that has died is removed under that lock. The mode is right from the first moment, by umask; the owner is
changed by a descriptor of the very socket that was made, since in a directory that others may write a name could
mean another file by then.

No mxallowd has it then; a socket that still answers is that of another program, and stays.

Which way it fails: without a socket the daemon serves and says so. Mail does not wait for an operator's tool.
"""
import fcntl
import grp
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from mxallowd.errors import MxallowdError
from mxallowd.process.privileges import id_of_any
from mxallowd.text import quoted

GROUP = "mxallowd"
MODE = 0o660
OWN_DIRECTORY = "mxallowd"  # a directory of this name is ours, whoever made it: systemd, or a package
BACKLOG = 1024  # clients that connect in one moment; the kernel has its own bound, net.core.somaxconn
_MOST_TRIES = 100  # each needs a daemon that ends between two system calls of ours


class NoPlace(MxallowdError):
    """There can be no socket there; the text says why."""


class Place:
    """A socket in the file system that this process holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener: socket.socket | None = None
        self.group = -1  # of the socket: its members may read
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._lock = -1
        self._made: tuple[int, int] | None = None  # device and inode of our socket

    def take(self, user: int, group: int) -> None:
        """Bind and listen; `user` and `group` are those that the daemon becomes. Raises NoPlace."""
        try:
            self._make_directory(user, group)
            self._take_lock()
            self._bind(user, group)
        except OSError as error:
            self.release()
            where = quoted(str(error.filename or self.path))
            raise NoPlace(f"no control socket {quoted(str(self.path))}: {error.strerror or error} ({where})") from None
        except NoPlace:
            self.release()
            raise

    def release(self) -> None:
        """Close it and remove what was made, as far as this user may."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._made:
                self.path.unlink()
        self._made = None
        if self._lock >= 0:
            # Under the lock: who waits for it looks whether the file is still there.
            with suppress(OSError):
                self._lock_path.unlink()
            os.close(self._lock)
            self._lock = -1

    def _make_directory(self, user: int, group: int) -> None:
        directory = self.path.parent
        made = False
        with suppress(FileExistsError):
            directory.mkdir(0o755)
            made = True
        if os.geteuid() != 0:
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The socket is removed at the end, by a user who owns nothing else.
            if made or (directory.name == OWN_DIRECTORY and os.fstat(descriptor).st_uid in (0, id_of_any())):
                # One of `nobody` is left of a start before there was a user for the daemon.
                os.fchown(descriptor, user, group)
        finally:
            os.close(descriptor)

    def _take_lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        for _ in range(_MOST_TRIES):
            descriptor = os.open(self._lock_path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise NoPlace(f"no control socket {quoted(str(self.path))}: another mxallowd serves it") from None
            if _is_at(self._lock_path, descriptor):
                self._lock = descriptor
                return
            # Its last holder removed it between our open and our lock.
            os.close(descriptor)
        raise NoPlace(f"no control socket {quoted(str(self.path))}: its lock comes and goes")

    def _bind(self, user: int, group: int) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise NoPlace(f"no control socket {quoted(str(self.path))}: there is a file that is none")
            if why := _why_alive(self.path):
                raise NoPlace(f"no control socket {quoted(str(self.path))}: it is that of another program, which may "
                              f"be alive: {why}")
            self.path.unlink()
        listener = self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        before = os.umask(0o777 & ~MODE)
        try:
            listener.bind(os.fspath(self.path))
        finally:
            os.umask(before)
        # By a descriptor: whatever the name means by then, this is what was looked at.
        descriptor = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode) or status.st_nlink != 1:
                raise NoPlace(f"no control socket {quoted(str(self.path))}: it was replaced while it was made")
            self._made = status.st_dev, status.st_ino
            self._own(f"/proc/self/fd/{descriptor}", user, group)
            self.group = os.fstat(descriptor).st_gid
        finally:
            os.close(descriptor)
        # Nobody can connect before this.
        listener.listen(BACKLOG)

    def _own(self, name: str, user: int, group: int) -> None:
        with suppress(KeyError):
            group = grp.getgrnam(GROUP).gr_gid
        try:
            os.chown(name, user, group)
        except PermissionError:
            if os.geteuid() == 0:
                raise
            # Started as another user, who is no member of that group: its own group reads.


def _why_alive(path: Path) -> str:
    """Why somebody may listen at a socket; empty where it is certain that nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # A full queue of connections is not waited for.
        client.setblocking(False)
        try:
            client.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return ""
        except OSError as error:
            return error.strerror or str(error)
    return "it takes connections"


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
