"""The pump: every event reaches every taker once, in order, whoever fails; without events the loop sleeps."""
import asyncio
import itertools
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mxallowd.daemon import pump
from mxallowd.daemon.pump import Pump
from mxallowd.engine.events import Event, Kind
from mxallowd.engine.wake import Wake
from tests.part import CAPACITY, alone


class Scene:
    """A pump on a running loop, with what it handed over."""

    def __init__(self) -> None:
        self.wake = Wake()
        self.backend, self.part = alone(wake_fd=self.wake.write_fd)
        self.first: list[int] = []
        self.second: list[int] = []
        self.looks = 0
        self.ends = 0
        self.mistakes: list[object] = []
        self.pump = Pump(self.backend, self.wake, [self.fail_at_full, self.take], before=self.look, on_end=self.end)

    def fail_at_full(self, events: list[Event]) -> None:
        """A taker with a mistake."""
        self.first += [event.kind for event in events]
        if any(event.kind == Kind.RENEWED for event in events):
            raise RuntimeError("a mistake")

    def take(self, events: list[Event]) -> None:
        """The one behind it."""
        self.second += [event.kind for event in events]

    def look(self) -> None:
        self.looks += 1

    def end(self) -> None:
        self.ends += 1

    def note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.mistakes.append(context["exception"])


def play(story: Callable[[Scene], Awaitable[None]]) -> Scene:
    """Run a story on a loop."""
    async def whole() -> Scene:
        scene = Scene()
        asyncio.get_running_loop().set_exception_handler(scene.note)
        scene.pump.start()
        await story(scene)
        scene.pump.close()
        return scene

    return asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_wake_up_brings_the_events_to_all_in_order() -> None:
    async def story(scene: Scene) -> None:
        scene.pump.take()
        for kind in (Kind.WHITELISTED, Kind.ACCEPTED, Kind.REFUSED):
            scene.part.push(kind)
        assert scene.first == []
        await until(lambda: len(scene.second) == 3)

    scene = play(story)
    assert scene.first == scene.second == [Kind.WHITELISTED, Kind.ACCEPTED, Kind.REFUSED]
    assert scene.mistakes == []
    assert scene.ends == 0


def test_a_mistake_of_one_taker_is_nobody_elses() -> None:
    async def story(scene: Scene) -> None:
        scene.part.push(Kind.RENEWED)
        scene.pump.take()
        scene.part.push(Kind.ACCEPTED)
        scene.pump.take()

    scene = play(story)
    assert scene.first == scene.second == [Kind.RENEWED, Kind.ACCEPTED]
    assert [str(mistake) for mistake in scene.mistakes] == ["a mistake"]


def test_under_load_it_looks_again_by_itself() -> None:
    async def story(scene: Scene) -> None:
        scene.part.push()
        scene.pump.take()
        # The ring's reader does not sleep, so this wakes nobody.
        scene.part.push()
        scene.wake.clear()
        await until(lambda: len(scene.second) == 2)
        # Nothing came in meanwhile: from now on it sleeps until it is woken.
        looks = scene.looks
        await asyncio.sleep(3 * pump.LONGEST_PAUSE_S)
        assert scene.looks <= looks + 1
        scene.part.push()
        await until(lambda: len(scene.second) == 3)

    play(story)


def test_it_never_holds_up_the_loop_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left waits for the next look, in its order."""
    clock = itertools.count(0, pump.LONGEST_S / 2)  # so long is each portion
    monkeypatch.setattr(pump, "DRAIN_EVENTS", 1)
    monkeypatch.setattr(pump, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    async def story(scene: Scene) -> None:
        for kind in [Kind.WHITELISTED, Kind.ACCEPTED] * 6:
            scene.part.push(kind)
        scene.pump.take()
        assert len(scene.second) == 2
        await until(lambda: len(scene.second) == 12)
        assert scene.second == [Kind.WHITELISTED, Kind.ACCEPTED] * 6

    play(story)


@pytest.mark.parametrize("waiting", [3, 12])
def test_a_ring_that_fills_is_looked_at_sooner(monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    """Of a flood, most of the core is left to others, but not so that what comes finds no room."""
    clock = itertools.count(0, pump.LONGEST_S / 2)
    monkeypatch.setattr(pump, "DRAIN_EVENTS", 1)
    monkeypatch.setattr(pump, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    pauses: list[float] = []

    async def story(scene: Scene) -> None:
        ring = scene.part.rings[0]
        monkeypatch.setattr(pump, "FILLING", ring.capacity // 8)  # more than eight
        for _ in range(waiting):
            scene.part.push()
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(delay: float, *rest: Any) -> asyncio.TimerHandle:
            pauses.append(delay)
            return later(delay, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "call_later", call_later)
            scene.pump.take()

    play(story)
    spent_s = pauses[0] / (pump.FILLING_FACTOR if waiting > 8 else pump.PAUSE_FACTOR)
    assert pump.LONGEST_S <= spent_s <= 2 * pump.LONGEST_S, pauses


def test_what_is_wanted_now_is_done_before_it_returns() -> None:
    async def story(scene: Scene) -> None:
        scene.part.push()
        scene.wake.now()
        assert scene.second == [Kind.WHITELISTED]
        # And nobody looks again: the one who fills the ring runs on this very thread.
        looks = scene.looks
        await asyncio.sleep(3 * pump.COALESCE_S)
        assert scene.looks == looks

    play(story)


@pytest.mark.parametrize("how", ["has_ended", "has_failed"])
def test_an_end_or_a_failure_is_told(how: str) -> None:
    async def story(scene: Scene) -> None:
        scene.pump.take()
        assert scene.ends == 0
        setattr(scene.part, how, True)
        scene.part.push(Kind.STOPPED)
        await until(lambda: scene.ends > 0)

    assert play(story).second == [Kind.STOPPED]


def test_the_end_is_waited_for() -> None:
    async def story(scene: Scene) -> None:
        waiting = asyncio.create_task(scene.pump.wait_for_end())
        scene.part.has_failed = True
        scene.pump.take()
        await asyncio.sleep(0.01)
        # One of several has failed; the others have not ended.
        assert not waiting.done()
        scene.part.has_ended = True
        scene.wake.signal()
        await asyncio.wait_for(waiting, 5)

    play(story)


def test_at_the_end_all_that_is_left_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DRAIN_EVENTS", 3)

    async def story(scene: Scene) -> None:
        for _ in range(CAPACITY):
            assert scene.part.push()
        scene.pump.drain()

    scene = play(story)
    assert len(scene.first) == len(scene.second) == CAPACITY


def test_after_the_close_nothing_is_taken() -> None:
    async def story(scene: Scene) -> None:
        scene.part.push()
        scene.pump.take()
        scene.pump.close()
        scene.part.push()
        scene.wake.signal()
        await asyncio.sleep(3 * pump.COALESCE_S)
        assert len(scene.second) == 1

    play(story)
