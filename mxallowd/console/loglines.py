"""The daemon's log for all who read it: GET /v1/log, asked once a second while somebody looks, and LINGERS_S after.

One question serves all viewers, each with a filter of his own. The lines are the last MOST, as long as they are
followed; who comes later begins with what the daemon still has. Which way it fails: a fault is told to the viewers,
once, and the next question comes a second later; lines that were missed are counted.
"""
import asyncio
import ipaddress
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from mxallowd.console.asking import Daemon, Document, Refusal, Unreachable
from mxallowd.console.render import shown
from mxallowd.console.streams import Stream, event
from mxallowd.console.visit import Visit
from mxallowd.control.exchange import RequestError, Response
from mxallowd.text import quoted

PERIOD_S, LINGERS_S, WAIT_S = 1.0, 10.0, 5.0
MOST, FIRST, EACH = 2000, 1000, 500  # lines kept, of the first question, of each other
SENT, SENT_FIRST = 100, 500  # lines of an event, of the first one; the newest
LARGEST = 500  # characters of an event for each of these lines
LEVELS = {"info": 0, "warning": 1, "error": 2}
LONGEST_WORD, LONGEST_TEXT = 100, 200  # of a filter
PARTS = 32  # of a line that are told apart
# What may be one; bounded, since others choose a part of the text.
_TOKEN = re.compile(r"(?<![\w.:])[0-9A-Fa-f:.]{2,45}(?![\w.:])")

Part = tuple[str, str]
"""Text, and the address that it is; "" where it is none."""


class Line(NamedTuple):
    """A line, as it is shown."""

    number: int
    time: str  # RFC 3339
    level: str
    word: str
    text: str

    @property
    def parts(self) -> list[Part]:
        """The text, with its addresses apart."""
        return parts(self.text)

    def document(self) -> dict[str, object]:
        """For the script."""
        return {"number": self.number, "time": self.time, "level": self.level, "parts": self.parts}


class Filter(NamedTuple):
    """Which lines somebody wants."""

    level: str = "info"  # and above
    word: str = ""  # the first one of a line; what begins so
    text: str = ""  # anywhere in it, in either case

    def takes(self, line: Line) -> bool:
        """Whether it is one of them."""
        return (LEVELS.get(line.level, 0) >= LEVELS[self.level] and line.word.startswith(self.word)
                and self.text in line.text.lower())


def filter_of(query: Mapping[str, str]) -> Filter:
    """What a query asks for. Raises RequestError."""
    level, word = query.get("level") or "info", query.get("word", "").strip()
    text = query.get("q", "").strip()
    if level not in LEVELS:
        raise RequestError(400, "bad-parameter", f"the level {quoted(level)} is none of {', '.join(LEVELS)}")
    for name, value, longest in (("word", word, LONGEST_WORD), ("text", text, LONGEST_TEXT)):
        if len(value) > longest:
            raise RequestError(400, "bad-parameter", f"the {name} to look for has more than {longest} characters")
    return Filter(level, word, text.lower())


def parts(text: str) -> list[Part]:
    """Cut a line before and behind each address in it; of more than PARTS the rest is one."""
    found: list[Part] = []
    at = 0
    for match in _TOKEN.finditer(text):
        address = _address(match[0])
        if not address or len(found) >= PARTS:
            continue
        if match.start() > at:
            found.append((shown_text(text[at : match.start()]), ""))
        found.append((match[0], address))
        at = match.end()
    if at < len(text):
        found.append((shown_text(text[at:]), ""))
    return found


def shown_text(text: str) -> str:
    """Text as a page shows it: the script puts it there by itself."""
    return str(shown(text))


def _address(text: str) -> str:
    if ":" not in text and text.count(".") != 3:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


