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
from mxallowd.sinks.bucket import Buckets

STRANGER_PER_S, STRANGER_AT_ONCE = 20.0, 60.0
USER_PER_S, USER_AT_ONCE = 200.0, 600.0  # a page with its files is six requests
COUNTED = 4096


class Rates:
    """Counts requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._strangers: Buckets[str] = Buckets(STRANGER_PER_S, STRANGER_AT_ONCE, COUNTED, clock)  # by address
        self._browsers: Buckets[str] = Buckets(STRANGER_PER_S, STRANGER_AT_ONCE, COUNTED, clock)
        self._users: Buckets[str] = Buckets(USER_PER_S, USER_AT_ONCE, COUNTED, clock)

    def check(self, address: str, session: Session | None, browser: str = "") -> None:
        """One more request; `browser` is what one is known by. Raises RequestError."""
        if session is not None:
            bucket = self._users.of(session.user.name)
        else:
            bucket = self._browsers.of(browser) if browser else self._strangers.of(client_key(address))
        if not bucket.take():
            raise RequestError(429, "too-many", "there were too many requests: try again in a moment")
