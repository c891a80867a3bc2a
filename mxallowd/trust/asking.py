"""Questions of the trusted senders, within the limits of what may be asked of a zone (dns/limits.py).

One question at a time goes to a zone. It waits for its turn, MOST_S at the longest; nothing but the refresh waits
with it.
"""
import asyncio
import time
from collections.abc import Callable

from mxallowd.dns.limits import Limits, Outcome
from mxallowd.dns.resolver import LookupFailed, Records, Resolver
from mxallowd.dns.zones import Zone, zones_of

SLOTS = 1
MOST_S = 30.0


class Asking:
    """Asks a resolver."""

    def __init__(self, resolver: Resolver, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._limits = limits
        self._clock = clock

    async def records(self, name: str, kind: int) -> Records:
        """As Resolver.records. Raises LookupFailed; also where the zone may not be asked for too long."""
        zones = zones_of(name)
        until = self._clock() + MOST_S
        while pause_s := max(self._limits.pause(zone, SLOTS) for zone in zones):
            if self._clock() + pause_s > until:
                raise LookupFailed("its name servers do not answer, or were asked too much")
            await asyncio.sleep(pause_s)
        self._limits.start(zones)
        outcome = Outcome.UNKNOWN
        try:
            found = await self._resolver.records(name, kind, lambda target: self._charge(target, zones))
            outcome = Outcome.DATA if found.texts else Outcome.NOTHING
            return found
        except LookupFailed:
            outcome = Outcome.FAILED
            raise
        finally:
            self._limits.end(zones, outcome)

    def _charge(self, target: str, zones: tuple[Zone, ...]) -> None:
        self._limits.charge(zones_of(target), zones)
