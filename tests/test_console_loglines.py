"""The log as the console follows it: one question for all, filters, restarts, what is lost, and its page."""
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts import REAL4, Attempt, Host, Lab
from mxallowd.console.asking import Daemon, Document, Older, Unreachable
from mxallowd.console.assets import build
from mxallowd.console.loglines import EACH, FIRST, MOST, SENT, Filter, Line, LogLines, filter_of, parts
from mxallowd.console.streams import Stream
from mxallowd.console.visit import Visit
from mxallowd.control.exchange import RequestError
from tests.console_pages import LOOK, answering, shown
from tests.daemon_process import SENDER4, serving


class Told(Daemon):
    """A daemon whose log a test writes; it keeps the last `room` lines."""

    def __init__(self, room: int = 2000) -> None:
        super().__init__(Path("/nowhere"))
        self.epoch, self.texts, self.room = "a", list[str](), room
        self.asked: list[Mapping[str, str]] = []
        self.fault: Exception | None = None

    async def get(self, path: str, query: Mapping[str, str] | None = None, wait_s: float = 0) -> Document:
        assert path == "/v1/log"
        assert query is not None
        self.asked.append(query)
        if self.fault:
            raise self.fault
        last, limit = len(self.texts), int(query["limit"])
        first = max(1, last - self.room + 1)
        after = int(query.get("after", max(first - 1, last - limit)))
        given = [number for number in range(first, last + 1) if number > after][:limit]
        return {"epoch": self.epoch, "first": first, "last": last, "lost": max(0, first - after - 1),
                "next": given[-1] if given else last, "lines": [
                    {"number": number, "time": "2026-11-28T01:02:03.004Z", "level": "info",
                     "word": self.texts[number - 1].partition(" ")[0], "address": None,
                     "text": self.texts[number - 1], "values": {}} for number in given]}


class Scene:
    """A daemon, who follows it, and a clock."""

    def __init__(self, room: int = 2000) -> None:
        self.now = 1000.0
        self.daemon = Told(room)
        self.log = LogLines(self.daemon, lambda: self.now)

    async def turn(self, seconds: float = 1.0) -> None:
        """The next question, as run() has it."""
        self.now += seconds
        await self.log._ask(0.0)

    async def viewer(self, **query: str) -> "Viewer":
        response = await self.log.answer(Visit(LOOK, "/api/log", query))
        assert response.pieces is not None
        made = Viewer(response.pieces)
        await made.some()
        return made


