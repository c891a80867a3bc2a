"""A small HTTP server at a UNIX socket in place of the daemon: it says what a test wants, byte for byte."""
import socket
import threading
from collections.abc import Sequence
from pathlib import Path


class Standin:
    """Answers each connection with the next of the answers; a context manager."""

    def __init__(self, directory: Path, answers: Sequence[bytes | None]) -> None:
        """None in place of an answer: nothing is said, and the connection stays open."""
        self.path = str(directory / "control.sock")
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(8)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.requests.append(self._request(connection))
            if answer is not None:
                try:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client has seen enough

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        head, _, body = request.partition(b"\r\n\r\n")
        lengths = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        while lengths and len(body) < int(lengths[0].partition(b": ")[2]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def __enter__(self) -> "Standin":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)


def document(text: str, status: str = "200 OK") -> bytes:
    """An answer with a JSON document."""
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """An answer with a chunked stream of JSON lines."""
    return (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end)
