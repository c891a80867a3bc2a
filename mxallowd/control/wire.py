"""One connection: HTTP/1.1 (RFC 9112) on asyncio streams, parsed by h11, and strict before that.

A head is collected here until its empty line, within a bound and a time, and looked at as bytes: a line that ends by LF
alone, a CR within a line, a zero byte and a folded line are refused, since readers differ about them. Then h11 parses
it. A body has one Content-Length; Transfer-Encoding is refused, with it or without. After any fault the connection is
closed, since nobody knows where the next request would begin.

Requests may lie here by the hundred, sent at once: between two of them the connection waits a turn of the loop, as if
the next one had still to come. What lies here is bounded (bound() and PIECE): nothing is read while there is enough to
do, and nothing is written while a client does not take what was.

Which way it fails: a client that is slow, sends too much or what is none is refused and closed. Nothing else waits.
"""
import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

import h11

from mxallowd.control.exchange import JSON, RequestError, Response
from mxallowd.control.routes import WrongMethod
from mxallowd.process.turns import Turns
from mxallowd.text import quoted

MAX_HEAD = 16_384  # bytes of request line and header fields
MAX_FIELDS = 64
MAX_BODY = 524_288  # bytes; 1,000 entries with notes
IDLE_S = 60.0  # without a request
HEAD_S = 10.0  # from the first byte of a head to its last
BODY_S = 20.0
WRITE_S = 20.0  # until a client has taken what was written
# Of an answer that is written at once, and of what is kept for a client that does not read.
PIECE = 32_768
LINGER_S, LINGER_BYTES = 1.0, 4 << 20  # what a refused client still sends is read, so that it reads why
LONGEST_DIGITS = 9
_LENGTH = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,32}")

class Head(NamedTuple):
    """What comes before a body."""

    method: str
    target: str
    length: int  # of the body; -1: there is none
    accept: str  # the field Accept
    by: str = ""  # the field Mxallowd-User: whom the peer asks for
    fields: Mapping[str, str] = MappingProxyType({})  # all, by their names in lower case; what stands twice is joined


Asked = Callable[[bytes | None], Awaitable[Response]]
"""Body (None: there is none) -> response. Raises RequestError."""
Begin = Callable[[Head], Asked]
"""What answers it. Raises RequestError where the body need not even be read."""


def bound(transport: asyncio.WriteTransport) -> None:
    """Keep little of what is read and written; asyncio would keep 256 KiB and, with TLS, 512 KiB."""
    transport.max_size = MAX_HEAD  # type: ignore[attr-defined]  # of one recv(); there is no other way to say it
    transport.set_write_buffer_limits(PIECE)


def as_document(error: RequestError) -> Response:
    """What programs read of an error."""
    return Response({"error": {"code": error.code, "message": str(error)}}, error.status)


