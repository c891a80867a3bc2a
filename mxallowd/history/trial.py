"""What a trial is judged by, as one sink: the forecast, senders that try the fake server alone, times, names."""
from collections.abc import Sequence

from mxallowd.engine._refused import Refused
from mxallowd.engine._table import ORIGINS, PATIENCE
from mxallowd.engine.events import Event
from mxallowd.history.firstmx import FirstMx
from mxallowd.history.followed import DAY_S
from mxallowd.history.forecast import Forecast
from mxallowd.history.names import Names
from mxallowd.history.timeline import Timeline
from mxallowd.history.toreal import ToReal
from mxallowd.history.traffic import Traffic
from mxallowd.history.unled import Unled
from mxallowd.settings import Settings
from mxallowd.whitelist import Change, Whitelist


class Trial:
    """All of them. It is told of events, and follows the whitelist."""

    def __init__(self, settings: Settings, whitelist: Whitelist, refused: Refused, contacts: Refused) -> None:
        """`refused` and `contacts` are the packet path's memories."""
        self._whitelist = whitelist
        self._refused = refused
        self.dry_run = settings.dry_run
        self.now_us = whitelist.now_us
        self.timeline = Timeline(whitelist.now_us)
        self.contacts = contacts
        self.names = Names()
        self.forecast = Forecast(refused, self.timeline)
        self.first_mx = FirstMx(contacts, self.came, self.timeline)
        self.unled = Unled(whitelist.now_us)
        self.traffic = Traffic(self.timeline, queues=settings.queue_num is not None)
        self.to_real = ToReal(settings.whitelist_time, self._origin)
        whitelist.follow(self)

    def named(self, host: bytes, name: str, confirmed: bool) -> None:
        """A lookup has given this name."""
        self.names.note(host, name, confirmed=confirmed)

    def _origin(self, host: bytes) -> str | None:
        entry = self._whitelist.entry(host)
        return entry.origin if entry else None

    def came(self, host: bytes) -> bool:
        """Whether the host came to the real server within a day, as far as it is remembered."""
        listed = self._whitelist.find(host)
        if listed is not None and listed[1]:
            return True
        found = self._refused.find(host)
        return found is not None and self.now_us() - found.last_us < DAY_S * 1_000_000

    def knows_real(self, host: bytes) -> bool:
        """Whether a listed host is known to have connected to the real server (whitelist.py)."""
        return self._whitelist.knows_real(host)

    # ---- what the main loop calls

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events."""
        self.to_real.handle(events)
        self.forecast.handle(events)
        self.first_mx.handle(events)
        self.unled.handle(events)

    def changed(self, host: bytes, change: Change) -> None:
        """Of changes of the whitelist, who was let in; of contacts there are events."""
        if change is Change.ADMITTED:
            self.forecast.admitted(host, patient=self._origin(host) == ORIGINS[PATIENCE])

    def missed(self) -> None:
        """Somebody may have been let in: he is taken for one that was not."""

    def tick(self) -> None:
        """What is due by time."""
        self.forecast.tick()
        self.first_mx.tick()

    def reload(self, settings: Settings) -> None:
        """The lifetime of entries may be another one."""
        self.to_real.set_lifetime(settings.whitelist_time, self.now_us())

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return {"refused-later-passed": self.forecast.later_passed}

    def close(self) -> None:
        """What outlives the daemon, the state directory keeps (kept.py)."""
