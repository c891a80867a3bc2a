"""How many requests a client may send: few before a log-in, more after it, where each user has a rate of his own.

A stranger's requests are counted by his address (IPv6: its /64), a user's by his name; so neither takes anything from
the other, from whichever address both come. A browser that is known (devices.py) is counted by itself where it asks for
the log-in. Only COUNTED are remembered, the last ones.

Which way it fails: beyond its rate a request is refused before anything is done for it, and its connection is closed.
"""
import time
from collections.abc import Callable

from mxallowd.console.forwarded import client_key
from mxallowd.console.sessions import Session
from mxallowd.control.exchange import RequestError
from mxallowd.sinks.bucket import Bucket

STRANGER_PER_S, STRANGER_AT_ONCE = 20.0, 60.0
USER_PER_S, USER_AT_ONCE = 200.0, 600.0  # a page with its files is six requests
COUNTED = 4096


class Rates:
    """Counts requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._strangers: dict[str, Bucket] = {}  # the last ones last
        self._browsers: dict[str, Bucket] = {}
        self._users: dict[str, Bucket] = {}

    def check(self, address: str, session: Session | None, browser: str = "") -> None:
        """One more request; `browser` is what one is known by. Raises RequestError."""
        if session is None and browser:
            good = self._take(self._browsers, browser, STRANGER_PER_S, STRANGER_AT_ONCE)
        elif session is None:
            good = self._take(self._strangers, client_key(address), STRANGER_PER_S, STRANGER_AT_ONCE)
        else:
            good = self._take(self._users, session.user.name, USER_PER_S, USER_AT_ONCE)
        if not good:
            raise RequestError(429, "too-many", "there were too many requests: try again in a moment")

    def _take(self, buckets: dict[str, Bucket], key: str, per_s: float, at_once: float) -> bool:
        bucket = buckets.pop(key, None) or Bucket(per_s, at_once, self._clock)
        buckets[key] = bucket
        if len(buckets) > COUNTED:
            del buckets[next(iter(buckets))]
        return bucket.take()
