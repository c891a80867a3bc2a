"""Server-sent events (WHATWG HTML, 9.2): one source, any number of viewers, each with a short queue of his own.

A viewer who does not read loses the oldest events of his queue, and holds up nobody. MOST viewers have a stream at a
time; who comes then makes the oldest one end, whose browser connects again later. The first event is `console`, with
the build of this console: a page of another one is loaded anew.
"""
import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from mxallowd.console.assets import build
from mxallowd.control.exchange import Response

MOST, QUEUED = 64, 8
BEAT_S = 4.0  # an event where no other comes: who has gone is noticed here, and a stream that stands still by the page
EVENTS = "text/event-stream"
Shape = Callable[[str, object], object]
"""Name and data of an event -> the data for one viewer; None: it is not for him."""


def event(name: str, data: object) -> bytes:
    """One event; JSON has no line break in it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode("ascii")


_BEAT = event("beat", {})


class _Viewer:
    def __init__(self, shape: Shape | None) -> None:
        self.shape = shape
        self.events: deque[bytes] = deque(maxlen=QUEUED)
        self.came = asyncio.Event()
        self.ended = False


class Stream:
    """Sends what send() is given to all who watch."""

    def __init__(self) -> None:
        self._viewers: list[_Viewer] = []

    def __len__(self) -> int:
        return len(self._viewers)

    def send(self, name: str, data: object) -> None:
        """Tell all viewers. What not all of them get as it is has to be made JSON by their shapes."""
        packed = b""
        for viewer in self._viewers:
            if viewer.shape is None:
                packed = packed or event(name, data)
                viewer.events.append(packed)
            elif (own := viewer.shape(name, data)) is not None:
                viewer.events.append(event(name, own))
            else:
                continue
            viewer.came.set()

    def response(self, first: Callable[[], bytes] | bytes = b"", shape: Shape | None = None) -> Response:
        """A stream for one more viewer, which begins with `first`; where it is called, nothing is sent in between."""
        return Response(content_type=EVENTS, pieces=self._pieces(first, shape))

    def close(self) -> None:
        """End all streams."""
        for viewer in self._viewers:
            viewer.ended = True
            viewer.came.set()

    async def _pieces(self, first: Callable[[], bytes] | bytes, shape: Shape | None) -> AsyncIterator[bytes]:
        viewer = _Viewer(shape)
        if len(self._viewers) >= MOST:
            self._viewers[0].ended = True
            self._viewers[0].came.set()
            del self._viewers[0]
        self._viewers.append(viewer)
        try:
            yield event("console", {"build": build()}) + (first if isinstance(first, bytes) else first())
            while not viewer.ended:
                try:
                    async with asyncio.timeout(BEAT_S):
                        await viewer.came.wait()
                except TimeoutError:
                    yield _BEAT
                    continue
                viewer.came.clear()
                while viewer.events:
                    yield viewer.events.popleft()
        finally:
            with suppress(ValueError):
                self._viewers.remove(viewer)
