"""What a trial has gathered, in the state directory: it goes on after restarts, and damage costs its block."""
import asyncio
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import pytest

from mxallowd._fastpath import Fastpath
from mxallowd.control.answers.trial import TrialAnswers
from mxallowd.control.exchange import Request
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import decode, packed
from mxallowd.history import kept
from mxallowd.history.followed import DAY_S, Followed, Part, Trace
from mxallowd.history.forecast import Sums
from mxallowd.history.trial import Trial
from mxallowd.lists import own
from mxallowd.mirrors.disk import directory
from mxallowd.mirrors.disk.blocks import HEADER_SIZE, Clock
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.state import State
from mxallowd.mirrors.disk.trial import NAME, TrialFile
from mxallowd.whitelist import Whitelist
from tests.recorder import Recorder
from tests.strategies import FAKE, REAL, ipv4
from tests.test_refused import tcp
from tests.test_settings import good

A, B, C = (packed(f"198.51.100.{number}") for number in range(1, 4))
START_S = 1_000_000


class Place:
    """What the file is given of the state: the directory."""

    def __init__(self, path: Path) -> None:
        self.directory = path

    def shared(self) -> Directory:
        return Directory(self.directory, None)


class Gateway:
    """The decision and the memories, over several lives of a daemon and boots of a machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.boot, self.now_s, self.wall_s = b"1" * 16, START_S, 1_700_000_000
        self.port = 1000
        self.recorder = Recorder()
        self._boot_anew()
        self.begin()

    def _boot_anew(self) -> None:
        table = Table(1000, 1, main=100)
        self.refused, self.contacts = (Refused(1000, 1, table) for _ in range(2))
        self.ring = Ring(4096, -1)
        numbers = {server: self.refused.number_of(server) for server in REAL}
        self.decision = Fastpath(table, self.ring, Rules(FAKE, REAL, 28_800, numbers), refused=self.refused,
                                 contacts=self.contacts)
        self.table = table

    def begin(self) -> None:
        """A daemon starts; of other parts of the state it has all."""
        settings = good("-f 192.0.2.10 -r 192.0.2.20 -n 23")
        whitelist = Whitelist(self.table, lambda: self.now_s * 1_000_000)
        self.trial = Trial(settings, whitelist, self.refused, self.contacts)
        self.counted = {"refused-attempts": 0, "real-first": 0}

        async def count() -> dict[str, int]:
            return self.counted

        self.file = TrialFile(
            self.trial, cast("State", Place(self.path)), count, self.recorder.log,
            moment=lambda: Clock(self.boot, self.now_s * 1_000_000, self.wall_s * 1_000_000))
        self.answers = TrialAnswers(self.trial, count)
        self.file.open()

    def end(self) -> None:
        """It stops."""
        async def story() -> None:
            self.file.start()
            await self.file.count()
            self.file.close()

        asyncio.run(story())

    def reboot(self, seconds: int) -> None:
        """The machine is off for so long, and its clock begins anew."""
        self.end()
        refused = self.refused.entries(0, 2000)[0]
        back_s = self.now_s + seconds - 50
        self.boot, self.now_s, self.wall_s = os.urandom(16), 50, self.wall_s + seconds
        self._boot_anew()
        self.refused.restore(refused, bytes(range(256)), self.now_s * 1_000_000, back_s * 1_000_000)
        self.begin()

    def wait(self, seconds: int) -> None:
        self.now_s += seconds
        self.wall_s += seconds
        self.trial.tick()

    def meet(self, server: bytes, hosts: Iterable[bytes]) -> list[int]:
        self.port += 1
        self.decision.decide([ipv4(host, server, tcp(self.port)) for host in hosts], self.now_s * 1_000_000)
        events = decode(self.ring.drain(4096))
        self.trial.handle(events)
        return [event.kind for event in events]

    def sums(self) -> Sums:
        return asyncio.run(self.trial.forecast.collect())[0]

    def get(self, handler: Callable[[Request], object]) -> dict[str, object]:
        async def asked() -> object:
            return await handler(Request("GET", "/"))  # type: ignore[misc]

        found = json.loads(json.dumps(asyncio.run(asked()).body))  # type: ignore[attr-defined]
        # The wall clock of the answers is the kernel's, not this one.
        return {name: value for name, value in found.items() if name != "since"}

    def age_s(self) -> int:
        """How long ago the trial began."""
        return self.trial.timeline.now_s() - self.trial.forecast.since_s


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """A host that is refused; one that tries the fake server alone, with a name."""
    made = Gateway(tmp_path / "state")
    made.meet(REAL[0], [A, B])
    made.counted = {"refused-attempts": 2, "real-first": 6}
    for _ in range(3):
        made.meet(FAKE[0], [C])
        made.wait(70)
    made.trial.named(C, "mail.bank.example", True)
    made.trial.named(B, "a.pool.example", False)
    return made


def test_a_restart_does_not_begin_it_anew(gateway: Gateway) -> None:
    gateway.wait(3 * 3600)
    before = gateway.get(gateway.answers.forecast)
    gateway.end()
    gateway.wait(600)
    gateway.begin()
    assert gateway.get(gateway.answers.forecast) == before
    assert gateway.age_s() == 3 * 3600 + 3 * 70 + 600
    assert before["connections"] == {"refused": 2, "accepted": 6, "share_refused": 0.25}
    gateway.meet(FAKE[0], [A])
    gateway.meet(REAL[0], [A])
    assert gateway.sums() == Sums(2, (0, 0, 1), (0, 0, 1), 0, 1, 0)
    # A second restart has what the one before had, and what came since.
    gateway.end()
    gateway.begin()
    assert gateway.get(gateway.answers.forecast)["refused_later_passed"] == 1
    assert gateway.trial.forecast.later_passed == 0
    [bank] = cast("list[dict[str, object]]", gateway.get(gateway.answers.first_mx_only)["hosts"])
    assert (bank["address"], bank["name"], bank["name_confirmed"]) == ("198.51.100.3", "mail.bank.example", True)
    assert bank["contacts"] == 3
    assert gateway.recorder.lines == []


def test_a_reboot_does_not_either(gateway: Gateway) -> None:
    """The packet path's clock is back at 50 seconds, so what was before is before its zero."""
    gateway.reboot(4 * 3600)
    assert gateway.age_s() == 4 * 3600 + 3 * 70
    gateway.meet(FAKE[0], [A])
    assert gateway.sums() == Sums(2, (0, 0, 1), (0, 0, 1), 0, 1, 0)
    gateway.wait(DAY_S)
    gateway.meet(FAKE[0], [B])
    assert gateway.sums() == Sums(2, (0, 0, 1), (0, 0, 0), 0, 1, 0)


