"""mxallowd-console as a process of its own, with its lines of log, and a client that logs in."""
import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from urllib.parse import urlencode

from mxallowd.console.users import line_of
from mxallowd.console.visit import Role
from tests.ports import free_port

STAMP = re.compile(r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d - ")
PASSWORD = "correct horse battery"
COMMAND = (sys.executable, "-m", "mxallowd.console")


class ConsoleProcess:
    """A console that listens on loopback; a context manager that ends it.

    It becomes nobody where root runs the tests; its files lie where that user can read them.
    """

    def __init__(
        self, control: Path, arguments: Sequence[str] = (), *, prefix: Sequence[str] = (), user: str = "nobody",
        owner: tuple[int, int] = (65534, 65534),
    ) -> None:
        self._directory = TemporaryDirectory(prefix="mxconsole", dir="/tmp")
        place = Path(self._directory.name)
        place.chmod(0o755)
        self.users, self.state = place / "users" / "users", place / "state"
        self.users.parent.mkdir()
        self.state.mkdir()
        self.users.write_text(f"{line_of('anna', Role.CHANGE, PASSWORD)}\n", encoding="ascii")
        if os.geteuid() == 0:
            os.chown(self.state, *owner)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [*prefix, *COMMAND, "--control", str(control), "--users", str(self.users), "--state-dir", str(self.state),
             "--user", user, "--listen", self.address, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._arrived:
                self.lines.append(STAMP.sub("", line.rstrip("\n"), count=1))
                self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()

    def __enter__(self) -> "ConsoleProcess":
        self.wait_for("listening ")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        self._reader.join(5)
        assert self.process.stderr
        self.process.stderr.close()
        self._directory.cleanup()

    def wait_for(self, pattern: str, timeout: float = 15.0) -> str:
        """The first line that matches, once it has come."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while True:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                ended = self.process.poll() is not None and not self._reader.is_alive()
                assert not ended and time.monotonic() < deadline, f"no line {pattern!r}: {self.lines}"
                self._arrived.wait(0.1)

    def ask(self, path: str, cookie: str = "", form: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Status, text, and the cookie that was set."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            fields = {"Cookie": cookie} if cookie else {}
            if form is None:
                connection.request("GET", path, headers=fields)
            else:
                fields["Content-Type"] = "application/x-www-form-urlencoded"
                connection.request("POST", path, urlencode(form), fields)
            answer = connection.getresponse()
            return (answer.status, answer.read().decode(), (answer.getheader("Set-Cookie") or "").partition(";")[0])
        finally:
            connection.close()

    def log_in(self, name: str = "anna", password: str = PASSWORD) -> str:
        """The cookie of a session."""
        status, text, cookie = self.ask("/login", form={"name": name, "password": password})
        assert status == 303, (status, text, self.lines)
        return cookie
