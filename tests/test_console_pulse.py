"""The pulse: one question at a time, gaps where there is no answer, and rates that no clock and no start disturbs."""
import asyncio
import json
import time
from pathlib import Path

import pytest

from mxallowd.console import pulse
from mxallowd.console.asking import Older, Unreachable
from mxallowd.console.pulse import KEPT_S, PERIOD_S, Beat, Pulse
from mxallowd.console.render import NOTHING
from mxallowd.console.watching import Watching
from tests.console_beats import Numbers, Scene, series


def news(count: int, **more: object) -> dict[str, object]:
    answer = series(packets={"fake-new": count})
    answer["values"] |= more
    return answer


def test_rates_follow_the_monotonic_clock_alone() -> None:
    async def run() -> None:
        scene = Scene()
        assert (await scene.beat(news(5))).values["decisions.new"] is None
        for offset in (0, 3600, -86_400 * 365, 10.0**9):
            scene.clock.offset += offset
            found = await scene.beat(news(5 + 10 * scene.daemon.asked))
            assert found.values["decisions.new"] == 10 / PERIOD_S
        late = await scene.beat(news(5 + 10 * 4 + 60), after_s=20)
        assert late.values["decisions.new"] == pytest.approx(3)

    asyncio.run(run())


def test_a_start_of_the_daemon_is_a_gap_and_never_a_rate() -> None:
    async def run() -> None:
        scene = Scene()
        await scene.beat(news(1000))
        assert (await scene.beat(news(1004))).values["decisions.new"] == 2
        again = await scene.beat({**news(5), "since": "2026-11-28T01:00:00Z"})
        assert again.values["decisions.new"] is None
        assert (await scene.beat({**news(9), "since": "2026-11-28T01:00:00Z"})).values["decisions.new"] == 2
        # The same second of the start, and less counted.
        assert (await scene.beat({**news(3), "since": "2026-11-28T01:00:00Z"})).values["decisions.new"] is None

    asyncio.run(run())


def test_no_answer_is_a_gap_and_told_with_its_time() -> None:
    async def run() -> None:
        scene = Scene()
        assert scene.pulse.state.word == "no answer"
        assert scene.pulse.state.answered == ""
        await scene.beat(news(1, entries=7))
        answered = scene.pulse.state.answered
        assert (scene.pulse.state.kind, scene.pulse.state.word) == ("ok", "healthy and ready")
        for fault in (None, Unreachable("it is gone"), {"values": 5}, {}):
            assert (await scene.beat(fault)).values == {}
            assert scene.pulse.state.kind == "broken"
            assert scene.pulse.state.answered == answered
            assert {one.text for one in scene.pulse.figures} == {NOTHING}
        # A rate through the gap would be a mean of what nobody knows.
        assert (await scene.beat(news(500))).values["decisions.new"] is None
        assert scene.pulse.state.fault == ""
        await scene.beat(Older("GET", "/v1/series"))
        assert "older than the console" in scene.pulse.state.fault

    asyncio.run(run())


def test_the_state_says_why() -> None:
    async def run() -> None:
        scene = Scene()
        for answer, kind, word in (
                ({**news(1), "warnings": ["a"]}, "warning", "healthy and ready, with warnings"),
                ({**news(1), "ready": False, "reasons": ["b"]}, "broken", "not ready"),
                ({**news(1), "ready": False, "healthy": False, "reasons": ["c"]}, "broken", "not healthy"),
                (news(1, stress_active=1), "warning", "stress mode")):
            await scene.beat(answer)
            assert (scene.pulse.state.kind, scene.pulse.state.word) == (kind, word)
        await scene.beat({**news(1, dry_run=1, build_info={"2.1.0": 1}), "reasons": ["x" * 999] * 9})
        state = scene.pulse.state
        assert (state.dry_run, state.version) == (True, "2.1.0")
        assert [len(one) for one in state.document()["reasons"]] == [161, 161, 161, 10]  # type: ignore[attr-defined]

    asyncio.run(run())


