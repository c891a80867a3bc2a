"""How long hosts take from the fake server to the real one: a histogram, with no memory for each host.

When a listed host reaches a real server for the first time, its entry says when it met the fake one: at the entry's end
less its lifetime. (A contact that renewed the entry counts as that contact.) Only entries of a contact count, and only
where such a time is possible: a lifetime that a reload has changed would give wrong ones.
"""
from bisect import bisect_left
from collections.abc import Callable, Sequence

from mxallowd.engine.events import Event, Kind
from mxallowd.metrics import series

BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 28_800.0)
_MOST_LIFETIMES = 8


class Histogram:
    """Counts by upper bounds, and the sum, as Prometheus wants them."""

    def __init__(self, bounds: Sequence[float] = BOUNDS_S) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """All that was observed."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count this one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[float, int]]:
        """Each upper bound, and how many values are not above it; the last bound is infinite."""
        found, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            found.append((bound, total))
        return found

    def measured(self) -> series.Histogram:
        """The same as monitoring takes it."""
        return series.Histogram(tuple(self._bounds), tuple(self._counts), self.sum)


class ToReal:
    """Fills `histogram` from events. `origin` gives the origin of a host's entry, None where it has none."""

    def __init__(self, lifetime_s: int, origin: Callable[[bytes], str | None]) -> None:
        self.histogram = Histogram()
        self._origin = origin
        # Lifetimes that have held, the newest first, and until when: 0 is now.
        self._lifetimes: list[tuple[int, int]] = [(lifetime_s * 1_000_000, 0)]

    def set_lifetime(self, lifetime_s: int, now_us: int) -> None:
        """Entries live so long from now on."""
        lifetime_us = lifetime_s * 1_000_000
        newest, _ = self._lifetimes[0]
        if lifetime_us != newest:
            self._lifetimes[0] = (newest, now_us)
            self._lifetimes = [(lifetime_us, 0), *self._lifetimes][:_MOST_LIFETIMES]

    def handle(self, events: Sequence[Event]) -> None:
        """Look for first connections to a real server."""
        for event in events:
            if event.kind == Kind.ACCEPTED and self._origin(event.source) == "contact":
                taken_us = self._taken_us(event)
                if taken_us is not None:
                    self.histogram.observe(taken_us / 1_000_000)

    def _taken_us(self, event: Event) -> int | None:
        for at, (lifetime_us, until_us) in enumerate(self._lifetimes):
            since_us = self._lifetimes[at + 1][1] if at + 1 < len(self._lifetimes) else 0
            met_us = event.until_us - lifetime_us
            if since_us <= met_us <= (until_us or event.time_us):
                return event.time_us - met_us
        return None
