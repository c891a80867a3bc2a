"""Reloading: what is read when, what it changes, and what an unusable configuration leaves as it is."""
import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mxallowd.daemon import reloading
from mxallowd.daemon.reloading import Reloading
from mxallowd.settings import Problem, Settings, configfile
from mxallowd.settings.loading import Loaded
from tests.recorder import Recorder
from tests.test_settings import MINIMUM, good

AT_REST = None


class Supervisor:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def reloading(self) -> None:
        """As of sd_notify."""
        self.told.append("reloading")

    def ready(self) -> None:
        """As of sd_notify."""
        self.told.append("ready")


class Scene:
    """Settings in force, and others to come."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.supervisor = Supervisor()
        self.applied: list[Settings] = []
        self.loads = 0
        self.next = Loaded(good(f"{MINIMUM} -t 60"), ())
        self.reloading = Reloading(
            good(MINIMUM), self.load, self.applied.append, self.recorder.log,
            self.supervisor)  # type: ignore[arg-type]

    def load(self) -> Loaded:
        self.loads += 1
        return self.next


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int] | None]:
    """How the file is found, look by look; at rest once these are used up. And no long waits."""
    found: list[tuple[int, int, int] | None] = []
    monkeypatch.setattr(reloading, "RELOAD_AFTER_S", 0.01)
    monkeypatch.setattr(reloading, "REST_S", 0.01)
    monkeypatch.setattr(configfile, "being_written", lambda _: found.pop(0) if found else AT_REST)
    return found


def play(story: Callable[[Scene], Awaitable[None]]) -> Scene:
    """Run a story on a loop."""
    async def whole() -> Scene:
        scene = Scene()
        await story(scene)
        return scene

    return asyncio.run(whole())


async def ask_and_wait(scene: Scene) -> None:
    """As a signal does."""
    scene.reloading.ask()
    async with asyncio.timeout(5):
        while "ready" not in scene.supervisor.told:
            await asyncio.sleep(0.001)


def test_what_can_change_is_applied_and_said() -> None:
    scene = play(ask_and_wait)
    assert [settings.whitelist_time for settings in scene.applied] == [60]
    assert scene.reloading.settings is scene.applied[0]
    assert scene.recorder.lines == ["reloaded changed=whitelist-time"]
    assert scene.supervisor.told == ["reloading", "ready"]


def test_what_is_passed_over_is_in_the_outcome() -> None:
    async def story(scene: Scene) -> None:
        scene.next = Loaded(good(MINIMUM), (Problem("settings", "it does nothing", fatal=False),))
        outcome = await scene.reloading.ask_and_wait()
        assert outcome is not None
        assert (outcome.reason, outcome.warnings) == ("", ("settings: it does nothing",))

    assert play(story).recorder.lines[0] == 'config where=settings reason="it does nothing"'


def test_the_same_again_is_nothing_changed() -> None:
    async def story(scene: Scene) -> None:
        scene.next = Loaded(good(MINIMUM), ())
        assert scene.reloading.reload()

    assert play(story).recorder.lines == ["reloaded changed=nothing"]


def test_what_needs_a_restart_stays_and_is_said_each_time() -> None:
    async def story(scene: Scene) -> None:
        scene.next = Loaded(good(f"{MINIMUM} --max-entries 5000 -t 60"), ())
        for _ in range(2):
            assert scene.reloading.reload()

    scene = play(story)
    assert [(settings.max_entries, settings.whitelist_time) for settings in scene.applied] == [(1_000_000, 60)] * 2
    assert scene.recorder.lines == [
        "restart-needed options=max-entries", "reloaded changed=whitelist-time",
        "restart-needed options=max-entries", "reloaded changed=nothing"]


def test_what_cannot_be_used_changes_nothing() -> None:
    async def story(scene: Scene) -> None:
        before = scene.reloading.settings
        scene.next = Loaded(None, (
            Problem("conf:3", "unknown option", fatal=False), Problem("conf:4", "queue-num: no number")))
        assert not scene.reloading.reload()
        assert scene.reloading.settings is before

    scene = play(story)
    assert scene.applied == []
    assert scene.recorder.lines == [
        'config where=conf:3 reason="unknown option"', 'reload-failed where=conf:4 reason="queue-num: no number"']


def test_of_many_signals_one_reload_is_made() -> None:
    async def story(scene: Scene) -> None:
        for _ in range(1000):
            scene.reloading.ask()
        await ask_and_wait(scene)
        # One that comes after it is another one.
        scene.supervisor.told.clear()
        await ask_and_wait(scene)

    scene = play(story)
    assert scene.loads == 2


def test_a_file_that_is_being_written_is_waited_for(looks: list[tuple[int, int, int] | None]) -> None:
    looks += [(1, 10, 5), (1, 20, 6), (1, 30, 7), (1, 30, 7)]
    scene = play(ask_and_wait)
    assert looks == []
    assert scene.loads == 1


def test_a_file_that_is_always_being_written_is_not_read(looks: list[tuple[int, int, int] | None]) -> None:
    looks += [(1, size, size) for size in range(100)]
    scene = play(ask_and_wait)
    assert scene.loads == 0
    [line] = scene.recorder.lines
    assert line == 'reload-failed where=/etc/mxallowd.conf reason="it is still being written"'
    assert len(looks) == 100 - reloading.MOST_LOOKS - 1


def test_a_reload_that_waits_at_the_stop_is_not_made() -> None:
    async def story(scene: Scene) -> None:
        scene.reloading.ask()
        scene.reloading.close()
        scene.reloading.ask()
        await asyncio.sleep(0.05)

    scene = play(story)
    assert scene.loads == 0
    assert scene.supervisor.told == ["reloading"]


def test_a_mistake_while_reading_leaves_no_supervisor_waiting() -> None:
    async def story(scene: Scene) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        scene.load = None  # type: ignore[method-assign,assignment]
        scene.reloading._load = scene.load
        await ask_and_wait(scene)
        # And the next one is made.
        scene.supervisor.told.clear()
        scene.reloading._load = lambda: scene.next
        await ask_and_wait(scene)

    assert play(story).recorder.lines == ["reloaded changed=whitelist-time"]
