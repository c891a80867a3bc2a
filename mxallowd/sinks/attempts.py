"""Hosts that meet the fake server again and again, and how often within a time: what `--direct-after` counts by.

An attempt counts if the one that counted before is a minute ago (or half of what lies between N attempts spread over
the time, where that is less): what a sender tries at once, or sends again, is one attempt. Hosts are kept by how many
attempts they have, and each such class has its own room, of which who was seen longest ago makes room first. So a flood
of made-up contacts pushes out hosts that have as few attempts as its own, and nobody who has come oftener.
"""
from typing import NamedTuple

SPACING_S = 60.0
MOST_ONCE, MOST_OF_A_CLASS = 16_384, 2048  # hosts; all classes together take some 8 MB at most


class Attempts(NamedTuple):
    """What is known of a host."""

    times: int
    first_s: float


class AttemptMemory:
    """All hosts that have met the fake server and not enough of it yet. Hosts are 16 bytes."""

    def __init__(self, wanted: int, within_s: int, *, once: int = MOST_ONCE, most: int = MOST_OF_A_CLASS) -> None:
        """`wanted` attempts, 2 at least, within so many seconds; `once` and `most` are the room of the classes."""
        self.wanted = wanted
        self.within_s = within_s
        self.spacing_s = min(SPACING_S, within_s / (2 * wanted))
        self._room = (once, *[most] * (wanted - 1))
        # By the number of attempts, less one: the times of them.
        self._classes: tuple[dict[bytes, tuple[float, ...]], ...] = tuple({} for _ in self._room)

    def note(self, host: bytes, now_s: float) -> Attempts | None:
        """An attempt of the host; what there is of it once these are enough, which then stays until forget()."""
        times = self._take(host)
        if times and now_s - times[-1] < self.spacing_s:
            self._put(host, times)
            return None
        times = (*(one for one in times if now_s - one <= self.within_s), now_s)[-self.wanted :]
        self._put(host, times)
        return Attempts(len(times), times[0]) if len(times) == self.wanted else None

    def enough(self, host: bytes) -> Attempts | None:
        """What there is of a host whose attempts are enough."""
        times = self._classes[-1].get(host)
        return Attempts(len(times), times[0]) if times else None

    def forget(self, host: bytes) -> None:
        """It has come to the real server, or is let in."""
        self._take(host)

    def _take(self, host: bytes) -> tuple[float, ...]:
        for some in self._classes:
            if host in some:
                return some.pop(host)
        return ()

    def _put(self, host: bytes, times: tuple[float, ...]) -> None:
        number = len(times) - 1
        some = self._classes[number]
        some[host] = times
        if len(some) > self._room[number]:
            del some[next(iter(some))]

    def __len__(self) -> int:
        return sum(map(len, self._classes))
