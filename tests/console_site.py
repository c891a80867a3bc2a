"""A console in this process, on loopback, with pages and changes of a test; and clients that send any bytes to it.

Its users are anna (change) and otto (look). Their hashes are made once.
"""
import asyncio
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mxallowd.console.asking import Daemon, Unreachable
from mxallowd.console.attempts import Attempts
from mxallowd.console.devices import Devices
from mxallowd.console.door import Door
from mxallowd.console.forwarded import Proxies
from mxallowd.console.pages import Entry
from mxallowd.console.rates import Rates
from mxallowd.console.render import Renderer
from mxallowd.console.server import Server
from mxallowd.console.sessions import Sessions, boot_clock
from mxallowd.console.site import Answer, Site
from mxallowd.console.users import User, Users, line_of, matches
from mxallowd.console.visit import Change, Done, Outcome, Page, Role, Visit
from mxallowd.control.exchange import Response
from tests.control_client import said

PASSWORD, OTHER = "correct horse battery", "Tr0ub4dor&3 and more"
COOKIE = "mxallowd-console"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@cache
def users_text() -> str:
    return f"{line_of('anna', Role.CHANGE, PASSWORD)}\n{line_of('otto', Role.LOOK, OTHER)}\n"


class Lines:
    """A log that is kept."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def write(self, word: str, /, **values: object) -> None:
        self.lines.append((word, values))

    def words(self) -> list[str]:
        return [word for word, _ in self.lines]


async def first(visit: Visit, _: Daemon) -> Page | Response:
    return Page("fault.html", {"fault": f"this is {visit.visitor.name} from {visit.visitor.client}"})


async def echo(visit: Visit, _: Daemon) -> Page | Response:
    return Page("fault.html", {"title": "Echo", "fault": f"[{visit.query.get('q', '')}]"})


async def broken(visit: Visit, _: Daemon) -> Page | Response:
    raise ValueError("a secret of this program")


async def change(visit: Visit, _: Daemon) -> Done:
    if "defect" in visit.form:
        raise ValueError("a secret of this program")
    return Done(visit.form.get("back", "/"), visit.form.get("say", "done"),
                Outcome(visit.form.get("outcome", Outcome.DONE)))


async def failing(visit: Visit, _: Daemon) -> Page | Response:
    raise Unreachable("the daemon did not answer")


async def document(visit: Visit) -> Response:
    return Response({"name": visit.visitor.name})


PAGES = (Entry("/", "First", first), Entry("/echo", "Echo", echo), Entry("/broken", "Broken", broken),
         Entry("/failing", "Failing", failing))
CHANGES: Mapping[str, Change] = {"/change/thing": change}
ANSWERS: Mapping[str, Answer] = {"/api/thing": document}


class Console:
    """Serves until the end of its context."""

    def __init__(
        self, directory: Path, *, answers: Mapping[str, Answer] = ANSWERS, proxies: Sequence[str] = (),
        context: ssl.SSLContext | None = None, check: Callable[[User | None, str], bool] = matches,
        clock: Callable[[], float] = boot_clock, pages: Sequence[Entry] = PAGES,
        changes: Mapping[str, Change] = CHANGES, daemon: Path | None = None, hurry: int = 1, haste: int = 1000,
        devices: Devices | None = None,
    ) -> None:
        """Time of the rate of log-ins passes `hurry` times as quickly, that of requests `haste` times."""
        self.file = directory / "users"
        self.file.write_text(users_text())
        self.log = Lines()
        users = Users(self.file)
        self.sessions = Sessions(users, clock)
        named = Proxies(map(ip_network, proxies))
        self.attempts = Attempts(check, lambda: time.monotonic() * hurry)
        site = Site(Daemon(daemon or directory / "no.sock"), Renderer(),
                    Door(users, self.sessions, self.attempts, self.log, devices), answers, self.log, proxies=named,
                    tls=context is not None, pages=pages, changes=changes,
                    rates=Rates(lambda: time.monotonic() * haste))
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self.server = Server(site, [listener], context, named)
        self.loop = asyncio.new_event_loop()
        self._started, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Console":
        self._thread.start()
        assert self._started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        self.attempts.close()
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def serve() -> None:
            self.server.start()
            self._started.set()
            await self._ended.wait()
            await self.server.close()
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(serve())

    # ---- clients

    def connected(self, source: str = "127.0.0.1", timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout, (source, 0))

    def ask(
        self, method: str, target: str, form: Mapping[str, str] | None = None, cookie: str = "",
        source: str = "127.0.0.1", name: str = COOKIE, **fields: str,
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """Status, header fields and text. A field's name has _ for -."""
        asking = http.client.HTTPConnection("127.0.0.1", self.port, 10, (source, 0))
        headers = {key.replace("_", "-"): value for key, value in fields.items()}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if cookie:
            headers["Cookie"] = f"{name}={cookie}"
        try:
            asking.request(method, target, None if form is None else urlencode(form), headers)
            answer = asking.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            asking.close()

    def log_in(self, name: str = "anna", password: str = PASSWORD, **more: Any) -> str:
        """The token of a session."""
        status, fields, text = self.ask("POST", "/login", {"name": name, "password": password}, **more)
        assert status == 303, text
        return token_in(fields)

    def csrf(self, cookie: str) -> str:
        """The token of its forms."""
        return csrf_in(self.ask("GET", "/", cookie=cookie)[2])

    def raw(self, *pieces: bytes, half_close: bool = False, timeout: float = 5) -> bytes:
        """What the console says to these bytes."""
        with self.connected(timeout=timeout) as made:
            return said(made, *pieces, half_close=half_close)


def token_in(fields: http.client.HTTPMessage) -> str:
    return str(fields["Set-Cookie"]).partition("=")[2].partition(";")[0]


def csrf_in(text: str) -> str:
    found = _CSRF.search(text)
    assert found, text
    return found[1]