def test_two_contacts_and_one_after_a_restart(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "state")
    gateway.meet(FAKE[0], [A])
    gateway.wait(20)
    gateway.meet(FAKE[0], [A])
    gateway.end()
    gateway.begin()
    assert gateway.get(gateway.answers.first_mx_only)["count"] == 0
    gateway.wait(20)
    gateway.meet(FAKE[0], [A])
    assert gateway.get(gateway.answers.first_mx_only)["count"] == 1


def test_damage_of_any_byte_costs_its_block_at_most(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "state")
    hosts = [packed(f"198.51.{number // 250}.{number % 250}") for number in range(1, 501)]
    gateway.meet(REAL[0], hosts)
    gateway.end()
    file = gateway.path / NAME
    data = file.read_bytes()
    choose = random.Random(3)
    for at in [choose.randrange(len(data)) for _ in range(25)] + [0, len(data) - 1, HEADER_SIZE + 1]:
        file.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        gateway.recorder.lines.clear()
        gateway.begin()
        assert [line.split()[0] for line in gateway.recorder.lines] == ["state-damaged"]
        assert gateway.sums().hosts >= 500 - 226
        gateway.file.close()
    for cut in (b"", data[: len(data) // 2], b"x" * 100_000):
        file.write_bytes(cut)
        gateway.begin()
        gateway.meet(REAL[0], [A])
        gateway.file.close()


def test_what_cannot_be_written_is_said(gateway: Gateway) -> None:
    gateway.end()
    (gateway.path / NAME).unlink()
    (gateway.path / NAME).mkdir()
    gateway.begin()
    gateway.recorder.lines.clear()
    gateway.end()
    [line] = gateway.recorder.lines
    assert line.startswith("state-broken ")
    assert "the file trial: " in line


def test_pieces_that_are_none_are_refused() -> None:
    followed = Followed((10, 10))
    good_one = Part(100, 0, 0, (1).to_bytes(16, "big") + bytes(20))
    for part in (good_one._replace(hour=10**6), good_one._replace(room=2), good_one._replace(level=99),
                 good_one._replace(hosts=b"x")):
        with pytest.raises(ValueError, match="no hosts"):
            followed.restore(b"k" * 16, part, 400_000)
    # Another hour, a time to come, a host twice: these hosts are left out.
    followed.restore(b"k" * 16, good_one, 400_000)
    assert len(followed) == 0
    with pytest.raises(ValueError, match="no piece"):
        kept.ahead_of(b"x")


def test_a_sample_stays_a_sample() -> None:
    """Its levels and its key go with it: who was left out is left out still."""
    followed, again = Followed((100, 10)), Followed((100, 10))
    hosts = [os.urandom(16) for _ in range(2000)]
    for host in hosts:
        followed.note(host, Trace(50, 50, 0, 0, 1, 0))
    for parts in followed.parts():
        for part in parts:
            again.restore(followed.key, part, 1000)
    assert sorted(again.entries()) == sorted(followed.entries())
    for host in hosts:
        assert again.note(host, Trace(50, 50, 0, 0, 1, 0)) == (followed.find(host) is not None)


def test_files_of_every_part_are_no_strangers_in_a_directory_of_roots() -> None:
    """A start as another user takes over what one as root has written."""
    for name in (NAME, f"{NAME}.new", "snapshot.7", "snapshot.7.new", "journal.8", own.NAME, f"{own.NAME}.new"):
        assert directory._OURS.fullmatch(name), name
