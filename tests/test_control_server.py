"""The server on a loop of the test: time limits, bounds a user, and mistakes in answers."""
import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mxallowd.control import server, wire
from mxallowd.control.exchange import NDJSON, Request, Response, Route
from mxallowd.control.place import Place
from mxallowd.control.routes import find, parameters_of, split
from mxallowd.control.server import Server

START = b"GET /v1/fine HTTP/1.1\r\nHost: x\r\n"


async def fine(_: Request) -> Response:
    return Response({"fine": True})


async def broken(_: Request) -> Response:
    raise ZeroDivisionError


async def slow(_: Request) -> Response:
    await asyncio.sleep(10)
    return Response()


async def long(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
    return Response(pieces=pieces(), content_type=NDJSON)


async def torn(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x\n"
        raise ZeroDivisionError
    return Response(pieces=pieces(), content_type=NDJSON)


async def counted(request: Request) -> Response:
    """Has a step in each turn, for good; a change for 200 steps."""
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            COUNTED["streams"] += 1
            yield b""
    if request.query:
        return Response(pieces=pieces(), content_type=NDJSON)
    while request.method == "GET" or COUNTED["POST"] < 200:
        COUNTED[request.method] += 1
        await asyncio.sleep(0)
    return Response()


async def heard(_: Request) -> Response:
    """Notes in which turn of the loop it was asked."""
    HEARD.append(TURN[0])
    return Response("heard\n", content_type="text/plain")


def turn() -> None:
    TURN[0] += 1
    asyncio.get_running_loop().call_soon(turn)


COUNTED: Counter[str] = Counter()
HEARD: list[int] = []
TURN = [0]
HANDLERS = {
    "fine": fine, "broken": broken, "slow": slow, "long": long, "torn": torn, "counted": counted, "heard": heard}
ROUTES = [*(Route("GET", f"/v1/{name}", handler) for name, handler in HANDLERS.items()),
          Route("POST", "/v1/counted", counted, changes=True)]
Story = Callable[[Path, list[Exception]], Awaitable[None]]


def play(folder: Path, story: Story) -> list[Exception]:
    """Run a story with a server; the defects that it told of."""
    defects: list[Exception] = []

    async def whole() -> None:
        place = Place(folder / "control.sock")
        place.take(os.geteuid(), os.getegid())
        serving = Server(place, ROUTES, defects.append)
        serving.start()
        try:
            async with asyncio.timeout(20):
                await story(place.path, defects)
        finally:
            await serving.close()
        assert not list(folder.iterdir())

    asyncio.run(whole())
    return defects


async def told(path: Path, sent: bytes) -> bytes:
    """All that comes for these bytes."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    answer = await reader.read(1 << 20)
    while some := await reader.read(1 << 20):
        answer += some
    writer.close()
    return answer


def test_who_is_slow_is_told_so_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "BODY_S", "IDLE_S"):
        monkeypatch.setattr(wire, name, 0.2)
    monkeypatch.setattr(server, "ANSWER_S", 0.2)

    async def story(path: Path, _: list[Exception]) -> None:
        assert (await told(path, START)).startswith(b"HTTP/1.1 408 ")
        post = START.replace(b"GET /v1/fine", b"POST /v1/counted")
        assert (await told(path, post + b"Content-Length: 3\r\n\r\n1")).startswith(b"HTTP/1.1 408 ")
        assert await told(path, b"") == b""
        # A head of which a byte comes now and then has no more time than another one.
        reader, writer = await asyncio.open_unix_connection(path)
        for byte in START[:20]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        assert (await told(path, START.replace(b"fine", b"slow") + b"\r\n")).startswith(b"HTTP/1.1 503 ")

    assert not play(tmp_path, story)


def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "WRITE_S", 0.2)

    async def story(path: Path, _: list[Exception]) -> None:
        reader, writer = await asyncio.open_unix_connection(path, limit=1)
        writer.write(START.replace(b"fine", b"long") + b"\r\n")
        await asyncio.sleep(1)
        with pytest.raises(ConnectionResetError):
            while await reader.read(1 << 20):
                pass
            raise ConnectionResetError  # or its end, in the middle of a chunk
        writer.close()

    assert not play(tmp_path, story)


def test_a_mistake_in_an_answer_is_a_defect(tmp_path: Path) -> None:
    async def story(path: Path, _: list[Exception]) -> None:
        assert (await told(path, START.replace(b"fine", b"broken") + b"Connection: close\r\n\r\n")).startswith(
            b"HTTP/1.1 500 ")
        # In a stream nobody can be told any more: it ends without its last chunk.
        assert not (await told(path, START.replace(b"fine", b"torn") + b"\r\n")).endswith(b"0\r\n\r\n")
        assert (await told(path, START + b"Connection: close\r\n\r\n")).endswith(b'{"fine": true}\n')

    assert [type(error) for error in play(tmp_path, story)] == [ZeroDivisionError] * 2


def test_a_newcomer_takes_the_place_of_the_oldest_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_OF_A_USER", 3)

    async def story(path: Path, _: list[Exception]) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(START.replace(b"fine", b"slow") + b"\r\n")
        await asyncio.sleep(0.05)
        idle = [await asyncio.open_unix_connection(path) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert await idle[0][0].read() == b""
        assert not any(one.at_eof() for one, _ in idle[1:])
        assert not reader.at_eof()
        for one in [writer, *(writer for _, writer in idle)]:
            one.close()

    assert not play(tmp_path, story)


def test_a_question_ends_with_its_client_and_a_change_does_not(tmp_path: Path) -> None:
    COUNTED.clear()

    async def story(path: Path, defects: list[Exception]) -> None:
        for word in (b"GET /v1/counted", b"GET /v1/counted?a=b", b"POST /v1/counted"):
            for _ in range(3):
                _, writer = await asyncio.open_unix_connection(path)
                writer.write(START.replace(b"GET /v1/fine", word) + b"\r\n")
                await asyncio.sleep(0.05)
                writer.close()
        await asyncio.sleep(0.1)
        before = COUNTED.copy()
        await asyncio.sleep(0.2)
        assert before == COUNTED
        assert min(COUNTED["GET"], COUNTED["streams"]) > 3
        assert COUNTED["POST"] == 200
        assert not defects
        # One that only sends no more still reads.
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(START + b"\r\n")
        writer.write_eof()
        assert (await reader.read()).endswith(b'{"fine": true}\n')
        writer.close()

    assert not play(tmp_path, story)


def test_head_has_the_fields_alone(tmp_path: Path) -> None:
    end = b"Connection: close\r\n\r\n"

    async def story(path: Path, _: list[Exception]) -> None:
        for name, status in (b"fine", 200), (b"long", 200), (b"broken", 500), (b"nothing", 404):
            sent = START.replace(b"GET", b"HEAD").replace(b"fine", name) + end
            answer = await told(path, sent)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert answer.endswith(b"\r\n\r\n")
            assert name == b"long" or b"Content-Length: " in answer
        # An empty line before a request is none; two are.
        assert (await told(path, b"\r\n" + START + end)).endswith(b'{"fine": true}\n')
        assert (await told(path, b"\r\n\r\n" + START + end)).startswith(b"HTTP/1.1 400 ")

    assert [type(error) for error in play(tmp_path, story)] == [ZeroDivisionError]


def test_many_requests_at_once_have_no_more_turns(tmp_path: Path) -> None:
    async def story(path: Path, _: list[Exception]) -> None:
        HEARD.clear()
        _reader, writer = await asyncio.open_unix_connection(path)
        turn()
        writer.write((START.replace(b"GET /v1/fine", b"HEAD /v1/heard") + b"\r\n") * 4000)
        while len(HEARD) < 20:
            await asyncio.sleep(0)
        before = len(HEARD)
        assert (await told(path, START + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert len(HEARD) - before < 60
        # One begins in a turn of the loop, and no long answer of the same user waits for their end.
        assert max(Counter(HEARD).values()) == 1
        writer.transport.abort()

    assert not play(tmp_path, story)


def test_targets_and_templates() -> None:
    assert split("/v1/entries/2001:db8::1?note=a%20b+c&limit=") == (
        ["v1", "entries", "2001:db8::1"], {"note": "a b c", "limit": ""})
    assert split("/a%2Fb") == (["a/b"], {})
    assert parameters_of("/v1/entries/{target:path}", ["v1", "entries", "10.0.0.0", "8"]) == {"target": "10.0.0.0/8"}
    assert parameters_of("/v1/entries/{target:path}", ["v1", "entries"]) is None
    assert parameters_of("/v1/entries/{address}", ["v1", "entries", ""]) is None
    assert find(ROUTES, "GET", ["v1", "slow"])[0].handler is slow
