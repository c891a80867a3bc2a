"""Which host is looked up next, and which is not.

There are four queues, in this order: hosts that have reached the real server, others that contacted the fake server,
listed hosts that contacted it again, and hosts that were refused. A host is in one of them at most. Within a queue
turns go round among networks (lanes.py), and who cannot be asked about now, because of a limit of its network's zone,
is in nobody's way. Each queue is bounded: the oldest host is removed and counted. The rate limits how many are looked
up. In stress mode refused hosts are not looked up, and are removed from their queue at the speed of lookups. A lookup
that failed is not repeated for a while.

Beside them wait listed hosts whose names are wanted (--pool-domain): they come when nobody else does.
"""
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

from mxallowd.dns.zones import networks
from mxallowd.sinks.bucket import Bucket
from mxallowd.sinks.lanes import Lanes
from mxallowd.sinks.stress import Stress

MAX_WAITING = 8192  # of each kind
OVERFLOWED_S = 60.0  # from the last time that a contact was pushed out of its queue
SPEED_KEPT = 0.7  # of what it was, from one second to the next
BURST_S = 4  # the burst is what the rate gives in so many seconds
SHORTEST_PAUSE_S = 0.01
# Less than the minute after which the packet path tells of a refused host again.
FAILED_S = 50.0
MAX_FAILED = 65536
MAX_RENEWALS = 16_384
Key = TypeVar("Key")
Value = TypeVar("Value", int, float, tuple[int, bytes], tuple[int, bytes, int])


