"""Browsers somebody has logged in with before: a cookie each (OWASP's device cookie), so that no attack shuts them out.

    DAY.NONCE.MAC.NAME      MAC: HMAC-SHA256 by this console's key over day, nonce, and the user's name and hash

It lets nobody in: with it an attempt to log in as that user counts for that browser alone (attempts.py). It ends KEPT_S
after the last log-in, and when the user's hash is another one. The key lies in the state directory.

Which way it fails: a cookie that is not good is none; a key that cannot be kept is in memory alone, and is said.
"""
import os
import re
import secrets
import stat
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from hmac import compare_digest, digest
from pathlib import Path

from mxallowd.console.users import User, Users

FILE = "devices.key"
DAY_S, DAYS = 86_400, 90
KEPT_S = DAYS * DAY_S
_KEY, _NONCE = 32, 16  # bytes
COOKIE = re.compile(r"([0-9]{1,7})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9._@-]{1,32})")


class Devices:
    """Makes the cookies, and knows them again."""

    def __init__(self, key: bytes = b"", clock: Callable[[], float] = time.time) -> None:
        """Without a key it has one that nobody else has."""
        self._key = key or secrets.token_bytes(_KEY)
        self._clock = clock

    def cookie(self, user: User, nonce: str = "") -> str:
        """One for a browser this user has logged in with; of a browser that has one, the nonce stays."""
        day, nonce = str(self._today()), nonce or secrets.token_urlsafe(_NONCE)
        return f"{day}.{nonce}.{self._mac(user, day, nonce)}.{user.name}"

    def nonce(self, user: User | None, cookie: str) -> str:
        """What tells this browser from others; "": it is not known as one of this user."""
        found = COOKIE.fullmatch(cookie)
        if user is None or not found:
            return ""
        day, nonce, mac, _ = found.groups()
        good = compare_digest(self._mac(user, day, nonce), mac)
        return nonce if good and 0 <= self._today() - int(day) <= DAYS else ""

    def user(self, users: Users, cookie: str) -> User | None:
        """The user whom a cookie names; whether it is good is another question."""
        found = COOKIE.fullmatch(cookie)
        return users.get(found[4]) if found else None

    def _today(self) -> int:
        return int(self._clock() // DAY_S)

    def _mac(self, user: User, day: str, nonce: str) -> str:
        text = "\0".join([day, nonce, user.name, user.hash.salt.hex(), user.hash.key.hex()])
        return urlsafe_b64encode(digest(self._key, text.encode(), "sha256")).decode().rstrip("=")


def key_in(directory: Path, tell: Callable[[str], object]) -> bytes:
    """The key that lies there; where there is none that can be read, a new one. `tell` gets why it cannot be kept."""
    path = directory / FILE
    with suppress(OSError):
        # Nothing but a file of its own: no pipe, and no link.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077:
                key = file.read(_KEY + 1)
                if len(key) == _KEY:
                    return key
    key, new = secrets.token_bytes(_KEY), directory / f"{FILE}.new"
    try:
        with suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError as error:
        tell(f"the key of {FILE} cannot be kept, and is lost at the end: {error.strerror}")
    return key
