"""Gateways in one process, each with its whitelist, on a real engine: connections, faults, what must not be lost."""
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from lab.engine import Engine, Setup
from lab.gateways import Site
from lab.hosts import supported
from mxallowd.engine._table import CONTACT, ORIGINS, PEER, Table
from mxallowd.engine.events import MAPPED
from mxallowd.fleet import member as members
from mxallowd.fleet import session, standing
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.link import LARGEST
from mxallowd.fleet.login import Login, Logins
from mxallowd.fleet.member import Member
from mxallowd.fleet.member import Site as Where
from mxallowd.fleet.opening import literal, ways
from mxallowd.settings.fleet import CLI
from mxallowd.settings.fleet import engine as engine_of
from mxallowd.whitelist import Whitelist
from tests.recorder import Recorder

ROOM, LONGEST_S, S = 8192, 3600, 1_000_000
STREAM = "mxallowd:example:log"
GATEWAY = "gateway on >s3cr3t ~mxallowd:example:log -@all +xadd +xread +xinfo|stream +info +time"
SOON_S = 5.0
NOBODY = Login()
Story = Callable[["Stage"], Awaitable[None]]


def host(number: int) -> bytes:
    return MAPPED + (0x0A000000 + number).to_bytes(4, "big")


class Gateway:
    """One, with its whitelist."""

    def __init__(self, url: str, name: str, *, key: bytes, login: Login) -> None:
        self.name = name
        self.recorder = Recorder()
        self.table = Table(2 * ROOM, 1, main=ROOM, told=ROOM // 2)
        self.defects: list[Exception] = []
        self.whitelist = Whitelist(self.table, defect=self.defect)
        engine = engine_of(url)
        self.member = Member(
            Where(engine, "example", name, ways(engine, None, literal)), Keys([key], "example"), Logins(login),
            whitelist=self.whitelist, table=self.table, longest_s=LONGEST_S, told_room=ROOM // 2, defect=self.defect,
            log=self.recorder.log)
        self.member.follow()

    def defect(self, error: Exception) -> None:
        self.defects.append(error)

    def meet(self, *numbers: int) -> None:
        """These contact the fake server."""
        now_us = self.whitelist.now_us()
        for number in numbers:
            self.table.add(host(number), now_us + LONGEST_S * S, now_us, origin=CONTACT)
        self.member.saying.touched([host(number) for number in numbers])

    def has(self, *numbers: int) -> bool:
        return all(self.whitelist.find(host(number)) for number in numbers)

    def origin(self, number: int) -> str:
        entry = self.whitelist.entry(host(number))
        return entry.origin if entry else ""

    def said(self) -> list[str]:
        """The words of its lines since the last call."""
        return [line.split()[0] for line in self.recorder.take()]


class Stage:
    """An engine, and gateways that come and go."""

    def __init__(self, engine: Engine, stack: AsyncExitStack) -> None:
        self.engine = engine
        self.url = f"unix://{engine.directory}/engine.sock"
        self._stack = stack

    async def joins(self, name: str, *, key: bytes = bytes(range(32)), login: Login = NOBODY) -> Gateway:
        """A gateway that has read the stream, or tries to."""
        gateway = Gateway(self.url, name, key=key, login=login)
        self._stack.callback(self._leave, gateway)
        await gateway.member.start(asyncio.Event())
        return gateway

    @staticmethod
    def _leave(gateway: Gateway) -> None:
        gateway.member.close()
        assert gateway.defects == []

    def cut(self) -> None:
        """All connections are lost."""
        self.engine.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_S
    while not what():
        assert time.monotonic() < deadline, "it does not become true"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One, which each test finds empty."""
    if reason := supported():
        pytest.skip(reason)
    with Site() as site, Engine(site.place("engine"), Setup(users=("default on nopass ~* &* +@all", GATEWAY))) as made:
        yield made


@pytest.fixture
def play(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Runs a story, in some haste."""
    monkeypatch.setattr(members, "LOADING_S", 0.3)
    monkeypatch.setattr(session, "STRANGE_S", 0.1)
    monkeypatch.setattr(standing, "MENDED_AFTER_S", 0.1)
    engine.do("FLUSHALL")

    def run(story: Story) -> None:
        async def go() -> None:
            async with AsyncExitStack() as stack:
                await story(Stage(engine, stack))

        asyncio.run(go())

    return run


def test_what_one_says_the_others_hear(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        one, two = await stage.joins("one"), await stage.joins("two")
        one.meet(1, 2, 3)
        two.meet(4)
        await until(lambda: two.has(1, 2, 3) and one.has(4))
        assert (two.origin(1), one.origin(1)) == (ORIGINS[PEER], ORIGINS[CONTACT])
        entry = two.whitelist.entry(host(1))
        assert entry is not None
        assert entry.gateway == "one"
        one.whitelist.end(host(2))
        await until(lambda: not two.has(2))
        three = await stage.joins("three")
        assert three.has(1, 3, 4)
        assert not three.has(2)
        assert one.said() == two.said() == three.said() == ["fleet-joined"]
        assert three.member.counters()["fleet-entered"] >= 3

    play(story)


def test_a_gateway_without_its_disk_is_told_its_own(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        one = await stage.joins("one")
        one.meet(*range(700))
        await until(lambda: one.member.saying.waiting == 0)
        one.member.close()
        again = await stage.joins("one")
        assert again.has(*range(700))
        # As by another gateway: whoever has the key could have said it.
        assert again.origin(699) == ORIGINS[PEER]
        assert again.member.status()["told"] == 700
        assert "own=700" in again.recorder.lines[0]

    play(story)


def test_an_engine_that_comes_back_empty(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        one, two = await stage.joins("one"), await stage.joins("two")
        one.meet(*range(300))
        two.meet(*range(300, 600))
        await until(lambda: two.has(*range(600)) and one.has(*range(600)))
        stage.engine.do("FLUSHALL")
        stage.cut()
        await until(lambda: (one.said(), two.said()) and one.member.status()["connected"])
        one.meet(600)
        await until(lambda: two.has(600))
        await until(lambda: one.member.counters()["fleet-rounds"] > 1 and two.member.counters()["fleet-rounds"] > 1)
        await until(lambda: not one.member.saying.due() and not two.member.saying.due())
        three = await stage.joins("three")
        await until(lambda: three.has(*range(601)))

    play(story)


def test_a_stream_that_begins_as_if_nothing_were_missing(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody has deleted it, and added a first message with an ID of his choice."""
    monkeypatch.setattr(session, "CHECK_S", 0.1)

    async def story(stage: Stage) -> None:
        one = await stage.joins("one")
        one.meet(*range(30))
        await until(lambda: one.member.counters()["fleet-said"] == 30)
        stage.engine.do("DEL", STREAM)
        stage.engine.do("XADD", STREAM, "1-1", "d", "x")
        await until(lambda: one.member.counters()["fleet-rounds"] > 1 and not one.member.saying.in_round)
        two = await stage.joins("two")
        await until(lambda: two.has(*range(30)))

    play(story)


def test_an_engine_without_memory(play: Callable[[Story], None]) -> None:
    """It is read on, and what could not be said is said later."""
    async def story(stage: Stage) -> None:
        one, two = await stage.joins("one"), await stage.joins("two")
        stage.engine.do("CONFIG", "SET", "maxmemory", "1")
        try:
            one.meet(1)
            await until(lambda: one.member.status()["fault"])
            one.whitelist.end(host(1))
            one.meet(2)
            assert not two.has(2)
        finally:
            stage.engine.do("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: two.has(2) and one.member.status()["connected"])
        assert not two.has(1)
        assert one.said() == ["fleet-joined", "fleet-broken", "fleet-mended"]
        assert two.said() == ["fleet-joined"]

    play(story)


@pytest.mark.parametrize("ahead_ms", [86_400_000, None], ids=["ahead", "largest"])
def test_a_last_id_that_is_too_far(play: Callable[[Story], None], ahead_ms: int | None) -> None:
    """Who may write puts it there; the operator deletes the key, and all is said again."""
    async def story(stage: Stage) -> None:
        one, two = await stage.joins("one"), await stage.joins("two")
        one.meet(1)
        await until(lambda: two.has(1))
        far = LARGEST if ahead_ms is None else time.time_ns() // 1_000_000 + ahead_ms
        stage.engine.do("XADD", STREAM, f"{far}-{LARGEST}", "d", "x")
        one.meet(2)
        what = "fault" if ahead_ms is None else "warnings"
        await until(lambda: one.member.status()[what] and two.member.status()[what])
        assert f"{CLI} del {STREAM}" in str(one.member.status()["remedy" if ahead_ms is None else "warnings"])
        assert one.member.status()["connected"] is (ahead_ms is not None)
        stage.engine.do("DEL", STREAM)
        await until(lambda: two.has(2) and two.member.status()["connected"] and one.member.status()["connected"])
        assert [word for word in one.said() if word != "fleet-refused"] == [
            "fleet-joined", *(["fleet-broken", "fleet-mended"] if ahead_ms is None else ["fleet-engine"])]
        await until(lambda: not one.member.saying.due())
        three = await stage.joins("three")
        await until(lambda: three.has(1, 2))

    play(story)


def test_rights_and_logins_that_change(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        one, two = await stage.joins("one", login=Login("gateway", "s3cr3t")), await stage.joins("two")
        try:
            stage.engine.do("ACL", "SETUSER", "gateway", "-xread")
            await until(lambda: "xread" in str(one.member.status()["fault"]))
            stage.engine.do("ACL", "SETUSER", "gateway", "+xread", "resetpass", ">an0ther")
            stage.cut()
            await until(lambda: "fleet-login-file" in str(one.member.status()["fault"]))
            one.meet(1)
            one.member.reload(None, Logins(Login("gateway", "an0ther")), LONGEST_S)
            await until(lambda: two.has(1) and one.member.status()["connected"])
        finally:
            stage.engine.do("ACL", "SETUSER", "gateway", "+xread", "resetpass", ">s3cr3t")
        lines = one.recorder.take()
        assert [line.split()[0] for line in lines] == [
            "fleet-joined", "fleet-broken", "fleet-login", "fleet-mended"]
        assert not any("s3cr3t" in line or "an0ther" in line for line in [*lines, str(one.member.status())])

    play(story)


def test_keys_of_two_sites_do_not_mix(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        one, two = await stage.joins("one"), await stage.joins("two", key=bytes(range(1, 33)))
        one.meet(1)
        await until(lambda: two.member.counters()["fleet-refused"])
        assert not two.has(1)
        two.member.tick()
        assert two.recorder.take()[-1].startswith("fleet-refused count=")
        strangers = two.member.status()["strangers"]
        assert isinstance(strangers, list)
        assert [(found["origin"], found["reason"]) for found in strangers] == [("one", "key")]
        two.member.reload(Keys([bytes(range(1, 33)), bytes(range(32))], "example"), None, LONGEST_S)
        one.meet(2)
        await until(lambda: two.has(2))
        assert two.said() == ["fleet-keys"]

    play(story)


def test_a_start_without_the_engine_does_not_wait_for_long(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        stage.url = "unix:///nowhere/engine.sock"
        began = time.monotonic()
        one = await stage.joins("one")
        assert time.monotonic() - began < 2
        assert one.said() == ["fleet-broken"]
        ending = asyncio.Event()
        ending.set()
        other = Gateway(stage.url, "other", key=bytes(range(32)), login=Login())
        began = time.monotonic()
        await other.member.start(ending)
        assert time.monotonic() - began < 0.2
        other.member.close()

    play(story)


def test_an_engine_that_cannot_be_used(
        play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stage: Stage) -> None:
        monkeypatch.setattr(session, "OLDEST", (99, 1))
        one = await stage.joins("one")
        assert " and 99.1 is the least" in str(one.member.status()["fault"])
        assert not one.member.status()["connected"]

    play(story)


def test_how_long_a_message_is_kept(play: Callable[[Story], None]) -> None:
    """As long as any gateway lets its entries live, and no longer than four times as long as ours."""
    async def story(stage: Stage) -> None:
        one = await stage.joins("one")
        assert one.member._kept_ms() == 1000 * LONGEST_S
        two = await stage.joins("two")
        two.member.reload(None, None, 2 * LONGEST_S)
        two.meet(1)
        await until(lambda: one.has(1))
        await until(lambda: one.member._kept_ms() == 2000 * LONGEST_S)
        two.member.reload(None, None, 9 * LONGEST_S)
        two.meet(2)
        await until(lambda: one.has(2))
        await until(lambda: one.member._kept_ms() == 4000 * LONGEST_S)

    play(story)


def test_a_start_does_not_wait_for_an_engine_that_refuses() -> None:
    async def run() -> float:
        one = Gateway("redis://127.0.0.1:1", "a", key=bytes(range(1, 33)), login=NOBODY)
        began = time.monotonic()
        await one.member.start(asyncio.Event())
        one.member.close()
        return time.monotonic() - began

    assert asyncio.run(run()) < 1
