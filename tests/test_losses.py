"""What was lost is said once a minute with its count, nothing twice and nothing never; mistakes of ours as well."""
import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mxallowd.daemon.losses import Losses, safely
from mxallowd.log.periodic import PERIOD_S
from mxallowd.text import LONGEST_QUOTED
from tests.part import CAPACITY, alone
from tests.recorder import Recorder


class Bench:
    """A back end that counts as the test says, and a clock to turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.recorder = Recorder()
        self.backend, self.part = alone()
        self.told: list[str] = []
        self.losses = Losses(
            self.backend, self.fail, self.recorder.log, "drop", lambda: self.now)
        self.mistakes: list[object] = []

    def fail(self) -> None:
        """The whitelist, with a mistake."""
        self.told.append("failed")
        raise RuntimeError("a mistake")

    def look(self, *, after_s: float = 0.0, last: bool = False) -> list[str]:
        """One look, so much later; the new lines."""
        def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            self.mistakes.append(context["exception"])

        async def whole() -> None:
            asyncio.get_running_loop().set_exception_handler(note)
            self.losses.look(last=last)

        self.now += after_s
        asyncio.run(whole())
        return self.recorder.take()

    def lose(self, times: int, *, pressing: bool) -> None:
        """Events that find no room."""
        for _ in range(times):
            assert not self.part.push(pressing=pressing)


@pytest.fixture
def bench() -> Bench:
    """The ring is full."""
    made = Bench()
    for _ in range(CAPACITY):
        assert made.part.push()
    return made


def test_nothing_lost_is_nothing_said(bench: Bench) -> None:
    assert bench.look() == bench.look(after_s=PERIOD_S) == bench.look(last=True) == []
    assert bench.told == []


def test_lost_events_are_said_once_a_minute(bench: Bench) -> None:
    bench.lose(2, pressing=False)
    assert bench.look() == ["lost-events count=2"]
    bench.lose(3, pressing=False)
    assert bench.look(after_s=PERIOD_S - 1) == []
    assert bench.look(after_s=1) == ["lost-events count=3"]
    assert bench.look(after_s=PERIOD_S) == []
    bench.lose(1, pressing=False)
    bench.look()
    bench.lose(4, pressing=False)
    # The end says what is left.
    assert bench.look(last=True) == ["lost-events count=4"]
    assert bench.look(last=True) == []
    # Lines that are lost, and nothing else: nobody has to fill a table again.
    assert bench.told == []


def test_who_missed_pressing_events_is_told_at_once(bench: Bench) -> None:
    bench.lose(1, pressing=True)
    bench.look()
    assert bench.told == ["failed"]
    bench.look()
    assert bench.told == ["failed"]
    bench.lose(1, pressing=True)
    # Not once a minute: what was missed leaves a copy wrong.
    assert bench.look() == []
    assert bench.told == ["failed", "failed"]
    assert [str(mistake) for mistake in bench.mistakes] == ["a mistake"] * 2


def test_packets_that_were_lost_or_unreadable(bench: Bench) -> None:
    bench.part.counted |= {"lost-by-kernel": 7, "broken": 1}
    assert bench.look() == ["lost-packets by-kernel=7 broken=1"]
    bench.part.counted |= {"broken": 3}
    assert bench.look(after_s=PERIOD_S - 1) == []
    assert bench.look(after_s=1) == ["lost-packets by-kernel=0 broken=2"]


def test_a_queue_that_was_full(bench: Bench) -> None:
    bench.part.counted |= {"queue-full": 100}
    assert bench.look() == ["queue-full packets=100 verdict=drop"]
    bench.part.counted |= {"queue-full": 150}
    assert bench.look() == []
    assert bench.look(last=True) == ["queue-full packets=50 verdict=drop"]


def test_packets_that_came_again(bench: Bench) -> None:
    bench.part.counted |= {"came-again": 3}
    assert bench.look() == ["came-again packets=3"]
    bench.part.counted |= {"came-again": 10}
    assert bench.look() == []
    assert bench.look(after_s=PERIOD_S) == ["came-again packets=7"]
    bench.part.counted |= {"not-rejected": 5}
    assert bench.look() == ["not-rejected packets=5"]


def test_a_counter_that_went_back_is_nothing_lost(bench: Bench) -> None:
    """An interface that was made anew counts from zero."""
    bench.part.counted |= {"lost-by-kernel": 7}
    bench.look()
    bench.part.counted |= {"lost-by-kernel": 2}
    assert bench.look(after_s=PERIOD_S) == []


def test_a_mistake_in_one_look_holds_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, int]:
        raise RuntimeError("no counters")

    bench.lose(1, pressing=False)
    monkeypatch.setattr(bench.part, "counters", fail)
    assert bench.look() == ["lost-events count=1"]
    assert [str(mistake) for mistake in bench.mistakes] == ["no counters"] * 2


def run_on_loop(losses: Losses, *steps: Callable[[], object]) -> None:
    """Do these with the handler of mistakes in place."""
    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(losses.take_defect)
        for step in steps:
            safely(step)

    asyncio.run(whole())


def test_defects_are_counted_and_said_once_a_minute(bench: Bench) -> None:
    done: list[bool] = []

    def fail() -> None:
        raise ValueError("x" * 1000)

    run_on_loop(bench.losses, fail, fail, lambda: done.append(True))
    assert done == [True]
    [line] = bench.recorder.take()
    assert line.startswith("defect count=1 reason=ValueError('xxx")
    assert len(line) < LONGEST_QUOTED + 40
    bench.now = PERIOD_S
    run_on_loop(bench.losses, fail)
    [line] = bench.recorder.take()
    assert line.startswith("defect count=3 ")


def test_a_defect_without_an_exception_has_its_message(bench: Bench) -> None:
    async def whole() -> None:
        bench.losses.take_defect(asyncio.get_running_loop(), {"message": "Task was destroyed"})

    asyncio.run(whole())
    assert bench.recorder.lines == ["defect count=1 reason=\"'Task was destroyed'\""]
