"""What the back ends that run on the main loop have in common: capture and rehearsal.

They decide in one shard of the whitelist and write events into one ring. No packet waits for their verdict, so they
stop reading while the ring has no room for the events of one reading. The main loop empties the ring.
"""
from collections.abc import Callable

from mxallowd._fastpath import Fastpath
from mxallowd.engine._rules import Rules
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.wake import Wake
from mxallowd.log import Log


class MainThreadBackend:
    """One source of packets, and how it stands."""

    def __init__(
        self, fastpath: Fastpath, shard: int, wake: Wake, log: Log, clock_us: Callable[[], int] = boottime_us,
    ) -> None:
        """`shard` is the one that the fastpath writes; `clock_us` is the clock by which its entries expire."""
        self._fastpath = fastpath
        self._shard = shard
        self._ring = fastpath.ring
        self._table = fastpath.table
        self._wake = wake
        self._log = log
        self._clock_us = clock_us
        self.rings = [fastpath.ring]
        self.fastpaths = [fastpath]
        self._received = 0
        self._broken = 0
        self._ended = True  # it has not begun
        self._failed = False

    def _has_room(self, packets: int) -> bool:
        """Whether the ring holds the events of so many packets, which are two each at the most."""
        return len(self._ring) <= self._ring.capacity - 2 * packets

    def _fail(self, reason: str) -> None:
        """End it because of this."""
        self._failed = True
        self._log.error("capture-failed", reason=reason)
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._wake.signal()

    def publish(self, rules: Rules) -> None:
        """Let these rules hold from now on."""
        self._fastpath.publish(rules)
        # Now, not with its next packet: there may be none for days, and the rules before are large.
        self._fastpath.take_over()

    def sweep(self) -> int:
        """Remove expired entries; no event tells of it, since it is done."""
        self._table.sweep_shard(self._clock_us(), self._shard)
        return 0

    def restore(self, shard: int, records: bytes) -> bool:
        """The main thread writes its shard."""
        return False

    def restored(self, shard: int) -> tuple[int, int, int, int] | None:
        """Nobody was asked."""
        return None

    def stop(self) -> None:
        """End it here."""
        self._end()

    def ended(self) -> bool:
        """Whether nothing is read any more."""
        return self._ended

    def failed(self) -> bool:
        """Whether it ended because what it reads is broken."""
        return self._failed
