"""Lists of good senders in the DNS (RFC 5782), by the rules of dnswl.org.

An address is asked for by its reversed form below the zone; 127.0.X.Y says that it is listed, Y being its score from 0
(none) to 3 (high) and X its trade. Only hosts that were refused are asked for, each once in a while.

Who asks too much gets 127.0.0.255, and who goes on in spite of it may get the highest score for every address. So
127.0.0.1 is asked for first, and again every PROBE_S: no such list has it (5). A list that has it, that says "blocked",
or that answers with anything outside 127.0.0.0/8 is distrusted for DISTRUST_S, all that it said is forgotten, and
whom it let in since the last good answer about 127.0.0.1 is out again.

Which way it fails: without an answer nobody is trusted, and nobody waits: the host goes the way of all others.
"""
import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple

from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.resolver import A, LookupFailed, Records
from mxallowd.engine.events import MAPPED
from mxallowd.log import Log
from mxallowd.text import printable
from mxallowd.trust.lines import DNSWL, HIGHEST_SCORE, TrustLine

PROBE_S = 300.0
DISTRUST_S = 3600.0
# 100,000 questions a day are free at dnswl.org, of all that one network asks.
MOST_A_DAY, DAY_S = 50_000, 86_400.0
BURST_SHARE = 10  # of them may go at once; so a flood of made-up sources does not use up the day
MAX_CACHED = 16_384  # addresses of a list
MAX_FLYING = 32  # questions of a list at a time
LEAST_CACHED_S, LONGEST_CACHED_S = 300.0, 86_400.0
NOT_LISTED_S = 3600.0
_PROBE = MAPPED + bytes((127, 0, 0, 1))

Ask = Callable[[str, int], Awaitable[Records]]


class Listed(NamedTuple):
    """A host that a list knows, with the score that its line asks for at least."""

    line: TrustLine
    score: int


class _Distrusted(Exception):
    """The list cannot be used now; the text says why."""


class Zone:
    """One list."""

    def __init__(self, line: TrustLine, ask: Ask, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self.line = line
        self._ask = ask
        self._log = log
        self._clock = clock
        self._cached: OrderedDict[bytes, tuple[int | None, float]] = OrderedDict()  # score, until
        self._flying: set[bytes] = set()
        self._probing = asyncio.Lock()
        self._probed_s = float("-inf")
        self._distrusted_until = float("-inf")
        self._filled_s, self._tokens = clock(), float(MOST_A_DAY // BURST_SHARE)
        self.fault = ""
        """Why it is distrusted; empty: it is not."""
        self.doubted: Callable[[TrustLine, float], None] = lambda line, seconds: None
        """Told when it is distrusted, and before how many seconds it was last seen to be sound."""
        self.passed_over = 0
        """Hosts that were not asked for: too many questions were under way, or the day's were used up."""
        self.times_distrusted = 0
        self._spent_s = float("-inf")  # when it was last said that the day's questions are used up

    async def score(self, host: bytes) -> int | None:
        """The score of an address of 16 bytes, IPv4 in IPv4-mapped form; None: it is not listed, or nothing is known.

        It never raises.
        """
        now = self._clock()
        cached = self._cached.get(host)
        if cached and cached[1] > now:
            return cached[0]
        if host in self._flying or now < self._distrusted_until or host[:13] == _PROBE[:13]:
            return None
        if len(self._flying) >= MAX_FLYING:
            self.passed_over += 1
            return None
        self._flying.add(host)
        try:
            await self._probe()
            score, seconds = await self._question(host)
            # A probe that failed meanwhile speaks of this answer as well.
            if self._clock() < self._distrusted_until:
                return None
            self._keep(host, score, seconds)
            return score
        except _Distrusted as reason:
            self._distrust(str(reason))
        except LookupFailed:
            pass  # the next time that it is refused it is asked for again
        finally:
            self._flying.discard(host)
        return None

    async def _probe(self) -> None:
        async with self._probing:
            if self._clock() < self._distrusted_until:
                raise LookupFailed("distrusted")
            if self._clock() - self._probed_s < PROBE_S:
                return
            if (await self._question(_PROBE))[0] is not None:
                raise _Distrusted("it lists 127.0.0.1, so it lists everything")
            self._probed_s = self._clock()
            self.fault = ""

    async def _question(self, host: bytes) -> tuple[int | None, float]:
        self._count()
        reverse = reverse_name(host).removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
        found = await self._ask(f"{reverse}.{self.line.subject}", A)
        if not found.texts:
            return None, NOT_LISTED_S
        scores = []
        for text in found.texts:
            address = ip_address(text)
            if not isinstance(address, IPv4Address) or not address.is_loopback:
                raise _Distrusted(f"it answers with {printable(text)}, which is none of such a list")
            if text == "127.0.0.255":
                raise _Distrusted("it says that it was asked too much")
            if address.packed[1] == 0 and address.packed[3] <= HIGHEST_SCORE:
                scores.append(address.packed[3])
        seconds = min(max(float(found.ttl_s or 0), LEAST_CACHED_S), LONGEST_CACHED_S)
        return max(scores, default=None), seconds

    def _count(self) -> None:
        now = self._clock()
        gained = (now - self._filled_s) * MOST_A_DAY / DAY_S
        self._filled_s, self._tokens = now, min(self._tokens + gained, float(MOST_A_DAY // BURST_SHARE))
        if self._tokens < 1:
            self.passed_over += 1
            if now - self._spent_s >= DISTRUST_S:
                self._spent_s = now
                self._log.warning("dnswl-spent", where=self.line.where, zone=self.line.subject, most=MOST_A_DAY)
            raise LookupFailed("today's questions are used up")
        self._tokens -= 1

    def _keep(self, host: bytes, score: int | None, seconds: float) -> None:
        self._cached[host] = score, self._clock() + seconds
        self._cached.move_to_end(host)
        if len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)

    def is_spent(self) -> bool:
        """Whether no more may be asked of it now."""
        gained = (self._clock() - self._filled_s) * MOST_A_DAY / DAY_S
        return self._tokens + gained < 1

    def _distrust(self, reason: str) -> None:
        self.times_distrusted += 1
        self.doubted(self.line, self._clock() - self._probed_s)
        self._distrusted_until = self._clock() + DISTRUST_S
        self._probed_s = float("-inf")
        self._cached.clear()
        if reason != self.fault:
            self._log.warning("dnswl-distrusted", where=self.line.where, zone=self.line.subject, reason=reason)
        self.fault = reason


class Dnswl:
    """All lists of the file."""

    def __init__(
        self, lines: Iterable[TrustLine], ask: Ask, log: Log, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.zones = [Zone(line, ask, log, clock) for line in lines if line.word == DNSWL]

    async def find(self, host: bytes) -> Listed | None:
        """The first line whose list has this host, which was refused, with the score that it asks for."""
        for zone in self.zones:
            score = await zone.score(host)
            if score is not None and score >= zone.line.score:
                return Listed(zone.line, score)
        return None
