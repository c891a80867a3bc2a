"""What the engine sends, on its way to the client's parser: its length is bounded before anything is made of it.

Whoever owns the engine, or may add to the stream, decides what comes. The parser makes a list of as many places as an
array's header names, so `*1000000000` in 13 bytes would take 8 GB; and one message of the stream may be as large as the
engine's memory. So each header is looked at here, by the lengths that they name, and never by what stands in a text:

- a text longer than MOST_TEXT passes as none (`$-1`), and an array with more than MOST_PARTS as an empty one: its bytes
  are dropped as they come. What is asked has shorter ones, and a message like that is none of a gateway.
- a reply with more than MOST_VALUES values, with more than MOST_KEPT bytes behind that, or with more than MOST_REPLY in
  all is TooLong.
- what is no RESP2 is Strange. Types of RESP3 would give values that nobody here asks for.
"""
import re

MOST_REPLY = 64 << 20  # bytes that come
MOST_KEPT = 8 << 20  # bytes of them that are kept; 256 batches are 2 MiB
MOST_TEXT = 16 << 10  # bytes: a batch has 8 KiB, a section of INFO about 2
MOST_PARTS = 256  # session.MOST messages at once
MOST_VALUES = 1 << 15
LONGEST_LINE = 4096  # bytes of a header, or of an error
# The headers of a message as gateways add them, at once: a load has a million of these.
_MESSAGE = re.compile(rb"\*2\r\n\$(\d\d?)\r\n([0-9-]+)\r\n\*2\r\n\$1\r\nd\r\n\$(\d{1,4})\r\n")
_STAR, _DOLLAR = b"*$"
_LINES = b"+-:"
_END = b"\r\n"


class TooLong(ConnectionError):
    """A reply is longer than it may be."""


class Strange(ConnectionError):
    """What comes is not what Redis sends."""

    def __init__(self) -> None:
        super().__init__("it does not answer as Redis does")


class Replies:
    """Of one connection."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes since begin()."""
        self._rest = b""  # a line that has not come to its end
        self._text = 0  # bytes of a text that are to come, with the end of its line
        self._over = 0  # values that are dropped
        self._instead = b""  # what passes for what is dropped, once that has come to its end: the reply ends no sooner
        self.begin()

    def begin(self) -> None:
        """Another reply comes: count it from here on."""
        self.received = self._kept = self._values = 0

    def pass_on(self, data: bytes) -> bytes:
        """What the parser may have of it. Raises TooLong and Strange, after which the connection has to be closed."""
        self.received += len(data)
        data = self._rest + data
        self._rest = b""
        parts: list[bytes] = []
        at = since = 0  # what stands from `since` to `at` is kept
        while at < len(data):
            if self._text:
                step = min(self._text, len(data) - at)
                self._text -= step
                at += step
            elif not self._over and (message := _MESSAGE.match(data, at)) and len(message[2]) == int(message[1]):
                at = message.end()
                self._text = int(message[3]) + 2
                self._values += 4
            else:
                end = data.find(_END, at, at + LONGEST_LINE)
                if end < 0:
                    if len(data) - at >= LONGEST_LINE:
                        raise Strange
                    break
                before = at
                at = end + 2
                if self._look(data[before], data[before + 1:end]):
                    parts.append(data[since:before])
                    since = at
            if self._instead:
                since = at
                if not (self._text or self._over):
                    parts.append(self._instead)
                    self._instead = b""
        parts.append(data[since:at])
        self._rest = data[at:]
        kept = b"".join(parts)
        self._kept += len(kept)
        for bytes_, most in ((self.received, MOST_REPLY), (self._kept, MOST_KEPT)):
            if bytes_ > most:
                raise TooLong(f"a reply is longer than {most >> 20} MiB")
        if self._values > MOST_VALUES:
            raise TooLong(f"a reply has more than {MOST_VALUES} parts")
        return kept

    def _look(self, kind: int, word: bytes) -> bool:
        """Look at a header: whether something that is dropped begins with it."""
        dropping = self._over > 0
        self._over -= dropping
        if kind == _DOLLAR:
            length = _length(word)
            if length >= 0:
                self._text = length + 2
            if length > MOST_TEXT and not dropping:
                self._instead = b"$-1\r\n"
                return True
        elif kind == _STAR:
            length = max(0, _length(word))
            if dropping:
                self._over += length
            elif length > MOST_PARTS:
                self._over, self._instead = length, b"*0\r\n"
                return True
            else:
                # The parser makes room for them at once.
                self._values += length
        elif kind not in _LINES:
            raise Strange
        return False


def _length(word: bytes) -> int:
    """That a header names; -1: there is no value."""
    if word != b"-1" and not (word.isdigit() and len(word) < 20):
        raise Strange
    return int(word)
