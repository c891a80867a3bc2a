"""Whatever happens, and in whatever order it is told, a copy ends the same as the whitelist.

The packet path with a ring that is too small, a whitelist that is too small, and a mirror over a target in memory that
fails, is full, is slow or is emptied by somebody else. Time passes only by hand.
"""
import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import Fastpath
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import decode
from mxallowd.engine.wake import Wake
from mxallowd.log import Log
from mxallowd.mirrors import Listed, TargetError, mirror
from mxallowd.mirrors.mirror import Mirror, Result
from mxallowd.whitelist import Whitelist
from tests.memory_target import MemoryTarget
from tests.strategies import FAKE, HOSTS, REAL, listed, syn
from tests.test_settings import MINIMUM, good

LIFETIME_S = 20
# Few of them, so that much happens to each, and room for fewer.
SENDERS = HOSTS[3:9]
ROOM = 4
START_US = 1_000_000_000


class Unquestioned(MemoryTarget):
    """A target that misses nobody: a change that got lost is not made good by the next inspection."""

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        super().missing(hosts)
        return set()


class Watched(Mirror):
    """A mirror of which one sees whether its target is at work."""

    at_work = 0

    async def _do(self, work: Callable[[], Result]) -> Result:
        self.at_work += 1
        try:
            return await super()._do(work)
        finally:
            self.at_work -= 1


class World:
    """All of it."""

    def __init__(self, kind: type[MemoryTarget], *, expires: bool, held: list[tuple[bytes, int, bool]]) -> None:
        self.now_us = START_US
        self.clock = 1000.0
        self._wake = Wake()
        self.table = Table(ROOM, 1, main=1)
        self.ring = Ring(4, self._wake.fd)
        self._fastpath = Fastpath(self.table, self.ring, Rules([FAKE[0]], [REAL[0]], LIFETIME_S))
        self._fastpath.tell_evicted()
        self.whitelist = Whitelist(self.table, lambda: self.now_us)
        self.target = kind(expires=expires, clock_us=lambda: self.now_us)
        self.target.change([Listed(*one) for one in held], [])
        logger = logging.Logger("world")
        logger.addHandler(logging.NullHandler())
        self.mirror = Watched(
            self.target, self.whitelist, Log(logger), good(f"{MINIMUM} --ipset -t {LIFETIME_S}"), lambda: self.clock)
        self._lost_seen = 0

    async def do(self, what: str, host: bytes) -> None:
        """One step."""
        until_us = self.now_us + 1_000_000 * LIFETIME_S
        match what:
            case "fake":
                self._fastpath.decide([syn(host, FAKE[0])], self.now_us)
            case "real":
                self._fastpath.decide([syn(host, REAL[0])], self.now_us)
            case "drain":
                self.drain()
            case "admit":
                self.whitelist.admit(host, until_us, self.now_us)
            case "renew":
                self.whitelist.renew(host, until_us, self.now_us)
            case "end":
                self.whitelist.end(host)
            case "second":
                await self.later(1)
            case "lifetime":
                await self.later(LIFETIME_S)
            case "work":
                await asyncio.sleep(0.001)
            case "fault":
                self.target.fault = TargetError("it does not take it")
            case "full":
                self.target.room = 2
            case "mistake":
                self.target.change = None  # type: ignore[assignment,method-assign]
            case "slow":
                self.target.slow_s = 0.001
            case "emptied":
                self.target.copied = {}
            case _:
                self.mend()

    def mend(self) -> None:
        """All is well with the target."""
        self.target.fault, self.target.room, self.target.slow_s = None, 1000, 0
        self.target.__dict__.pop("change", None)

    def drain(self) -> None:
        """As the daemon does it."""
        self.whitelist.take(decode(self.ring.drain(64)))
        if self.ring.lost_pressing > self._lost_seen:
            self._lost_seen = self.ring.lost_pressing
            self.whitelist.missed()

    async def later(self, seconds: float) -> None:
        """Time passes; not while the target is told of times, which takes none here."""
        while self.mirror.at_work:
            await asyncio.sleep(0.0005)
        self.now_us += int(1_000_000 * seconds)
        self.clock += seconds
        self.mirror.tick()

    def differing(self) -> dict[bytes, object]:
        """Hosts of which whitelist and copy do not say the same, with what each says."""
        wanted = listed(self.whitelist)
        copied = {host: (self.target.until_us(host), used) for host, (_, used) in self.target.copied.items()
                  if self.target.holds(host)}
        return {host: (wanted.get(host), copied.get(host)) for host in wanted | copied
                if host not in wanted or host not in copied or wanted[host][1] != copied[host][1]
                or (self.target.expires and not 0 <= copied[host][0] - wanted[host][0] < 1_000_000)}

    async def settle(self) -> None:
        """Nothing more happens: drain, mend, and let it work."""
        self.drain()
        self.mend()
        # What was rounded up ends, and what ends by the second.
        await self.later(2)
        deadline = time.monotonic() + 2
        while differing := self.differing():
            assert time.monotonic() < deadline, differing
            # For inspections and fillings alone: no entry ends meanwhile.
            self.clock += 5
            self.mirror.tick()
            await asyncio.sleep(0.002)


STEPS = ("fake", "fake", "real", "drain", "work", "admit", "renew", "end", "second")
TROUBLES = ("lifetime", "slow", "fault", "full", "mistake")
# No more than there is room for: the others would end by themselves.
HELD = st.lists(st.tuples(st.sampled_from(SENDERS), st.integers(1, 2 * LIFETIME_S), st.booleans()), max_size=ROOM,
                unique_by=lambda one: one[0])


@st.composite
def stories(draw: st.DrawFn, *more: str) -> list[tuple[str, bytes]]:
    """Steps, one after the other. Fillings and ends hide what went wrong before: not every story has them."""
    troubles = draw(st.sets(st.sampled_from(TROUBLES)))
    kinds = (*STEPS, *more, *troubles, *(["mend"] if troubles else []))
    return draw(st.lists(st.tuples(st.sampled_from(kinds), st.sampled_from(SENDERS)), min_size=15, max_size=60))


def play(world: World, story: list[tuple[str, bytes]], max_dirty: int) -> None:
    """All of it, until nothing happens any more."""
    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        world.mirror.open()
        world.mirror.start()
        for what, host in story:
            await world.do(what, host)
        await world.settle()
        world.mirror.close()
        assert not world.differing()

    with pytest.MonkeyPatch.context() as patch:
        # A second look comes at once, and hosts that end soon are inspected as well.
        patch.setattr(mirror, "AGAIN_S", 0.001)
        patch.setattr(mirror, "ENDING_S", 0.0)
        patch.setattr(mirror, "MAX_DIRTY", max_dirty)
        asyncio.run(whole())


# An example that fails takes two seconds: it is shown as it was found.
many = settings(max_examples=300, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@many
@given(stories(), HELD, st.booleans(), st.sampled_from((4, 1000)))
def test_whatever_happens_it_ends_the_same_as_the_whitelist(
        story: list[tuple[str, bytes]], held: list[tuple[bytes, int, bool]], expires: bool,
        max_dirty: int) -> None:
    play(World(Unquestioned, expires=expires, held=held), story, max_dirty)


@many
@given(stories("emptied"), HELD, st.booleans(), st.sampled_from((4, 1000)))
def test_what_others_spoil_is_found_by_inspections(
        story: list[tuple[str, bytes]], held: list[tuple[bytes, int, bool]], expires: bool,
        max_dirty: int) -> None:
    play(World(MemoryTarget, expires=expires, held=held), story, max_dirty)
