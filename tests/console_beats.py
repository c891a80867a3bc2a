"""A daemon that says what a test wants of its numbers, and a clock that steps."""
from pathlib import Path
from typing import Any

from mxallowd.console.asking import Daemon, Document, Unreachable
from mxallowd.console.pulse import PERIOD_S, Beat, Pulse


class Clock:
    """Both clocks of a machine; the second one can be set."""

    def __init__(self, wall: float = 1_700_000_400.0) -> None:
        self.at = 5000.0
        self.offset = wall - self.at

    def monotonic(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at + self.offset


class Numbers(Daemon):
    """A daemon without a socket. `answer` is what it says next; None: nothing."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.asked = 0
        self.answer: Document | Exception | None = None

    async def get(self, path: str, query: Any = None, wait_s: float = 0) -> Document:
        assert path == "/v1/series"
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            raise Unreachable("the daemon did not answer within 5 seconds")
        return self.answer


def series(since: str = "2026-11-28T00:00:00Z", **values: object) -> Document:
    """An answer to GET /v1/series."""
    return {"time": since, "since": since, "values": values, "healthy": True, "ready": True, "reasons": [],
            "warnings": []}


class Scene:
    """A pulse whose time passes by hand."""

    def __init__(self) -> None:
        self.clock, self.daemon = Clock(), Numbers()
        self.beats: list[Beat] = []
        self.pulse = Pulse(self.daemon, self.beats.append, self.clock.monotonic, self.clock.wall)

    async def beat(self, answer: Document | Exception | None, after_s: float = PERIOD_S) -> Beat:
        """One question, so long after the last one."""
        self.clock.at += after_s
        self.daemon.answer = answer
        await self.pulse.beat()
        return self.beats[-1]
