"""A mirror over a target in memory: what reaches it, in which state and order, and what is left at the end."""
import asyncio

import pytest

from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Kind
from mxallowd.mirrors import mirror
from tests.memory_target import HOUR_US, Scene, run
from tests.strategies import HOSTS, listed
from tests.test_settings import MINIMUM, good

FLEET = "--fleet redis://192.0.2.53 --fleet-site example --fleet-key-file /key"


def test_every_change_of_the_whitelist_reaches_it() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.target.copied == {HOSTS[0]: (3600, False)})
        scene.use(HOSTS[0])
        await scene.until(lambda: scene.target.copied == {HOSTS[0]: (3600, True)})
        now = boottime_us()
        assert scene.whitelist.admit(HOSTS[1], now + 10_000_000, now)
        assert scene.whitelist.renew(HOSTS[0], now + 2 * HOUR_US, now)
        await scene.until(lambda: scene.target.copied == {HOSTS[0]: (7200, True), HOSTS[1]: (10, False)})
        # What the event says is not believed: the whitelist is asked.
        scene.tell(Kind.EVICTED, HOSTS[1])
        scene.tell(Kind.EVICTED, HOSTS[2])
        await scene.until(lambda: scene.mirror.counters()["kernel-table-changed"] == 6)
        assert scene.target.copied.keys() == {HOSTS[0], HOSTS[1]}
        scene.mirror.close()
        assert scene.target.calls[-1] == "close"

    run(story)


def test_refused_hosts_and_others_never_reach_it() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        for kind in (Kind.REFUSED, Kind.MALFORMED, Kind.SWEPT, Kind.STOPPED):
            scene.tell(kind, HOSTS[0])
        scene.contact(HOSTS[1])
        await scene.until(lambda: scene.target.copied)
        assert scene.target.copied.keys() == {HOSTS[1]}
        scene.mirror.close()

    run(story)


def test_used_hosts_come_first_and_what_waits_is_a_load() -> None:
    async def story() -> None:
        scene = Scene()
        scene.mirror.open()
        many = [b"\0" * 10 + b"\xff\xff\x0a" + number.to_bytes(3, "big") for number in range(mirror.MAX_DIRTY)]
        for host in many:
            scene.tell(Kind.WHITELISTED, host, HOUR_US)
        scene.stress.look()
        assert scene.lines[-1] == "stress state=on bound=kernel-table-dirty percent=100"
        # Of those that are too many, one that was used finds its place.
        scene.contact(HOSTS[0])
        assert scene.mirror.counters()["kernel-table-limited"] == 1
        scene.use(HOSTS[0])
        scene.mirror.start()
        await scene.until(lambda: scene.mirror.counters()["kernel-table-changed"] >= mirror.BATCH)
        assert scene.target.copied == {HOSTS[0]: (3600, True)}
        await scene.until(lambda: scene.mirror.counters()["kernel-table-changed"] >= len(many), 10)
        scene.stress.look()
        scene.clock += 6
        scene.stress.look()
        assert scene.lines[-1] == "stress state=off seconds=6"
        scene.mirror.close()

    run(story)


def test_more_changes_than_fit_are_counted_and_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(mirror, "MAX_DIRTY", 4)
        scene = Scene()
        scene.open()
        for host in HOSTS:
            scene.contact(host)
        assert scene.mirror.counters()["kernel-table-limited"] == len(HOSTS) - 4
        await scene.until(lambda: len(scene.target.copied) == len(HOSTS))
        assert scene.mirror.counters()["kernel-table-filled"] == 1
        scene.mirror.close()

    run(story)


def test_a_slow_target_gets_one_change_for_many() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.slow_s = 0.05
        scene.open()
        for host in HOSTS:
            scene.contact(host)
            await asyncio.sleep(0.002)
        await scene.until(lambda: len(scene.target.copied) == len(HOSTS))
        assert scene.target.calls.count("change") < len(HOSTS) / 2
        scene.mirror.close()

    run(story)


def test_a_target_without_times_is_told_of_each_end() -> None:
    async def story() -> None:
        scene = Scene(expires=False)
        scene.target.copied = {HOSTS[5]: (0, False)}
        scene.open()
        assert set(listed(scene.whitelist)) == {HOSTS[5]}
        scene.contact(HOSTS[0], 50_000)
        scene.contact(HOSTS[1])
        await scene.until(lambda: len(scene.target.copied) == 3)

        def expired() -> bool:
            scene.mirror.tick()
            return HOSTS[0] not in scene.target.copied

        await scene.until(expired)
        assert scene.target.copied.keys() == {HOSTS[1], HOSTS[5]}
        # One whose time was made longer stays, and is looked at again when that is over.
        now = boottime_us()
        scene.contact(HOSTS[2], 50_000)
        assert scene.whitelist.renew(HOSTS[2], now + HOUR_US, now)
        await asyncio.sleep(1.2)
        scene.mirror.tick()
        await asyncio.sleep(0.05)
        assert HOSTS[2] in scene.target.copied
        scene.mirror.close()

    run(story)


def test_counters_go_on_when_a_ruleset_is_loaded_anew() -> None:
    async def story() -> None:
        scene = Scene()
        scene.target.counted = {"refused": 100, "accepted": 5}
        scene.open()
        await scene.mirror.refresh()
        # What was counted before the start is not ours.
        assert scene.mirror.counters()["kernel-refused"] == 0
        scene.target.counted = {"refused": 130, "accepted": 5}
        await scene.mirror.refresh()
        scene.target.counted = {"refused": 7, "accepted": 0}
        await scene.mirror.refresh()
        assert (scene.mirror.counters()["kernel-refused"], scene.mirror.counters()["kernel-accepted"]) == (37, 0)
        scene.mirror.close()

    run(story)


def test_what_is_waiting_at_the_end_is_still_done() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        scene.contact(HOSTS[0])
        scene.mirror.close()
        assert scene.target.copied.keys() == {HOSTS[0]}
        flushed = Scene("--flush-on-exit")
        flushed.target.copied = {HOSTS[0]: (50, True)}
        flushed.open()
        flushed.mirror.close()
        assert flushed.target.copied == {}

    run(story)


def test_what_did_not_fit_is_filled_in_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(mirror, "MAX_DIRTY", 4)
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        for host in HOSTS:
            scene.contact(host)
        scene.mirror.close()
        assert len(scene.target.copied) == len(HOSTS)

    run(story)


def test_a_target_that_hangs_at_the_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(mirror, "FINISH_S", 0.05)
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        scene.target.slow_s = 0.5
        scene.contact(HOSTS[0])
        scene.mirror.close()
        assert scene.lines[-1] == 'kernel-table-broken table=memory reason="no answer at the end"'

    run(story)


@pytest.mark.parametrize(("options", "fresh_s"), [
    ("", 3600), ("--renew never", 28_800), ("FLEET", 60), ("FLEET --renew never", 60)])
def test_how_long_the_kernel_need_not_show_a_contact(options: str, fresh_s: int) -> None:
    """With a fleet at most a minute, also of one that lasts for long."""
    async def story() -> None:
        scene = Scene()
        scene.open()
        scene.mirror.reload(good(f"{MINIMUM} {options.replace('FLEET', FLEET)}"))
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.target.copied)
        now = boottime_us()
        assert scene.whitelist.renew(HOSTS[0], now + 8 * HOUR_US, now)
        await scene.until(lambda: scene.target.copied[HOSTS[0]][0] == 28_800)
        [one] = scene.mirror._listing()
        assert one.fresh_s == pytest.approx(fresh_s, abs=2)
        scene.mirror.close()

    run(story)
