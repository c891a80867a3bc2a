"""What may be asked of a zone, and what has been learned about it.

Four things hold a question back, for each zone it belongs to (zones.py):

    rate        so many questions a second, whatever they are about: whoever writes a PTR record or a spoofed source
                chooses the zone, and its owner has done nothing
    slots       so many questions at a time, so that a zone whose servers do not answer holds only these
    set aside   after some failures in a row nothing but one question at a time, after a pause that doubles
    says no     a zone that has said "there is no such name" some times in a row is asked at a quarter of the rate

An answer with data ends the last two. Zones are remembered in a bounded table; the one that was asked longest ago is
forgotten, and then has a full burst again. The table holds as many as can be asked in several seconds by the limit of
all queries, and a burst is what a second gives, so nothing is gained by pushing a zone out.

An alias (CNAME) leads the resolver to another zone. It counts there as well, as far as answers show it.

Names that do not exist are remembered as well, in a bounded table.
"""
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum

from mxallowd.dns.zones import Zone

MAX_ZONES = 8192
MAX_NOTHING = 16_384  # names that do not exist
MAX_LEADS = 4  # zones that the names of a zone are aliases in
NOTHING_S = 300.0  # for which such a name is not asked again
FAILURES = 3  # in a row, until a zone is set aside
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 4.0
NOTHINGS = 8  # in a row, until a zone is asked more slowly
SLOWER = 4
# A zone without a free slot is looked at again after so long; what ends frees slots at any time.
SLOT_PAUSE_S = 0.02


class Outcome(Enum):
    """What came of a question."""

    DATA = 1
    NOTHING = 2  # there is no such name, or none with such data
    FAILED = 3  # no answer, or one that says that the server failed
    UNKNOWN = 4  # it was not asked after all, or given up


class _Zone:
    __slots__ = ("failures", "filled", "flying", "leads", "nothings", "paused_until", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.filled = now
        self.flying = 0
        self.failures = self.nothings = 0
        self.paused_until = float("-inf")
        self.leads: tuple[Zone, ...] = ()


class Limits:
    """The limits of all zones; `per_s` is the rate of each, and its burst."""

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = float(per_s)
        self._clock = clock
        # In the order in which they were asked.
        self._zones: OrderedDict[Zone, _Zone] = OrderedDict()
        self._nothing: OrderedDict[str, float] = OrderedDict()
        self.set_aside = 0
        """Times that a zone was set aside for the first time."""

    def set_rate(self, per_s: int) -> None:
        """So many questions a second from now on."""
        self._per_s = float(per_s)

    def pause(self, zone: Zone, slots: int, queries: int = 1) -> float:
        """0.0: so many queries may go to this zone now, of which at most `slots` questions are under way.

        Else after how many seconds to ask again.
        """
        known = self._zones.get(zone)
        if known is None:
            return 0.0
        now = self._clock()
        if known.paused_until > now:
            return known.paused_until - now
        if known.flying >= (1 if known.failures >= FAILURES else slots):
            return SLOT_PAUSE_S
        led_to = [self._zones[other] for other in known.leads if other in self._zones]
        return max(self._lacking_s(one, queries, now) for one in (known, *led_to))

    def start(self, zones: Iterable[Zone], queries: int = 1) -> None:
        """A question of so many queries goes to these zones, by the names they were asked for. end() must follow."""
        now = self._clock()
        for zone in zones:
            known = self._touch(zone, now)
            known.flying += 1
            known.tokens -= queries

    def end(self, zones: Iterable[Zone], outcome: Outcome) -> None:
        """It has come to this."""
        now = self._clock()
        for zone in zones:
            known = self._zones.get(zone)
            if known is None:
                continue
            known.flying = max(0, known.flying - 1)
            if outcome is Outcome.DATA:
                known.failures = known.nothings = 0
                known.paused_until = float("-inf")
            elif outcome is Outcome.NOTHING:
                known.failures = 0
                known.paused_until = float("-inf")
                known.nothings += 1
            elif outcome is Outcome.FAILED and known.paused_until <= now:
                # What failed while it is set aside had been asked before.
                known.failures += 1
                if known.failures >= FAILURES:
                    self.set_aside += known.failures == FAILURES
                    pause_s = FIRST_PAUSE_S * 2.0 ** min(known.failures - FAILURES, 10)
                    known.paused_until = now + min(LONGEST_PAUSE_S, pause_s)

    def charge(self, zones: Iterable[Zone], leading: Iterable[Zone]) -> None:
        """A name of `leading` is an alias of one in `zones`, which the resolver asked as well.

        It counts there, and what is asked of `leading` later waits for these zones, too.
        """
        now = self._clock()
        for zone in zones:
            known = self._touch(zone, now)
            # What is owed has a bound, so that nobody's debts shut a zone out for long.
            known.tokens = max(known.tokens - 1, -self._per_s)
            for source in leading:
                alias = self._zones.get(source)
                if alias and source != zone and zone not in alias.leads:
                    alias.leads = (*alias.leads, zone)[-MAX_LEADS:]

    def is_set_aside(self, zone: Zone) -> bool:
        """Whether its servers do not answer, as far as is known."""
        known = self._zones.get(zone)
        return known is not None and known.failures >= FAILURES

    def note_nothing(self, name: str) -> None:
        """This name does not exist, or has no data of the kinds that are asked for."""
        self._nothing[name] = self._clock()
        self._nothing.move_to_end(name)
        if len(self._nothing) > MAX_NOTHING:
            self._nothing.popitem(last=False)

    def is_nothing(self, name: str) -> bool:
        """Whether that was so of late."""
        noted = self._nothing.get(name)
        return noted is not None and self._clock() - noted < NOTHING_S

    def forget(self) -> None:
        """Other name servers are asked from now on: what failed or did not exist is open again."""
        self._nothing.clear()
        for known in self._zones.values():
            known.failures = known.nothings = 0
            known.paused_until = float("-inf")

    def __len__(self) -> int:
        """Zones in the table."""
        return len(self._zones)

    def _lacking_s(self, known: _Zone, queries: int, now: float) -> float:
        self._fill(known, now)
        # A rate that is lower than what one question takes lets it go all the same.
        lacking = min(queries, self._per_s) - known.tokens
        return lacking / self._rate(known) if lacking > 1e-9 else 0.0

    def _rate(self, known: _Zone) -> float:
        return self._per_s / SLOWER if known.nothings >= NOTHINGS else self._per_s

    def _fill(self, known: _Zone, now: float) -> None:
        known.tokens = min(self._per_s, known.tokens + (now - known.filled) * self._rate(known))
        known.filled = now

    def _touch(self, zone: Zone, now: float) -> _Zone:
        known = self._zones.get(zone)
        if known is None:
            known = self._zones[zone] = _Zone(self._per_s, now)
            if len(self._zones) > MAX_ZONES:
                self._forget_one()
        else:
            self._zones.move_to_end(zone)
            self._fill(known, now)
        return known

    def _forget_one(self) -> None:
        # Questions under way are fewer than half of the table, and a question's zone must stay.
        for _ in range(len(self._zones)):
            zone, known = self._zones.popitem(last=False)
            if not known.flying:
                return
            self._zones[zone] = known
