"""The last lines of the log, kept in memory for whoever reads them by the control socket.

Lines have running numbers from 1 on; `epoch` is another one at each start, so that a reader notices that it has to
begin anew. Bounded in lines and in bytes: the oldest ones go. A line is kept as text, whatever --log-format says, as
soon as it is made: what --quiet or --log-hosts leaves out is not there, what syslog did not take is.

Any thread may write. None waits for a reader: what is done under the lock takes some microseconds.
"""
import logging
import re
import secrets
import threading
from collections import deque
from typing import NamedTuple

MOST_LINES = 2000
MOST_BYTES = 1 << 20
LONGEST = 2048  # bytes of a line; the rest of a longer one is left out
_VALUE = re.compile(r' ([a-z0-9-]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "=]+))')


class Line(NamedTuple):
    """A line: when, in seconds since 1970, at which of logging's levels, and its text (grammar.py)."""

    created: float
    level: int
    text: str

    @property
    def level_name(self) -> str:
        """The level as the documents call it."""
        return logging.getLevelName(self.level).lower()

    @property
    def word(self) -> str:
        """The first word."""
        return self.text.partition(" ")[0]

    @property
    def address(self) -> str | None:
        """The host that the line is about; None: it is about none."""
        _, _, rest = self.text.partition(" ")
        return rest[1:].partition("]")[0] if rest.startswith("[") else None

    @property
    def values(self) -> dict[str, str]:
        """The values by their keys, as the text has them but for quotes; one that was cut off is left out."""
        return {key: quoted.replace('\\"', '"') if plain is None else plain
                for key, quoted, plain in (found.group(1, 2, 3) for found in _VALUE.finditer(self.text))}


class Kept(NamedTuple):
    """What is kept at a moment: lines, of which the first one has the number `first`."""

    first: int
    last: int  # 0: none was written
    lines: tuple[Line, ...]

    def line(self, number: int) -> Line:
        """That of a number from `first` to `last`."""
        return self.lines[number - self.first]


class Recent:
    """Keeps them."""

    def __init__(self, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self.epoch = secrets.token_hex(8)
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._last = 0
        self._lock = threading.Lock()

    def add(self, created: float, level: int, text: str) -> None:
        """Keep a line."""
        if len(text) > LONGEST // 4 and _size(text) > LONGEST:
            text = text.encode()[: LONGEST - 3].decode(errors="ignore") + "…"
        with self._lock:
            self._lines.append(Line(created, level, text))
            self._bytes += _size(text)
            self._last += 1
            while self._bytes > self._most_bytes or len(self._lines) > self._most_lines:
                self._bytes -= _size(self._lines.popleft().text)

    def kept(self) -> Kept:
        """All that there is now. Takes some ten microseconds."""
        with self._lock:
            return Kept(self._last - len(self._lines) + 1, self._last, tuple(self._lines))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
