"""Stress mode: when one of our own bounds is nearly reached, what is not needed stops until there is room again.

It is entered at 90 % of any bound and left when all of them have been at most at 70 % for some seconds, so that a load
around a bound does not switch it to and fro. Each sink knows what is not needed: lines about single hosts, lookups of
hosts that were refused. What known senders need is done first and goes on. Verdicts have no part in it.
"""
import time
from collections.abc import Callable

from mxallowd.log import Log

ENTER, LEAVE = 0.9, 0.7
CALM_S = 5.0


class Stress:
    """Whether it is on; who has a bound registers it."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._bounds: dict[str, Callable[[], float]] = {}
        self._entered = 0.0
        self._calm_since: float | None = None
        self.on = False
        self.times = 0

    def watch(self, name: str, fill: Callable[[], float]) -> None:
        """Ask this one how full it is, 1.0 being its bound."""
        self._bounds[name] = fill

    def look(self) -> None:
        """Enter or leave; called with every batch of events and every second."""
        fills = {name: fill() for name, fill in self._bounds.items()}
        fullest = max(fills, key=lambda name: fills[name], default=None)
        if fullest is None:
            return
        now = self._clock()
        if not self.on:
            if fills[fullest] >= ENTER:
                self._enter(fullest, fills[fullest], now)
        elif fills[fullest] > LEAVE:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_S:
            self.on = False
            self._log.warning("stress", None, state="off", seconds=round(now - self._entered))

    def _enter(self, name: str, fill: float, now: float) -> None:
        self.on = True
        self.times += 1
        self._entered = now
        self._calm_since = None
        self._log.warning("stress", None, state="on", bound=name, percent=min(100, int(100 * fill)))
