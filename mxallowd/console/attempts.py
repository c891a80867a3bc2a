"""How often somebody may try to log in, and the checks of passwords, one at a time in a thread of their own.

A client has AT_ONCE attempts, then one in AGAIN_S: an address, or a browser that its user has logged in with before
(devices.py), wherever it is. All clients of a standing share ALL_PER_S: browsers that are known, addresses from which
somebody has logged in since the start, and the others. So an attack from anywhere shuts out nobody whose browser is
known; from elsewhere, nobody who was in before. A good log-in gives its client the attempt back. So many wait for a
check as WAITING says; each takes 0.1 s of a processor and 32 MiB, and no more than one is made at a time.

Which way it fails: beyond these bounds nobody's password is looked at, and Busy says when to come again.
"""
import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum

from mxallowd.console.forwarded import client_key
from mxallowd.console.users import User, matches
from mxallowd.errors import MxallowdError
from mxallowd.sinks.bucket import Bucket, Buckets

AT_ONCE, AGAIN_S = 5, 10.0
ALL_PER_S, ALL_AT_ONCE = 1.0, 10  # of each share
KNOWN, COUNTED = 256, 4096  # addresses that are remembered; and browsers


class Standing(IntEnum):
    """What is known of a client."""

    OTHER = 0
    ADDRESS = 1
    BROWSER = 2


WAITING = {Standing.OTHER: 4, Standing.ADDRESS: 8, Standing.BROWSER: 12}  # with all of less standing


class Busy(MxallowdError):
    """There were too many attempts."""

    def __init__(self, again_s: float) -> None:
        super().__init__(f"There were too many attempts to log in: try again in {again_s:.0f} seconds.")
        self.again_s = again_s


class Attempts:
    """Counts them, and checks passwords."""

    def __init__(
        self, check: Callable[[User | None, str], bool] = matches, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._known: dict[str, None] = {}  # addresses somebody has logged in from, the last ones last
        self._clients: Buckets[str] = Buckets(1 / AGAIN_S, AT_ONCE, COUNTED, clock)  # by address
        self._browsers: Buckets[str] = Buckets(1 / AGAIN_S, AT_ONCE, COUNTED, clock)
        self._shares = {one: Bucket(ALL_PER_S, ALL_AT_ONCE, clock) for one in Standing}
        self._waiting = dict.fromkeys(Standing, 0)
        self._thread = ThreadPoolExecutor(1, "passwords")

    async def good(self, address: str, user: User | None, password: str, browser: str = "") -> bool:
        """Whether this is the user's password; `browser` is what it is known by, where it is. Raises Busy."""
        key = client_key(address)
        standing = Standing.BROWSER if browser else Standing.ADDRESS if key in self._known else Standing.OTHER
        bucket = self._browsers.of(browser) if browser else self._clients.of(key)
        self._take(bucket, standing)
        self._waiting[standing] += 1
        check = asyncio.wrap_future(self._thread.submit(self._check, user, password))
        # Who hangs up meanwhile has his check made all the same, so its place in the queue is taken as long.
        check.add_done_callback(lambda _: self._leave(standing))
        found = await asyncio.shield(check)
        if found:
            self._remember(key)
            bucket.give()
        return found

    def close(self) -> None:
        """Make no further check."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, bucket: Bucket, standing: Standing) -> None:
        if not bucket.take():
            raise Busy(AGAIN_S)
        if sum(self._waiting[one] for one in Standing if one <= standing) >= WAITING[standing]:
            raise Busy(1)
        if not self._shares[standing].take():
            raise Busy(1 / ALL_PER_S)

    def _leave(self, standing: Standing) -> None:
        self._waiting[standing] -= 1

    def _remember(self, key: str) -> None:
        self._known.pop(key, None)
        self._known[key] = None
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
