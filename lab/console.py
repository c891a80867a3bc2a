"""The console as a process of its own, outside of all hosts of a lab, and a small client of its pages.

Its users have passwords that who starts it knows. It asks the control socket of a daemon, which is a file, and listens
on loopback of the machine.
"""
import http.client
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlencode

from mxallowd.console.users import line_of
from mxallowd.console.visit import Role

# One of each role.
ANNA, BEN = "anna", "ben"
PASSWORDS = {ANNA: "correct horse battery", BEN: "a look is enough"}
ROLES = {ANNA: Role.CHANGE, BEN: Role.LOOK}
STARTS_S, ENDS_S = 15.0, 10.0


class Answer(NamedTuple):
    """What the console has answered."""

    status: int
    fields: http.client.HTTPMessage
    body: str


class Console:
    """A console that serves."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", directory: Path) -> None:
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self.process = process
        self.users = directory / "etc" / "users"
        self.state = directory / "state"
        self._log = directory / "log"

    def said(self) -> str:
        """Its log so far."""
        return self._log.read_text(encoding="utf-8")

    def session(self, name: str = ANNA) -> "Session":
        """Somebody who has logged in. Raises RuntimeError where that fails."""
        made = Session(self.port)
        for _ in range(3):
            answer = made.post("/login", {"name": name, "password": PASSWORDS[name], "next": "/"})
            if answer.status != 429:
                break
            # A busy machine takes long for a check, and few may wait for one.
            time.sleep(2)
        cookie = re.match(r"[^;]+", answer.fields.get("Set-Cookie", ""))
        if answer.status != 303 or not cookie:
            raise RuntimeError(f"{name} cannot log in: {answer.status} {answer.body[:500]}")
        made.cookie = cookie[0]
        return made


class Session:
    """A client that does as a browser does, a connection for each request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def get(self, path: str, **query: str) -> Answer:
        """A page."""
        return self._asked("GET", f"{path}?{urlencode(query)}" if query else path, None, {})

    def post(self, path: str, form: Mapping[str, str]) -> Answer:
        """Send a form."""
        return self._asked("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})

    def stream(self, path: str) -> socket.socket:
        """A connection on which a stream has begun, its head not read yet; the caller closes it."""
        made = socket.create_connection(("127.0.0.1", self.port), 10)
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n\r\n".encode())
        return made

    def _asked(self, method: str, target: str, body: str | None, fields: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, {**fields, **({"Cookie": self.cookie} if self.cookie else {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()


@contextmanager
def console(
    control: Path, *arguments: str, prefix: tuple[str, ...] = (), passwords: Mapping[str, str] = PASSWORDS,
    port: int = 0, user: str = "root",
) -> Iterator[Console]:
    """A console that asks this control socket, once it answers. Raises RuntimeError where it does not.

    Users that are not those of this module may change. It stays root by default, since nobody else can read the
    directories of tests; all else of its sandbox is as it is. Without capabilities root is no owner of the socket of a
    daemon that has become another user: that one is `user`.
    """
    with TemporaryDirectory(prefix="mxc") as place:
        directory = Path(place)
        users, state = directory / "etc" / "users", directory / "state"
        users.parent.mkdir()
        lines = [f"{line_of(name, ROLES.get(name, Role.CHANGE), password)}\n" for name, password in passwords.items()]
        users.write_text("".join(lines), encoding="utf-8")
        users.chmod(0o600)
        state.mkdir()
        if user != "root":
            # He reads them, and owns none: a console takes the file from root alone.
            directory.chmod(0o755)
            os.chown(users, -1, pwd.getpwnam(user).pw_gid)
            users.chmod(0o640)
            shutil.chown(state, user)
        port = port or _free_port()
        command = [*prefix, sys.executable, "-m", "mxallowd.console", "--listen", f"127.0.0.1:{port}", "--user", user,
                   "--control", str(control), "--users", str(users), "--state-dir", str(state), *arguments]
        with (directory / "log").open("wb") as log, \
                subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
            made = Console(port, process, directory)
            try:
                _wait(made)
                yield made
            finally:
                process.terminate()
                try:
                    process.wait(ENDS_S)
                finally:
                    process.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait(made: Console) -> None:
    deadline = time.monotonic() + STARTS_S
    while True:
        try:
            if Session(made.port).get("/login").status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if made.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the console does not serve: {made.said()}")
        time.sleep(0.05)