def test_ten_minutes_are_kept() -> None:
    async def run() -> None:
        scene = Scene()
        for count in range(400):
            await scene.beat(news(count))
        assert len(scene.pulse.beats) == KEPT_S / PERIOD_S
        assert scene.pulse.beats[-1] is scene.beats[-1]

    asyncio.run(run())


def test_one_question_is_under_way_and_a_slow_daemon_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PERIOD_S", 0.02)
    under_way: list[int] = []

    class Slow(Numbers):
        async def get(self, path: str, query: object = None, wait_s: float = 0) -> dict[str, object]:
            self.asked += 1
            under_way.append(self.asked)
            assert len(under_way) == 1
            await asyncio.sleep(0.05)
            under_way.pop()
            return news(self.asked)

    async def run() -> int:
        daemon = Slow()
        task = asyncio.create_task(Pulse(daemon, lambda beat: None).run())
        await asyncio.sleep(0.5)
        task.cancel()
        return daemon.asked

    assert 4 <= asyncio.run(run()) <= 11


def test_a_daemon_that_says_nothing_does_not_stop_the_pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real socket, of a process that accepts and does not answer; then all connections are taken by pages."""
    monkeypatch.setattr(pulse, "WAIT_S", 0.1)

    async def run() -> None:
        held: list[asyncio.StreamWriter] = []
        server = await asyncio.start_unix_server(lambda reader, writer: held.append(writer), tmp_path / "silent")
        daemon = Watching(tmp_path / "silent", None, print)
        begun = time.monotonic()
        await daemon.pulse.beat()
        assert time.monotonic() - begun < 1
        assert "did not answer" in daemon.pulse.state.fault
        while not daemon._room.locked():
            await daemon._room.acquire()
        await daemon.pulse.beat()
        assert "are taken" in daemon.pulse.state.fault
        for writer in held:
            writer.close()
        server.close()

    asyncio.run(run())


def test_events_are_short_and_the_state_is_sent_when_it_changes(tmp_path: Path) -> None:
    async def run() -> None:
        daemon = Watching(tmp_path / "nowhere", None, print)
        sent: list[tuple[str, object]] = []
        daemon.stream.send = lambda name, data: sent.append((name, data))  # type: ignore[method-assign]
        full = dict.fromkeys((
            "entries", "refused_later_passed", "looked_up", "dns_queries", "children", "queue_room", "entries_room",
            "lookups_waiting_ratio", "state_age_seconds", "fleet_connected", "fleet_peers", "log_queue_ratio"),
            123_456.789)
        source = Numbers()
        daemon.pulse._daemon = source
        for count in range(3):
            source.answer = {**news(0, **full), "warnings": ["w" * 300] * 9, "reasons": []}
            source.answer["values"] |= {
                "packets": dict.fromkeys(("fake-new", "real-first", "real-refused", "other"), count * 12345),
                "queue_waiting": {str(one): 1024 for one in range(4)},
                "kernel_table_in_step": {"mx_white4": 0, "mx_white6": 0}}
            await daemon.pulse.beat()
        assert [name for name, _ in sent] == ["state", "point", "point", "point"]
        assert max(len(json.dumps(data)) for _, data in sent) < 1024
        await daemon.pulse.beat()
        source.answer = None
        await daemon.pulse.beat()
        await daemon.pulse.beat()
        assert [name for name, _ in sent[4:]] == ["point", "state", "point", "point"]
        point = sent[-1][1]
        assert isinstance(point, dict)
        assert (point["values"], point["layout"]) == ([], None)

    asyncio.run(run())


def test_beats_are_told_after_each_question() -> None:
    async def run() -> list[Beat]:
        scene = Scene()
        await scene.beat(None)
        await scene.beat(news(3))
        return scene.beats

    beats = asyncio.run(run())
    assert [bool(beat.values) for beat in beats] == [False, True]
    assert beats[1].at - beats[0].at == PERIOD_S