class Wire:
    """A connection, request after request."""

    def __init__(self, begin: Begin, refusal: Callable[[RequestError], Response] = as_document) -> None:
        """`refusal` is what a request gets that cannot be answered."""
        self._begin = begin
        self._refusal = refusal
        self._rest = bytearray()  # bytes that came after what was parsed so far
        self._method = ""  # of the request that is answered
        self.waits = True  # for a request: nothing is lost if it is closed now

    @property
    def ends_with_client(self) -> bool:
        """Whether what is done here is for the client alone; what changes something is finished."""
        return self._method in ("GET", "HEAD")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until one side ends the connection. Raises OSError, TimeoutError."""
        self._reader, self._writer = reader, writer
        connection = h11.Connection(h11.SERVER, MAX_HEAD)
        while True:
            try:
                head = await self._request(connection)
                if head is None:
                    return
                asked = self._begin(head)
                body = await self._body(connection, head.length)
                response = await asked(body)
            except RequestError as error:
                await self._refuse(connection, error)
            else:
                await self._respond(connection, response)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
            self._method = ""
            self.waits = True
            await _another_turn()

    # ---- what comes in

    async def _request(self, connection: h11.Connection) -> Head | None:
        """The next one; None: there comes no request any more."""
        head = await self._head()
        if head is None:
            return None
        self.waits = False
        try:
            connection.receive_data(head)
            request = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise _bad(str(error), error.error_status_hint) from None
        if not isinstance(request, h11.Request):
            raise _bad("the request is incomplete")
        self._method = request.method.decode("ascii")
        if request.http_version not in (b"1.0", b"1.1"):
            raise RequestError(505, "bad-request", "the version of HTTP is neither 1.0 nor 1.1")
        if len(request.headers) > MAX_FIELDS:
            raise RequestError(431, "too-large", f"the request has more than {MAX_FIELDS} header fields")
        if any(name == b"transfer-encoding" for name, _ in request.headers):
            raise _bad("Transfer-Encoding is not taken: give the length of the body by Content-Length")
        # As it was sent: h11 takes the length as often as it likes, if it is the same, and makes one of it.
        lengths = _LENGTH.findall(head)
        if len(lengths) > 1 or any(b"," in text for text in lengths):
            raise _bad("Content-Length stands twice")
        length = -1
        if lengths:
            digits = lengths[0].strip(b" \t")
            if len(digits) > LONGEST_DIGITS or int(digits) > MAX_BODY:
                raise RequestError(413, "too-large", f"the body has more than {MAX_BODY} bytes")
            length = int(digits)
        fields: dict[str, str] = {}
        for name, value in request.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            # Of a list with several lines the lines make one (RFC 9110, 5.3); cookies have a mark of their own.
            fields[key] = f"{fields[key]}{'; ' if key == 'cookie' else ','}{text}" if key in fields else text
        by = [value.decode("latin-1") for name, value in request.headers if name == b"mxallowd-user"]
        return Head(self._method, request.target.decode("ascii"), length, fields.get("accept", ""), _name(by), fields)

    async def _head(self) -> bytes | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (HEAD_S if self._rest else IDLE_S)
        looked = 0
        first = True
        while True:
            # One empty line before a request is none (RFC 9112, 2.2): some clients end a body so.
            if first and self._rest.startswith(b"\r\n"):
                del self._rest[:2]
                looked = 0
            first = first and bytes(self._rest[:2]) in (b"", b"\r")
            _check(self._rest, looked)
            end = self._rest.find(b"\r\n\r\n", max(0, looked - 3))
            if end > MAX_HEAD - 4 or (end < 0 and len(self._rest) > MAX_HEAD):
                raise RequestError(431, "too-large", f"the head of the request has more than {MAX_HEAD} bytes")
            if end >= 0:
                head = bytes(self._rest[: end + 4])
                del self._rest[: end + 4]
                return head
            looked = len(self._rest)
            try:
                async with asyncio.timeout_at(deadline):
                    more = await self._reader.read(MAX_HEAD)
            except TimeoutError:
                if not self._rest:
                    return None
                raise RequestError(408, "too-slow", f"the head did not come within {HEAD_S:.0f} seconds") from None
            if not more:
                if self._rest:
                    raise _bad("the request ends in the middle of its head")
                return None
            if not self._rest:
                deadline = loop.time() + HEAD_S
                self.waits = False
            self._rest += more

    async def _body(self, connection: h11.Connection, length: int) -> bytes | None:
        if connection.they_are_waiting_for_100_continue:
            goes_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            await self._write(connection.send(goes_on))
        try:
            async with asyncio.timeout(BODY_S):
                while len(self._rest) < length:
                    more = await self._reader.read(65_536)
                    if not more:
                        raise _bad("the request ends in the middle of its body")
                    self._rest += more
        except TimeoutError:
            raise RequestError(408, "too-slow", f"the body did not come within {BODY_S:.0f} seconds") from None
        body = bytes(self._rest[: max(0, length)])
        del self._rest[: max(0, length)]
        if body:  # h11 takes nothing at all for the end of the connection
            connection.receive_data(body)
        while not isinstance(connection.next_event(), h11.EndOfMessage):
            pass
        return body if length >= 0 else None

    # ---- what goes out

    async def _refuse(self, connection: h11.Connection, error: RequestError) -> None:
        fields = [("Allow", ", ".join(error.methods))] if isinstance(error, WrongMethod) else []
        whole = connection.their_state is h11.DONE
        if not whole:
            fields.append(("Connection", "close"))
        await self._respond(connection, self._refusal(error), fields)
        if not whole:
            # The peer may have hung up in one way and still read.
            self._method = ""
            await self._linger()

    async def _linger(self) -> None:
        # A socket that is closed with something unread resets the connection.
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                if self._writer.can_write_eof():  # TLS has no end of one way alone
                    self._writer.write_eof()
                left = LINGER_BYTES
                while left > 0 and (some := await self._reader.read(65_536)):
                    left -= len(some)

    async def _respond(
        self, connection: h11.Connection, response: Response, fields: list[tuple[str, str]] | None = None,
    ) -> None:
        headers = [("Content-Type", response.content_type), *response.fields, *(fields or [])]
        if not any(name == "Cache-Control" for name, _ in response.fields):
            headers.append(("Cache-Control", "no-store"))
        status = HTTPStatus(response.status)
        if response.pieces is not None:
            await self._stream(connection, h11.Response(
                status_code=status, headers=headers, reason=status.phrase), response.pieces)
            return
        body = await _encoded(response)
        headers.append(("Content-Length", str(len(body))))
        head = connection.send(h11.Response(status_code=status, headers=headers, reason=status.phrase)) or b""
        # The answer to HEAD has the length that one to GET has, and no content (RFC 9110, 9.3.2).
        if self._method == "HEAD":
            body = b""
        if len(body) < MAX_HEAD:
            # One write, so that a client that reads once has all of it.
            data = connection.send(h11.Data(data=body)) or b""
            await self._write(b"".join([head, data, connection.send(h11.EndOfMessage()) or b""]))
            return
        await self._write(head)
        for start in range(0, len(body), PIECE):
            await self._write(connection.send(h11.Data(data=body[start : start + PIECE])))
            await asyncio.sleep(0)
        await self._write(connection.send(h11.EndOfMessage()))

    async def _stream(self, connection: h11.Connection, head: h11.Response, pieces: AsyncIterator[bytes]) -> None:
        await self._write(connection.send(head))
        if self._method == "HEAD":
            await self._write(connection.send(h11.EndOfMessage()))
            return
        async for piece in pieces:
            if piece:
                await self._write(connection.send(h11.Data(data=piece)))
            await asyncio.sleep(0)
        await self._write(connection.send(h11.EndOfMessage()))

    async def _write(self, data: bytes | None) -> None:
        if self._writer.is_closing():
            # asyncio would say on standard error what nobody reads.
            raise ConnectionResetError
        if data:
            self._writer.write(data)
        async with asyncio.timeout(WRITE_S):
            await self._writer.drain()


async def _encoded(response: Response) -> bytes:
    body = response.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, str) and response.content_type != JSON:
        return body.encode()
    if not isinstance(body, dict):
        return f"{json.dumps(body)}\n".encode("ascii")
    # A list may have a thousand objects, of which each is little; what they become is put together once.
    turns = Turns()
    parts: list[bytes] = []
    for key, value in body.items():
        parts.append(f"{', ' if parts else '{'}{json.dumps(key)}: ".encode("ascii"))
        if not isinstance(value, list):
            parts.append(json.dumps(value).encode("ascii"))
            continue
        for number, one in enumerate(value):
            parts.append(f"{', ' if number else '['}{json.dumps(one)}".encode("ascii"))
            await turns.give()
        parts.append(b"]" if value else b"[]")
    await asyncio.sleep(0)
    return b"".join([*parts, b"}\n" if parts else b"{}\n"])


async def _another_turn() -> None:
    # A future and no sleep(0), which in_steps() takes for a step of the same answer: a client that goes on for good
    # would have the place of a long one.
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(_end, turn)
    await turn


def _end(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


def _name(given: list[str]) -> str:
    """The one name; empty: none is given. It goes into the log, so nothing but a plain word counts."""
    if len(given) > 1:
        raise _bad("Mxallowd-User stands twice")
    if given and not _NAME.fullmatch(given[0]):
        raise _bad(f"Mxallowd-User {quoted(given[0])} is not 1 to 32 letters, digits and . _ @ -")
    return given[0] if given else ""


def _bad(reason: str, status: int = 400) -> RequestError:
    return RequestError(status, "bad-request", reason)


def _check(head: bytearray, start: int) -> None:
    """What came of a head from `start` on holds nothing that readers differ about. Raises RequestError."""
    at = max(0, start - 1)
    end = head.find(b"\r\n\r\n", max(0, start - 3))
    found = bytes(head[at : end + 4 if end >= 0 else len(head)])
    pairs = found.count(b"\r\n")
    # A last CR may still get its LF; a first LF had its CR counted before.
    if found.count(b"\n") - pairs - (at > 0 and found[:1] == b"\n" and head[at - 1] == 13):
        raise _bad("a line ends by LF alone")
    if found.count(b"\r") - pairs - found.endswith(b"\r"):
        raise _bad("there is a CR within a line")
    if b"\0" in found:
        raise _bad("there is a zero byte in the head")
    if b"\r\n " in found or b"\r\n\t" in found:
        raise _bad("a header field is folded over two lines")
