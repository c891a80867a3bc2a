"""The keys of a site: who has one is a gateway of the site.

A key file has one or two keys, a line each; a `#` begins a comment:

    # mail.example.org
    8f2c...                # 64 hexadecimal digits, as `mxallowctl fleet key` makes them

The first key seals what this gateway says; what the others say may be sealed with either. So a key is changed in three
steps: the new one as the second on each gateway, then as the first, then alone.

A key never stands in an error, the log or a status; its number, which says nothing about it, may.
"""
import os
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from mxallowd.lists.files import Fault, ListError, content_of
from mxallowd.text import printable

KEY_SIZE = 32
ID_SIZE = 4
SEAL_SIZE = 16
MOST_KEYS = 2
MOST_BYTES = 64 << 10  # of a file
SITES = re.compile(r"[A-Za-z0-9._-]{1,32}")
"""Names of sites."""
_KEY = re.compile(rb"[0-9A-Fa-f]{%d}" % (2 * KEY_SIZE))
_HALF = 16  # blake2b takes two parameters of so many bytes


class Key:
    """One key, for one site."""

    def __init__(self, secret: bytes, site: str) -> None:
        name = site.encode("ascii").ljust(2 * _HALF, b"\0")
        # One that is copied is ready in half the time.
        self._state = blake2b(key=secret, digest_size=SEAL_SIZE, person=name[:_HALF], salt=name[_HALF:])
        self.number = blake2b(key=secret, digest_size=ID_SIZE, person=b"mxallowd key id").digest()
        """By which a batch says with which key it is sealed."""

    def seal_of(self, content: bytes) -> bytes:
        """The seal, SEAL_SIZE bytes."""
        state = self._state.copy()
        state.update(content)
        return state.digest()

    def __repr__(self) -> str:
        return f"<key {self.number.hex()}>"


class Keys:
    """One key, or two while one is changed."""

    def __init__(self, secrets: Sequence[bytes], site: str) -> None:
        """`secrets` of KEY_SIZE bytes each; the first one seals. Raises ValueError where these are no keys."""
        if not 1 <= len(secrets) <= MOST_KEYS or any(len(secret) != KEY_SIZE for secret in secrets):
            raise ValueError("a site has one or two keys")
        if not SITES.fullmatch(site):
            raise ValueError("a site needs a name")
        keys = [Key(secret, site) for secret in secrets]
        self.first = keys[0]
        self.by_number: Mapping[bytes, Key] = {key.number: key for key in keys}
        if len(self.by_number) != len(keys):
            raise ValueError("the second key is the first one once more")

    def numbers(self) -> list[str]:
        """Their numbers, for a status; the first one seals."""
        return [number.hex() for number in self.by_number]


def new_key() -> str:
    """A new key, as a line of a key file."""
    return os.urandom(KEY_SIZE).hex()


def read(path: Path, site: str, *, as_we_are: bool = False) -> Keys:
    """The keys of a file; it may wait for a second, so not on the main loop.

    `as_we_are`: with the rights of this process, not those of the broker's user. Raises ListError.
    """
    with suppress(OSError):  # says the one who opens it
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IROTH:
            raise ListError([Fault(printable(str(path)), "is not read: everybody may read this secret (chmod o-r)")])
    return parse(content_of(path, as_we_are=as_we_are, most_bytes=MOST_BYTES), str(path), site)


def parse(content: bytes, name: str, site: str) -> Keys:
    """The keys in the content of the file `name`. Raises ListError, which quotes nothing of it."""
    secrets: list[bytes] = []
    shown = printable(name)
    for number, raw in enumerate(content.removeprefix(BOM_UTF8).splitlines(), 1):
        line = raw.partition(b"#")[0].strip()
        if not line:
            continue
        where = f"{shown}:{number}"
        if not _KEY.fullmatch(line):
            raise ListError([Fault(where, f"is no key: a key is {2 * KEY_SIZE} hexadecimal digits, "
                                          f"this line has {len(line)} characters"
                                   if len(line) != 2 * KEY_SIZE else
                                   f"is no key: a key is {2 * KEY_SIZE} hexadecimal digits, this has others")])
        if len(secrets) == MOST_KEYS:
            raise ListError([Fault(where, "is one key too many: the first seals, the second is for a change of keys")])
        secrets.append(bytes.fromhex(line.decode("ascii")))
        if not any(secrets[-1]):
            raise ListError([Fault(where, "is no key: it has zeros alone; mxallowctl fleet key makes one")])
    if not secrets:
        raise ListError([Fault(shown, "has no key; mxallowctl fleet key makes one")])
    try:
        return Keys(secrets, site)
    except ValueError as error:
        raise ListError([Fault(shown, str(error))]) from None
