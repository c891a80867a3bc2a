"""The history as it is told: gaps, steps of the clock, bounds, restarts, and one computing for all who ask."""
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from mxallowd.console import history
from mxallowd.console.archive import COARSE_S, FINE_S, Archive
from mxallowd.console.history import BY_KEY, History, layout_of
from mxallowd.console.plots import BY_KEY as PLOTS
from mxallowd.console.pulse import Beat
from tests.console_beats import Clock, Scene, series

TEN, DAY, MONTH = (BY_KEY[key] for key in ("10m", "day", "month"))


class Kept(Scene):
    """A pulse that feeds a history."""

    def __init__(self, path: Path | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        if clock is not None:
            self.clock = self.clock = clock
            self.pulse._clock, self.pulse._wall = clock.monotonic, clock.wall
        self.said: list[str] = []
        self.history = History(path, self.said.append, self.clock.wall, self.clock.monotonic)
        self.pulse._beaten = self._take
        self.count = 0

    def _take(self, beat: Beat) -> None:
        self.beats.append(beat)
        self.history.take(beat)

    async def run(self, beats: int, rate: int = 10) -> None:
        """So many beats, with the same rate."""
        for _ in range(beats):
            self.count += rate
            self.clock.at += 2
            self.daemon.answer = series(packets={"fake-new": self.count}, entries=1, entries_room=4)
            await self.pulse.beat()

    async def told(self, span: history.Span) -> dict[str, Any]:
        """The answer, computed anew."""
        self.clock.at += 100 * (span is not TEN)
        found: dict[str, Any] = json.loads((await self.history.told(span, self.pulse.beats)).packed)
        return found


def line(told: dict[str, Any], key: str) -> list[float | None]:
    plot, _, name = key.partition(".")
    part = told["plots"][plot]
    values: list[float | None] = part["values"][part["keys"].index(name)]
    return values


def test_ten_minutes_are_the_beats_themselves() -> None:
    async def run() -> None:
        kept = Kept()
        await kept.run(400)
        told = await kept.told(TEN)
        assert len(told["times"]) == 300
        assert {b - a for a, b in zip(told["times"], told["times"][1:], strict=False)} == {2}
        assert set(line(told, "decisions.new")) == {5}
        assert told["layout"] == layout_of(kept.pulse.beats[-1].values)
        part = told["plots"]["decisions"]
        assert part["series"][part["keys"].index("new")] == "fake server: new, whitelisted"
        # Where a line stands in the events of the stream.
        names = sorted(kept.pulse.beats[-1].values)
        assert [names[place] for place in part["places"]] == [f"decisions.{key}" for key in part["keys"]]
        await kept.history.close()

    asyncio.run(run())


def test_gaps_are_gaps() -> None:
    async def run() -> None:
        kept = Kept()
        await kept.run(5)
        await kept.beat(None)
        await kept.run(3)
        # A console that stood still.
        kept.clock.at += 60
        await kept.run(2)
        found = line(await kept.told(TEN), "decisions.new")
        assert found == [None, 5, 5, 5, 5, None, None, 5, 5, None, pytest.approx(10 / 62, rel=0.01), 5]
        await kept.history.close()

    asyncio.run(run())


@pytest.mark.parametrize("offset", [-3600, -5, 5, 3600, 86_400 * 400])
def test_a_step_of_the_clock_makes_no_value_or_time_wrong(offset: int) -> None:
    async def run() -> None:
        kept = Kept()
        await kept.run(60)
        kept.clock.offset += offset
        await kept.run(60)
        for span in (TEN, DAY, MONTH):
            told = await kept.told(span)
            assert told["times"] == sorted(set(told["times"]))
            assert set(line(told, "decisions.new")) <= {5, None}
            if span is not MONTH:
                assert 5 in line(told, "decisions.new")
        await kept.history.close()

    asyncio.run(run())


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        first = Kept(tmp_path / "file")
        await first.run(120)
        await first.history.close()
        first.clock.at += 30
        second = Kept(tmp_path / "file", first.clock)
        await second.run(10)
        told = await second.told(TEN)
        values = line(told, "decisions.new")
        assert values.count(5) > 24 + 9
        assert told["times"] == sorted(set(told["times"]))
        # Between both there is a gap, and before there is nothing.
        assert None in values[20:-10]
        day = line(await second.told(DAY), "decisions.new")
        assert len(day) == DAY.seconds // DAY.step
        assert {value for value in day if value is not None} == {5}
        assert first.said == second.said == []
        await second.history.close()

    asyncio.run(run())


def test_a_month_of_rows_becomes_what_a_screen_shows(tmp_path: Path) -> None:
    clock = Clock()
    now = int(clock.wall())
    archive = Archive(tmp_path / "file", print)
    for age in range(86_400 * 2, 0, -FINE_S * 6):
        archive.add(now - age, {"decisions.new": 3.0, "decisions.gone": 1.0, "no-plot": 2.0, "queue.3": 4.0})
    archive.close()

    async def run() -> None:
        kept = Kept(tmp_path / "file", clock)
        for span in (DAY, MONTH):
            told = await kept.told(span)
            assert 900 < len(told["times"]) <= 1000
            assert told["times"] == list(range(told["times"][0], told["times"][-1] + 1, span.step))
            assert set(line(told, "decisions.new")) <= {3, None}
            assert told["plots"]["decisions"]["keys"] == ["new"]
            assert told["plots"]["queue"]["series"] == ["queue 3"]
            assert told["plots"]["queue"]["places"] == [-1]
        assert line(told, "queue.3").count(4) > 86_400 * 2 / MONTH.step - 3
        summary = (await kept.history.told(MONTH, ())).summaries["queue"][0]
        assert (summary.label, summary.mean, summary.most) == ("queue 3", 4, 4)
        await kept.history.close()

    asyncio.run(run())


def test_all_who_ask_at_once_are_answered_by_one_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    plain = History._tell

    def slowly(self: History, span: history.Span, *rest: Any) -> history.Told:
        computed.append(span.key)
        time.sleep(0.1)
        return plain(self, span, *rest)

    monkeypatch.setattr(History, "_tell", slowly)

    async def run() -> None:
        kept = Kept()
        await kept.run(10)
        asked = [asyncio.create_task(kept.history.told(DAY, kept.pulse.beats)) for _ in range(50)]
        await asyncio.sleep(0)
        # Who goes away ends it for nobody else.
        asked[0].cancel()
        longest, before = 0.0, time.monotonic()
        while not all(task.done() for task in asked):
            await asyncio.sleep(0.002)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        assert len({id(task.result()) for task in asked[1:]}) == 1
        # The loop was not held by it.
        assert longest < 0.08
        await kept.history.told(DAY, kept.pulse.beats)
        assert computed == ["day"]
        kept.clock.at += DAY.fresh_s
        await kept.history.told(DAY, kept.pulse.beats)
        assert computed == ["day", "day"]
        await kept.history.close()

    asyncio.run(run())


def test_a_disk_that_stands_still_costs_rows_and_not_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        kept = Kept()
        kept.history._thread.submit(time.sleep, 0.5)
        await kept.run(5 * (history.MOST_BEHIND + 20))
        assert len(kept.history._behind) == history.MOST_BEHIND
        await kept.history.close()

    asyncio.run(run())


def test_a_fault_of_the_file_is_told_and_ten_minutes_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path / "nowhere" / "file")
        await kept.run(100)
        assert len(line(await kept.told(TEN), "decisions.new")) == 100
        assert 5 in line(await kept.told(DAY), "decisions.new")
        assert len(kept.said) == 1
        await kept.history.close()

    asyncio.run(run())


def test_spans_are_bounded() -> None:
    assert all(span.seconds // span.step <= 1000 for span in history.SPANS)
    assert (DAY.source, MONTH.source) == (FINE_S, COARSE_S)
    assert set(PLOTS) == {"decisions", "later", "fills", "queue", "lookups"}


def test_a_new_console_has_a_value_of_each_span() -> None:
    async def run() -> tuple[list[float | None], list[float | None]]:
        kept = Kept()
        await kept.run(5)
        newest = (await kept.history.told(MONTH, kept.pulse.beats)).summaries["fills"]
        values = line(json.loads((await kept.history.told(MONTH, kept.pulse.beats)).packed), "fills.whitelist")
        await kept.history.close()
        return values, [one.last for one in newest if one.label == "whitelist"]

    values, last = asyncio.run(run())
    assert values[-1] == 25
    assert not any(values[:-1])
    assert last == [25]


def test_the_last_value_is_the_last_that_is_known() -> None:
    assert history._summary("line", [None, 3, 5, None]) == history.Summary("line", 5, 4, 5)
