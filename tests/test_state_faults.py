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


@pytest.mark.parametrize("what", ["empty", "directory", "foreign", "zeros", "unreadable"])
def test_what_is_no_snapshot_costs_nothing(tmp_path: Path, what: str) -> None:
    """It is said, the one before it counts, and what is written next has its place."""
    place = tmp_path / "state"
    def work(life: Life) -> None:
        life.add(HOSTS[0])
        life.state.missed()

    life = Life(place).live(work, wait_s=0.7)
    assert life.files() == ["journal.1", "snapshot.1"]
    for name in ("snapshot.5", "journal.6", "snapshot.7.new"):
        if what == "directory":
            (place / name).mkdir()
        elif what == "unreadable":
            (place / name).symlink_to("/proc/self/mem")
        else:
            (place / name).write_bytes({"empty": b"", "foreign": b"a text of somebody\n" * 99}.get(what, bytes(5000)))
    after = Life(place).live(lambda life: life.state.missed(), wait_s=0.7)
    assert {line.split()[0] for line in after.recorder.lines} == {"state-damaged"}
    last = Life(place)
    last.begin()
    assert last.whitelist.find(HOSTS[0]), after.recorder.lines
    assert "snapshot.7" in last.files()


@pytest.mark.parametrize("name", ["snapshot.1", "journal.1"])
def test_any_byte_of_a_file_may_be_damaged(tmp_path: Path, name: str) -> None:
    """Each costs the hosts of one block, never a start, and is said."""
    place = tmp_path / "state"

    def work(life: Life) -> None:
        for host in SOME[:600]:
            life.add(host)
        life.state.missed()

    Life(place).live(work, wait_s=0.9)
    (place / ("journal.1" if name == "snapshot.1" else "snapshot.1")).unlink()
    whole = (place / name).read_bytes()
    step = len(whole) // 30
    for at in [*range(130), *range(130, len(whole), step)]:
        (place / name).write_bytes(whole[:at] + bytes((whole[at] ^ 0x55,)) + whole[at + 1:])
        after = Life(place)
        after.begin()
        after.state.close()
        assert [line.split()[0] for line in after.recorder.lines] == ["state-damaged"], at
        assert sum(after.whitelist.find(host) is not None for host in SOME[:600]) >= 600 - 256, at


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file system that is mounted read-only: what it has is read, and what is new stays in memory."""
    Life(tmp_path / "state").live(lambda life: life.add(HOSTS[0]))
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path], check=True)
        life = Life(tmp_path / "state").live(lambda life: life.add(HOSTS[1]), wait_s=0.1)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
    assert life.whitelist.find(HOSTS[0])
    assert life.whitelist.find(HOSTS[1])
    assert "Read-only file system" in " ".join(life.recorder.lines)
