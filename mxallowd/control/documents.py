"""Bodies of requests: from bytes to what JSON (RFC 8259) says, without holding the main loop.

A body of SHORT bytes is parsed at once. A longer one is taken by some requests only: an object of lists, as an import
has, of which each part is parsed for itself, with turns of the loop between them. A part that is longer than PART is
refused unread, and so are more than MOST_PARTS, so nobody's half megabyte of brackets is ever parsed as a whole. (A
thread would hold the loop as well: it parses with the lock of the interpreter.)

Strict: a key that stands twice and numbers that are none are refused, since two readers take them differently.
"""
import json
import re

from mxallowd.control.exchange import RequestError
from mxallowd.process.turns import Turns
from mxallowd.text import printable

SHORT = 8192  # bytes; 0.6 ms at the worst
PART = 4096  # characters: an entry with a note of 200 characters, each written as \\ud83d\\ude00, has half of it
MOST_PARTS = 1000
_BLANK = re.compile(r"[ \t\n\r]*")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


async def parsed(body: bytes, *, long: bool) -> object:
    """What JSON a body is; `long`: it may have more than SHORT bytes. Raises RequestError."""
    if len(body) > SHORT and not long:
        raise RequestError(413, "too-large", f"the body has more than {SHORT} bytes")
    try:
        text = body.decode()
        return await _Parts(text).read() if len(body) > SHORT else _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "bad-request", f"the body is no JSON: {printable(str(error))[:200]}") from None


class _Parts:
    """Reads an object of lists, part by part. All methods raise ValueError, RecursionError and RequestError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._count = 0
        self._turns = Turns()

    async def read(self) -> object:
        """The whole."""
        pairs: list[tuple[str, object]] = []
        self._blank()
        if not self._take("{"):
            raise RequestError(400, "bad-request", f"a body of more than {SHORT} bytes must be an object of lists")
        while not self._ends("}", first=not pairs):
            key = await self._part()
            if not isinstance(key, str) or not self._take(":"):
                raise ValueError(f"there is no key at character {self._at}")
            pairs.append((key, await self._list() if self._take("[") else await self._part()))
        if self._at < len(self._text):
            raise ValueError(f"there is more behind the object, at character {self._at}")
        return _once(pairs)

    async def _list(self) -> list[object]:
        found: list[object] = []
        while not self._ends("]", first=not found):
            found.append(await self._part())
        return found

    async def _part(self) -> object:
        self._count += 1
        # Each key of the object is a part, too.
        if self._count > MOST_PARTS + 16:
            raise RequestError(422, "too-many", f"more than {MOST_PARTS} entries and networks in one request")
        some = self._text[self._at : self._at + PART]
        try:
            value, length = _DECODER.raw_decode(some)
        except ValueError as error:
            longer = f", or longer than {PART} characters" if len(some) == PART else ""
            raise ValueError(f"what begins at character {self._at} is none{longer}: {error}") from None
        self._at += length
        self._blank()
        await self._turns.give()
        return value

    def _ends(self, mark: str, *, first: bool) -> bool:
        """Whether the list or object ends here; if not, its next part begins here."""
        if self._take(mark):
            return True
        if not first and not self._take(","):
            raise ValueError(f"there is neither a comma nor an end at character {self._at}")
        return False

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += 1
        self._blank()
        return True

    def _blank(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
