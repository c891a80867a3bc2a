"""The state: what was true comes back, whatever came in between."""
import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mxallowd.backends import Backends
from mxallowd.engine._table import BY_HAND, CHILD
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind
from mxallowd.errors import StartError
from mxallowd.mirrors.disk import blocks, rounds
from mxallowd.mirrors.disk import state as module
from mxallowd.mirrors.disk.directory import Directory, DirectoryError
from mxallowd.mirrors.disk.state import State
from mxallowd.process.privileges import Account
from mxallowd.settings import Settings
from mxallowd.whitelist import Entry, Whitelist
from tests.part import Part, memories
from tests.recorder import Recorder
from tests.strategies import HOSTS, REAL
from tests.test_memories import FLEET
from tests.test_settings import MINIMUM, good
from tests.test_told import wire

HOUR_US = 3_600_000_000


class Life:
    """One life of a daemon, without packets."""

    def __init__(self, path: Path, more: str = "") -> None:
        shared = memories(1, FLEET if FLEET in more else "")
        self.settings: Settings = good(f"{MINIMUM} --user root --state-dir {path} {more}")
        self.backends = Backends(shared, [Part(shared.table)], boottime_us)
        self.whitelist = Whitelist(shared.table)
        self.recorder = Recorder()
        self.state = State(self.settings, self.whitelist, self.backends, self.recorder.log)

    def begin(self) -> bytes:
        """Open and restore; the records."""
        self.state.open()
        records = self.state.take_records()
        self.backends.table.restore(records, boottime_us(), shard=0)
        self.state.settled()
        return records

    def live(self, work: Callable[["Life"], None], *, close: bool = True, wait_s: float = 0.0) -> "Life":
        """Begin, do this with the loop running, and end in order, or as if killed."""
        async def story() -> None:
            self.begin()
            self.state.start()
            await asyncio.sleep(0)
            work(self)
            await asyncio.sleep(wait_s)
            if close:
                self.state.close()

        asyncio.run(story())
        return self

    def add(self, host: bytes, seconds: int = 3600) -> None:
        """As the packet path does."""
        self.backends.table.add(host, boottime_us() + 1_000_000 * seconds, boottime_us())
        self.whitelist.take([Event(Kind.WHITELISTED, 0, 0, 0, 0, host, bytes(16), 0)])

    def entry(self, host: bytes) -> Entry:
        """It is listed."""
        found = self.whitelist.entry(host)
        assert found
        return found

    def files(self) -> list[str]:
        """The names in the directory."""
        return sorted(path.name for path in self.settings.state_dir.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def fill(life: Life) -> None:
    life.add(HOSTS[0])
    life.backends.table.mark_used(HOSTS[0], boottime_us())
    life.whitelist.prove(HOSTS[0])
    now_us = boottime_us()
    assert life.whitelist.admit(HOSTS[1], now_us + HOUR_US, now_us, note="mail.example.org")
    assert life.whitelist.admit(HOSTS[2], now_us + 100 * HOUR_US, now_us, origin=BY_HAND, note="the bank, ticket 7")
    life.add(HOSTS[3])
    assert life.whitelist.end(HOSTS[3])
    number = life.backends.refused.number_of(REAL[0])
    life.backends.refused.note(HOSTS[4], number, 5, boottime_us())


def check(before: Life, after: Life) -> None:
    for host in HOSTS[:3]:
        old, new = before.entry(host), after.entry(host)
        assert old == new, (old, new)
    assert [after.entry(host).origin for host in HOSTS[:3]] == ["contact", "child", "by-hand"]
    note = after.entry(HOSTS[2]).note
    assert note
    assert note.text == "the bank, ticket 7"
    assert after.entry(HOSTS[0]).used
    assert after.entry(HOSTS[0]).proven
    assert after.whitelist.find(HOSTS[3]) is None
    # Ended on purpose: a kernel table does not bring it back.
    assert not after.whitelist.adopt(HOSTS[3], boottime_us() + HOUR_US, used=True)
    refused = after.backends.refused.find(HOSTS[4])
    assert refused
    assert (refused.times, refused.server) == (1, REAL[0])


def test_all_comes_back_from_the_journal(place: Path) -> None:
    before = Life(place).live(fill)
    assert before.files() == ["journal.1"]
    after = Life(place)
    after.begin()
    check(before, after)


def test_all_comes_back_from_the_snapshot(place: Path) -> None:
    def work(life: Life) -> None:
        fill(life)
        # When the journal has it.
        asyncio.get_running_loop().call_later(0.6, life.state.missed)

    before = Life(place).live(work, wait_s=1.6)
    assert before.files() == ["journal.1", "snapshot.1"]
    (place / "journal.1").unlink()
    after = Life(place)
    after.begin()
    check(before, after)
    assert before.state.counters() == {}
    assert before.recorder.lines == []


def test_all_comes_back_after_many_lives(place: Path) -> None:
    before = Life(place).live(fill)
    for _ in range(3):
        Life(place).live(lambda life: None)
    after = Life(place).live(lambda life: life.state.missed(), wait_s=1.0)
    assert after.files() == ["journal.5", "snapshot.5"]
    last = Life(place)
    last.begin()
    check(before, last)


def test_what_was_written_before_the_kill_is_there(place: Path) -> None:
    before = Life(place)
    before.live(fill, close=False, wait_s=1.0)
    assert before.state.age_s() is not None
    assert before.state.age_s() < 1.0  # type: ignore[operator]
    before.state._directory.close()  # type: ignore[union-attr]  # as its end does
    after = Life(place)
    after.begin()
    check(before, after)


def test_no_life_is_longer_than_it_may_be(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another boot, and a wall clock that went back by a year, then one that stands still."""
    def work(life: Life) -> None:
        for at, host in enumerate(HOSTS[:3]):
            life.add(host, 1000 * (at + 1))

    before = Life(place).live(work)
    for jump_s in (-31_536_000, 0):
        monkeypatch.setattr(blocks, "boot_id", lambda: os.urandom(16))
        monkeypatch.setattr(time, "time_ns", lambda jump_s=jump_s: 1_700_000_000_000_000_000 + jump_s * 10**9)
        after = Life(place, "--whitelist-time 2500")
        after.begin()
        after.state.close()
        ends = [(after.entry(host).until_us - boottime_us()) / 1e6 for host in HOSTS[:3]]
        assert 990 < ends[0] <= 1000
        assert 1990 < ends[1] <= 2000
        assert 2490 < ends[2] <= 2500, before.files()


def test_one_daemon_has_the_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Life(place)
    first.begin()
    with pytest.raises(StartError, match=r"another mxallowd keeps its state in .*--state-dir"):
        Life(place).begin()
    # Where nobody has named it, the second one does without.
    monkeypatch.setattr(module, "DEFAULT", place)
    second = Life(place)
    second.begin()
    assert second.state.directory is None
    assert second.state.age_s() is None
    assert [line.split()[0] for line in second.recorder.lines] == ["state-off"]
    first.state.close()
    Life(place).begin()


def test_without_a_directory_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    life = Life(tmp_path / "file" / "state").live(fill)
    assert [line.split()[0] for line in life.recorder.lines] == ["state-off"]
    assert "Not a directory" in life.state.fault


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_directory_that_others_write_is_not_used(place: Path, mode: int) -> None:
    place.mkdir()
    place.chmod(mode)
    if mode == 0o775:
        os.chown(place, 0, 65534)
    life = Life(place)
    life.begin()
    assert "may write" in life.state.fault


def test_a_directory_of_root_that_others_need_is_left(tmp_path: Path) -> None:
    (tmp_path / "etc").touch()
    nobody = Account(65534, 65534, "nobody")
    with pytest.raises(DirectoryError, match=r"holds \"etc\""):
        Directory(tmp_path, nobody)
    assert tmp_path.stat().st_uid == 0
    Directory(tmp_path / "new" / "state", nobody).close()
    assert (tmp_path / "new" / "state").stat().st_uid == 65534


def test_a_directory_of_nobody_is_taken_over(tmp_path: Path) -> None:
    """The daemon ran before there was a user for it."""
    nobody, own = Account(65534, 65534, "nobody"), Account(4_000_001, 4_000_001, "mxallowd")
    place = tmp_path / "state"
    Directory(place, nobody).close()
    (place / "own.list").write_text("")
    os.chown(place / "own.list", 65534, 65534)
    # Not one that others can read, nor one that anybody may have put there, nor one that holds other things.
    for spoiled, above, foreign in ((0o750, 0o755, False), (0o700, 0o1777, False), (0o700, 0o755, True)):
        place.chmod(spoiled)
        tmp_path.chmod(above)
        if foreign:
            (place / "foreign").touch()
        with pytest.raises(DirectoryError, match="id 65534"):
            Directory(place, own)
    (place / "foreign").unlink()
    Directory(place, own).close()
    assert {one.stat().st_uid for one in (place, place / "own.list")} == {4_000_001}


def test_damage_is_said_and_costs_no_start(place: Path) -> None:
    before = Life(place).live(fill)
    file = place / "journal.1"
    data = bytearray(file.read_bytes())
    data[70] ^= 1
    file.write_bytes(data)
    (place / "journal.2").symlink_to("/etc/shadow")
    os.mkfifo(place / "journal.3")
    (place / "journal.4").write_bytes(b"x" * 1000)
    after = Life(place)
    after.begin()
    assert [line.split()[0] for line in after.recorder.lines] == ["state-damaged"] * 4
    assert f"file={file}" in after.recorder.lines[0]
    assert "bytes=1000" in after.recorder.lines[3]
    assert before.files() != []


def test_own_servers_do_not_come_back(place: Path) -> None:
    Life(place).live(fill)
    after = Life(place)
    after.whitelist.set_servers([HOSTS[0]])
    after.begin()
    assert after.whitelist.find(HOSTS[0]) is None
    assert after.whitelist.find(HOSTS[1])


def attempts(life: Life, host: bytes, count: int, *, first: int = 0) -> None:
    """As the packet path counts them: an event tells of the first one of a minute only."""
    number = life.backends.refused.number_of(REAL[0])
    told = [life.backends.refused.note(host, number, port, boottime_us()) for port in range(first, first + count)]
    assert not any(told[1:])


@pytest.mark.parametrize("killed", [False, True])
def test_how_often_one_was_refused_comes_back(place: Path, *, killed: bool) -> None:
    """No event tells of the later attempts."""
    def work(life: Life) -> None:
        attempts(life, HOSTS[4], 4)
        if killed:
            # When the first ones are written.
            asyncio.get_running_loop().call_later(0.6, lambda: attempts(life, HOSTS[4], 3, first=4))

    before = Life(place).live(work, close=not killed, wait_s=1.6 if killed else 0.0)
    if killed:
        before.state._directory.close()  # type: ignore[union-attr]  # as its end does
    # Nothing is lost by a life in which nothing happens.
    Life(place).live(lambda life: None, wait_s=0.6)
    after = Life(place)
    after.begin()
    found, old = after.backends.refused.find(HOSTS[4]), before.backends.refused.find(HOSTS[4])
    assert found == old
    assert found
    assert found.times == (7 if killed else 4)


def test_more_refused_hosts_than_a_turn_takes_come_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MOST", 2)
    def work(life: Life) -> None:
        for host in HOSTS[:5]:
            attempts(life, host, 2)

    Life(place).live(work)
    after = Life(place)
    after.begin()
    assert [found.times for host in HOSTS[:5] if (found := after.backends.refused.find(host))] == [2] * 5


def test_a_note_is_the_last_one_or_none(place: Path) -> None:
    """One that was changed alone; and one of an entry that is gone, whose host came in again by itself."""
    def work(life: Life) -> None:
        fill(life)
        asyncio.get_running_loop().call_later(0.6, change, life)

    def change(life: Life) -> None:
        life.whitelist.annotate(HOSTS[2], "the bank, ticket 8")
        assert life.whitelist.end(HOSTS[1])
        life.add(HOSTS[1])

    Life(place).live(work, wait_s=1.0)
    after = Life(place)
    after.begin()
    note = after.entry(HOSTS[2]).note
    assert note
    assert note.text == "the bank, ticket 8"
    assert after.entry(HOSTS[1]).note is None


def test_no_snapshot_before_all_is_entered(place: Path) -> None:
    """It would take the place of what has not been entered yet."""
    Life(place).live(fill)
    life = Life(place)

    async def story() -> None:
        life.state.open()
        life.state.take_records()
        life.state.start()
        life.state.missed()
        await asyncio.sleep(0.6)
        assert "journal.1" in life.files()

    asyncio.run(story())
    life.state._directory.close()  # type: ignore[union-attr]  # as its end does
    after = Life(place)
    after.begin()
    assert after.whitelist.find(HOSTS[0])


def test_journals_without_entries_make_no_row(place: Path) -> None:
    Life(place).live(lambda life: attempts(life, HOSTS[4], 2))
    last = Life(place).live(lambda life: None, wait_s=0.2)
    assert last.files() == ["journal.2", "snapshot.2"]


def test_large_files_are_no_way_to_hold_up_a_start(place: Path) -> None:
    """All of them together are bounded; what has been written before them counts."""
    Life(place).live(fill)
    for number in range(2, 34):
        with (place / f"journal.{number}").open("wb") as file:
            file.truncate(100 << 20)
    after = Life(place)
    after.begin()
    assert after.whitelist.find(HOSTS[0])
    assert len(after.recorder.lines) == 32
    saved = after.state._saved
    assert saved
    assert saved.bytes < 256 << 20


def test_what_another_gateway_told_is_kept_as_that(tmp_path: Path) -> None:
    """Who told it is known again once he says it again: gateways have other numbers in each run."""
    def work(life: Life) -> None:
        life.whitelist.gateway_name = "mx{}".format
        life.whitelist.told(wire(HOSTS[0], origin=CHILD), age_us=0, longest_us=HOUR_US, gateway=7, teller=None,
                            notes={HOSTS[0]: "mail.example.org"})
        assert life.entry(HOSTS[0]).gateway == "mx7"

    Life(tmp_path / "state", FLEET).live(work)
    after = Life(tmp_path / "state", FLEET)
    after.begin()
    entry = after.entry(HOSTS[0])
    assert entry.note is not None
    assert (entry.origin, entry.gateway, entry.note.text) == ("peer", "", "mail.example.org")
    assert after.whitelist.find(HOSTS[0]) is not None
