"""A control socket before that of a daemon, which puts hostile texts into every answer and changes nothing."""
import http.server
import json
import socketserver
import threading
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.control_client import ask
from tests.hostile import spoiled


class HostileDaemon:
    """A context manager. `texts` are what it puts in, in turn, and may be others for each page."""

    def __init__(self, control: Path, path: Path) -> None:
        """`control` is the daemon's socket, `path` where this one is made."""
        self.control = control
        self.path = path
        self.asked: list[str] = []
        self.everything = False
        self.texts: Sequence[str] = [""]
        self._server = _Server(str(path), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def texts(self) -> Sequence[str]:
        """Those of now."""
        return self._texts

    @texts.setter
    def texts(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._turn = cycle(texts)
        self._lock = threading.Lock()

    def text(self) -> str:
        """The next one."""
        with self._lock:
            return next(self._turn)

    def answer(self, method: str, target: str) -> tuple[int, Any]:
        """Status and document, spoiled."""
        self.asked.append(target)
        if method != "GET":
            return 409, {"error": {"code": "conflict", "message": self.text()}}
        status, found = ask(self.control, method, target)
        return status, spoiled(found, self.text, everything=self.everything)

    def __enter__(self) -> "HostileDaemon":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(socketserver.ThreadingUnixStreamServer):
    owner: HostileDaemon
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has seen enough."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        assert isinstance(self.server, _Server)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, found = self.server.owner.answer(self.command, self.path)
        lines = isinstance(found, list)
        body = b"".join(json.dumps(one).encode() + b"\n" for one in found) if lines else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-ndjson" if lines else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
