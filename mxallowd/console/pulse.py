"""The pulse: one question after the other to the daemon, every PERIOD_S, whatever the number of viewers.

Intervals are those of the monotonic clock, so a step of the other one makes no rate wrong. Which way it fails: no
answer within WAIT_S is a beat without values, which is drawn as a gap; the state says since when, and the next question
comes at its time.
"""
import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from mxallowd.console.asking import Daemon, Document, Older, Refusal, Unreachable
from mxallowd.console.figures import Figure, State, figures, unknown
from mxallowd.console.plots import Look, Measured, Reading, flat, measured
from mxallowd.control.exchange import timestamp

PERIOD_S, WAIT_S = 2.0, 5.0
KEPT_S, MINUTE_S = 600.0, 60.0


class Beat(NamedTuple):
    """What one question came to."""

    at: float  # monotonic seconds
    wall: float  # seconds since 1970, as the clock said then
    values: Measured  # empty: no answer


class Pulse:
    """Asks, and keeps the last minutes."""

    def __init__(
        self, daemon: Daemon, beaten: Callable[[Beat], None], clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`beaten` is called after each question."""
        self.state = State()
        self.figures: list[Figure] = []
        self.beats: deque[Beat] = deque(maxlen=int(KEPT_S / PERIOD_S))
        self._daemon = daemon
        self._beaten = beaten
        self._clock = clock
        self._wall = wall
        self._readings: deque[Reading] = deque(maxlen=int(MINUTE_S / PERIOD_S) + 1)

    async def run(self) -> None:
        """Ask until it is cancelled."""
        due = self._clock()
        while True:
            await self.beat()
            now = self._clock()
            due = max(due + PERIOD_S, now)
            await asyncio.sleep(due - now)

    async def beat(self) -> None:
        """Ask once."""
        begun = self._clock()
        try:
            # Also the wait for a free connection ends: pages may have taken all.
            async with asyncio.timeout(WAIT_S + 1):
                answer = await self._daemon.get("/v1/series", wait_s=WAIT_S)
            values = self._take(answer, (begun + self._clock()) / 2)
        except (Unreachable, TimeoutError) as error:
            values = self._missed(str(error) or "all connections to the daemon are taken")
        except Refusal as error:
            values = self._missed(
                str(error) if isinstance(error, Older) else f"it does not tell its numbers: {error}")
        beat = Beat(self._clock(), self._wall(), values)
        self.beats.append(beat)
        self._beaten(beat)

    def _take(self, answer: Document, at: float) -> Measured:
        values = answer.get("values")
        if not isinstance(values, dict):
            raise Unreachable("the daemon's answer about its numbers has no values")
        reading = Reading(at, str(answer.get("since")), flat(values))
        before = self._readings[-1] if self._readings else None
        look = Look(before, reading, self._readings[0] if self._readings else None)
        found = measured(look)
        if look.restarted:
            self._readings.clear()
        self._readings.append(reading)
        self.state = _state(answer, values, timestamp(self._wall()))
        self.figures = figures(reading.numbers, found, dry_run=self.state.dry_run)
        return found

    def _missed(self, fault: str) -> Measured:
        # The next rate would be one through the gap, so it is none.
        self._readings.clear()
        self.figures = unknown(self.figures)
        self.state = replace(self.state, fault=fault)
        return {}


def _state(answer: Document, values: Mapping[str, object], now: str) -> State:
    builds = values.get("build_info")
    return State(
        fault="", answered=now, since=str(answer.get("since") or ""),
        version=str(next(iter(builds), "")) if isinstance(builds, dict) else "",
        dry_run=bool(values.get("dry_run")), stress=bool(values.get("stress_active")),
        healthy=answer.get("healthy") is True, ready=answer.get("ready") is True,
        reasons=_texts(answer.get("reasons")), warnings=_texts(answer.get("warnings")))


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, list) else ()
