"""Who is learned to try the first MX alone, and who is not, with names that the test gives."""
import asyncio
from collections.abc import Iterable, Sequence

from mxallowd.dns.resolver import LookupFailed, NotNow
from mxallowd.engine.events import Event, Kind
from mxallowd.settings import Settings
from mxallowd.sinks.direct import FAILED_S, MAX_LOOKUPS, PAUSE_S, RENEW_S, UNFIT_S, DirectSink, Known
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.stress import Stress
from tests.recorder import Recorder
from tests.strategies import packed
from tests.test_settings import MINIMUM, good

FAKE, HOST = packed("192.0.2.10"), packed("203.0.113.7")
NAME = "crm.example.org"


class Scene:
    """The sink, with what it asks as plain collections."""

    def __init__(self, *more: str) -> None:
        recorder = Recorder()
        self.lines = recorder.lines
        self.names: dict[bytes, list[str]] = {HOST: [NAME]}
        self.broken = self.full = False
        self.failure = LookupFailed("no answer")
        self.came: set[bytes] = set()
        self.learned: dict[bytes, int] = {}
        self.prolonged: list[tuple[list[bytes], int, int]] = []
        self.asked: list[bytes] = []
        self.now = 0.0
        self.settings = self.settings_of("--direct-after 3/1h", *more)
        self.let = asyncio.Event()
        self.let.set()
        self.sink = DirectSink(
            self.settings, HostLog(recorder.log, lambda lines: None, Stress(recorder.log)), self,
            Known(self.confirmed, self.came.__contains__, self.learned.__contains__), lambda: self.now)

    @staticmethod
    def settings_of(*options: str) -> Settings:
        return good(" ".join([MINIMUM, "--proven-time 864000", *options]))

    async def confirmed(self, host: bytes) -> list[str]:
        """What Known asks."""
        self.asked.append(host)
        await self.let.wait()
        if self.broken:
            raise self.failure
        return self.names.get(host, [])

    async def add(self, host: bytes, note: str, seconds: int) -> bool:
        """What Learns is asked."""
        if not self.full:
            self.learned[host] = seconds
        return not self.full

    async def prolong(self, hosts: Iterable[bytes], seconds: int, least_s: int) -> None:
        """What Learns is asked."""
        self.prolonged.append((list(hosts), seconds, least_s))

    async def meet(self, *hosts: bytes, kind: int = Kind.MET) -> None:
        """Each of the hosts has met a server, a quarter of an hour after the last time; and what comes of it."""
        self.now += 900
        self.sink.handle([event(kind, host, self.now) for host in hosts])
        for _ in range(5):
            await asyncio.sleep(0)


def event(kind: int, host: bytes, now_s: float) -> Event:
    return Event(kind, 0, 0, 1, int(now_s * 1_000_000), host, FAKE, 0)


def counts(scene: Scene) -> Sequence[int]:
    return tuple(scene.sink.counters().values())


def test_the_third_attempt_is_enough() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.meet(HOST, kind=Kind.WHITELISTED)
        await scene.meet(HOST)
        assert not scene.asked
        await scene.meet(HOST)
        assert scene.learned == {HOST: 864_000}
        assert scene.lines == [f"direct [203.0.113.7] name={NAME} times=3 seconds=864000"]
        assert scene.sink.counters()["direct-learned"] == 1
        # It is led from now on; what was on its way is no news.
        for _ in range(4):
            await scene.meet(HOST)
        assert len(scene.asked) == 1
        # Its uses restart its time, some at once.
        scene.sink.handle([event(Kind.LIST_ALLOWED, HOST, 0)])
        scene.now += RENEW_S
        scene.sink.tick()
        await asyncio.sleep(0)
        assert scene.prolonged == [([HOST], 864_000, 756_000)]
        scene.sink.close()

    asyncio.run(story())


