"""A mirror whose target fails, is emptied, is full or hangs: what is said, and how it comes to be right again."""
import asyncio
from typing import Any

import pytest

from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Kind
from mxallowd.mirrors import TargetError, mirror
from tests.memory_target import HOUR_US, Scene, run
from tests.strategies import HOSTS
from tests.test_settings import MINIMUM, good


def test_what_cannot_be_changed_is_no_load() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.fault = TargetError("it is missing")
        scene.open()
        await scene.until(lambda: any("it is missing" in line for line in scene.lines))
        for number in range(mirror.MAX_DIRTY):
            scene.tell(Kind.WHITELISTED, b"\0" * 10 + b"\xff\xff\x0a" + number.to_bytes(3, "big"), HOUR_US)
        assert scene.mirror.fill() == 0
        scene.contact(HOSTS[0])
        scene.target.fault = None
        scene.later(70)
        await scene.until(lambda: scene.target.copied.keys() == {HOSTS[0]})
        scene.mirror.close()

    run(story)


def test_a_sample_that_is_missing_leads_to_one_filling(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        for host in HOSTS:
            scene.contact(host)
        await scene.until(lambda: len(scene.target.copied) == len(HOSTS))
        scene.target.copied.clear()
        scene.later(10)
        await scene.until(lambda: len(scene.target.copied) == len(HOSTS))
        assert any(line.startswith("kernel-table-broken table=memory reason=") and "must be in it are not" in line
                   for line in scene.lines)
        assert scene.lines[-1] == f"kernel-table-filled table=memory entries={len(HOSTS)} left-out=0"
        # Filled again only after some seconds, however often it is flushed.
        scene.target.copied.clear()
        scene.later(4)
        await scene.until(lambda: scene.target.calls[-1] == "totals")
        await asyncio.sleep(0.05)
        assert scene.target.copied == {}
        scene.later(4.5)
        await scene.until(lambda: scene.target.copied)
        assert scene.mirror.counters()["kernel-table-filled"] == 2
        scene.mirror.close()

    run(story)


def test_a_fault_is_said_once_a_minute_and_all_comes_later() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.fault = TargetError("set mx_white4 is missing")
        scene.open()
        said = 'kernel-table-broken table=memory reason="set mx_white4 is missing"'
        assert scene.lines == [said]
        scene.contact(HOSTS[0])
        for _ in range(5):
            scene.later(4)
            await asyncio.sleep(0.02)
        assert scene.lines == [said]
        scene.later(60)
        await scene.until(lambda: scene.lines == [said, said])
        assert scene.mirror.counters()["kernel-table-failed"] >= 2
        scene.target.fault = None
        scene.later(4)
        await scene.until(lambda: scene.target.copied)
        # It is said anew when it happens anew.
        scene.target.fault = TargetError("set mx_white4 is missing")
        scene.later(4)
        await scene.until(lambda: scene.lines.count(said) == 3)
        scene.mirror.close()

    run(story)


def test_a_full_target_holds_whom_it_can_and_is_said_once() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.room = 2
        scene.open()
        for host in HOSTS[:4]:
            scene.contact(host)
            await asyncio.sleep(0.01)
        await scene.until(lambda: any("the set is full" in line for line in scene.lines))
        scene.use(HOSTS[0])
        for _ in range(8):
            scene.later(4)
            await asyncio.sleep(0.02)
        await scene.until(lambda: scene.target.copied.keys() == {HOSTS[0], HOSTS[3]})
        assert len([line for line in scene.lines if line.startswith("kernel-table-filled")]) == 1
        # A sample of those that had no room does not count as missing.
        assert not any("must be in it" in line for line in scene.lines)
        scene.mirror.close()

    run(story)


def test_a_target_that_is_made_larger_is_filled() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.room = 2
        scene.open()
        for host in HOSTS[:6]:
            scene.contact(host)
            await asyncio.sleep(0.01)
        for _ in range(6):
            scene.later(4)
            await asyncio.sleep(0.02)
        assert len(scene.target.copied) == 2
        # A reload with a larger set that is empty: all are missing.
        scene.target.room = 1000
        scene.target.copied.clear()
        for _ in range(4):
            scene.later(4)
            await asyncio.sleep(0.3)
        await scene.until(lambda: len(scene.target.copied) == 6)
        scene.mirror.close()

    run(story)


def test_a_shorter_lifetime_blinds_no_inspection() -> None:
    async def story() -> None:
        scene = Scene("-t 3600")
        scene.open()
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.target.copied)
        scene.mirror.reload(good(f"{MINIMUM} --ipset -t 60"))
        scene.target.copied.clear()
        scene.later(10)
        await scene.until(lambda: scene.target.copied)
        scene.mirror.close()

    run(story)


