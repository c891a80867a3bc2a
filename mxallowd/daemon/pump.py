"""The pump: from the rings of the queue threads to the sinks, on the main loop.

Threads wake it when they write into a ring whose reader sleeps. Under load it does not wait for that but reads again
after a pause, so that a flood causes no wake-ups and leaves most of the core to the mail server. Events that find no
room in the rings meanwhile are counted as lost. It never occupies the loop for longer than some milliseconds.
"""
import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from mxallowd.backends import Backends
from mxallowd.daemon.losses import safely
from mxallowd.engine._ring import Ring
from mxallowd.engine.events import Event, decode
from mxallowd.engine.wake import Wake

# Events that came in while the loop was handling some are taken together this much later, without a wake-up.
COALESCE_S = 0.02
# In a flood the pause is so many times what the handling took. Where a ring is filling it is shorter: what finds no
# room costs more, since whoever keeps a copy has to look at the whole whitelist then. (20,000 contacts a second are a
# quarter of a core; with the long pause alone a third and more of them found no room.)
PAUSE_FACTOR, FILLING_FACTOR = 3, 0.5
FILLING = 8  # an eighth of a ring waits
LONGEST_PAUSE_S = 0.05
# Nothing else runs on the loop meanwhile, so what is more waits for the next look.
LONGEST_S = 0.002
DRAIN_EVENTS = 64  # a millisecond of all takers: so the last portion ends in time, too

Taker = Callable[[list[Event]], None]


class Pump:
    """Hands batches of events, in order, to each of the takers."""

    def __init__(
        self, backend: Backends, wake: Wake, takers: Sequence[Taker], *, before: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """`before` is called before each look, `on_end` after each that finds all of them ended or one failed."""
        self._backend = backend
        self._wake = wake
        self._takers = takers
        self._before = before
        self._on_end = on_end
        self._ended = asyncio.Event()
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Let wake-ups lead here, from the next turn of the running loop on."""
        asyncio.get_running_loop().add_reader(self._wake.fd, self._woken)
        self._wake.handle_now(self._take_now)

    def close(self) -> None:
        """Take no more."""
        asyncio.get_running_loop().remove_reader(self._wake.fd)
        if self._again:
            self._again.cancel()

    def _woken(self) -> None:
        self._wake.clear()
        self.take()

    def _take_now(self) -> None:
        """Who fills a ring on this thread calls when there is something; nothing has to be waited for."""
        self.take(at_once=True)

    def take(self, *, at_once: bool = False) -> None:
        """Take what the rings hold, and see to it that somebody looks again. `at_once`: nobody fills them meanwhile."""
        taken = 0
        left = False
        started = time.monotonic()
        self._before()
        # Round and round, so that no ring waits for another one.
        while taken == 0 or time.monotonic() - started < LONGEST_S:
            before = taken
            for ring in self._backend.rings:
                taken += self._take_some(ring)
            if taken == before:
                break
        else:
            left = True
        if self._backend.ended() or self._backend.failed():
            self._ended.set()
            self._on_end()
        # Under load we look again in a while, and the threads need not wake us; else we sleep until they do.
        if (taken and not at_once) or not all(ring.sleep() for ring in self._backend.rings):
            if self._again:
                self._again.cancel()
            spent_s = time.monotonic() - started
            # Where more waits, there is nothing to be gathered first.
            filling = left and any(len(ring) * FILLING > ring.capacity for ring in self._backend.rings)
            factor = FILLING_FACTOR if filling else PAUSE_FACTOR
            pause_s = min(LONGEST_PAUSE_S, max(0.0 if left else COALESCE_S, factor * spent_s))
            self._again = asyncio.get_running_loop().call_later(pause_s, self.take)

    def drain(self) -> None:
        """Take all that the rings still hold: their writers have ended, or what they write from now on is lost."""
        for ring in self._backend.rings:
            while self._take_some(ring):
                pass

    async def wait_for_end(self) -> None:
        """Return when every thread of the back ends has ended."""
        while not self._backend.ended():
            self._ended.clear()
            await self._ended.wait()

    def _take_some(self, ring: Ring) -> int:
        """Hand over the oldest events of a ring; how many they were."""
        events = decode(ring.drain(DRAIN_EVENTS))
        if events:
            self._hand_over(events)
        return len(events)

    def _hand_over(self, events: list[Event]) -> None:
        for take in self._takers:
            safely(partial(take, events))
