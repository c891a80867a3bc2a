"""A disk that is full or fails costs nothing but the journal, and a change costs the main loop next to nothing."""
import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mxallowd.mirrors.disk import files, state
from tests.strategies import HOSTS
from tests.test_state import Life

CHANGES = 20_000
SOME = [b"\x20" + (number * 2_654_435_761).to_bytes(15, "big") for number in range(CHANGES)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_costs_nothing_but_the_journal(small_disk: Path) -> None:
    ballast = small_disk / "ballast"

    async def story() -> None:
        life.begin()
        life.state.start()
        life.add(HOSTS[0])
        await asyncio.sleep(0.6)
        ballast.write_bytes(bytes(200 << 10))
        with ballast.open("ab", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
        # More than what the journal's last page has room for.
        for host in SOME[:600]:
            life.add(host)
        await asyncio.sleep(1.2)
        assert life.state.fault == "No space left on device"
        age_s = life.state.age_s()
        assert age_s
        assert age_s > 0.9
        ballast.unlink()
        await asyncio.sleep(1.0)
        assert life.state.fault == ""
        life.state.close()

    life = Life(small_disk / "state")
    asyncio.run(story())
    assert [line.split()[0] for line in life.recorder.lines] == ["state-broken", "state-mended"]
    after = Life(small_disk / "state")
    after.begin()
    # Nothing is torn, and nobody is missing.
    assert after.recorder.lines == []
    assert all(after.whitelist.find(host) for host in (HOSTS[0], *SOME[:600]))


def test_after_a_failed_fdatasync_another_journal_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(journal: files.Journal) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.Journal, "sync", fail)
    # Not undone with the other one.
    before, state.INTERVAL_S = state.INTERVAL_S, 0.1
    try:
        life = Life(tmp_path / "state").live(lambda life: life.add(HOSTS[0]), wait_s=0.8)
    finally:
        state.INTERVAL_S = before
    assert life.files() == ["journal.2", "snapshot.2"]
    assert [line.split()[0] for line in life.recorder.lines] == ["state-broken", "state-mended"]
    after = Life(tmp_path / "state")
    after.begin()
    assert after.whitelist.find(HOSTS[0])


def test_too_many_changes_become_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_DIRTY", 100)

    def work(life: Life) -> None:
        for host in SOME[:200]:
            life.add(host)
        life.state.tick()

    life = Life(tmp_path / "state").live(work, wait_s=1.0)
    assert "snapshot.1" in life.files()
    after = Life(tmp_path / "state")
    after.begin()
    assert all(after.whitelist.find(host) for host in SOME[:200])


def test_a_journal_is_replaced_before_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LEAST_JOURNAL", 4096)
    monkeypatch.setattr(state, "AGAIN_S", 0.0)
    monkeypatch.setattr(state, "SHARE", 0)
    monkeypatch.setattr(state, "INTERVAL_S", 0.05)

    async def story() -> None:
        life.begin()
        life.state.start()
        for _ in range(10):
            life.whitelist.take([])
            for host in SOME[:200]:
                life.add(host)
            await asyncio.sleep(0.1)
        life.state.close()

    life = Life(tmp_path / "state")
    asyncio.run(story())
    numbers = [int(name.partition(".")[2]) for name in life.files()]
    assert min(numbers) > 1
    assert sum((life.settings.state_dir / name).stat().st_size for name in life.files()) < 60_000
    after = Life(tmp_path / "state")
    after.begin()
    assert all(after.whitelist.find(host) for host in SOME[:200])


@pytest.mark.alone
def test_twenty_thousand_changes_a_second_cost_little(tmp_path: Path) -> None:
    """Less than 2 % of a core: the best of some seconds, since others use the caches, too."""
    life = Life(tmp_path / "state")
    life.begin()
    spent = []
    for _ in range(5):
        started = time.thread_time()
        for at in range(0, CHANGES, 400):
            life.state.touched(SOME[at : at + 400])
            if at % (CHANGES // 2) == 0:
                # As the thread does, twice a second.
                life.state._append(*life.state._take())
        life.state._append(*life.state._take())
        spent.append(time.thread_time() - started)
    assert life.state.counters()["state-changes"] == 5 * CHANGES
    assert min(spent) < 0.02, spent
    life.state.close()
