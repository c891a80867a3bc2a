"""The way to the daemon: a request on a connection of its own to the control socket, read by h11.

Bounds: AT_ONCE requests, since the daemon gives one user no more connections; an answer of LARGEST bytes within the
time that the caller gives. Which way it fails: each fault is an Unreachable, whose text is for people; an error that
the daemon answers is a Refusal, and an Older where it comes from a release that has no such answer yet.
"""
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import h11

from mxallowd.errors import MxallowdError

AT_ONCE = 12
LARGEST = 16 << 20
LONGEST_LINE = 1 << 20
WAIT_S = 10.0
UNKNOWN = ("not-found", "wrong-method")  # the daemon's words for a path that it has not, or not for this method
Document = dict[str, Any]


class Unreachable(MxallowdError):
    """The daemon does not answer, or not as it should."""


class Late(Unreachable):
    """It has not answered in time."""


class Refusal(MxallowdError):
    """The daemon has answered with an error; the text is its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """`status` is that of HTTP, `code` the daemon's word for programs, such as `not-listed`."""
        super().__init__(message)
        self.status = status
        self.code = code


class Older(Refusal):
    """The daemon is of a release that does not know what was asked: it has neither refused it nor looked for it."""

    def __init__(self, method: str, path: str) -> None:
        """What was asked."""
        super().__init__(501, "older", f"this mxallowd is older than the console, and does not know {method} {path}")


def path_of(*segments: str) -> str:
    """A path of these segments, each encoded as a whole: `/v1/explain/192.0.2.0%2F24`."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


class Daemon:
    """Asks it."""

    def __init__(self, socket: Path, way: Path | None = None) -> None:
        """`way` leads to the socket where its own path cannot be used (enclosure.py)."""
        self._socket = socket
        self._way = way or socket
        self._room = asyncio.Semaphore(AT_ONCE)

    async def get(self, path: str, query: Mapping[str, str] | None = None, wait_s: float = WAIT_S) -> Document:
        """The document at `path`. Raises Unreachable, Refusal."""
        async with self._asked("GET", path, query, None, "", wait_s) as (status, body):
            return _document(status, await _whole(body), "GET", path)

    async def change(self, method: str, path: str, body: Document | None, by: str) -> Document:
        """Have something changed in the name of a user of the console. Raises Unreachable, Refusal."""
        async with self._asked(method, path, None, body, by, WAIT_S) as (status, answer):
            return _document(status, await _whole(answer), method, path)

    async def lines(
        self, path: str, query: Mapping[str, str], most: int, wait_s: float = WAIT_S,
    ) -> tuple[list[Document], bool]:
        """The first objects of a stream, and whether there are more, or there was no time for them."""
        found: list[Document] = []
        held = bytearray()
        try:
            async with self._asked("GET", path, query, None, "", wait_s) as (status, body):
                if status != 200:
                    _document(status, await _whole(body), "GET", path)
                async for piece in body:
                    held += piece
                    *whole, rest = held.split(b"\n")
                    held = bytearray(rest)
                    found += [_parsed(one) for one in whole if one]
                    if len(found) > most:
                        return found[:most], True
                    if len(held) > LONGEST_LINE:
                        raise Unreachable("a line of the daemon's answer has no end")
        except Late:
            return found, True
        return found, False

    @asynccontextmanager
    async def _asked(  # noqa: PLR0913, PLR0917  # the parts of a request
        self, method: str, path: str, query: Mapping[str, str] | None, body: Document | None, by: str, wait_s: float,
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        late = Late(f"the daemon did not answer within {wait_s:.0f} seconds")
        writer: asyncio.StreamWriter | None = None
        async with self._room:
            try:
                async with asyncio.timeout(wait_s):
                    reader, writer = await asyncio.open_unix_connection(self._way)
                    connection = h11.Connection(h11.CLIENT)
                    target = f"{path}?{urlencode(query)}" if query else path
                    writer.write(_request(connection, method, target, body, by))
                    await writer.drain()
                    yield await _head(reader, connection), _body(reader, connection)
            except TimeoutError:
                raise late from None
            except OSError as error:
                raise Unreachable(f"the daemon cannot be reached at {self._socket}: {error.strerror}") from None
            except h11.RemoteProtocolError:
                raise Unreachable("the daemon's answer is no HTTP") from None
            finally:
                if writer is not None:
                    writer.transport.abort()


def _request(connection: h11.Connection, method: str, target: str, body: Document | None, by: str) -> bytes:
    data = b"" if body is None else json.dumps(body).encode("ascii")
    headers = [("Host", "mxallowd"), ("Content-Length", str(len(data))), ("Connection", "close")]
    if by:
        headers.append(("Mxallowd-User", by))
    sent = [connection.send(h11.Request(method=method, target=target, headers=headers)),
            connection.send(h11.Data(data=data)), connection.send(h11.EndOfMessage())]
    return b"".join(one or b"" for one in sent)


async def _event(reader: asyncio.StreamReader, connection: h11.Connection) -> h11.Event | type[h11.PAUSED]:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(65_536))
    assert not isinstance(event, type) or event is h11.PAUSED
    return event


async def _head(reader: asyncio.StreamReader, connection: h11.Connection) -> int:
    event = await _event(reader, connection)
    if not isinstance(event, h11.Response):
        raise Unreachable("the daemon has ended the connection")
    return event.status_code


async def _body(reader: asyncio.StreamReader, connection: h11.Connection) -> AsyncIterator[bytes]:
    while isinstance(event := await _event(reader, connection), h11.Data):
        yield bytes(event.data)


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    data = bytearray()
    async for piece in body:
        data += piece
        if len(data) > LARGEST:
            raise Unreachable("the daemon's answer is too long")
    return bytes(data)


def _document(status: int, data: bytes, method: str, path: str) -> Document:
    found = _parsed(data)
    # What is not healthy or ready says so by its status, and is an answer all the same.
    if status != 200 and "error" in found:
        error = found["error"]
        # Of a path with these nobody knows anything (routes.py): they were typed.
        if error.get("code") in UNKNOWN and not {".", ".."} & set(path.split("/")):
            raise Older(method, path)
        raise Refusal(status, str(error.get("code")), str(error.get("message")))
    return found


def _parsed(data: bytes | bytearray) -> Document:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Unreachable("the daemon's answer is no JSON") from None
    if not isinstance(found, dict):
        raise Unreachable("the daemon's answer is no object")
    return found
