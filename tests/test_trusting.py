"""Trusted senders as a part of the daemon: whom lists and names let in, and what is told, without a name server."""
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mxallowd.ctl.doctor.told import trust
from mxallowd.daemon import trusting
from mxallowd.daemon.fleet import share_trusted
from mxallowd.daemon.trusting import Trusted
from mxallowd.engine._table import CONTACT, Table
from mxallowd.lists.lists import Lists
from mxallowd.settings import build
from mxallowd.settings.arguments import parse
from mxallowd.trust.lines import parse as parse_lines
from mxallowd.whitelist import Whitelist
from tests.strategies import packed
from tests.test_list_files import old
from tests.test_lists import Lines

HOSTS = [packed(f"192.0.2.{last}") for last in range(1, 6)]


def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[[Trusted, Lines, list[float]], None]) -> None:
    """A file with one list and one domain; `told` gets a clock that it may move, in seconds since 1970."""
    path = tmp_path / "trust"
    path.write_text("dnswl list.example 1\ndomain mx.example.net\nnetwork 198.51.100.0/24\n", "utf-8")
    now, log = [1_800_000_000.0], Lines()
    monkeypatch.setattr(time, "time", lambda: now[0])
    assignments, _ = parse(["-f", "192.0.2.10", "-r", "192.0.2.20", "-n", "1", "-b", "--trust", str(old(path))])
    settings, problems = build(assignments)
    assert settings, problems

    async def run() -> None:
        trusted = Trusted(settings, Lists(settings, lambda _: None, log), lambda: None, [], log)  # type: ignore[arg-type]
        trusted.open()
        told(trusted, log, now)
        trusted.close()

    asyncio.run(run())


def test_whom_a_name_let_in_has_an_entry_for_the_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(trusted: Trusted, _: Lines, now: list[float]) -> None:
        whitelist = Whitelist(Table(64, main=16), lambda: 1_000_000)
        share_trusted([trusted], whitelist, lambda: trusted._settings)
        trusted._let_in(HOSTS[0], trusted._lines[0], "score 3")
        trusted._named(HOSTS[1], "a.mx.example.net")
        trusted._named(HOSTS[2], "a.example.com")
        whitelist.admit(HOSTS[3], 2_000_000, 1_000_000, origin=CONTACT)
        trusted._named(HOSTS[3], "b.mx.example.net")
        assert [whitelist.entry(host) is not None for host in HOSTS[:4]] == [False, True, False, True]
        entry = whitelist.entry(HOSTS[1])
        assert entry is not None
        assert (entry.origin, entry.until_us) == ("trusted", 1_000_000 + 28_800_000_000)
        assert whitelist.find(HOSTS[3]) == (1_000_000 + 28_800_000_000, False)

    story(tmp_path, monkeypatch, told)


def test_whom_a_distrusted_list_let_in_of_late_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(trusted: Trusted, _: Lines, now: list[float]) -> None:
        in_list, named = trusted._lines[0], trusted._lines[1]
        trusted._let_in(HOSTS[0], in_list, "score 3")
        now[0] += 600
        trusted._let_in(HOSTS[1], in_list, "score 3")
        trusted._let_in(HOSTS[2], named, "a.mx.example.net")
        now[0] += 200
        trusted._dnswl.zones[0].doubted(in_list, 300)
        assert list(trusted._hosts) == [HOSTS[0], HOSTS[2]]
        # Without a good answer ever, nobody stays.
        trusted._dnswl.zones[0].doubted(in_list, float("inf"))
        assert list(trusted._hosts) == [HOSTS[2]]
        now[0] += trusting.HOST_S
        trusted.tick()
        assert not trusted._hosts

    story(tmp_path, monkeypatch, told)


def test_a_refresh_asks_for_newer_answers_than_those_that_are_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(trusted: Trusted, _: Lines, now: list[float]) -> None:
        trusted._take(parse_lines(b"spf example.org\n", "trust"))
        reloads = list[object]()
        monkeypatch.setattr(trusted._resolver, "reload", reloads.append)
        assert (trusted.refresh(None), reloads) == (0, [])  # it has not been asked for, so it will be now
        [known] = trusted._refresh.known()
        known.due_s, known.wrong = now[0] + 3600, ("example.org has no MX",)
        assert (trusted.refresh("example.org"), len(reloads)) == (1, 1)
        lines: Any = trusted.document()["lines"]
        line = lines[0]
        assert (line["line"], line["wrong"], line["next_seconds"]) == (1, ["example.org has no MX"], 0)

    story(tmp_path, monkeypatch, told)


def test_hosts_have_a_bound_and_faults_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusting, "MAX_HOSTS", 3)

    def told(trusted: Trusted, log: Lines, _: list[float]) -> None:
        for host in [*HOSTS[:3], HOSTS[0], *HOSTS[3:]]:
            trusted._let_in(host, trusted._lines[0], "score 3")
        assert list(trusted._hosts) == [HOSTS[0], *HOSTS[3:]]
        assert trusted.counters().items() >= {
            "trust-pushed-out": 2, "trust-hosts": 3, "trust-networks": 1, "trust-faults": 1}.items()
        assert trusted.faults() == [f"{tmp_path / 'trust'}:2: {trusting.NO_NAMES}"]
        assert [one.what for one in trust({"trust": trusted.summary()})] == trusted.faults()
        assert trusted.refresh(None) == 0
        assert trusted.refresh("other.example") is None
        assert any(trusting.NO_NAMES in line for line in log.lines)

    story(tmp_path, monkeypatch, told)
