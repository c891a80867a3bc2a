"""The state directory: made, given to the daemon's user, locked for one daemon.

It is opened while the daemon still is root; from then on files are reached through the descriptor alone, so it does not
matter whether the user may enter what is above. What root opens there the user may have put there: nothing but a
regular file counts, and no link is followed.

Which way it fails: a directory that cannot be made or must not be trusted turns the state off, and mail goes on as
without it. A directory that another daemon has ends the start where the operator has named it: two that write there
would each bring back what the other has ended.
"""
import copy
import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from mxallowd.errors import MxallowdError
from mxallowd.process.paths import who_could_replace
from mxallowd.process.privileges import Account, id_of_any
from mxallowd.text import quoted

MODE = 0o700
_OURS = re.compile(r"(snapshot|journal)\.[0-9]{1,18}(\.new)?|(trial|trusted)(\.new)?|own\.list(\.new)?")
_NUMBERED = re.compile(r"(snapshot|journal)\.([0-9]{1,18})")


class DirectoryError(MxallowdError):
    """There is no state directory to be used; the text says why."""


class DirectoryUnsafe(DirectoryError):
    """Others could put files there, and decide by them who gets in: nothing of it is believed."""


class DirectoryTaken(DirectoryError):
    """Another daemon has it."""


class Directory:
    """One that is open and locked, until close() or the end of the process."""

    def __init__(self, path: Path, account: Account | None) -> None:
        """`account` is whom the daemon becomes. Raises DirectoryError and what derives from it."""
        self.path = path
        self.descriptor = -1
        try:
            self._open(account)
        except OSError as error:
            self.close()
            raise DirectoryError(f"{quoted(str(path))}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def _open(self, account: Account | None) -> None:
        user, name = account.user if account else os.geteuid(), quoted(str(self.path))
        made = self._make()
        self.descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if account is not None and made:
            os.fchown(self.descriptor, account.user, account.group)
        # Whoever could put files there would decide who gets in.
        trusted = {0, user}
        before = self._of_nobody(account)
        if before and not who_could_replace(self.path.parent, trusted):
            trusted.add(os.fstat(self.descriptor).st_uid)
        if why := who_could_replace(self.path, trusted):
            raise DirectoryUnsafe(f"will not use {name}: {why}")
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryTaken(f"another mxallowd keeps its state in {name}; give each a directory of its own "
                                 "(--state-dir)") from None
        if account is not None and os.fstat(self.descriptor).st_uid != account.user:
            # Root's: it may be one that the operator has made for this, and never one that others need as well.
            if foreign := [one for one in self.names() if not _OURS.fullmatch(one)]:
                raise DirectoryError(f"will not use {name}: it belongs to root and holds {quoted(sorted(foreign)[0])}; "
                                     "give mxallowd a directory of its own")
            self._take_over(account, before)
        # One on a file system that is mounted read-only can be read; that nothing is written is said later.
        writable = os.access(".", os.W_OK | os.X_OK, dir_fd=self.descriptor)
        if account is None and not writable and not os.fstatvfs(self.descriptor).f_flag & os.ST_RDONLY:
            raise DirectoryError(f"{name}: {os.strerror(errno.EACCES)}")

    def _of_nobody(self, account: Account | None) -> bool:
        """Whether a daemon that ran as `nobody`, before there was a user for it, has left this directory.

        It is trusted as much as at that daemon's own restart, and no more: only root can have given it to `nobody`,
        since no other user can put anything in the directory above it.
        """
        status, above = os.fstat(self.descriptor), self.path.parent.stat()
        return (account is not None and os.geteuid() == 0 and status.st_uid == id_of_any()
                and status.st_mode & 0o077 == 0 and above.st_mode & 0o022 == 0 and not self.path.is_symlink()
                and all(map(_OURS.fullmatch, self.names())))

    def _take_over(self, account: Account, before: bool) -> None:
        """Give it to the daemon's user; `before`: with the files of the user that it had."""
        last = os.fstat(self.descriptor).st_uid
        os.fchown(self.descriptor, account.user, account.group)
        for one in self.names() if before else ():
            with suppress(OSError):
                file = os.open(one, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.descriptor)
                status = os.fstat(file)
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == last:
                    os.fchown(file, account.user, account.group)
                os.close(file)

    def _make(self) -> bool:
        """Whether it was not there."""
        try:
            self.path.mkdir(MODE)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self.path.parent.mkdir(0o755, parents=True, exist_ok=True)
            self.path.mkdir(MODE)
        return True

    def shared(self) -> "Directory":
        """The same, for a part that ends by itself: it is locked until both are closed. Raises OSError."""
        other = copy.copy(self)
        other.descriptor = os.dup(self.descriptor)
        return other

    def names(self) -> list[str]:
        """What is in it. Raises OSError."""
        with os.scandir(self.descriptor) as entries:
            return [entry.name for entry in entries]

    def numbers(self, kind: str) -> list[int]:
        """The numbers of the files `kind` (snapshot, journal), in their order. Raises OSError."""
        found = map(_NUMBERED.fullmatch, self.names())
        return sorted(int(match[2]) for match in found if match and match[1] == kind)

    def read(self, name: str, most: int) -> bytes:
        """What a file holds. Raises OSError; EFBIG where it is larger than `most`, EINVAL where it is no file."""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.descriptor)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            if status.st_size > most:
                raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, and is not read above {most}")
            # Nobody else writes it. (As many bytes as are asked for are taken first, whatever there is to read.)
            return file.read(status.st_size)

    def create(self, name: str) -> int:
        """A descriptor to write a file that was not there, or is emptied. Raises OSError."""
        with suppress(FileNotFoundError):
            try:
                self.remove(name)
            except IsADirectoryError:
                # Not ours. One that holds something stays, and is in the way of this number only.
                os.rmdir(name, dir_fd=self.descriptor)
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                       dir_fd=self.descriptor)

    def rename(self, old: str, new: str) -> None:
        """In one step, and for good. Raises OSError."""
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        self.sync()

    def remove(self, name: str) -> None:
        """Raises OSError."""
        os.unlink(name, dir_fd=self.descriptor)

    def remove_before(self, number: int) -> None:
        """Remove what a whole snapshot of this number has replaced, and what was never finished."""
        for name in self.names():
            match = _NUMBERED.fullmatch(name)
            # Another thread may be writing these.
            unfinished = name.endswith(".new") and name not in (f"snapshot.{number}.new", "trial.new", "trusted.new")
            if (match and int(match[2]) < number) or (unfinished and _OURS.fullmatch(name)):
                with suppress(OSError):
                    self.remove(name)

    def sync(self) -> None:
        """What was created, renamed and removed is on the disk. Raises OSError."""
        os.fsync(self.descriptor)

    def close(self) -> None:
        """Give it back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