class Viewer:
    """A browser at a stream."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.events: list[tuple[str, Any]] = []

    async def some(self) -> None:
        piece = await asyncio.wait_for(anext(self._pieces), 2)
        for one in piece.decode().split("\n\n"):
            if one.startswith("event: "):
                name, _, data = one.removeprefix("event: ").partition("\ndata: ")
                if name != "console":
                    self.events.append((name, json.loads(data)))

    @property
    def texts(self) -> list[str]:
        return ["".join(part for part, _ in line["parts"]) for name, data in self.events if name == "lines"
                for line in data["lines"]]


def story(test: Callable[[Scene], Awaitable[None]], room: int = 2000) -> None:
    async def told() -> None:
        await test(Scene(room))
    asyncio.run(told())


def test_one_question_serves_all_and_each_has_his_filter() -> None:
    async def told(scene: Scene) -> None:
        viewers = [await scene.viewer(), await scene.viewer(word="ref"), await scene.viewer(q="192.0.2.7")]
        before = len(scene.daemon.asked)
        scene.daemon.texts += ["refused [192.0.2.7] n=1", "whitelisted [192.0.2.8]", "whitelisted [192.0.2.7]"]
        await scene.turn()
        for one in viewers:
            await one.some()
        assert len(scene.daemon.asked) == before + 1
        assert [one.texts for one in viewers] == [
            scene.daemon.texts, scene.daemon.texts[:1], [scene.daemon.texts[0], scene.daemon.texts[2]]]
    story(told)


def test_pages_that_come_together_share_a_question() -> None:
    async def told(scene: Scene) -> None:
        scene.daemon.texts = ["one"]
        assert [len(one) for one in await asyncio.gather(*(scene.log.recent() for _ in range(9)))] == [1] * 9
        assert [dict(one) for one in scene.daemon.asked] == [{"limit": str(FIRST)}]
        scene.daemon.texts.append("two")
        scene.now += 1
        assert [line.text for line in await scene.log.recent()] == ["one", "two"]
        assert scene.daemon.asked[1] == {"after": "1", "limit": str(EACH)}
    story(told)


def test_what_came_between_the_page_and_its_stream_is_sent_first() -> None:
    async def told(scene: Scene) -> None:
        scene.daemon.texts = ["one", "two", "three"]
        await scene.log.recent()
        viewer = await scene.viewer(after="1", epoch="a")
        assert viewer.events[0] == ("state", {"fault": ""})
        assert viewer.texts == ["two", "three"]
        assert (await scene.viewer(after="3", epoch="before")).texts == ["one", "two", "three"]
    story(told)


def test_a_restart_of_the_daemon_begins_anew() -> None:
    async def told(scene: Scene) -> None:
        scene.daemon.texts = ["old"] * 10
        viewer = await scene.viewer()
        scene.daemon.epoch, scene.daemon.texts = "b", ["start version=2"]
        await scene.turn()
        await viewer.some()
        assert viewer.events[-1][1]["epoch"] == "b"
        assert viewer.texts == ["start version=2"]
        assert [line.text for line in scene.log.lines] == ["start version=2"]
    story(told)


def test_what_is_lost_is_counted() -> None:
    async def told(scene: Scene) -> None:
        viewer = await scene.viewer()
        scene.daemon.texts = [f"line {number}" for number in range(50)]
        await scene.turn()
        await viewer.some()
        assert viewer.events[-1][1]["lost"] == 40  # the daemon keeps 10
        scene.daemon.room = 2000
        scene.daemon.texts += [f"more {number}" for number in range(300)]
        await scene.turn()
        await viewer.some()
        assert (viewer.events[-1][1]["lost"], len(viewer.events[-1][1]["lines"])) == (300 - SENT, SENT)
        assert viewer.texts[-1] == "more 299"
    story(told, room=10)


def test_long_lines_make_no_long_event() -> None:
    async def told(scene: Scene) -> None:
        viewer = await scene.viewer()
        scene.daemon.texts = ["x" * 2000] * 200
        await scene.turn()
        await viewer.some()
        _, data = viewer.events[-1]
        assert len(json.dumps(data)) < 64_000
        assert data["lost"] + len(data["lines"]) == 200
    story(told)


def test_memory_is_bounded() -> None:
    async def told(scene: Scene) -> None:
        await scene.log.recent()
        for _ in range(6):
            scene.daemon.texts += ["x"] * EACH
            await scene.turn()
        assert len(scene.log.lines) == MOST
    story(told)


def test_a_fault_is_told_once_and_goes() -> None:
    async def told(scene: Scene) -> None:
        viewer = await scene.viewer()
        scene.daemon.fault = Unreachable("nobody\x1b is there")
        await scene.turn()
        await scene.turn()
        scene.daemon.fault = None
        await scene.turn()
        await viewer.some()
        await viewer.some()
        assert viewer.events[1:] == [("state", {"fault": r"nobody\x1b is there"}), ("state", {"fault": ""})]
        scene.daemon.fault = Older("GET", "/v1/log")
        await scene.turn()
        with pytest.raises(Unreachable, match=r"^this mxallowd is older than the console, and"):
            await scene.log.recent()
    story(told)


def test_nobody_is_asked_while_nobody_looks() -> None:
    """A viewer makes it go on, and who has left is forgotten 10 s later; what came meanwhile is not called lost."""
    async def told(scene: Scene) -> None:
        task = asyncio.create_task(scene.log.run())
        try:
            await asyncio.sleep(0.05)
            assert not scene.daemon.asked
            await scene.log.recent()
            assert len(scene.daemon.asked) == 1
            scene.now += 11
            scene.daemon.texts = ["x"] * 100
            await asyncio.sleep(1.1)
            assert len(scene.daemon.asked) == 1
            assert len(await scene.log.recent()) == 100
            assert "after" not in scene.daemon.asked[1]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    story(told)


def test_a_viewer_who_does_not_read_holds_up_nobody() -> None:
    async def told() -> None:
        stream = Stream()
        pieces = stream.response(lambda: b"first", lambda _, data: data if data != 3 else None).pieces
        assert pieces is not None
        assert await anext(pieces) == f'event: console\ndata: {{"build": "{build()}"}}\n\nfirst'.encode()
        for number in range(20):
            stream.send("n", number)
        last = [f"event: n\ndata: {one}\n\n".encode() for one in range(12, 20)]
        assert [await anext(pieces) for _ in last] == last
        stream.close()
        assert [one async for one in pieces] == []
    asyncio.run(told())


@pytest.mark.parametrize("query", [{"level": "debug"}, {"word": "x" * 101}, {"q": "x" * 201}])
def test_a_filter_that_is_none(query: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        filter_of(query)
    assert caught.value.status == 400


def test_filters() -> None:
    line = Line(1, "", "warning", "queue-full", "queue-full packets=5 name=MX.example")
    for query, takes in (
            ({}, True), ({"level": "warning"}, True), ({"level": "error"}, False), ({"word": "queue"}, True),
            ({"word": "packets"}, False), ({"q": " mx.EXAMPLE "}, True), ({"q": "mx.example.org"}, False)):
        assert filter_of(query).takes(line) is takes, query
    assert filter_of({}) == Filter()


@pytest.mark.parametrize(("text", "found"), [
    ("refused [192.0.2.1] port=25", ["192.0.2.1"]),
    ("told [2001:db8::1] by=[2001:DB8::2]", ["2001:db8::1", "2001:db8::2"]),
    ("network 192.0.2.0/24 at 10:20:30", ["192.0.2.0"]), ("version=2.0.1 1.2.3.4.5 300.1.1.1 12345 a:b", []),
    ("name=192.0.2.9.example", [])])
def test_addresses_are_found(text: str, found: list[str]) -> None:
    assert [address for _, address in parts(text) if address] == found
    assert "".join(part for part, _ in parts(text)) == text


@given(st.text(alphabet=st.sampled_from("0123456789abcdefABCDEF:.[]% \x00\u202e<"), max_size=300))
def test_no_part_of_a_line_is_lost_or_unprintable(text: str) -> None:
    whole = "".join(part for part, _ in parts(text))
    assert whole.isprintable()
    assert whole.replace(r"\x00", "\x00").replace(r"\u202e", "\u202e") == text


def test_a_line_that_others_wrote_is_cut_quickly() -> None:
    began = time.perf_counter()
    for text in (":" * 2048, "a:" * 1024, "1." * 1024, "1.1.1.1 " * 256):
        parts(text)
    assert time.perf_counter() - began < 0.1


@pytest.mark.usefixtures("guarded")
def test_the_page_of_a_daemon(lab: Lab, client: Host) -> None:
    with serving(lab) as daemon:
        assert client.attempt(REAL4) is Attempt.DROPPED
        daemon.wait_for("refused")
        page = shown(daemon.control, "/log")
        assert f"/search?q={SENDER4}" in page.links
        assert page.text.index("refused [") < page.text.index("start version")  # the newest first
        assert 'data-last="' in page.html
        assert "refused [" not in shown(daemon.control, "/log", {"word": "start"}).text
        assert "No line matches." in shown(daemon.control, "/log", {"level": "error"}).text
        wrong = shown(daemon.control, "/log", {"level": "<b>"})
    assert wrong.status == 400
    assert 'the level "<b>" is none of info, warning, error' in wrong.text


def test_an_answer_that_is_none(tmp_path: Path) -> None:
    with answering(tmp_path, {"/v1/log": {"lines": [{"number": "x"}]}}) as control, \
            pytest.raises(Unreachable, match="not as it should be"):
        shown(control, "/log")
