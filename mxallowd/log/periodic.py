"""Lines that are written at most once a minute, with the number of events since the line before.

Frequent events must not fill the log. Each class here answers one question, "may the line be written now?", and writes
nothing itself. The first time the answer is always yes. Times are those of a clock that does not jump.
"""
import time
from collections.abc import Callable
from typing import Generic, TypeVar

PERIOD_S = 60.0
Clock = Callable[[], float]
Item = TypeVar("Item")


class Pace:
    """A line at most once a period, whatever it says."""

    def __init__(self, clock: Clock = time.monotonic, period_s: float = PERIOD_S) -> None:
        self._clock = clock
        self._period_s = period_s
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether the period is over. True begins the next one."""
        now = self._clock()
        if now - self._last < self._period_s:
            return False
        self._last = now
        return True


class Summed(Generic[Item]):
    """A line about things that are counted here; the newest one stands for all."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._pace = Pace(clock)
        self._count = 0
        self._newest: Item | None = None

    def add(self, item: Item) -> None:
        """Count one."""
        self._count += 1
        self._newest = item

    def due(self) -> tuple[int, Item] | None:
        """How many were added since the last line, and the newest; None: there is none, or it is too early."""
        if self._newest is None or not self._pace.due():
            return None
        found = self._count, self._newest
        self._count, self._newest = 0, None
        return found


class Grown:
    """A line about totals that are counted elsewhere and never fall."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._pace = Pace(clock)
        self._said: tuple[int, ...] = ()

    def due(self, *totals: int, at_once: bool = False) -> tuple[int, ...] | None:
        """How much each total grew since the last line; None: none did, or it is too early.

        `at_once` asks for what there is although it is too early: for the last line of all.
        """
        said = self._said or (0,) * len(totals)
        grown = tuple(total - before for total, before in zip(totals, said, strict=True))
        if max(grown) <= 0 or not (self._pace.due() or at_once):
            return None
        self._said = totals
        return grown


class Repeated:
    """A line about a reason: another reason is said at once, the same one again after a period."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._reason: str | None = None
        self._pace = Pace(clock)

    def due(self, reason: str) -> bool:
        """Whether to say this reason now."""
        if reason != self._reason:
            self.forget()
            self._reason = reason
        return self._pace.due()

    def forget(self) -> None:
        """What comes next is said at once."""
        self._reason = None
        self._pace = Pace(self._clock)
