"""Rounds: when own entries have to be said again, and a look through the table for them, a piece at a time.

All own entries are in the stream as long as it has what came since some time: that is what a gateway relies on. Where
its first ID is later, something is missing. A stream that was emptied may begin earlier for all that, so two messages
are looked for as well: the first one that is relied on, and the last one that is some seconds old.
"""
import struct
from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from mxallowd.engine._table import BY_HAND, PEER, RESTORED, Table
from mxallowd.fleet.peers import Id

SCANNED = 2048  # places of the table that are looked at for a piece: less than a millisecond

FOUND = struct.Struct("=16sQBBB5x")
"""Host, until_us, origin, used, proven: Record of engine/_records.pxd."""
LATEST_US = 1 << 62
MARGIN_US = 2_000_000  # what may lie between a change and its place in the stream, for clocks and for its turn
NEAR_US = 5_000_000  # an own entry that lasts so much longer than what is in the stream is said again
TRIMMED_US = 60_000_000  # between two rounds for what was trimmed
# An operator says how long these last, or another copy that has them did.
_OF_ANY_TIME = (BY_HAND, RESTORED)


class Window(NamedTuple):
    """Own entries, by when they were entered: since then, and before then."""

    since_us: int
    before_us: int


ALL, NONE = Window(0, LATEST_US), Window(0, 0)


class Reliance:
    """What of the stream a gateway relies on. Times of the stream are the engine's, in milliseconds."""

    def __init__(self) -> None:
        self._since: Id | None = None  # it has to have what came since then; None: nothing is in it
        self._last: Id | None = None  # this one, too
        self._full_ms: int | None = None  # since then all is in it that the last full round has said
        self._covered_us = 0  # what was entered before then was said by that round, or by one after it
        self._round_us = -TRIMMED_US

    def loaded(self, first: Id | None) -> None:
        """All own entries are in the stream, or are said now."""
        self._since, self._last = first, None

    def said(self, id_: Id) -> None:
        """Something was added there."""
        if self._since is None:
            self._since = id_

    def settled(self, id_: Id) -> None:
        """What was added there is not said again, should the connection be lost."""
        self._last = id_

    def relied(self) -> list[Id]:
        """Places of which lost() is to know whether the stream has a message there."""
        return [one for one in (self._since, self._last) if one is not None]

    def lost(  # noqa: PLR0913
        self, first: Id | None, engine_ms: int, now_us: int, longest_us: int, *, busy: bool, gone: Collection[Id] = (),
    ) -> Window | None:
        """What has to be said again, since the stream begins at `first`, or is empty (None); None: nothing.

        `gone`: those of relied() that were not there before `first` was asked for. Where a round is under way (`busy`)
        it is one that takes its place.
        """
        if self._since is None:
            return None
        # Whoever trims it takes away its beginning, and nothing else.
        emptied = first is None or any(one >= first for one in gone)
        if first is None or emptied:
            self._since, self._last, self._full_ms, self._covered_us = (
                None, None, engine_ms - MARGIN_US // 1000, now_us)
            return ALL
        if first <= self._since:
            return None
        first_ms = first[0]
        if first_ms <= engine_ms - longest_us // 1000:
            # The time of all that came before is over.
            self._since = first
            return None
        before_us, since_us = now_us - 1000 * (engine_ms - first_ms) + MARGIN_US, 0
        if self._full_ms is not None and first_ms <= self._full_ms:
            # A gateway with a shorter time trims it: what the last round has said is there, and what came since.
            if busy or now_us - self._round_us < TRIMMED_US:
                return None
            since_us = self._covered_us - MARGIN_US
        else:
            self._full_ms = engine_ms - MARGIN_US // 1000
        self._since, self._covered_us, self._round_us = first, before_us, now_us
        return Window(since_us, before_us)


class Round:
    """One round. What is entered while it goes on is said by its change, and may come here as well."""

    def __init__(
        self, table: Table, longest_us: int, window: Window, *, lasting: bool, shown: Mapping[bytes, int] | None = None,
    ) -> None:
        """Own entries of this window, but for those that end when `shown` says, or NEAR_US later.

        When an entry was entered, its end says: `longest_us` is how long an own one lasts at most. `lasting`: also
        those that last longer, whenever they were entered.
        """
        self._table = table
        self._longest_us = longest_us
        self._window = window
        self._lasting = lasting
        self._shown = shown
        self._place = 0
        self._scanned = False
        self._found: deque[bytes] = deque()
        self.said = 0
        """Hosts that were taken."""

    @property
    def over(self) -> bool:
        """Whether nothing comes any more."""
        return self._scanned and not self._found

    def take(self, most: int, now_us: int) -> list[bytes]:
        """The next hosts, at most `most`; none, where this piece of the table had none."""
        if not self._scanned and len(self._found) < most:
            records, self._place = self._table.entries(now_us, self._place, SCANNED)
            self._scanned = self._place == 0
            self._found += self._wanted(records, now_us)
        taken = [self._found.popleft() for _ in range(min(most, len(self._found)))]
        self.said += len(taken)
        return taken

    def _wanted(self, records: bytes, now_us: int) -> list[bytes]:
        since_us, before_us = (one + self._longest_us for one in self._window)
        lasting_us = now_us + self._longest_us if self._lasting else 1 << 63
        found = [
            (host, until_us) for host, until_us, origin, _, _ in FOUND.iter_unpack(records)
            if origin != PEER and (since_us <= until_us < before_us or until_us > lasting_us or (
                self._lasting and origin in _OF_ANY_TIME))]
        shown = self._shown
        return [host for host, until_us in found if not shown or shown.get(host, 0) < until_us - NEAR_US]
