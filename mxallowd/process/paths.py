"""The way to a file, step by step: who could put another one in its place, and what keeps a user from reading it.

Each directory and each link on the way counts: who may write one of them decides what is read at its end.
"""
import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from mxallowd.text import quoted

MOST_LINKS = 40  # as the kernel's own bound (path_resolution(7))
_ACL = "system.posix_acl_access"  # acl(5): with one, the bits of the group are those of everybody that it names


def steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every directory, every link and the file itself, as the kernel meets them. Raises OSError at what is not seen."""
    here = Path("/")
    pending = [part for part in reversed(path.absolute().parts) if part != "/"]
    links = 0
    yield here, here.lstat()
    while pending:
        name = pending.pop()
        if name == "..":
            here = here.parent
            continue
        step = here / name
        status = step.lstat()
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            here = step
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = step.readlink()
        if target.is_absolute():
            here = Path("/")
        pending += [part for part in reversed(target.parts) if part != "/"]


def who_could_replace(path: Path, trusted: Collection[int]) -> str:
    """Why others than the users `trusted` could change what is read there, and the remedy; "": they cannot.

    A file that the group may write is taken from the group root alone: its members were given root's files. Not from
    the daemon's own group: a daemon that was taken over must not choose what the next start reads as root.
    """
    with suppress(OSError):
        for step, status in steps(path):
            name = quoted(str(step))
            if status.st_uid not in trusted:
                return f"{name} belongs to the user with id {status.st_uid}; let root own it"
            mode = status.st_mode
            # In a sticky directory nobody renames or removes what is somebody else's; a link cannot be written.
            if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
                continue
            if mode & stat.S_IWOTH:
                return f"everybody may write {name}; take that away (chmod o-w)"
            if mode & stat.S_IWGRP and status.st_gid != 0:
                return f"the group with id {status.st_gid} may write {name}; take that away (chmod g-w)"
            if mode & stat.S_IWGRP and _has_acl(step):
                return f"an access control list lets others write {name}; take that away (setfacl -b)"
    # What is not there, or closed to us, says the one who opens it.
    return ""


def _has_acl(path: Path) -> bool:
    getxattr = getattr(os, "getxattr", None)
    if getxattr is None:
        return False
    try:
        return bool(getxattr(path, _ACL, follow_symlinks=False))
    except OSError:
        return False


def obstacle(path: Path, *, execute: bool = False) -> Path | None:
    """The directory or file that keeps this process from reading, or executing, what is there; None: nothing."""
    step = Path("/")
    try:
        for step, status in steps(path):  # the last one is what counts
            if stat.S_ISDIR(status.st_mode) and not os.access(step, os.X_OK):
                return step
    except OSError:
        # It is not there: no right would help.
        return None
    wanted = os.R_OK | (os.X_OK if execute else 0)
    return None if os.access(step, wanted) else step
