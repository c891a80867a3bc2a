"""The daemon as the console has it: it answers questions, and is watched all the time for those who look.

Owns the pulse, the history and the streams, and gives the site the answers for the script: `/api/stream` (events
`state`, when it has changed, and `point`), `/api/history?range=10m|day|month` and `/api/log` (loglines.py).
"""
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mxallowd.console.asking import Daemon
from mxallowd.console.examining import EACH_S, Examination
from mxallowd.console.figures import State
from mxallowd.console.history import BY_KEY, SPANS, History, Span, Told, layout_of
from mxallowd.console.loglines import LogLines
from mxallowd.console.pulse import Beat, Pulse
from mxallowd.console.streams import Stream, event
from mxallowd.console.visit import Visit
from mxallowd.control.exchange import JSON, RequestError, Response
from mxallowd.text import quoted

FILE = "history.sqlite"
EXAMINED_S = 1.0
Answer = Callable[[Visit], Awaitable[Response]]


class Watching(Daemon):
    """The daemon, and what is remembered of it."""

    def __init__(
        self, socket: Path, state: Path | None, say: Callable[[str], None], way: Path | None = None,
    ) -> None:
        """`state` is the directory of the history; None: it is in memory. `say` is given lines for people."""
        super().__init__(socket, way)
        self.pulse = Pulse(self, self._beaten)
        self.stream = Stream()
        self._place = state / FILE if state is not None else None
        self._say = say
        self._history: History | None = None
        self.log = LogLines(self)
        self._examination = Examination(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._told_state: dict[str, object] = {}
        self._lacking = False
        self.turned: Callable[[str], None] = lambda _: None  # gets why no answer comes any more; "": one comes again
        self.answers: dict[str, Answer] = {
            "/api/stream": self._stream, "/api/history": self._tell, "/api/log": self.log.answer}

    def start(self) -> None:
        """Begin to ask; on the loop, and in the sandbox."""
        self._history = History(self._place, self._say)
        self._tasks = [asyncio.create_task(one) for one in (self.pulse.run(), self.log.run(), self._examine())]

    async def close(self) -> None:
        """End the streams, and write what there is."""
        self.stream.close()
        self.log.stream.close()
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._history is not None:
            await self._history.close()

    @property
    def state(self) -> State:
        """What is known of it: by the pulse, and how much is broken."""
        return replace(self.pulse.state, broken=self._examination.broken)

    async def examined(self) -> None:
        """Renew what is broken, for a page that is about to be shown, which waits for EXAMINED_S at most."""
        if not self.pulse.state.fault:
            with suppress(TimeoutError):
                async with asyncio.timeout(EXAMINED_S):
                    await self._examination.renew()

    async def _examine(self) -> None:
        while True:
            await asyncio.sleep(EACH_S)
            if len(self.stream) and not self.pulse.state.fault:
                await self._examination.renew()

    async def told(self, span: Span) -> Told:
        """The history of a span."""
        if self._history is None:
            raise RequestError(503, "not-ready", "the console is starting")
        return await self._history.told(span, self.pulse.beats)

    def _beaten(self, beat: Beat) -> None:
        if self._history is not None:
            self._history.take(beat)
        if bool(self.pulse.state.fault) != self._lacking:
            self._lacking = not self._lacking
            self.turned(self.pulse.state.fault)
        state = self.state.document()
        # When the last answer came is told where no other follows.
        if {**state, "answered": ""} != {**self._told_state, "answered": ""}:
            self._told_state = state
            self.stream.send("state", state)
        self.stream.send("point", self._point(beat))

    def _point(self, beat: Beat) -> dict[str, object]:
        return {"time": round(beat.wall, 1), "layout": layout_of(beat.values) if beat.values else None,
                "values": [None if value is None else float(f"{value:.4g}")
                           for _, value in sorted(beat.values.items())],
                "figures": {one.key: [one.text, one.beneath] for one in self.pulse.figures}}

    async def _stream(self, visit: Visit) -> Response:
        first = event("state", self.state.document())
        if self.pulse.beats:
            first += event("point", self._point(self.pulse.beats[-1]))
        return self.stream.response(first)

    async def _tell(self, visit: Visit) -> Response:
        told = await self.told(span_of(visit))
        return Response(told.packed, content_type=JSON)


def span_of(visit: Visit) -> Span:
    """What the query asks for; the shortest where it asks for none. Raises RequestError."""
    key = visit.query.get("range", SPANS[0].key)
    if key not in BY_KEY:
        known = ", ".join(BY_KEY)
        raise RequestError(400, "bad-parameter", f"the range {quoted(key)} is none of {known}")
    return BY_KEY[key]
