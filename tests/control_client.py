"""Clients of the control socket: one that asks as it should, and one that sends any bytes."""
import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout: float = 10) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        """Connect."""
        self.sock = connected(self._path, self.timeout or 10)


def connected(path: Path | str, timeout: float = 10) -> socket.socket:
    """A connection; where the queue of the listener is full, a little later."""
    deadline = time.monotonic() + timeout
    while True:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(timeout)
        try:
            made.connect(str(path))
        except BlockingIOError:
            made.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return made


def ask(path: Path, method: str, target: str, body: object = None, by: str = "") -> tuple[int, Any]:
    """Status and body, parsed; of a stream the list of its objects. `by` is the field Mxallowd-User."""
    connection = UnixConnection(path)
    try:
        connection.request(method, target, None if body is None else json.dumps(body),
                           {"Mxallowd-User": by} if by else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.headers["Content-Type"] == "application/x-ndjson":
            return answer.status, [json.loads(line) for line in text.splitlines()]
        return answer.status, json.loads(text)
    finally:
        connection.close()


def raw(path: Path, *pieces: bytes, half_close: bool = False, timeout: float = 5) -> bytes:
    """What the daemon says to these bytes: said()."""
    with connected(path, timeout) as made:
        return said(made, *pieces, half_close=half_close)


def said(made: socket.socket, *pieces: bytes, half_close: bool = False) -> bytes:
    """All that comes back for these bytes until the other end closes; b"late" behind it where it does not.

    The pieces are sent one after the other, a moment apart.
    """
    answer = b""
    try:
        for place, piece in enumerate(pieces):
            if place:
                time.sleep(0.01)
            made.sendall(piece)
        if half_close:
            made.shutdown(socket.SHUT_WR)
        while some := made.recv(65_536):
            answer += some
    except TimeoutError:
        answer += b"late"
    except (BrokenPipeError, ConnectionResetError):
        # It was closed while we sent; what was said before can still be read.
        try:
            while some := made.recv(65_536):
                answer += some
        except ConnectionResetError:
            pass
    return answer
