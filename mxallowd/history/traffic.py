"""Connections to the real server, by the hour: those that were refused and accepted.

Where the kernel decides alone (way c), its ruleset shows mxallowd a part of the refused packets, and its own counters
tell of all, where it has such counters (nft). So what is known of hosts is exact as far as these were seen.
"""
from collections.abc import Mapping
from typing import NamedTuple

from mxallowd.history.hourly import Hourly
from mxallowd.history.timeline import Timeline

ACCEPTED = ("real-first", "real-again", "real-allowed", "real-untold", "real-patient", "real-network")


class Connections(NamedTuple):
    """What happened at the real server."""

    refused: int
    accepted: int
    seen: int  # refused packets that mxallowd was shown
    counted: int  # refused packets that the kernel has counted; 0: it does not count them


class Traffic:
    """Is given counters, since the daemon's start, and keeps by how much they have grown."""

    def __init__(self, timeline: Timeline, *, queues: bool) -> None:
        self._timeline = timeline
        self.queues = queues
        self.hours = Hourly(len(Connections._fields))
        self._before = Connections(0, 0, 0, 0)

    def take(self, counters: Mapping[str, int]) -> Connections:
        """Take the counters of now; all connections of the last eight days."""
        now = self._of(counters)
        self.hours.add(self._timeline.now_s(), [
            max(0, after - before) for after, before in zip(now, self._before, strict=True)])
        self._before = now
        return Connections(*self.hours.sums())

    def _of(self, counters: Mapping[str, int]) -> Connections:
        # Hosts that a list denies are no question of a trial.
        counted = 0 if self.queues else max(0, counters.get("kernel-refused", 0) - counters.get("kernel-denied", 0))
        refused = max(counters.get("refused-attempts", 0), counted)
        seen = sum(counters.get(name, 0) for name in ACCEPTED)
        # With a queue the kernel counts what the daemon does not see, without one all that it accepts.
        alone = counters.get("kernel-accepted", 0)
        accepted = seen + alone if self.queues else max(seen, alone)
        return Connections(refused, accepted, 0 if self.queues else counters.get("real-refused", 0), counted)
