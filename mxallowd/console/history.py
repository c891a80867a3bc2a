"""The history as the plots show it: ten minutes of beats, a day, 30 days; computed in one thread, for all viewers.

Beats of a fine step become one row of the archive, their mean. An answer has at most some 1,000 moments: of a day each
is the mean of 90 s, of 30 days that of 45 minutes, so a peak that is shorter is lower there than it was. What is
unknown is null: a gap in the plot. The loop waits for nothing of it, and what is asked again within a few seconds is
answered from what was computed.
"""
import asyncio
import json
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import isnan, nan
from pathlib import Path
from zlib import crc32

from mxallowd.console.archive import COARSE_S, FINE_S, Archive, Row, mean
from mxallowd.console.plots import PLOTS, Measured, label, lines_of
from mxallowd.console.pulse import PERIOD_S, Beat

MOST_BEHIND = 30  # rows that wait for the thread
GAP = 2.5  # beats that lack make a gap, not one that came late


@dataclass(frozen=True)
class Span:
    """A choice of the overview."""

    key: str
    title: str
    seconds: int
    step: int  # of the answer
    fresh_s: float  # how long an answer is given again
    source: int  # step of the archive


SPANS = (Span("10m", "10 minutes", 600, int(PERIOD_S), 2, FINE_S), Span("day", "day", 86_400, 90, 30, FINE_S),
         Span("month", "30 days", 30 * 86_400, 2700, 60, COARSE_S))
BY_KEY = {span.key: span for span in SPANS}


@dataclass(frozen=True)
class Summary:
    """What a line of a plot came to within a span, for a table."""

    label: str
    last: float | None
    mean: float | None
    most: float | None


@dataclass(frozen=True)
class Told:
    """An answer: as it is sent, and as a table."""

    packed: bytes
    summaries: dict[str, list[Summary]]  # by plot


Moments = list[tuple[float, tuple[str, ...], Sequence[float]]]
"""Time, names, values (NaN: unknown)."""


