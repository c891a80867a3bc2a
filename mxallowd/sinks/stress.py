"""Stress mode: when an internal bound is nearly reached, work that is not necessary stops until there is room again.

It starts at 90 % of any bound and ends when all of them have been at 70 % or below for some seconds, so that a load
near a bound does not switch it on and off all the time. Each sink knows which of its work is not necessary: lines about
single hosts, and lookups of hosts that were refused. Work for known senders goes on and comes first. Verdicts are not
affected.
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
