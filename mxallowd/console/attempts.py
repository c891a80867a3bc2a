"""How often somebody may try to log in, and the checks of passwords, one at a time in a thread of their own.

A client has AT_ONCE attempts, then one in AGAIN_S. All clients together have ALL_PER_S; those of addresses from which
somebody has logged in before have a share of their own, as large, so an attack from anywhere else shuts out nobody who
was in before. A good log-in gives its client the attempt back. MOST_WAITING wait for a check, of whom OTHERS_WAITING
come from other addresses: a check takes 0.1 s of a processor and 32 MiB, and no more than one is made at a time.

Which way it fails: beyond these bounds nobody's password is looked at, and Busy says when to come again.
"""
import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mxallowd.console.forwarded import client_key
from mxallowd.console.users import User, matches
from mxallowd.errors import MxallowdError
from mxallowd.sinks.bucket import Bucket

AT_ONCE, AGAIN_S = 5, 10.0
ALL_PER_S, ALL_AT_ONCE = 1.0, 10  # of each of the two shares
MOST_WAITING, OTHERS_WAITING = 8, 4
KNOWN, COUNTED = 256, 4096  # addresses that are remembered


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
        self._clock = clock
        self._known: dict[str, None] = {}  # addresses somebody has logged in from, the last ones last
        self._clients: dict[str, Bucket] = {}  # the last ones last
        self._known_share = Bucket(ALL_PER_S, ALL_AT_ONCE, clock)
        self._others_share = Bucket(ALL_PER_S, ALL_AT_ONCE, clock)
        self._waiting = {True: 0, False: 0}  # by whether their address is known
        self._thread = ThreadPoolExecutor(1, "passwords")

    async def good(self, address: str, user: User | None, password: str) -> bool:
        """Whether this is the user's password. Raises Busy."""
        key = client_key(address)
        known = key in self._known
        self._take(key, known=known)
        self._waiting[known] += 1
        check = asyncio.wrap_future(self._thread.submit(self._check, user, password))
        # Who hangs up meanwhile has his check made all the same, so its place in the queue is taken as long.
        check.add_done_callback(lambda _: self._leave(known=known))
        found = await asyncio.shield(check)
        if found:
            self._remember(key)
        return found

    def close(self) -> None:
        """Make no further check."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, key: str, *, known: bool) -> None:
        bucket = self._clients.pop(key, None) or Bucket(1 / AGAIN_S, AT_ONCE, self._clock)
        self._clients[key] = bucket
        if len(self._clients) > COUNTED:
            del self._clients[next(iter(self._clients))]
        if not bucket.take():
            raise Busy(AGAIN_S)
        waiting = sum(self._waiting.values()) if known else self._waiting[False]
        if waiting >= (MOST_WAITING if known else OTHERS_WAITING):
            raise Busy(1)
        if not (self._known_share if known else self._others_share).take():
            raise Busy(1 / ALL_PER_S)

    def _leave(self, *, known: bool) -> None:
        self._waiting[known] -= 1

    def _remember(self, key: str) -> None:
        self._known.pop(key, None)
        self._known[key] = None
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        if key in self._clients:
            self._clients[key].give()