class History:
    """Takes beats, and tells them."""

    def __init__(
        self, path: Path | None, say: Callable[[str], None], wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path` is that of the file; None: in memory. `say` is called in the thread."""
        self._wall = wall
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "history")
        self._archive = self._thread.submit(Archive, path, say)
        self._behind: list[Future[None]] = []
        self._slot = -1
        self._gathered: list[Row] = []
        self._told: dict[str, tuple[float, Told]] = {}
        self._under_way: dict[str, asyncio.Task[Told]] = {}

    def take(self, beat: Beat) -> None:
        """One beat; where it begins another fine step, what the last one came to is written."""
        slot = int(beat.wall) // FINE_S
        if slot != self._slot:
            self._hand_over()
            self._slot = slot
        if beat.values:
            self._gathered.append(_row(beat))

    async def told(self, span: Span, beats: Sequence[Beat]) -> Told:
        """The answer for a span; `beats` are those of now."""
        found = self._told.get(span.key)
        if found is not None and self._clock() - found[0] < span.fresh_s:
            return found[1]
        if span.key not in self._under_way:
            self._under_way[span.key] = asyncio.create_task(self._compute(span, list(beats)))
        # Whoever goes away does not end it for the others.
        return await asyncio.shield(self._under_way[span.key])

    def close(self) -> Awaitable[None]:
        """Write what there is, and end the thread."""
        self._hand_over()
        done = self._thread.submit(lambda: self._archive.result().close())
        self._thread.shutdown(wait=False)
        return asyncio.wrap_future(done)

    def _hand_over(self) -> None:
        rows, self._gathered = self._gathered, []
        self._behind = [one for one in self._behind if not one.done()]
        if not rows or len(self._behind) >= MOST_BEHIND:
            return
        values = {name: None if isnan(value) else value for name, value in mean(rows).items()}
        at = self._slot * FINE_S
        self._behind.append(self._thread.submit(lambda: self._archive.result().add(at, values)))

    async def _compute(self, span: Span, beats: list[Beat]) -> Told:
        try:
            now, clock = self._wall(), self._clock()
            found = await asyncio.wrap_future(self._thread.submit(partial(self._tell, span, beats, now, clock)))
            self._told[span.key] = self._clock(), found
            return found
        finally:
            del self._under_way[span.key]

    def _tell(self, span: Span, beats: list[Beat], now: float, clock: float) -> Told:
        archive = self._archive.result()
        rows = archive.rows(span.source, int(now) - span.seconds, int(now))
        recent = span.step == PERIOD_S
        moments = _recent(span, rows, beats, now, clock) if recent else _thinned(span, rows, beats, now)
        return _answer(span, moments, next((beat for beat in reversed(beats) if beat.values), None))


def layout_of(values: Measured) -> int:
    """The number of this choice of names: whoever has an answer of the same layout can take beats without names."""
    return crc32(json.dumps(sorted(values)).encode())


def _row(beat: Beat) -> Row:
    return Row(int(beat.wall), tuple(beat.values), array("f", _floats(beat)))


def _floats(beat: Beat) -> list[float]:
    return [nan if value is None else value for value in beat.values.values()]


def _recent(span: Span, rows: list[Row], beats: list[Beat], now: float, clock: float) -> Moments:
    """Beats at the times that the clock would have shown without steps; before them what the archive has."""
    told: Moments = [(round(now - (clock - beat.at), 1), tuple(beat.values), _floats(beat))
                     for beat in beats if clock - beat.at <= span.seconds]
    first = told[0][0] if told else now
    told = [(float(row.time), row.names, row.values) for row in rows if row.time + FINE_S <= first] + told
    found: Moments = []
    for one in told:
        step = PERIOD_S if one[0] > first else FINE_S
        if found and one[0] - found[-1][0] > GAP * step:
            found.append((found[-1][0] + step, (), ()))
        found.append(one)
    return found


def _thinned(span: Span, rows: list[Row], beats: list[Beat], now: float) -> Moments:
    """Means of the archive; of the newest moment what is known of it, until the archive has a row of it."""
    last = int(now) // span.step
    parts: dict[int, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.time // span.step, []).append(row)
    if last not in parts:
        parts[last] = [_row(beat) for beat in beats if beat.values and int(beat.wall) // span.step == last]
    found: Moments = []
    for slot in range(last - span.seconds // span.step + 1, last + 1):
        means = mean(parts.get(slot, ()))
        found.append((float(slot * span.step), tuple(means), list(means.values())))
    return found


def _answer(span: Span, moments: Moments, now: Beat | None) -> Told:
    columns: dict[str, list[float | None]] = {}
    for index, (_, names, values) in enumerate(moments):
        for name, value in zip(names, values, strict=True):
            if not isnan(value):
                column = columns.setdefault(name, [None] * len(moments))
                column[index] = _short(value)
    present = now.values if now is not None else {}
    order = {name: index for index, name in enumerate(sorted(present))}
    # A line that is known now has its place, also where it has no value yet.
    known = columns.keys() | {name for name, value in present.items() if value is not None}
    plots: dict[str, object] = {}
    summaries: dict[str, list[Summary]] = {}
    for plot in PLOTS:
        keys = lines_of(plot, known)
        series = [columns.get(f"{plot.key}.{key}") or [None] * len(moments) for key in keys]
        plots[plot.key] = {"series": [label(plot, key) for key in keys], "keys": keys, "values": series,
                           "places": [order.get(f"{plot.key}.{key}", -1) for key in keys]}
        summaries[plot.key] = [_summary(label(plot, key), one) for key, one in zip(keys, series, strict=True)]
    answer = {"range": span.key, "step": span.step, "layout": layout_of(present),
              "times": [int(at) if at == int(at) else at for at, _, _ in moments], "plots": plots}
    return Told(json.dumps(answer, separators=(",", ":")).encode(), summaries)


def _summary(text: str, values: list[float | None]) -> Summary:
    known = [value for value in values if value is not None]
    return Summary(text, known[-1] if known else None, sum(known) / len(known) if known else None,
                   max(known, default=None))


def _short(value: float) -> float:
    """Four digits: what a plot can show, in few bytes."""
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.4g}")
