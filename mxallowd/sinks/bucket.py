"""A token bucket: a rate a second, and a burst from what was not used before."""
import time
from collections.abc import Callable


class Bucket:
    """`per_s` tokens come in a second, and at most `burst` are kept; it is full at first."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled = clock()

    def take(self, tokens: int = 1) -> bool:
        """Take so many tokens. False: there are not so many."""
        if not self.has(tokens):
            return False
        self._tokens -= tokens
        return True

    def spend(self) -> None:
        """Take one, although there may be none: who asks next waits for it. No more is owed than a burst."""
        self._fill()
        self._tokens = max(self._tokens - 1, -self._burst)

    def give(self) -> None:
        """Put one back."""
        self._fill()
        self._tokens = min(self._tokens + 1, self._burst)

    def has(self, tokens: int = 1) -> bool:
        """Whether there are so many."""
        self._fill()
        return self._tokens >= tokens

    def resize(self, per_s: float, burst: float) -> None:
        """From now on another rate. What is kept stays, as far as it has room."""
        self._fill()
        self._per_s, self._burst = per_s, burst
        self._tokens = min(self._tokens, burst)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._per_s)
        self._filled = now
