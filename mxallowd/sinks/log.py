"""The log sink: one line for what happens to a host, few lines for what happens often.

The first refusal of a host is written at once; further ones are summed up in one line a minute. Malformed
packets and a full table get one line a minute each. A flood of different hosts is cut by the bound of hostlog.py.
"""
import time
from collections.abc import Callable, Sequence

from mxallowd.engine.events import Event, Kind, address_text
from mxallowd.log import Log
from mxallowd.log.periodic import PERIOD_S, Summed
from mxallowd.settings import Settings
from mxallowd.sinks.hostlog import HostLog

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


class LogSink:
    """Writes events as lines of the log."""

    def __init__(self, log: Log, hostlog: HostLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._hostlog = hostlog
        self._clock = clock
        self._refused: dict[bytes, _Refusals] = {}
        self._malformed: Summed[Event] = Summed(clock)
        self._full: Summed[Event] = Summed(clock)

    def handle(self, events: Sequence[Event]) -> None:
        """Write, or sum up, each event."""
        now = self._clock()
        for event in events:
            if event.kind == Kind.REFUSED:
                self._refuse(event, now)
            elif event.kind == Kind.WHITELISTED:
                self._hostlog.info("whitelisted", event.source, fake=event.destination,
                                   seconds=(event.until_us - event.time_us) // 1_000_000)
            elif event.kind == Kind.ACCEPTED:
                self._hostlog.info("accepted", event.source, real=event.destination)
            elif event.kind == Kind.MALFORMED:
                self._malformed.add(event)
            elif event.kind == Kind.FULL:
                self._full.add(event)
        self._write_periodic()

    def tick(self) -> None:
        """Write the sums whose minute is over."""
        now = self._clock()
        self._write_periodic()
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

    def lost_events(self) -> None:
        """What was lost is said elsewhere, and comes again."""

    async def refresh(self) -> None:
        """All is counted here."""

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
        self._hostlog.info("refused", event.source, real=event.destination, times=1)

    def _write_refusals(self, source: bytes, refusals: _Refusals, now: float) -> None:
        self._hostlog.info("refused", source, real=refusals.destination, times=refusals.times,
                           seconds=round(now - refusals.since))

    def _write_periodic(self) -> None:
        if found := self._malformed.due():
            count, event = found
            self._log.warning("malformed", count=count, reason=event.reason_name, length=event.length,
                              head=event.head[:HEAD_SHOWN].hex())
        if found := self._full.due():
            count, event = found
            self._log.warning("whitelist-full", address_text(event.source), count=count)
