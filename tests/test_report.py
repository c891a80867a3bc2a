"""The report: counters without what has expired, whoever asks, and never a wait for ever."""
import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from mxallowd.daemon import report
from mxallowd.daemon.report import Report
from mxallowd.engine.events import Kind, decode
from mxallowd.sinks.stress import Stress
from tests.part import alone, record
from tests.recorder import Recorder
from tests.strategies import HOSTS


class Mirror:
    """One that counts elsewhere."""

    def __init__(self) -> None:
        self.children = 0

    async def refresh(self) -> None:
        """Ask."""
        await asyncio.sleep(0)
        self.children += 1

    def counters(self) -> dict[str, int]:
        """What was found."""
        return {"children": self.children}


class Scene:
    """A report on a back end with one thread."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.backend, self.part = alone()
        self.part.sweeps = 1
        mirror = Mirror()
        self.report = Report(
            self.backend, [mirror.counters], [mirror.refresh], Stress(self.recorder.log), self.recorder.log)

    def swept(self) -> None:
        """The thread tells of it, among other events."""
        self.report.handle(decode(record(Kind.ACCEPTED) + record(Kind.SWEPT)))


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    """Run a story on a loop."""
    async def whole() -> None:
        await story(Scene())

    asyncio.run(whole())


def test_it_waits_for_each_thread_to_sweep() -> None:
    async def story(scene: Scene) -> None:
        scene.part.sweeps = 2
        collecting = asyncio.create_task(scene.report.collect())
        await asyncio.sleep(0.01)
        scene.swept()
        await asyncio.sleep(0.01)
        assert not collecting.done()
        scene.swept()
        found = await asyncio.wait_for(collecting, 1)
        assert scene.part.asked == ["sweep"]
        assert (found["received"], found["children"], found["entries"], found["stress"]) == (5, 1, 0, 0)

    play(story)


def test_a_thread_that_never_tells_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SWEEP_TIMEOUT_S", 0.05)

    async def story(scene: Scene) -> None:
        started = time.monotonic()
        assert (await scene.report.collect())["received"] == 5
        assert 0.04 < time.monotonic() - started < 2

    play(story)


def test_without_threads_nothing_is_waited_for() -> None:
    async def story(scene: Scene) -> None:
        scene.part.sweeps = 0
        scene.backend.table.admit(HOSTS[0], 2, 1)
        assert (await asyncio.wait_for(scene.report.collect(), 1))["entries"] == 1
        # What the main thread admitted, it sweeps itself.
        scene.backend.clock_us = lambda: 3
        assert (await asyncio.wait_for(scene.report.collect(), 1))["entries"] == 0

    play(story)


def test_who_asks_gets_one_line_even_where_it_is_quiet() -> None:
    async def story(scene: Scene) -> None:
        scene.part.sweeps = 0
        scene.recorder.log.set_quiet(True)
        scene.report.ask()
        assert scene.recorder.lines == []
        for _ in range(100):
            await asyncio.sleep(0.001)
        [line] = scene.recorder.take()
        assert line.startswith("counters blocked=0 successful=0 direct-to-fake=0 would-refuse=0 entries=0 ")
        assert " children=1 " in line
        await scene.report.write()
        assert len(scene.recorder.take()) == 1

    play(story)