def test_who_comes_to_the_real_server_is_not_learned() -> None:
    async def story() -> None:
        for kind in (Kind.ACCEPTED, Kind.REFUSED):
            scene = Scene()
            await scene.meet(HOST)
            await scene.meet(HOST)
            # This may be made up, where handshakes are heard of.
            await scene.meet(HOST, kind=kind)
            await scene.meet(HOST)
            assert scene.learned
        scene = Scene()
        await scene.meet(HOST)
        await scene.meet(HOST)
        scene.sink.connected(HOST)
        await scene.meet(HOST)
        await scene.meet(HOST)
        assert not scene.asked
        scene = Scene()
        scene.came.add(HOST)
        for _ in range(5):
            await scene.meet(HOST)
        assert not scene.asked
        scene.came.clear()
        scene.let.clear()
        for _ in range(3):
            await scene.meet(HOST)
        # While its name is asked for.
        scene.came.add(HOST)
        scene.let.set()
        await scene.meet()
        assert scene.asked == [HOST]
        assert not scene.learned

    asyncio.run(story())


def test_the_name_is_confirmed_and_no_lines() -> None:
    async def story() -> None:
        for names in ([], ["203-0-113-7.dyn.example.net"], [NAME, "203-0-113-7.dyn.example.net"]):
            scene = Scene()
            scene.names[HOST] = names
            for _ in range(4):
                await scene.meet(HOST)
            assert not scene.learned
            assert scene.asked == [HOST]
            assert scene.sink.counters()["direct-unfit"] == 1
            scene.now += UNFIT_S
            scene.names[HOST] = [NAME]
            for _ in range(3):
                await scene.meet(HOST)
            assert HOST in scene.learned

    asyncio.run(story())


def test_without_an_answer_the_next_attempt_asks_again() -> None:
    async def story() -> None:
        scene = Scene()
        scene.broken = True
        for _ in range(3):
            await scene.meet(HOST)
        assert counts(scene) == (0, 0, 0)
        # Not at once: servers that do not answer would be asked all the time.
        scene.now -= 900 - FAILED_S / 2
        await scene.meet(HOST)
        assert scene.asked == [HOST]
        scene.failure = NotNow("its zone has to wait")
        await scene.meet(HOST)
        assert scene.asked == [HOST] * 2
        scene.broken = False
        scene.now -= 900 - 60
        await scene.meet(HOST)
        assert HOST in scene.learned

    asyncio.run(story())


def test_few_are_asked_about_at_a_time_and_all_have_bounds() -> None:
    async def story() -> None:
        scene = Scene()
        scene.let.clear()
        hosts = [packed(f"198.{51 + number // 10}.100.{number}") for number in range(50)]
        scene.names.update((host, [NAME]) for host in hosts)
        for _ in range(4):
            await scene.meet(*hosts)
        # Two of a network.
        assert len(scene.asked) == MAX_LOOKUPS == len(set(scene.asked))
        assert sorted({host[13] for host in scene.asked}) == [51, 52, 53, 54]
        scene.full = True
        scene.let.set()
        await scene.meet()
        # The others waited, and come in turn.
        for _ in range(50):
            scene.now += PAUSE_S
            scene.sink.tick()
            await scene.meet()
        assert sorted(scene.asked) == sorted(hosts)
        assert not scene.learned
        assert scene.sink.counters()["direct-left-out"] == len(hosts)
        scene.sink.close()

    asyncio.run(story())


def test_sighup_turns_it_on_and_off() -> None:
    async def story() -> None:
        scene = Scene()
        for _ in range(2):
            await scene.meet(HOST)
        scene.sink.reload(scene.settings_of("--direct-after 3/1h --quiet"))
        await scene.meet(HOST)
        assert len(scene.asked) == 1
        scene.sink.reload(scene.settings_of())
        scene.learned.clear()
        for _ in range(5):
            await scene.meet(HOST)
        assert len(scene.asked) == 1

    asyncio.run(story())
