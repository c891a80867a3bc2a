"""The log sink: one line for what happens to a host, few lines for what happens often.

The first refusal of a host is written at once; further ones are summed up in one line a minute. Malformed
packets and a full table get one line a minute each. A flood of different hosts is cut by the bound of hostlines.py.
"""
import time
from collections.abc import Callable, Sequence

from mxallowd.engine.events import Event, Kind, address_text
from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.sinks.hostlines import HostLines

PERIOD_S = 60.0
# Hosts whose refusals are summed up at a time. With more, the one that waited longest is written early.
MAX_REFUSED_HOSTS = 4096
HEAD_SHOWN = 32


class _Refusals:
    """Refusals of one host that are not written yet."""

    __slots__ = ("destination", "since", "times")

    def __init__(self, since: float) -> None:
        self.since = since
        self.times = 0
        self.destination = b""


class _Periodic:
    """A line at most once a period, that counts what it stands for."""

    def __init__(self) -> None:
        self._count = 0
        self._last = float("-inf")
        self._event: Event | None = None

    def add(self, event: Event) -> None:
        """Count one; the newest stands for all."""
        self._count += 1
        self._event = event

    def due(self, now: float) -> tuple[int, Event] | None:
        """The count since the last line and the newest event, where there is one and the period is over."""
        if self._event is None or now - self._last < PERIOD_S:
            return None
        found = self._count, self._event
        self._last, self._count, self._event = now, 0, None
        return found


class LogSink:
    """Writes events as lines of the log."""

    def __init__(
        self, log: Log, lines: HostLines, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._lines = lines
        self._clock = clock
        self._refused: dict[bytes, _Refusals] = {}
        self._malformed = _Periodic()
        self._full = _Periodic()

    def handle(self, events: Sequence[Event]) -> None:
        """Write, or sum up, each event."""
        now = self._clock()
        for event in events:
            if event.kind == Kind.REFUSED:
                self._refuse(event, now)
            elif event.kind == Kind.WHITELISTED:
                self._lines.info("whitelisted", event.source, fake=event.destination,
                           seconds=(event.until_us - event.time_us) // 1_000_000)
            elif event.kind == Kind.ACCEPTED:
                self._lines.info("accepted", event.source, real=event.destination)
            elif event.kind == Kind.MALFORMED:
                self._malformed.add(event)
            elif event.kind == Kind.FULL:
                self._full.add(event)
        self._write_periodic(now)

    def tick(self) -> None:
        """Write the sums whose minute is over."""
        now = self._clock()
        self._write_periodic(now)
        # In order of `since`: a host that is written moves to the end.
        for source, refusals in list(self._refused.items()):
            if now - refusals.since < PERIOD_S:
                break
            del self._refused[source]
            if refusals.times:
                self._write_refusals(source, refusals, now)
                self._refused[source] = _Refusals(now)

    def reload(self, settings: Settings) -> None:
        """Nothing here depends on settings that can change."""

    def counters(self) -> dict[str, int]:
        """None of its own: what is left out is said in the log itself."""
        return {}

    def close(self) -> None:
        """Write every sum that is open."""
        now = self._clock()
        for source, refusals in self._refused.items():
            if refusals.times:
                self._write_refusals(source, refusals, now)
        self._refused.clear()

    def _refuse(self, event: Event, now: float) -> None:
        refusals = self._refused.get(event.source)
        if refusals is not None:
            refusals.times += 1
            refusals.destination = event.destination
            return
        if len(self._refused) >= MAX_REFUSED_HOSTS:
            source, oldest = next(iter(self._refused.items()))
            del self._refused[source]
            if oldest.times:
                self._write_refusals(source, oldest, now)
        self._refused[event.source] = _Refusals(now)
        self._lines.info("refused", event.source, real=event.destination, times=1)

    def _write_refusals(self, source: bytes, refusals: _Refusals, now: float) -> None:
        self._lines.info("refused", source, real=refusals.destination, times=refusals.times,
                   seconds=round(now - refusals.since))

    def _write_periodic(self, now: float) -> None:
        if found := self._malformed.due(now):
            count, event = found
            self._log.warning("malformed", count=count, reason=event.reason_name, length=event.length,
                              head=event.head[:HEAD_SHOWN].hex())
        if found := self._full.due(now):
            count, event = found
            self._log.warning("table-full", address_text(event.source), count=count)
