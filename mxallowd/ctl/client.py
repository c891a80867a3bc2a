"""The way to the daemon: one HTTP/1.1 request on a connection of its own, over the UNIX socket.

Made by hand: http.client takes longer to be imported than a whole command may take. Nothing is trusted to be short or
well-formed: lines, headers and documents have bounds, and what breaks the form is an error, never half of an answer.
A stream is read as it comes, so a list of a million entries takes the memory of one line.
"""
import errno
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from mxallowd.text import printable, quoted

DEFAULT_SOCKET = "/run/mxallowd/control.sock"
TIMEOUT_S = 20  # for each step: to be let in, and between two pieces of an answer
LONGEST_LINE = 1 << 20  # of headers, of chunk sizes, and of an object of a stream
MOST_HEADERS = 100
LARGEST_DOCUMENT = 64 << 20


class Unreachable(Exception):
    """The daemon cannot be reached, or does not answer as it should; the text says what to do."""


def escaped(text: str) -> str:
    """`text` as one part of a path or of a query (RFC 3986)."""
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 0x80) or byte in b"-._~" else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape"))


class Answer:
    """An answer of the daemon."""

    def __init__(self, status: int, body: object, pieces: Iterator[bytes] | None = None) -> None:
        self.status = status
        self.body = body
        self._pieces = pieces

    def lines(self) -> Iterator[dict[str, object]]:
        """The objects of a stream, as they come. Raises Unreachable where it breaks off."""
        held = b""
        for piece in self._pieces or ():
            *lines, held = (held + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield _object(line)
            if len(held) > LONGEST_LINE:
                raise Unreachable("the daemon's answer has a line without an end")
        if held.strip():
            yield _object(held)


class Client:
    """Asks the daemon at one socket."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None,
        stream: bool = False,
    ) -> Answer:
        """Ask, and return the answer, whatever its status is.

        `path` and the values of `query` are escaped here but for the slashes of the path. Raises Unreachable.
        """
        target = "/".join(escaped(part) for part in path.split("/"))
        if query:
            target += "?" + "&".join(f"{escaped(name)}={escaped(value)}" for name, value in query.items())
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: mxallowd\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        connection = _Connection(self._path, self._timeout_s)
        try:
            connection.send(f"{head}\r\n".encode("ascii") + content)
            return connection.answer(stream=stream)
        except BaseException:
            connection.close()
            raise


class _Connection:
    """One connection: a request, and the reader of its answer."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._held = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Bounds of the kernel's, not those of Python: with these a full queue of connections is waited for.
        bound = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unreachable(self._why(error)) from error

    def _why(self, error: OSError) -> str:
        where = quoted(self._path)
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return f"no daemon at {where}: it does not run, or has another --control (--socket PATH)"
        if error.errno == errno.ECONNREFUSED:
            return f"no daemon at {where}: the socket is there, and nobody listens (any more)"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"may not ask the daemon at {where}: be root, the daemon's user or in the group of the socket"
        if error.errno in (errno.EAGAIN, errno.ETIMEDOUT):
            return f"the daemon at {where} has not answered for {self._timeout_s:g} seconds"
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            return f"the daemon at {where} closed the connection without an answer"
        return f"cannot ask the daemon at {where}: {os.strerror(error.errno) if error.errno else error}"

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            # A daemon that has heard enough may have answered already; no signal ends this command then.
            self._socket.sendall(data, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise Unreachable(self._why(error)) from error

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError as error:
            raise Unreachable(self._why(error)) from error

    def _more(self) -> None:
        piece = self._receive()
        if not piece:
            raise self._broken("ends too early" if self._held else "is missing")
        self._held += piece

    def _broken(self, what: str) -> Unreachable:
        return Unreachable(f"the answer of {quoted(self._path)} {what}: is this mxallowd?")

    def _line(self) -> bytes:
        while b"\n" not in self._held:
            if len(self._held) > LONGEST_LINE:
                raise self._broken("has a line without an end")
            self._more()
        line, _, self._held = self._held.partition(b"\n")
        return line.rstrip(b"\r")

    def answer(self, *, stream: bool) -> Answer:
        """Read the answer; of a stream that was answered well only the head."""
        status, headers = self._head()
        while status // 100 == 1:
            status, headers = self._head()
        pieces = self._pieces(headers)
        if stream and status == 200 and "ndjson" in headers.get("content-type", ""):
            return Answer(status, None, pieces)
        document = bytearray()
        for piece in pieces:
            document += piece
            if len(document) > LARGEST_DOCUMENT:
                raise self._broken("is endless")
        if "json" in headers.get("content-type", "") and "ndjson" not in headers.get("content-type", ""):
            return Answer(status, _parsed(bytes(document)) if document else None)
        return Answer(status, document.decode("utf-8", "replace"))

    def _head(self) -> tuple[int, dict[str, str]]:
        first = self._line().split(b" ", 2)
        if len(first) < 2 or first[0] not in (b"HTTP/1.1", b"HTTP/1.0") or not (
                len(first[1]) == 3 and first[1].isdigit()):
            raise self._broken("is not HTTP")
        headers: dict[str, str] = {}
        for _ in range(MOST_HEADERS):
            line = self._line()
            if not line:
                return int(first[1]), headers
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise self._broken("is not HTTP")
            headers[name.strip().lower()] = value.strip()
        raise self._broken("has too many headers")

    def _pieces(self, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The body as it comes, and the end of the connection with it."""
        try:
            if headers.get("transfer-encoding", "").lower() == "chunked":
                yield from self._chunks()
            elif "content-length" in headers:
                yield from self._counted(self._number(headers["content-length"], 10))
            else:
                yield self._held
                while piece := self._receive():
                    yield piece
        finally:
            self.close()

    def _chunks(self) -> Iterator[bytes]:
        while size := self._number(self._line().decode("latin-1").partition(";")[0].strip(), 16):
            yield from self._counted(size)
            if self._line():
                raise self._broken("is not HTTP")
        while self._line():
            pass  # trailers say nothing that is needed

    def _counted(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._held:
                self._more()
            piece, self._held = self._held[:count], self._held[count:]
            count -= len(piece)
            yield piece

    def _number(self, text: str, base: int) -> int:
        if not text or len(text) > 16 or not text.isalnum():
            raise self._broken("is not HTTP")
        try:
            return int(text, base)
        except ValueError:
            raise self._broken("is not HTTP") from None


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unreachable(f"the daemon's answer is no JSON: {printable(text[:60].decode('utf-8', 'replace'))}"
                          ) from None


def _object(line: bytes) -> dict[str, object]:
    found = _parsed(line)
    if not isinstance(found, dict):
        raise Unreachable("the daemon's stream has a line that is no object")
    return found
