"""mxallowd-console passwd: sets the password of a user, or takes a user out.

The file of users is replaced by a new one that is whole on the disk, under a lock, so a console that runs, and another
passwd, see the old one or the new one. What else stands in it stays: comments, other users, lines that nobody can use.

Which way it fails: nothing is changed, and one line says why. That is so as well where another user could put another
file in the place of this one, or has held the lock too long.
"""
import fcntl
import getpass
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mxallowd.console.places import fixed
from mxallowd.console.settings import PROGRAM, USERS, Changing
from mxallowd.console.users import Unreadable, line_of, parsed, read, role_of
from mxallowd.console.visit import Role
from mxallowd.errors import ConfigError, MxallowdError
from mxallowd.process.paths import who_could_replace
from mxallowd.process.privileges import Account, account_of
from mxallowd.text import quoted

SHORTEST, LONGEST = 10, 1024  # characters
LONGEST_WAIT_S, _AGAIN_S = 5.0, 0.05  # for another passwd, which holds its lock for a moment
_LONGEST_LINE = 4 * LONGEST + 2  # bytes of standard input
_HEAD = (f"# Who may log in to {PROGRAM}: one line each, NAME:ROLE:HASH; the roles are look and change.\n"
         f"# {PROGRAM} passwd NAME writes it; a console that runs takes what has changed.\n")


class Failed(MxallowdError):
    """It could not be done."""


def change(wanted: Changing) -> str:
    """Do it; what to say to who asked. Raises ConfigError, Failed, KeyboardInterrupt."""
    path = wanted.users.resolve()
    # Root would follow a link of somebody else to any file.
    if other := who_could_replace(wanted.users, {0, os.geteuid()}):
        raise Failed(f"cannot change {quoted(str(wanted.users))}: {other}")
    try:
        owner = _reader(wanted.user)
        # Who may not write it is told so before a password is asked for.
        if not wanted.remove:
            _make_directory(path.parent, owner)
        with _locked(path):
            _text(path)
        password = "" if wanted.remove else _password(wanted.name)
        with _locked(path):
            before = _text(path)
            kept = role_of(before, wanted.name)
            line = line_of(wanted.name, wanted.role or kept or Role.LOOK, password) if password else ""
            text, found = edited(before, wanted.name, line)
            if wanted.remove and not found:
                raise Failed(f"there is no user {quoted(wanted.name)} in {quoted(str(wanted.users))}")
            _replace(path, text, owner)
    except (OSError, Unreadable) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Failed(f"cannot change {quoted(str(wanted.users))}: {why}") from None
    return _told(wanted, kept, owner, len(parsed(text)[0]), new=not found)


def edited(text: str, name: str, line: str) -> tuple[str, bool]:
    """The text with this line for the user, or none where it is empty, and whether there was one before."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    places = [number for number, one in enumerate(lines) if one.strip().partition(":")[0] == name]
    kept = [f"{line}\n" if line and places[:1] == [number] else one
            for number, one in enumerate(lines) if number not in places or (line and places[0] == number)]
    if line and not places:
        kept.append(f"{line}\n")
    return "".join(kept), bool(places)


def _password(name: str) -> str:
    if sys.stdin.isatty():
        password = getpass.getpass(f"New password for {name}: ")
        _check(password)
        if getpass.getpass("The same once more: ") != password:
            raise ConfigError("the two are not the same; nothing is changed")
        return password
    data = sys.stdin.buffer.readline(_LONGEST_LINE + 1)
    try:
        password = data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("the password on standard input is no UTF-8") from None
    if not data:
        raise ConfigError("no password came on standard input")
    _check(password)
    return password


def _check(password: str) -> None:
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"a password has {SHORTEST} to {LONGEST:,} characters; this one has "
                          + (f"{len(password):,}" if len(password) <= LONGEST else "more"))
    if not password.isprintable():
        raise ConfigError("a password has characters alone that can be seen, and blanks; this one has others")


def _reader(user: str) -> Account | None:
    """Whose group may read the file; None: it is that of who runs this. Raises Failed."""
    if os.geteuid() != 0:
        return None
    try:
        return account_of(user)
    except MxallowdError:
        raise Failed(f"there is no user {quoted(user)}, who has to read the file: create it as docs/console.md says, "
                     f"or name another one (--user)") from None


def _make_directory(directory: Path, owner: Account | None) -> None:
    with suppress(FileExistsError):
        directory.mkdir(0o700)
        if owner is not None:
            directory.chmod(0o750)
            os.chown(directory, -1, owner.group)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with the file. The lock is a file that the console, whose group reads the directory, cannot open."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"),
                         os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        end_s = time.monotonic() + LONGEST_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    raise Failed(f"cannot change {quoted(str(path))}: another {PROGRAM} passwd has been at work on it "
                                 f"for {LONGEST_WAIT_S:.0f} seconds") from None
                time.sleep(_AGAIN_S)
        yield
    finally:
        os.close(descriptor)


def _text(path: Path) -> str:
    try:
        return read(path)[0]
    except FileNotFoundError:
        return _HEAD


def _replace(path: Path, text: str, owner: Account | None) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            if owner is not None:
                os.fchown(descriptor, -1, owner.group)
                os.fchmod(descriptor, 0o640)
            os.fsync(descriptor)
        Path(name).rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _told(wanted: Changing, kept: Role | None, owner: Account | None, users: int, *, new: bool) -> str:
    runs = (f"A console that runs takes it when it is started again: systemctl restart {PROGRAM}"
            if fixed(wanted.users) else "A console that runs takes it at once")
    if wanted.remove:
        left = "" if users else " Nobody is left who can log in."
        return f"{wanted.name} is no user any more. {runs}, and ends the sessions of that name.{left}\n"
    role = wanted.role or kept
    may = "may look and change" if role is Role.CHANGE else "may look, and change nothing"
    lines = [f"{wanted.name} {may}. {runs}" + ("." if new else ", and ends the sessions of that name.")]
    if not new and role is None:
        lines.append("The line that was there told no role that could be read.")
    if role is None:
        lines.append(f"To let {wanted.name} change things, too: {PROGRAM} passwd {wanted.name} --role change")
    if users == 1 and new and str(wanted.users) == USERS and owner is not None:
        lines.append(f"To start one: systemctl enable --now {PROGRAM}")
    return "".join(f"{line}\n" for line in lines)
