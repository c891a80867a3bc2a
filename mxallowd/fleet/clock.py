"""The engine's clock, as the times of what is said and heard go by it, and how far this host's clock is from it.

A batch is signed with this host's clock, which the engine cannot set. Where that is more than APART_S off the engine's,
it is signed with the engine's time instead: whoever hears a batch that came long after it was signed takes it for an
old one (hearing.py), and a host that boots with a wrong clock would share nothing. An engine that lies about its time
gains by that what docs/security.md says; the log of each gateway has a line then.
"""
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mxallowd.fleet.link import Link

APART_S = 300  # clocks that differ by less change nothing: less than hearing.LATE_MS


class EngineClock:
    """The engine's clock, by what it said last and our own clock since."""

    def __init__(self) -> None:
        self._ahead_us: int | None = None  # of our clock, which does not jump; None: it was never asked

    def us(self) -> int:
        """Its time now."""
        return time.monotonic_ns() // 1000 + (self._ahead_us or 0)

    async def ask(self, link: "Link") -> bool:
        """Ask it anew; whether it was set meanwhile, by more than APART_S. Raises LinkError."""
        before = time.monotonic_ns()
        said_us = await link.time_us()
        return self.said(said_us, (before + time.monotonic_ns()) // 2000)

    def said(self, said_us: int, at_us: int) -> bool:
        """It had this time at that time of our clock that does not jump; whether it was set, as ask()."""
        old, self._ahead_us = self._ahead_us, said_us - at_us
        return old is not None and abs(self._ahead_us - old) > APART_S * 1_000_000

    def apart_s(self) -> int:
        """How far this host's clock is ahead of the engine's; below 0: behind. 0 where that is not known."""
        if self._ahead_us is None:
            return 0
        return round((time.time_ns() // 1000 - self.us()) / 1_000_000)

    def is_off(self) -> bool:
        """Whether that is more than APART_S."""
        return abs(self.apart_s()) > APART_S

    def wall_ms(self) -> int:
        """With which time a batch is signed now."""
        return self.us() // 1000 if self.is_off() else time.time_ns() // 1_000_000


def told(apart_s: int) -> str:
    """It in words, for the log and for people."""
    return f"this host's clock is {abs(apart_s)} s {'ahead of' if apart_s > 0 else 'behind'} the engine's"
