"""How this gateway stands with its engine: the faults that there are now, and the lines of the log about them.

One line when it begins to be broken, one when all is well again, whatever happens between them; where the reason
changes meanwhile, another line at most once a minute. It counts as mended once it has been well for MENDED_AFTER_S, so
that an engine that comes and goes several times a second does not fill the log.
"""
import time
from collections.abc import Callable

from mxallowd.fleet.clock import told
from mxallowd.fleet.opening import LinkError
from mxallowd.fleet.remedies import remedy as remedy_of
from mxallowd.log import Log
from mxallowd.log.periodic import Pace, Repeated

MENDED_AFTER_S = 1.0
LINK, ADDING, STREAM = "link", "adding", "stream"
"""What can be wrong: there is no connection; the engine takes no entries; the stream itself."""
NO_EVICTION = "noeviction"
POLICY, CLOCK, AHEAD = "policy", "clock", "ahead"
"""What is warned of, and holds up nothing."""


class Standing:
    """The faults now."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._faults: dict[str, tuple[str, str]] = {}  # by what is wrong: reason, remedy
        self._said: str | None = None  # the reason of the last line; None: all is well
        self._since = clock()  # the beginning of the connection, or of the fault
        self._well_since: float | None = None
        self._again = Pace(clock)
        self._engine = Repeated(clock)
        self._warnings: dict[str, str] = {}
        self._logged: set[str] = set()
        self._paces: dict[str, Pace] = {}
        self.broken = 0
        """How often it began to be broken."""
        self.connected = False
        """Whether entries can be said and heard."""

    @property
    def warnings(self) -> list[str]:
        """What is wrong with an engine that works all the same."""
        return list(self._warnings.values())

    def is_warned(self, what: str) -> bool:
        """Whether this is wrong now."""
        return what in self._warnings

    @property
    def fault(self) -> str:
        """What is wrong; empty: it is connected."""
        if self.connected:
            return ""
        return next((self._faults[what][0] for what in (STREAM, ADDING, LINK) if what in self._faults),
                    f"it answers again, for less than {MENDED_AFTER_S:g} s; before: {self._said}" if self._said else
                    "it was not reached yet")

    @property
    def remedy(self) -> str:
        """What mends it; empty: that is not known."""
        return next((self._faults[what][1] for what in (STREAM, ADDING, LINK) if what in self._faults), "")

    def since_s(self) -> float:
        """How long it has been as it is."""
        return self._clock() - self._since

    def is_faulty(self, what: str) -> bool:
        """Whether this is wrong now."""
        return what in self._faults

    def fail(self, what: str, error: LinkError, remedy: str = "") -> None:
        """This is wrong from now on."""
        reason = str(error)
        self._faults[what] = reason, remedy or error.remedy or remedy_of(error)
        self._well_since = None
        if self.connected or self._said is None:
            self._since = self._clock()
        self.connected = False
        if self._said is None:
            self.broken += 1
            self._said = reason
            self._again.due()
            self._log.error("fleet-broken", reason=reason)
        elif reason != self._said and self._again.due():
            self._said = reason
            self._log.error("fleet-broken", reason=reason)

    def mend(self, what: str) -> None:
        """This is well, now."""
        self._faults.pop(what, None)
        if self._faults or self.connected:
            return
        now = self._clock()
        if self._said is None:
            self.connected, self._since = True, now
        elif self._well_since is None:
            self._well_since = now
        elif now - self._well_since >= MENDED_AFTER_S:
            self._log.info("fleet-mended", None, seconds=int(now - self._since))
            self.connected, self._since, self._said = True, now, None

    def doubt(self, what: str, reason: str) -> None:
        """This is wrong now, and holds up nothing; empty: it is not. A line when it begins, at most one a minute."""
        if not reason:
            self._warnings.pop(what, None)
            self._logged.discard(what)
            return
        self._warnings[what] = reason
        if what not in self._logged and self._paces.setdefault(what, Pace(self._clock)).due():
            self._logged.add(what)
            if what == CLOCK:
                self._log.warning("fleet-clock", reason=reason)
            else:
                self._log.warning("fleet-engine", reason=reason)

    def judge(self, policy: str) -> None:
        """Warn of an engine that throws away what it has; at each connection, and at most once a minute."""
        self._logged.discard(POLICY)
        self.doubt(POLICY, "" if policy in {"", NO_EVICTION} else
                  f"maxmemory-policy is {policy}: where the engine's memory is full, it may throw away the whole list "
                  f"at once; set {NO_EVICTION}")

    def judge_clock(self, apart_s: int, *, off: bool) -> None:
        """Warn of this host's clock, which is so far ahead of the engine's, where that is too far (`off`)."""
        self.doubt(CLOCK, f"{told(apart_s)}; the list is shared all the same, and signed with the engine's time. Set "
                         "the wrong one (timedatectl set-ntp true)" if off else "")

    def warn(self, reason: str) -> None:
        """Something is wrong with the engine; at most once a minute."""
        if self._engine.due(reason):
            self._log.warning("fleet-engine", reason=reason)
