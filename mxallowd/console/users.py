"""Who may log in: the file of users, whose lines are NAME:ROLE:HASH, and the hashes of their passwords (scrypt).

    anna:change:scrypt$32768$8$1$SALT$KEY       salt and key in base64; # begins a comment line

The file is read again when it has changed: whoever takes a line out locks that user out. A hash costs 0.1 s and 32 MiB,
and an unknown name costs as much as a known one, so that nobody learns names by the time that an answer takes.

Which way it fails: a line that cannot be used is said once, and the others stay; of two lines for a name the first one
counts; a file that is not there, or cannot be read, lets nobody in.
"""
import errno
import hashlib
import os
import re
import secrets
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path

from mxallowd.console.visit import Role
from mxallowd.errors import MxallowdError
from mxallowd.text import quoted

# The daemon takes no other name of a user of ours.
NAME = re.compile(r"[A-Za-z0-9._@-]{1,32}")
NAME_IS = "1 to 32 of the characters A-Z a-z 0-9 . _ @ -"
MOST, LARGEST = 1000, 1 << 20  # users; bytes of the file
COST, BLOCK, PARALLEL = 2**15, 8, 1
# What a line may ask for: a weaker hash is none, a stronger one would hold up all who log in.
COSTS, BLOCKS, PARALLELS = range(2**14, 2**17 + 1), range(8, 17), range(1, 5)
_SALT, _KEY = 16, 32  # bytes
_SLACK = 1 << 20  # bytes that OpenSSL needs beside the 128 * N * r
_DETAILS = re.compile(r"scrypt\$([0-9]{1,6})\$([0-9]{1,2})\$([0-9])\$([A-Za-z0-9+/=]{1,128})\$([A-Za-z0-9+/=]{1,128})")


class Unreadable(MxallowdError):
    """The file of users cannot be read."""


@dataclass(frozen=True)
class Hash:
    """A hash and what it was made with."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    key: bytes

    def fits(self, password: str) -> bool:
        """Whether it is that of this password; takes its time, without the GIL."""
        return compare_digest(_key(password, self.cost, self.block, self.parallel, self.salt, len(self.key)), self.key)


@dataclass(frozen=True)
class User:
    """A line of the file. Who compares two of them sees whether anything about a user has changed."""

    name: str
    role: Role
    hash: Hash = field(repr=False)


class Line(MxallowdError):
    """A line of the file that cannot be used; says why, and never shows a hash."""


class Users:
    """The users of a file."""

    def __init__(self, path: Path, tell: Callable[[str], object] = lambda _: None) -> None:
        """`tell` gets a line of text for each fault, once for each change of the file. Reads nothing yet: refresh()."""
        self._path = path
        self.tell = tell
        self._users: dict[str, User] = {}
        self._seen: tuple[int, ...] | str = ()  # of the file that was read last, or its fault

    @property
    def names(self) -> Collection[str]:
        """All names."""
        return self._users.keys()

    @property
    def unreadable(self) -> bool:
        """Whether nobody can log in since the file cannot be read, or is not there."""
        return isinstance(self._seen, str)

    @property
    def absent(self) -> bool:
        """Whether there is no file."""
        return self._seen == os.strerror(errno.ENOENT)

    @property
    def any(self) -> bool:
        """Whether there is a user at all."""
        return bool(self._users)

    def get(self, name: str) -> User | None:
        """The user of this name."""
        return self._users.get(name)

    def refresh(self) -> None:
        """Read the file where it has changed: one stat(2), where it has not."""
        try:
            if self._seen == _identity(self._path.stat()):
                return
            text, self._seen = read(self._path)
        except (OSError, Unreadable) as error:
            why = error.strerror or "" if isinstance(error, OSError) else str(error)
            self._users = {}
            if self._seen != why:
                self._seen = why
                self.tell(f"cannot read {quoted(str(self._path))}, nobody can log in: {why}")
            return
        self._users, faults = parsed(text)
        for number, fault in faults:
            self.tell(f"{quoted(str(self._path))}, line {number}: {fault}")


def read(path: Path) -> tuple[str, tuple[int, ...]]:
    """The text of the file, and what tells whether it has changed since. Raises OSError, Unreadable."""
    # A pipe in its place would let nobody go on.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        identity = _identity(os.fstat(file.fileno()))
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unreadable(f"it is longer than {LARGEST >> 20} MiB")
    return data.decode("utf-8", "surrogateescape"), identity


def parsed(text: str) -> tuple[dict[str, User], list[tuple[int, str]]]:
    """Users by name, and what is wrong by the number of its line."""
    users: dict[str, User] = {}
    faults: list[tuple[int, str]] = []
    for number, line in entries(text):
        try:
            user = user_of(line)
            if user.name in users:
                raise Line(f"there is a line for {quoted(user.name)} before it, which counts")
            if len(users) >= MOST:
                raise Line(f"there are more than {MOST:,} users")
        except Line as fault:
            faults.append((number, str(fault)))
            continue
        users[user.name] = user
    return users, faults


def role_of(text: str, name: str) -> Role | None:
    """The role that the file has for a name; of lines that cannot be used, that of the first one that has any."""
    user = parsed(text)[0].get(name)
    if user is not None:
        return user.role
    parts = [[part.strip() for part in line.split(":")] for _, line in entries(text)]
    return next((Role(one[1]) for one in parts if one[0] == name and len(one) > 1 and one[1] in list(Role)), None)


def entries(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither empty nor a comment, with their numbers."""
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if bare and not bare.startswith("#"):
            yield number, bare


