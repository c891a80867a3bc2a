"""A token bucket: a rate a second, and a burst from what was not used before; and one for each of many who ask."""
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


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


class Buckets(Generic[_K]):
    """A bucket for each key, made when it is asked for; of `most` keys, those that asked last."""

    def __init__(self, per_s: float, burst: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._most = most
        self._clock = clock
        self._buckets: dict[_K, Bucket] = {}  # who asked last is last

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, key: _K) -> Bucket:
        """That of this key; who was forgotten has a full one."""
        bucket = self._buckets.pop(key, None) or Bucket(self._per_s, self._burst, self._clock)
        self._buckets[key] = bucket
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return bucket
