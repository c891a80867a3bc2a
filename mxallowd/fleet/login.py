"""Who a gateway is for the engine, and for its Sentinels: a file with one line, or two.

    # of the engine; a PASSWORD alone is that of the user `default`
    USER PASSWORD
    # of the Sentinels, where these want one
    USER PASSWORD

A line that begins with # is a comment. Nothing here shows a password, in an error or in a representation.
"""
import stat
from codecs import BOM_UTF8
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mxallowd.lists.files import Fault, ListError, content_of
from mxallowd.text import printable

MOST_BYTES = 64 << 10


class Login(NamedTuple):
    """Who we are there; without a password we do not say it."""

    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


class Logins(NamedTuple):
    """For the engine, and for its Sentinels."""

    engine: Login = Login()
    sentinels: Login = Login()


def read(path: Path, *, as_we_are: bool = False) -> Logins:
    """Those of a file; it may wait for a second, so not on the main loop.

    `as_we_are`: with the rights of this process, not those of the broker's user. Raises ListError.
    """
    with suppress(OSError):  # says the one who opens it
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IROTH:
            raise ListError([Fault(printable(str(path)), "is not read: everybody may read this secret (chmod o-r)")])
    return parse(content_of(path, as_we_are=as_we_are, most_bytes=MOST_BYTES), str(path))


def parse(content: bytes, name: str) -> Logins:
    """Those in the content of the file `name`. Raises ListError, which quotes nothing of it."""
    shown = printable(name)
    found: list[Login] = []
    for number, raw in enumerate(content.removeprefix(BOM_UTF8).splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        where = f"{shown}:{number}"
        try:
            words = line.decode("utf-8").split()
        except UnicodeDecodeError:
            raise ListError([Fault(where, "is no text in UTF-8")]) from None
        if not 1 <= len(words) <= 2:
            # None: blanks of Unicode alone.
            raise ListError([Fault(where, f"has {len(words)} words; a login is USER PASSWORD, or PASSWORD")])
        if len(found) == 2:
            raise ListError([Fault(where, "is one line too many: the first is for the engine, the second for Sentinels"
                                   )])
        found.append(Login(words[0] if len(words) == 2 else None, words[-1]))
    if not found:
        raise ListError([Fault(shown, "has no line USER PASSWORD")])
    return Logins(*found)
