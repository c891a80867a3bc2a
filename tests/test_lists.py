"""What the lists come to: reload of files, networks by hand and their file, and the answers about them."""
import argparse
import asyncio
import io
import json
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from mxallowd.control.answers.hits import HitsShown
from mxallowd.control.answers.lists import ListAnswers
from mxallowd.control.exchange import Request, RequestError
from mxallowd.ctl.command import NO, OK, USAGE, Context
from mxallowd.ctl.commands.lists import COMMANDS
from mxallowd.errors import StartError
from mxallowd.lists import own
from mxallowd.lists.composition import ALLOW, Composition, Source, record
from mxallowd.lists.lists import AGAIN_TICKS, Lists
from mxallowd.lists.own import OwnNetworks
from mxallowd.settings import Settings, build
from mxallowd.settings.arguments import parse
from mxallowd.sinks.listhits import ListHits
from tests.recorder import Recorder
from tests.strategies import packed
from tests.test_list_files import old


class Lines:
    """In place of the log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _write(self, word: str, host: str | None = None, **values: object) -> None:
        self.lines.append(" ".join([word, *(f"{key}={value}" for key, value in values.items())]))

    info = warning = error = _write


class Bench:
    """Lists with a clock and a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now_s = 1_000_000
        self.wall_s = 1_700_000_000
        self.log = Lines()
        self.published: list[Composition] = []

    def path(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return old(path)

    def settings(self, *words: str) -> Settings:
        assignments, _ = parse(["-f", "192.0.2.3", "-r", "192.0.2.5", "-n", "23", *words])
        settings, _ = build(assignments)
        assert settings is not None
        return settings

    def networks(self) -> OwnNetworks:
        return OwnNetworks(self.directory, lambda: self.now_s * 1_000_000, lambda: self.wall_s)

    def pass_time(self, seconds: int) -> None:
        self.now_s += seconds
        self.wall_s += seconds

    def start(self, *words: str) -> Lists:
        lists = Lists(
            self.settings(*words), self.published.append, self.log, self.networks())  # type: ignore[arg-type]
        lists.load()
        return lists


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(work())


async def settled(lists: Lists) -> None:
    while lists._tasks:
        await asyncio.sleep(0.01)


def said(lists: Lists, address: str) -> str | None:
    match = lists.find(packed(address))
    return f"{match.verdict} {match.network} {match.where} {match.note}" if match else None


def test_the_longest_match_over_all_sources_holds(bench: Bench) -> None:
    path = bench.path("a.list", "192.0.2.0/24 # bank\n")
    lists = bench.start("--allow", str(path), "--deny", "192.0.0.0/16", "--deny", "192.0.2.128/25",
                        "--allow", "192.0.2.128/25", "--deny", "2001:db8::1")
    assert said(lists, "192.0.2.1") == f"allow 192.0.2.0/24 {path}:1 bank"
    assert said(lists, "192.0.3.1") == "deny 192.0.0.0/16 configuration None"
    assert said(lists, "192.0.2.129") == "deny 192.0.2.128/25 configuration None"
    assert said(lists, "2001:db8::1") == "deny 2001:db8::1/128 configuration None"
    assert said(lists, "198.51.100.1") is None
    assert bench.published == [lists.composition]


def test_a_start_fails_with_file_and_line(bench: Bench) -> None:
    path = bench.path("a.list", "192.0.2.0/24\nno\n")
    with pytest.raises(StartError, match=r'a\.list:2: "no" is neither a network nor an address'):
        bench.start("--deny", str(path))
    with pytest.raises(StartError, match="more than 100 files"):
        bench.start(*(word for i in range(101) for word in ("--deny", f"/{i}")))


def test_a_reload_is_all_or_nothing_a_file(bench: Bench) -> None:
    bad, good = bench.path("bad.list", "192.0.2.0/24\n"), bench.path("good.list", "198.51.100.1\n")

    async def work() -> None:
        lists = bench.start("--allow", str(bad), "--allow", str(good))
        followed: list[Composition] = []
        lists.follow(followed.append)
        bench.path("bad.list", "203.0.113.0/24\n203.0.113.1/24\n")
        bench.path("good.list", "198.51.100.2\n")
        lists.reload(lists._settings)
        await settled(lists)
        assert said(lists, "192.0.2.1") == f"allow 192.0.2.0/24 {bad}:1 None"
        assert said(lists, "203.0.113.9") is None
        assert (said(lists, "198.51.100.1"), said(lists, "198.51.100.2")) == (
            None, f"allow 198.51.100.2/32 {good}:1 None")
        assert bench.log.lines == [
            f'list-failed where={bad}:2 reason="203.0.113.1/24" has bits behind its prefix; '
            "the network is 203.0.113.0/24", "lists allowed=2 denied=0"]
        assert followed == [lists.composition]
        assert list(lists.faults) == [str(bad)]
        bad.unlink()
        lists.reload(lists._settings)
        await settled(lists)
        assert said(lists, "192.0.2.1")
        lists.reload(replace(lists._settings, allow=(ip_network("10.0.0.0/8"),)))
        await settled(lists)
        assert (said(lists, "192.0.2.1"), lists.count("allow"), lists.faults) == (None, 1, {})
    run(work)


async def gaps(goes_on: Callable[[], bool]) -> list[float]:
    """How far apart the turns of a loop are that wants one each millisecond, sorted.

    Without the time in which a thread of this process waited for a processor, since other processes had them all.
    """
    found = []
    before, waited = time.monotonic(), waited_s()
    while goes_on():
        await asyncio.sleep(0.001)
        after, now_waited = time.monotonic(), waited_s()
        found.append(after - before - (now_waited - waited))
        before, waited = time.monotonic(), now_waited
    return sorted(found)


def waited_s() -> float:
    """How long the threads of this process have been ready to run and had no processor (proc_pid_schedstat(5))."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_bytes().split()[1])
    return total / 1e9


@pytest.mark.alone
def test_the_loop_goes_on_while_a_large_file_is_read(bench: Bench) -> None:
    """100,000 networks: a turn every millisecond. What other processes take is no fault."""
    text = "".join(f"{10 + (i >> 16)}.{i >> 8 & 255}.{i & 255}.0/24 # note {i}\n" for i in range(100_000))
    path = bench.path("large.list", text)

    async def work() -> None:
        lists = bench.start()
        lists.reload(bench.settings("--deny", str(path)))
        busy = await gaps(lambda: bool(lists._tasks))
        assert lists.count("deny") == 100_000
        assert said(lists, "11.134.159.7") == f"deny 11.134.159.0/24 {path}:100000 note 99999"
        assert len(busy) > 50
        assert busy[len(busy) * 98 // 100] < 0.006
    run(work)


def test_a_network_with_a_time(bench: Bench) -> None:
    async def work() -> None:
        lists = bench.start()
        network = ip_network("192.0.2.0/24")
        assert await lists.add_network("allow", network, "bank", 60) == (1, 0, 0, "")
        assert said(lists, "192.0.2.1") == "allow 192.0.2.0/24 by hand bank"
        bench.pass_time(30)
        # Renewed, never shortened.
        await lists.add_network("allow", network, None, 10)
        assert [one.until for one in lists.entries()] == [1_700_000_060]
        bench.pass_time(29)
        lists.tick()
        assert said(lists, "192.0.2.1")
        bench.pass_time(1)
        lists.tick()
        await settled(lists)
        assert said(lists, "192.0.2.1") is None
        assert "192.0.2.0" not in (bench.directory / own.NAME).read_text(encoding="utf-8")
    run(work)


def test_what_was_added_by_hand_outlives_a_restart(bench: Bench) -> None:
    async def work() -> None:
        lists = bench.start()
        await lists.add([("allow", ip_network("192.0.2.0/24"), "the # bank \\ \n\x1b", 100),
                         ("deny", ip_network("2001:db8::/32"), None, None),
                         ("allow", ip_network("::ffff:203.0.113.0/120"), None, None)])
        bench.pass_time(40)
        again = bench.start()
        assert sorted((one.verdict, str(one.network), one.note, one.until) for one in again.entries()) == [
            ("allow", "192.0.2.0/24", "the # bank \\\\ \\x0a\\x1b", 1_700_000_100),
            ("allow", "203.0.113.0/24", None, None), ("deny", "2001:db8::/32", None, None)]
        assert said(again, "203.0.113.5") == "allow 203.0.113.0/24 by hand None"
        assert bench.log.lines == []
    run(work)


def test_a_time_of_day_that_jumps_lengthens_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    network = ip_network("192.0.2.0/24")

    def left() -> list[int | None]:
        return [one.seconds for one in bench.start().own.networks.values()]

    async def work() -> None:
        lists = bench.start()
        await lists.add_network("allow", network, None, 100)
        bench.pass_time(40)
        # While it runs, a jump changes nothing; the end is told in the new time of day.
        bench.wall_s -= 86_400
        lists.tick()
        assert [one.until for one in lists.entries()] == [bench.wall_s + 60]
        assert left() == [60]
        bench.wall_s += 2 * 86_400
        assert left() == []
        # After a start of the machine what was left when it was written is the bound, however often it is written.
        bench.wall_s -= 86_400
        await lists.add_network("deny", network)
        for _ in range(AGAIN_TICKS):
            lists.tick()
        await settled(lists)
        bench.pass_time(20)
        bench.wall_s -= 3600
        bench.now_s = 5
        monkeypatch.setattr(own, "_boot_id", lambda: "another")
        for _ in range(2):
            again = bench.start()
            assert again.own.networks["allow", network].seconds == 60
            await again.add_network("deny", ip_network("192.0.2.1"))
            bench.wall_s -= 3600
        bench.pass_time(25)
        assert bench.start().own.networks["allow", network].seconds == 35
    run(work)


@pytest.mark.alone
def test_many_networks_by_hand_hold_up_nobody(bench: Bench) -> None:
    async def work() -> None:
        lists = bench.start()
        await lists.add([("allow", ip_network((0x0B << 24 | number << 8, 24)), f"note {number}", 60)
                         for number in range(own.MAX_OWN - 1)])

        async def change() -> None:
            for _ in range(4):
                await lists.add_network("deny", ip_network("192.0.2.0/24"))
            await lists.remove_network("deny", ip_network("192.0.2.0/24"))
            await lists.add_network("deny", ip_network("192.0.2.0/24"))

        task = asyncio.ensure_future(change())
        busy = await gaps(lambda: not task.done())
        assert len(busy) > 300
        assert busy[len(busy) * 98 // 100] < 0.006
        bench.pass_time(60)
        lists.tick()
        await settled(lists)
        assert list(map(str, (one.network for one in lists.entries()))) == ["192.0.2.0/24"]
    run(work)


def test_a_damaged_line_costs_itself(bench: Bench) -> None:
    bench.path(own.NAME, "allow 192.0.2.0/24\nallow 192.0.2.1/24\n\x00\ndeny 10.0.0.0/8 until=x seconds=1\n"
               "deny 198.51.100.0/24\n")
    lists = bench.start()
    assert [str(one.network) for one in lists.entries()] == ["192.0.2.0/24", "198.51.100.0/24"]
    assert [line.partition(" reason")[0] for line in bench.log.lines] == [
        f"own-list where={bench.directory / own.NAME}:{line}" for line in (2, 3, 4)]


def test_what_is_added_is_appended_for_some_seconds(bench: Bench) -> None:
    async def work() -> None:
        lists = bench.start()
        path = bench.directory / own.NAME
        for last in (1, 2, 1):
            await lists.add_network("deny", ip_network(f"192.0.2.{last}/32"), None, 60 * last)
        assert path.read_text(encoding="utf-8").count("192.0.2.1/32") == 2
        # What was cut off is no network, and one that somebody else wrote is written anew.
        with path.open("a", encoding="utf-8") as file:
            file.write("deny 10.0.0.0/8")
        assert len(list(bench.start().entries())) == 2
        assert "has no end" in bench.log.lines[0]
        await lists.add_network("deny", ip_network("192.0.2.3/32"))
        assert path.read_text(encoding="utf-8").count("\ndeny ") == 3
        await lists.add_network("deny", ip_network("192.0.2.3/32"))
        for _ in range(AGAIN_TICKS):
            lists.tick()
        await settled(lists)
        assert path.read_text(encoding="utf-8").count("\ndeny ") == 3
    run(work)


def test_a_pipe_in_the_place_of_the_file_stops_no_start(bench: Bench) -> None:
    os.mkfifo(bench.directory / own.NAME)
    assert list(bench.start().entries()) == []
    assert "is no regular file" in bench.log.lines[0]


def test_a_disk_that_takes_nothing_is_said_once(bench: Bench) -> None:
    async def work() -> None:
        lists = bench.start()
        (bench.directory / f"{own.NAME}.new").mkdir()
        for last in (1, 2):
            added = await lists.add_network("deny", ip_network(f"192.0.2.{last}/32"))
            assert added.entered == 1
            assert "Is a directory" in added.unkept
        assert said(lists, "192.0.2.2")
        assert len(bench.log.lines) == 1
        # Once it takes something again, all is written without another word.
        (bench.directory / f"{own.NAME}.new").rmdir()
        for _ in range(AGAIN_TICKS):
            lists.tick()
        await settled(lists)
        assert (bench.directory / own.NAME).read_text(encoding="utf-8").count("deny 192.0.2.") == 2
    run(work)


def test_flush_leaves_the_lists_of_files(bench: Bench) -> None:
    path = bench.path("a.list", "192.0.2.0/24\n")

    async def work() -> None:
        lists = bench.start("--deny", str(path), "--allow", "198.51.100.1")
        await lists.add_network("allow", ip_network("192.0.2.7/32"))
        await lists.add_network("deny", ip_network("203.0.113.0/24"))
        assert await lists.remove_network("deny", ip_network("192.0.2.0/24")) is False
        assert (await lists.flush(), await lists.flush()) == (2, 0)
        assert said(lists, "192.0.2.7") == f"deny 192.0.2.0/24 {path}:1 None"
        assert said(lists, "198.51.100.1")
        assert said(lists, "203.0.113.1") is None
        assert list(bench.start().entries()) == []
    run(work)


def test_without_a_state_directory_it_holds_and_says_so(bench: Bench) -> None:
    async def work() -> None:
        lists = Lists(bench.settings(), bench.published.append, bench.log,  # type: ignore[arg-type]
                      OwnNetworks(bench.directory / "none"))
        lists.load()
        added = await lists.add_network("deny", ip_network("192.0.2.1/32"))
        assert added == (1, 0, 0, "there is no state directory")
        assert said(lists, "192.0.2.1")
    run(work)


def test_by_hand_there_is_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "MAX_OWN", 2)

    async def work() -> None:
        lists = bench.start()
        some = [("deny", ip_network(f"192.0.2.{last}/32"), None, None) for last in (1, 2, 3)]
        # It is filled up; what is there is known, however often it comes.
        for expected in ((2, 0, 1, ""), (0, 2, 1, "")):
            assert await lists.add(some) == expected
    run(work)


# ---- answers and commands


class Asked:
    """The way of a command to the answers, without a socket."""

    def __init__(self, lists: Lists) -> None:
        hits = HitsShown(ListHits(self, lambda: lists.composition, lambda: 0), lambda: lists.composition, lambda: 0,
                         lambda verdict, version: verdict != ALLOW)
        self.routes = {
            (route.method, route.template): route for route in ListAnswers(lists, Recorder().log, hits).routes()}
        self.status, self.body = 0, None

    def find(self, _: bytes) -> None:
        """What the packet path remembers of a host."""

    def ask(self, method: str, path: str, **more: object) -> "Asked":
        base, _, verdict = path.removeprefix("/v1/").partition("/")
        template = f"/v1/{base}" + ("/{verdict}" if verdict else "")
        request = Request(method, path, {"verdict": verdict}, {}, more.get("body"))
        self.__dict__.update(asyncio.run(self._answer(method, template, request)))
        return self

    async def _answer(self, method: str, template: str, request: Request) -> dict[str, object]:
        try:
            answer = await self.routes[method, template].handler(request)
        except RequestError as error:
            return {"status": error.status, "body": {"error": {"code": error.code, "message": str(error)}}}
        return {"status": answer.status, "body": json.loads(json.dumps(answer.body))}


def command(daemon: Asked, *words: str) -> tuple[int, str, str]:
    name, *rest = words
    chosen = next(one for one in COMMANDS if one.name == name)
    parser = argparse.ArgumentParser()
    chosen.arguments(parser)
    parser.add_argument("--json", action="store_true")
    out, err = io.StringIO(), io.StringIO()
    status = chosen.run(Context(daemon, parser.parse_args(rest), out, err))  # type: ignore[arg-type]
    return status, out.getvalue(), err.getvalue()


def test_the_commands_add_show_and_remove(bench: Bench) -> None:
    path = bench.path("a.list", "192.0.2.0/24\n")
    lists = bench.start("--allow", str(path))
    daemon = Asked(lists)
    assert command(daemon, "allow", "add", "198.51.100.0/24", "--note", "bank", "--time", "60") == (
        OK, "allow 198.51.100.0/24 until 2023-11-14T22:14:20Z\n", "")
    assert command(daemon, "deny", "add", "2001:db8::1") == (OK, "deny 2001:db8::1/128\n", "")
    status, out, err = command(daemon, "allow", "list")
    assert (status, err) == (OK, "")
    assert out.splitlines()[:2] == ["by hand: 1 networks", f"{path}: 1 networks"]
    assert out.splitlines()[2].split() == ["198.51.100.0/24", "until", "2023-11-14T22:14:20Z", "#", "bank"]
    assert command(daemon, "allow", "remove", "192.0.2.0/24") == (
        NO, "", f"mxallowctl: 192.0.2.0/24 was not added to allow by hand; it stands in {path}:1, and is removed "
        "there\n")
    assert command(daemon, "deny", "remove", "2001:db8::1") == (OK, "removed 2001:db8::1 from deny\n", "")
    assert command(daemon, "deny", "remove", "2001:db8::1")[0] == NO
    assert command(daemon, "deny", "add")[0] == command(daemon, "deny", "remove", "::1", "--time", "1")[0] == USAGE
    shown = json.loads(command(daemon, "deny", "list", "--json")[1])
    assert (shown["allow"], shown["deny"]) == (2, 0)
    assert shown["by_hand"] == [{"verdict": "allow", "network": "198.51.100.0/24", "origin": "by hand",
                                 "source": "by hand", "note": "bank", "until": "2023-11-14T22:14:20Z",
                                 "hits": None, "last_hit": None}]


def test_trusted_hosts_of_the_first_mx_are_direct(bench: Bench) -> None:
    lists = bench.start()
    records = record(ip_network("192.0.2.101/32"), ALLOW)
    lists.trusted = [Source("trust", ALLOW, records, [one], [""], trusted=True, first_mx_only=one == 2)
                     for one in (1, 2)]
    lists.load()
    daemon = Asked(lists)
    assert command(daemon, "direct", "list") == (OK, "trust: 1 networks of trusted senders, first-mx-only\n", "")
    assert command(daemon, "allow", "list")[1].count("of trusted senders") == 2
    assert lists.count("direct") == 1


@pytest.mark.parametrize(("verdict", "body", "code"), [
    ("allow", None, "bad-request"), ("allow", [], "bad-request"), ("allow", {}, "bad-request"),
    ("allow", {"network": 1}, "bad-request"), ("allow", {"network": "192.0.2.1/24"}, "bad-request"),
    ("allow", {"network": "192.0.2.1", "seconds": 0}, "bad-request"),
    ("allow", {"network": "192.0.2.1", "seconds": True}, "bad-request"),
    ("allow", {"network": "192.0.2.1", "note": 1}, "bad-request"), ("allow", {"network": "::1", "x": 1}, "bad-request"),
    ("grey", {"network": "192.0.2.1"}, "no-such-list")])
def test_a_request_that_cannot_be_answered(bench: Bench, verdict: str, body: object, code: str) -> None:
    daemon = Asked(bench.start()).ask("POST", f"/v1/lists/{verdict}", body=body)
    assert daemon.status in (400, 404)
    assert daemon.body["error"]["code"] == code  # type: ignore[index]