class Bounded(OrderedDict[Key, Value]):
    """A dict that forgets its oldest entry when it is full."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def note(self, key: Key, value: Value) -> bool:
        """Set a value as the newest. True: the oldest had to go."""
        self[key] = value
        self.move_to_end(key)
        if len(self) <= self._most:
            return False
        self.popitem(last=False)
        return True

    def forget(self, least: Value) -> None:
        """Let go the oldest, as far as their values are not above this one."""
        while self and next(iter(self.values())) <= least:
            self.popitem(last=False)


class Waiting:
    """The queues, the rate and the failures. Hosts are 16 bytes; who is under way is not here any more."""

    def __init__(
        self, per_s: int, stress: Stress, clock: Callable[[], float] = time.monotonic,
        pause: Callable[[Hashable], float] = lambda _: 0.0,
    ) -> None:
        """`pause` is what lanes.py asks, with networks (zones.py)."""
        self._stress = stress
        self._clock = clock
        self._used, self._contacts, self._renewed, self._refused = self._queues = tuple(
            Lanes[bytes](MAX_WAITING, networks, pause, clock) for _ in range(4))
        self._listed = Lanes[bytes](MAX_WAITING, networks, pause, clock)
        self._overflowed_until = float("-inf")
        self._bucket = Bucket(per_s, per_s * BURST_S, clock)
        self.pause_s = _pause(per_s)
        """Somebody who waits for the rate alone should be asked for again after so long."""
        self._speed = float(per_s)  # hosts a second, as they have been given out of late while refused ones waited
        self._given_out = self._given_out_before = 0
        # Hosts whose lookup failed, and when.
        self._failed_contacts: Bounded[bytes, float] = Bounded(MAX_FAILED)
        self._failed_refused: Bounded[bytes, float] = Bounded(MAX_FAILED)
        self.renewed_s = 0.0
        """A host whose contacts renew its entry is asked about once in so many seconds; 0: each time."""
        self._renewals: Bounded[bytes, float] = Bounded(MAX_RENEWALS)
        self.limited = 0
        """Hosts that were not given out, for a bound."""

    def set_rate(self, per_s: int) -> None:
        """So many hosts a second from now on."""
        self._bucket.resize(per_s, per_s * BURST_S)
        self.pause_s = _pause(per_s)

    # ---- who comes

    def queue_contact(self, host: bytes) -> None:
        """It met the fake server."""
        if host in self._used or self._has_failed(host, self._failed_contacts):
            self._refused.drop(host)
            return
        self._renewed.drop(host)
        self._refused.drop(host)
        if self._contacts.note(host) is not None:
            self.limited += 1
            self._overflowed_until = self._clock() + OVERFLOWED_S

    def queue_renewed(self, host: bytes) -> None:
        """It is listed, and met the fake server again."""
        if self.renewed_s:
            now = self._clock()
            if now - self._renewals.get(host, float("-inf")) < self.renewed_s:
                return
            self._renewals.note(host, now)
        self._refused.drop(host)
        if host not in self._used and host not in self._contacts and not self._has_failed(host, self._failed_contacts):
            self.limited += self._renewed.note(host) is not None

    def promote(self, host: bytes) -> None:
        """It reached the real server for the first time: before the others, if it waits.

        It may have been pushed out of its queue by others. At the worst it is asked about once more.
        """
        waits = self._contacts.drop(host)
        overflowed = self._clock() < self._overflowed_until
        if waits or (overflowed and not self._has_failed(host, self._failed_contacts)):
            self._renewed.drop(host)
            self._refused.drop(host)
            self.limited += self._used.note(host) is not None

    def queue_refused(self, host: bytes) -> None:
        """It was refused. One that waits keeps its place."""
        if not any(host in queue for queue in self._queues) and not self._has_failed(host, self._failed_refused):
            self.limited += self._refused.note(host) is not None

    def queue_listed(self, host: bytes) -> None:
        """It is listed, and nobody knows its names."""
        self._listed.note(host)

    def listed(self) -> int:
        """How many such hosts wait."""
        return len(self._listed)

    # ---- who goes

    def take(self, *, refused_too: bool = True) -> tuple[bytes, bool] | None:
        """The host whose turn it is, and whether it met the fake server.

        None: nobody, or nobody now because of a limit, or the rate is used up.
        """
        if not self._bucket.has():
            return None
        for queue in self._open(refused_too):
            host = queue.take()
            if host is not None:
                self._bucket.take()
                self._given_out += 1
                return host, queue is not self._refused
        return None

    def take_listed(self) -> bytes | None:
        """The listed host whose turn it is; None: nobody now, or others wait."""
        if self._stress.on or self.has_next() or not self._bucket.has():
            return None
        host = self._listed.take()
        if host is not None:
            self._bucket.take()
        return host

    def has_next(self) -> bool:
        """Whether somebody waits who may be asked about, at the latest when a limit allows it."""
        return any(len(queue) for queue in self._open(True))

    def next_s(self) -> float:
        """After how many seconds take() may find somebody. Infinite: not by time alone."""
        soonest = min(queue.next_s() for queue in self._open(True))
        if not self._stress.on:
            soonest = min(soonest, self._listed.next_s())
        return soonest if self._bucket.has() else max(soonest, self.pause_s)

    def _open(self, refused_too: bool) -> tuple[Lanes[bytes], ...]:
        return self._queues if refused_too and not self._stress.on else self._queues[:3]

    # ---- by time

    def tick(self) -> None:
        """Called once a second."""
        self._drain_in_stress()
        for failed in (self._failed_contacts, self._failed_refused):
            failed.forget(self._clock() - FAILED_S)

    def _drain_in_stress(self) -> None:
        """In stress mode refused hosts go on to wait, and as many go as would be looked up without it.

        So the queue is as long as the load makes it, and stress mode ends when the load could be borne.
        """
        before, self._given_out_before = self._given_out_before, self._given_out
        if not self._stress.on:
            if len(self._refused):
                self._speed = SPEED_KEPT * self._speed + (1 - SPEED_KEPT) * (self._given_out - before)
            return
        for _ in range(min(len(self._refused), max(1, round(self._speed)))):
            self._refused.drop_oldest()
            self.limited += 1

    def fill(self) -> float:
        """How full the longest queue is, 1.0 being its bound."""
        return max(map(len, self._queues)) / MAX_WAITING

    # ---- failures

    def note_failure(self, host: bytes, *, contact: bool) -> None:
        """Its lookup failed. As a refused host's that does not hold up a contact's, on which a family may depend."""
        (self._failed_contacts if contact else self._failed_refused).note(host, self._clock())

    def _has_failed(self, host: bytes, failed: Bounded[bytes, float]) -> bool:
        failed_at = failed.get(host)
        return failed_at is not None and self._clock() - failed_at < FAILED_S


def _pause(per_s: int) -> float:
    return max(SHORTEST_PAUSE_S, 1 / per_s)
