"""The time of a history: seconds that go on over restarts of the daemon and of the machine.

The packet path's clock begins with the machine. What a disk has kept from before is older than that, so its times are
told by a clock that is so far ahead that they need not be changed.
"""
from collections.abc import Callable

MOST_AHEAD_S = 1 << 31


class Timeline:
    """Turns times of the packet path's clock, in microseconds, into its seconds."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self.ahead_s = 0

    def now_s(self) -> int:
        """Now."""
        return self.of(self._clock_us())

    def of(self, time_us: int) -> int:
        """A time of the packet path."""
        return time_us // 1_000_000 + self.ahead_s

    def go_on(self, ahead_s: int, clock_us: int) -> None:
        """It was so far ahead in an earlier life, whose clock would be `clock_us` now. Before anything happens."""
        behind_s = clock_us // 1_000_000 - self._clock_us() // 1_000_000
        self.ahead_s = max(0, min(ahead_s + behind_s, MOST_AHEAD_S))
