"""How many changes a user makes a second: so many that each of them has its line in the log.

Which way it fails: what is more is refused before the daemon is asked, and said once a minute.
"""
import time
from collections.abc import Callable

from mxallowd.control.exchange import RequestError
from mxallowd.log.periodic import Summed
from mxallowd.sinks.bucket import Buckets

PER_S, BURST = 10.0, 40.0  # of one user, whatever sessions he has
COUNTED = 1000  # users; those who clicked last


class Clicks:
    """Counts them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._users: Buckets[str] = Buckets(PER_S, BURST, COUNTED, clock)
        self._refused: Summed[str] = Summed(clock)

    def take(self, user: str) -> None:
        """One more of this user. Raises RequestError."""
        if not self._users.of(user).take():
            self._refused.add(user)
            raise RequestError(429, "too-many", f"Nothing was changed: {user} has made more than {PER_S:.0f} changes a "
                               "second. Try again in a moment")

    def refused(self) -> str:
        """What the log is to have of those that were refused; "": nothing yet."""
        due = self._refused.due()
        return f"more than {PER_S:.0f} changes a second: {due[0]} were refused" if due else ""