def test_an_error_that_nobody_expected_is_a_defect() -> None:
    async def story() -> None:
        said: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        scene.target.change = None  # type: ignore[assignment,method-assign]
        scene.contact(HOSTS[0])
        await scene.until(lambda: said)
        assert isinstance(said[0]["exception"], TypeError)
        # The sink goes on, and fills what it could not change.
        del scene.target.change
        scene.later(10)
        await scene.until(lambda: scene.target.copied.keys() == {HOSTS[0]})
        assert not any("must be in it" in line for line in scene.lines)
        scene.mirror.close()

    run(story)


def test_a_mark_of_use_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that the ruleset has now and had not before, or that somebody has flushed."""
    async def story() -> None:
        monkeypatch.setattr(mirror, "AGAIN_S", 0.01)
        scene = Scene()
        scene.open()
        scene.contact(HOSTS[0])
        scene.table.mark_used(HOSTS[0], boottime_us())
        await scene.until(lambda: scene.target.copied)
        scene.target.copied[HOSTS[0]] = (3600, False)
        scene.later(10)
        await scene.until(lambda: scene.target.copied[HOSTS[0]][1])
        assert scene.mirror.counters()["kernel-table-filled"] == 1
        scene.mirror.close()

    run(story)


def test_a_host_on_its_way_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(mirror, "AGAIN_S", 0.05)
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        now = boottime_us()
        # It is in the whitelist, and its event is still on its way.
        scene.table.add(HOSTS[0], now + HOUR_US, now)
        scene.later(10)
        await scene.until(lambda: scene.target.calls.count("totals") == 2)
        await asyncio.sleep(0.01)
        scene.tell(Kind.WHITELISTED, HOSTS[0], now + HOUR_US)
        await scene.until(lambda: scene.target.copied)
        assert scene.mirror.counters()["kernel-table-filled"] == 0
        scene.mirror.close()

    run(story)


def test_what_is_missed_during_a_filling_asks_for_another() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        scene.whitelist.missed()
        scene.target.slow_s = 0.05
        await scene.until(lambda: scene.target.calls[-1] == "refill")
        # The listing is made, the target at work: this one may not be in it.
        now = boottime_us()
        scene.table.add(HOSTS[0], now + HOUR_US, now)
        scene.whitelist.missed()
        scene.target.slow_s = 0
        await scene.until(lambda: scene.mirror.counters()["kernel-table-filled"] == 1)
        scene.later(8.5)
        await scene.until(lambda: scene.target.copied.keys() == {HOSTS[0]})
        # No inspection had to find it.
        assert not any("must be in it" in line for line in scene.lines)
        scene.mirror.close()

    run(story)


def test_those_of_a_filling_leave_a_target_without_times() -> None:
    async def story() -> None:
        scene = Scene(expires=False)
        scene.open()
        scene.contact(HOSTS[0], 1_000_000)
        scene.contact(HOSTS[1])
        await scene.until(lambda: len(scene.target.copied) == 2)
        scene.whitelist.missed()
        await scene.until(lambda: scene.mirror.counters()["kernel-table-filled"] == 1)
        assert len(scene.target.copied) == 2

        def left() -> bool:
            scene.mirror.tick()
            return scene.target.copied.keys() == {HOSTS[1]}

        await scene.until(left)
        scene.mirror.close()

    run(story)


def test_who_is_listed_and_not_told_yet_is_not_missing() -> None:
    """The packet path has entered a host, and the main loop has not come to its event within an inspection."""
    async def story() -> None:
        scene = Scene()
        scene.open()
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.target.copied)
        scene.target.calls.clear()
        now = boottime_us()
        scene.table.add(HOSTS[1], now + HOUR_US, now)
        scene.later(4)
        await scene.until(lambda: scene.target.calls.count("missing") == 2)
        scene.tell(Kind.WHITELISTED, HOSTS[1], now + HOUR_US)
        await scene.until(lambda: len(scene.target.copied) == 2)
        scene.later(4)
        await scene.until(lambda: scene.target.calls.count("missing") == 3)
        assert scene.lines == []
        # One that two inspections miss is missing.
        del scene.target.copied[HOSTS[1]]
        scene.later(4)
        await scene.until(lambda: scene.target.calls.count("missing") == 5)
        scene.later(4)
        await scene.until(lambda: scene.target.copied.keys() == set(HOSTS[:2]))
        assert "1 of 2 hosts that must be in it are not" in scene.lines[0]
        scene.mirror.close()

    run(story)
