"""Questions of the trusted senders, within the limits that hold for all questions of mxallowd.

Three bounds hold together. Of a zone: --dns-zone-rate, lookups of names included, where there are any (dns/limits.py).
Of all that is asked here: a SHARE-th of --dns-query-rate. And what is asked here is taken from what lookups of names
may ask, so that both together keep to --dns-query-rate.

A question waits for its turn, MOST_S at the longest; nothing but the refresh waits with it. Of those that wait for the
same zone one looks at the clock, and the others wait for it.
"""
import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

from mxallowd.dns.limits import Limits, Outcome
from mxallowd.dns.resolver import LookupFailed, Records, Resolver
from mxallowd.dns.zones import Zone, zones_of

# Of a zone at a time: 8 may be lookups of names.
SLOTS = 9
MOST_S = 30.0
SHARE = 4
AGAIN_S = 0.05


class Tokens(Protocol):
    """What is asked of a token bucket (sinks/bucket.py)."""

    def has(self) -> bool:
        """Whether there is one."""

    def spend(self) -> None:
        """Take one, although there may be none."""


class Budget(NamedTuple):
    """What may be asked."""

    limits: Limits  # of zones, by all that ask
    queries: Tokens  # of --dns-query-rate, by all that ask
    share: Tokens  # of that, by trusted senders


class Asking:
    """Asks a resolver."""

    def __init__(
        self, resolver: Resolver, budget: Budget, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._budget = budget
        self._clock = clock
        self._waiting: WeakValueDictionary[Zone, asyncio.Lock] = WeakValueDictionary()
        self.questions = 0
        """Asked since the start."""

    async def records(self, name: str, kind: int) -> Records:
        """As Resolver.records. Raises LookupFailed; also where the zone may not be asked for too long."""
        zones = zones_of(name)
        until = self._clock() + MOST_S
        # In the order in which they came, so whoever holds it gives up before those behind have to.
        async with self._waiting.setdefault(zones[-1], asyncio.Lock()):
            while pause_s := self._pause(zones):
                if self._clock() + pause_s > until:
                    raise LookupFailed("its name servers do not answer, or were asked too much")
                await asyncio.sleep(pause_s)
            self._budget.share.spend()
            self._budget.queries.spend()
            self._budget.limits.start(zones)
        self.questions += 1
        outcome = Outcome.UNKNOWN
        try:
            found = await self._resolver.records(name, kind, lambda target: self._charge(target, zones))
            outcome = Outcome.DATA if found.texts else Outcome.NOTHING
            return found
        except LookupFailed:
            outcome = Outcome.FAILED
            raise
        finally:
            self._budget.limits.end(zones, outcome)

    def _pause(self, zones: tuple[Zone, ...]) -> float:
        pause_s = max(self._budget.limits.pause(zone, SLOTS) for zone in zones)
        return pause_s or (0.0 if self._budget.share.has() else AGAIN_S)

    def _charge(self, target: str, zones: tuple[Zone, ...]) -> None:
        self._budget.limits.charge(zones_of(target), zones)
