"""A round: a look through the table for own entries that have to be said again, a piece at a time."""
import struct
from collections import deque
from collections.abc import Collection

from mxallowd.engine._table import BY_HAND, PEER, RESTORED, Table

SCANNED = 2048  # places of the table that are looked at for a piece: less than a millisecond

FOUND = struct.Struct("=16sQBBB5x")
"""Host, until_us, origin, used, proven: Record of engine/_records.pxd."""
# An operator says how long these last, or another copy that has them did.
_OF_ANY_TIME = (BY_HAND, RESTORED)


class Round:
    """One round. What is entered while it goes on is said by its change, and may come here as well."""

    def __init__(
        self, table: Table, longest_us: int, *, entered_before_us: int | None, lasting: bool,
        without: Collection[bytes] = (),
    ) -> None:
        """Own entries that were entered before then (None: whenever), `without` these hosts.

        When that was, their end says: `longest_us` is how long an own entry lasts at most. `lasting`: also those that
        last longer, whenever they were entered.
        """
        self._table = table
        self._longest_us = longest_us
        self._before_us = entered_before_us
        self._lasting = lasting
        self._without = without
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
        before_us = 1 << 63 if self._before_us is None else self._before_us + self._longest_us
        lasting_us = now_us + self._longest_us if self._lasting else 1 << 63
        found = [
            host for host, until_us, origin, _, _ in FOUND.iter_unpack(records)
            if origin != PEER and (until_us < before_us or until_us > lasting_us or (
                self._lasting and origin in _OF_ANY_TIME))]
        return [host for host in found if host not in self._without] if self._without else found