def user_of(line: str) -> User:
    """The user of a line. Raises Line."""
    name, role, details, *more = [*line.split(":"), "", ""]
    if not NAME.fullmatch(name):
        raise Line(f"{quoted(name)} is no name of a user: {NAME_IS}")
    if role not in list(Role):
        raise Line(f"the role of {name} is {quoted(role)}: look and change are the roles there are")
    found = _DETAILS.fullmatch(details)
    if not found or any(more):
        raise Line(f"the password of {name} cannot be read: set it again by mxallowd-console passwd {name}")
    cost, block, parallel = (int(one) for one in found.groups()[:3])
    try:
        salt, key = (b64decode(one, validate=True) for one in found.groups()[3:])
    except ValueError:
        salt, key = b"", b""
    if (cost not in COSTS or cost & cost - 1 or block not in BLOCKS or parallel not in PARALLELS
            or len(salt) < _SALT or len(key) < _KEY):
        raise Line(f"the hash of {name} has parameters that are not taken: "
                   f"set the password again by mxallowd-console passwd {name}")
    return User(name, Role(role), Hash(cost, block, parallel, salt, key))


def line_of(name: str, role: Role, password: str) -> str:
    """The line of a user with this password."""
    return f"{name}:{role}:{hashed(password)}"


def hashed(password: str) -> str:
    """The password as it stands in the file, with a salt of its own."""
    salt = secrets.token_bytes(_SALT)
    key = _key(password, COST, BLOCK, PARALLEL, salt, _KEY)
    return f"scrypt${COST}${BLOCK}${PARALLEL}${b64encode(salt).decode()}${b64encode(key).decode()}"


def matches(user: User | None, password: str) -> bool:
    """Whether this is the password of the user; for nobody's it takes as long. For a thread: it takes 0.1 s."""
    fits = (_NOBODY if user is None else user.hash).fits(password)
    return fits and user is not None


def _key(  # noqa: PLR0913, PLR0917  # the parameters of scrypt
    password: str, cost: int, block: int, parallel: int, salt: bytes, length: int,
) -> bytes:
    # One letter may be typed as one character or as two, by the device (RFC 8265, 4.2).
    data = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=cost, r=block, p=parallel, dklen=length,
                          maxmem=128 * block * (cost + parallel + 2) + _SLACK)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


_NOBODY = Hash(COST, BLOCK, PARALLEL, secrets.token_bytes(_SALT), secrets.token_bytes(_KEY))