class LogLines:
    """Follows the log."""

    def __init__(self, daemon: Daemon, clock: Callable[[], float] = time.monotonic) -> None:
        self.lines: deque[Line] = deque(maxlen=MOST)
        self.epoch = ""
        self.fault = ""
        self.stream = Stream()
        self._daemon = daemon
        self._clock = clock
        self._next = -1  # what was seen last, for the daemon; -1: nothing
        self._asked_s = -LINGERS_S
        self._looked_s = -LINGERS_S
        self._somebody = asyncio.Event()
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Ask as long as somebody looks, until it is cancelled."""
        while True:
            while not self._watched():
                self._somebody.clear()
                await self._somebody.wait()
            await self._ask(again_s=PERIOD_S / 2)
            await asyncio.sleep(PERIOD_S)

    def _watched(self) -> bool:
        return bool(len(self.stream)) or self._clock() - self._looked_s < LINGERS_S

    def _look(self) -> None:
        self._looked_s = self._clock()
        self._somebody.set()

    async def recent(self) -> list[Line]:
        """The lines up to now, the oldest first. Raises Unreachable, Refusal."""
        self._look()
        await self._ask(again_s=PERIOD_S)
        if self.fault:
            raise Unreachable(self.fault)
        return list(self.lines)

    async def answer(self, visit: Visit) -> Response:
        """/api/log: events `lines`, from the line `after` of `epoch` on, and `state` with a fault or none."""
        wanted = filter_of(visit.query)
        text = visit.query.get("after", "")
        if text and not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise RequestError(400, "bad-parameter", f"the number {quoted(text)} is none")
        self._look()
        await self._ask(again_s=PERIOD_S)
        known, after = visit.query.get("epoch", ""), int(text or 0)

        def first() -> bytes:
            told = event("state", {"fault": shown_text(self.fault)})
            if text:
                same = known in ("", self.epoch)
                missed = [line for line in self.lines if not same or line.number > after]
                told += b"".join(event("lines", one) for one in _told(_News(self.epoch, missed, 0), wanted, SENT_FIRST))
            return told

        return self.stream.response(first, lambda _, data: (
            next(_told(data, wanted, SENT), None) if isinstance(data, _News) else data))

    async def _ask(self, again_s: float) -> None:
        """Ask once, unless the last answer is younger than that; one question is under way at a time."""
        async with self._one:
            if self._clock() - self._asked_s < again_s:
                return
            if self._clock() - self._asked_s > LINGERS_S:
                self._next = -1  # nobody has looked: what came meanwhile was missed by nobody
            before = self.fault
            try:
                async with asyncio.timeout(WAIT_S + 1):
                    self._take(await self._get())
                self.fault = ""
            except (Unreachable, TimeoutError) as error:
                self.fault = str(error) or "all connections to the daemon are taken"
            except Refusal as error:
                self.fault = str(error)
            self._asked_s = self._clock()
            if before != self.fault:
                self.stream.send("state", {"fault": shown_text(self.fault)})

    async def _get(self) -> Document:
        if self._next >= 0:
            answer = await self._daemon.get(
                "/v1/log", {"after": str(self._next), "limit": str(EACH)}, wait_s=WAIT_S)
            if answer.get("epoch") == self.epoch:
                return answer
        # It was started again, or nothing is known yet: `after` would be of other numbers.
        return await self._daemon.get("/v1/log", {"limit": str(FIRST)}, wait_s=WAIT_S)

    def _take(self, answer: Document) -> None:
        try:
            new = [Line(int(one["number"]), str(one["time"]), str(one["level"]), str(one["word"]), str(one["text"]))
                   for one in answer["lines"]]
            epoch, lost = str(answer["epoch"]), int(answer["lost"])
            following = int(answer["next"])
        except (KeyError, TypeError, ValueError):
            raise Unreachable("the daemon's answer about its log is not as it should be") from None
        if epoch != self.epoch or self._next < 0:
            self.lines.clear()
        self.epoch, self._next = epoch, following
        self.lines.extend(new)
        if new or lost:
            self.stream.send("lines", _News(epoch, new, lost))


class _News(NamedTuple):
    epoch: str
    lines: list[Line]
    lost: int


def _told(news: _News, wanted: Filter, most: int) -> Iterator[dict[str, object]]:
    """The event for who wants these; none where nothing of it is for him."""
    taken = [line for line in news.lines if wanted.takes(line)]
    if not taken and not news.lost:
        return
    room, kept = most * LARGEST, list[Line]()
    for line in reversed(taken[-most:]):
        room -= len(line.text)
        if room < 0:
            break
        kept.append(line)
    yield {"epoch": news.epoch, "lost": news.lost + len(taken) - len(kept),
           "lines": [line.document() for line in reversed(kept)]}
