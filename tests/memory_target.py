"""A target in memory, and a scene around a mirror of it: whitelist, log, and a clock that tests advance."""
import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind
from mxallowd.log import Log
from mxallowd.mirrors import Copied, Listed, Listing, TargetError, TargetFull, TargetRejects
from mxallowd.mirrors.mirror import Mirror
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist
from tests.strategies import packed
from tests.test_settings import MINIMUM, good

SERVER = packed("192.0.2.5")
HOUR_US = 3_600_000_000


class MemoryTarget:
    """A target that is a dict: of each host the seconds that it was told (None: the operator's own), and its mark.

    `fault` is what every call raises, `unwritable` what raises every call that writes, `room` how many entries it
    takes, `rejects` which hosts it does not take. Where entries end, what it was told ends by `clock_us`; what a test
    put there itself does not.
    """

    name = "memory"
    sample = 32
    drops = False

    def __init__(self, *, expires: bool = True, clock_us: Callable[[], int] = boottime_us) -> None:
        self.expires = expires
        self.longest_s = float("inf")
        self.copied: dict[bytes, tuple[int | None, bool]] = {}
        self.calls: list[str] = []
        self.fault: Exception | None = None
        self.unwritable: TargetError | None = None
        self.rejects: set[bytes] = set()
        self.room = 1_000_000
        self.slow_s = 0.0
        self.counted: dict[str, int] = {}
        self._clock_us = clock_us
        self._until_us: dict[bytes, int] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        time.sleep(self.slow_s)
        if self.fault:
            raise self.fault
        if self.unwritable and name in ("change", "refill"):
            raise self.unwritable
        now_us = self._clock_us()
        for host in [host for host, until_us in self._until_us.items() if until_us <= now_us and self.expires]:
            self._forget(host)

    def _enter(self, one: Listed) -> None:
        self.copied[one.host] = one.remaining_s, one.used
        self._until_us[one.host] = self._clock_us() + 1_000_000 * one.remaining_s

    def _forget(self, host: bytes) -> None:
        self.copied.pop(host, None)
        self._until_us.pop(host, None)

    def _is_own(self, host: bytes) -> bool:
        return self.copied.get(host, (0, False))[0] is None

    def open(self) -> None:
        self.calls.append("open")

    def inspect(self) -> None:
        self._call("inspect")

    def probe(self) -> None:
        self._call("probe")
        if self.unwritable:
            raise self.unwritable

    def read(self) -> tuple[list[Copied], bool]:
        self._call("read")
        now_us = self._clock_us()
        times = {host: (until_us - now_us) // 1_000_000 for host, until_us in self._until_us.items()}
        return [Copied(host, told if told is None else times.get(host, told) if self.expires else 0, used)
                for host, (told, used) in self.copied.items()], True

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        self._call("change")
        if self.rejects & {one.host for one in listed}:
            raise TargetRejects("no such host")
        if len(self.copied.keys() - set(unlisted) | {one.host for one in listed}) > self.room:
            raise TargetFull("the set is full")
        for host in unlisted:
            if not self._is_own(host):
                self._forget(host)
        for one in listed:
            if not self._is_own(one.host):
                self._enter(one)

    def refill(self, entries: Listing) -> int:
        self._call("refill")
        if self.rejects & {one.host for one in entries}:
            raise TargetRejects("no such host")
        own = {host: copied for host, copied in self.copied.items() if copied[0] is None}
        room = self.room - len(own)
        left_out = max(0, len([one for one in entries if one.host not in own]) - room)
        best = list(islice((one for one in entries.best_first() if one.host not in own), room))
        self._until_us = {one.host: self._clock_us() + 1_000_000 * one.remaining_s for one in best}
        self.copied = own | {one.host: (one.remaining_s, one.used) for one in best}
        return left_out

    def holds(self, host: bytes) -> bool:
        """Whether it is there, as the firewall would see it; any thread may ask."""
        return host in self.copied and not (self.expires and self.until_us(host) <= self._clock_us())

    def until_us(self, host: bytes) -> int:
        """When the entry of a host ends that it was told of."""
        return self._until_us.get(host, 1 << 63)

    def flush(self) -> None:
        self.refill(Listing([], 0))

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        self._call("missing")
        return {host for host, used in hosts.items() if host not in self.copied or (used and not self.copied[host][1])}

    def sets_of(self, host: bytes) -> dict[str, bool]:
        self._call("sets_of")
        return {"mx_white": self.holds(host)}

    def totals(self) -> dict[str, int]:
        self._call("totals")
        return dict(self.counted)

    def close(self) -> None:
        self.calls.append("close")


class Scene:
    """A mirror with its target, whitelist and log; `beside` another one, of whose whitelist it is."""

    def __init__(self, arguments: str = "", *, expires: bool = True, beside: "Scene | None" = None) -> None:
        self.target = MemoryTarget(expires=expires)
        self.table: Table = beside.table if beside else Table(1000, 1, main=100)
        self.whitelist: Whitelist = beside.whitelist if beside else Whitelist(self.table)
        self.lines: list[str] = []
        logger = logging.Logger("scene")
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        self.clock = 1000.0
        log = Log(logger)
        self.mirror = Mirror(
            self.target, self.whitelist, log, good(f"{MINIMUM} --ipset {arguments}"), lambda: self.clock)
        self.stress = Stress(log, lambda: self.clock)
        self.stress.watch("kernel-table-dirty", self.mirror.fill)

    def open(self) -> None:
        """As the daemon opens and starts it."""
        self.mirror.open()
        self.mirror.start()

    def contact(self, host: bytes, lifetime_us: int = HOUR_US) -> None:
        """A host met the fake server."""
        now = boottime_us()
        self.table.add(host, now + lifetime_us, now)
        self.tell(Kind.WHITELISTED, host, now + lifetime_us)

    def use(self, host: bytes) -> None:
        """A listed host reached the real server."""
        assert self.table.mark_used(host, boottime_us())
        self.tell(Kind.ACCEPTED, host)

    def tell(self, kind: Kind, host: bytes, until_us: int = 0) -> None:
        """An event of the packet path."""
        self.whitelist.take([Event(kind, 0, 0, 0, boottime_us(), host, SERVER, until_us)])

    async def until(self, true: Callable[[], object], limit_s: float = 3.0) -> None:
        """Wait for it."""
        deadline = time.monotonic() + limit_s
        while not true():
            assert time.monotonic() < deadline, (self.target.copied, self.target.calls, self.lines)
            await asyncio.sleep(0.002)

    def later(self, seconds: float) -> None:
        """Time passes for the mirror's checks."""
        self.clock += seconds
        self.mirror.tick()


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story on a loop of its own."""
    async def whole() -> None:
        await story()

    asyncio.run(whole())
