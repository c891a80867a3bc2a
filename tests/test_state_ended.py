"""Who was ended on purpose stays away: neither the disk nor a copy elsewhere brings him back, however many they are."""
import asyncio
from pathlib import Path

import pytest

from mxallowd import whitelist
from mxallowd.backends import Backends
from mxallowd.engine._patience import Patience
from mxallowd.engine._table import BY_HAND
from mxallowd.engine.clock import boottime_us
from mxallowd.mirrors import Copied
from mxallowd.mirrors.adoption import adopt
from mxallowd.mirrors.disk import state
from tests.strategies import HOSTS
from tests.test_state import HOUR_US, Life

SOME = [b"\x20" + number.to_bytes(15, "big") for number in range(900)]
LIFETIME_S = 3600


def killed(life: Life, hosts: list[bytes], wait_s: float) -> None:
    """These come in, and are ended when the disk has them; so much later the daemon is killed."""
    async def story() -> None:
        life.begin()
        life.state.start()
        for host in hosts:
            life.add(host, LIFETIME_S)
        await asyncio.sleep(0.6)
        for host in hosts:
            assert life.whitelist.end(host)
        life.state.tick()
        await asyncio.sleep(wait_s)

    asyncio.run(story())
    life.state._directory.close()  # type: ignore[union-attr]  # as its end does


@pytest.mark.parametrize("most", [state.MAX_ENDED, 100])
def test_who_was_ended_is_not_there_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Within the second that a kill may cost; and where more were ended than are noted, the bar is one for all."""
    monkeypatch.setattr(state, "MAX_ENDED", most)
    # So that nobody has to wait until a contact is later for sure.
    monkeypatch.setattr(whitelist, "ROUNDED_US", 0)
    more = f"--whitelist-time {LIFETIME_S}"
    killed(Life(tmp_path / "state", more), SOME, 1.0)
    after = Life(tmp_path / "state", more)
    assert after.begin() == b""
    # What a set of the kernel still has of them, and somebody who has met the fake server since.
    copied = [Copied(host, LIFETIME_S - 60, False) for host in SOME]
    adoption = adopt(after.whitelist, [*copied, Copied(HOSTS[0], LIFETIME_S, False)], LIFETIME_S, expires=True)
    assert adoption.adopted == 1
    assert set(SOME) <= set(adoption.differing)
    assert after.whitelist.find(HOSTS[0])
    assert not any(after.whitelist.find(host) for host in SOME)


def test_what_would_have_lasted_long_is_barred_as_long(tmp_path: Path) -> None:
    """An entry by hand may end much later than those of contacts: the kernel has it for as long."""
    def work(life: Life) -> None:
        now_us = boottime_us()
        assert life.whitelist.admit(HOSTS[1], now_us + 100 * HOUR_US, now_us, origin=BY_HAND)
        assert life.whitelist.end(HOSTS[1])

    Life(tmp_path / "state").live(work)
    after = Life(tmp_path / "state")
    after.begin()
    assert adopt(after.whitelist, [Copied(HOSTS[1], 99 * 3600, False)], LIFETIME_S, expires=True).adopted == 0


def test_who_was_removed_waits_anew_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk has of his refusals is older than his removal; where these were too many, everybody waits anew."""
    for most, kept in ((state.MAX_ENDED, [False, True]), (0, [False, False])):
        monkeypatch.setattr(state, "MAX_ENDED", most)
        life = Life(tmp_path / str(most), "--patience 2/10min")
        patience = Patience(64, 1, life.backends.table)
        monkeypatch.setattr(Backends, "patience", patience)

        def work(life: Life, patience: Patience = patience) -> None:
            for host in HOSTS[:2]:
                patience.note(host, 1000, boottime_us(), 2, 600_000_000)
            life.add(HOSTS[0], LIFETIME_S)
            assert life.whitelist.end(HOSTS[0])

        life.live(work)
        patience = Patience(64, 1, life.backends.table)
        monkeypatch.setattr(Backends, "patience", patience)
        Life(tmp_path / str(most), "--patience 2/10min").begin()
        assert [patience.find(host) is not None for host in HOSTS[:2]] == kept


def test_many_that_are_ended_at_once_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not wait for the next turn, so what waits stays within its bound."""
    monkeypatch.setattr(state, "INTERVAL_S", 60.0)
    monkeypatch.setattr(state, "EARLY", 100)
    life = Life(tmp_path / "state", "")
    killed(life, SOME, 0.3)
    assert life.state.counters()["state-changes"] >= 2 * len(SOME) - 200
    assert Life(tmp_path / "state").begin() == b""


def test_what_another_gateway_ends_bars_nobody(tmp_path: Path) -> None:
    """It may end any number: one bar for all would keep out what others tell at the next start."""
    more = f"--whitelist-time {LIFETIME_S}"
    life = Life(tmp_path / "state", more)

    async def story() -> None:
        life.begin()
        life.state.start()
        for host in SOME[:3]:
            life.add(host, LIFETIME_S)
        life.whitelist.end(SOME[0])
        life.whitelist.end(SOME[1], teller=life.state)
        await asyncio.sleep(1.0)

    asyncio.run(story())
    life.state._directory.close()  # type: ignore[union-attr]
    after = Life(tmp_path / "state", more)
    assert after.begin().count(SOME[2]) == 1
    assert after.whitelist.barred() == [SOME[0]]
