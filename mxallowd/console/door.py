"""Log-in and log-out: who gets a session, and what the log says of it.

A log-in makes a new token and ends the session that the browser had before, so a token that somebody has planted is
worth nothing. It also makes the browser known (devices.py). A failed one says neither here nor by the time it takes
whether the name is known.

Which way it fails: where nobody at all can log in, that is said to whoever comes, and is no attempt of his.
"""
from collections.abc import Mapping
from typing import Protocol

from mxallowd.console.attempts import Attempts, Busy
from mxallowd.console.devices import Devices
from mxallowd.console.forwarded import Client
from mxallowd.console.guard import cookie, device_cookie, device_of, token_of
from mxallowd.console.sessions import Session, Sessions
from mxallowd.console.users import Users
from mxallowd.control.exchange import RequestError
from mxallowd.log.periodic import Summed

LONGEST_NAME, LONGEST_PASSWORD = 32, 1024
WRONG = "The name or the password is wrong."
# To anybody at all, so it says no more; the log has the reason, and what is sent is not looked at.
SHUT = "The console cannot read its users, so nobody can log in now. Its log says why."
NOBODY = "The console has no user who could log in now. Who runs it can make one, or look into its log."


class Log(Protocol):
    """What the console's log is to the site."""

    def write(self, word: str, /, **values: object) -> None:
        """One line: a word and its values, whose text may be anybody's. Never waits, never raises."""


class Denied(RequestError):
    """No log-in; the text is for the log-in page."""

    again_s = 0.0  # after so long another attempt is worth while; 0: at once


class Door:
    """Lets users in and out."""

    def __init__(
        self, users: Users, sessions: Sessions, attempts: Attempts, log: Log, devices: Devices | None = None,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._attempts = attempts
        self._log = log
        self._devices = devices or Devices()
        self._refused: Summed[tuple[str, str]] = Summed()

    def session(self, client: Client, fields: Mapping[str, str]) -> Session | None:
        """The session of a request."""
        token = token_of(fields, secure=client.secure)
        return self._sessions.get(token) if token else None

    def browser(self, client: Client, fields: Mapping[str, str]) -> str:
        """What tells a browser that is known from others; "": it is not known."""
        cookie = device_of(fields, secure=client.secure)
        if not cookie:
            return ""
        self._users.refresh()
        return self._devices.nonce(self._devices.user(self._users, cookie), cookie)

    def streams(self, session: Session) -> bool:
        """Whether a stream of this session may go on."""
        return self._sessions.streams(session)

    def closed(self) -> str:
        """Why nobody at all can log in; "": somebody can."""
        self._users.refresh()
        if self._users.any:
            return ""
        return SHUT if self._users.unreadable else NOBODY

    async def log_in(self, client: Client, fields: Mapping[str, str], form: Mapping[str, str]) -> list[tuple[str, str]]:
        """The header fields that set the cookies: of a new session, and of this browser. Raises Denied."""
        if why := self.closed():
            raise Denied(503, "shut", why)
        name, password = form.get("name", "").strip(), form.get("password", "")
        if not name or not password:
            raise Denied(400, "bad-request", "Both the name and the password are needed.")
        if len(name) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:
            # No user has such ones, so nothing is told by it.
            raise Denied(403, "forbidden", WRONG)
        user = self._users.get(name)
        device = self._devices.nonce(user, device_of(fields, secure=client.secure))
        try:
            good = await self._attempts.good(client.address, user, password, device)
        except Busy as busy:
            self._say_refused(client.address, name)
            denied = Denied(429, "too-many", str(busy))
            denied.again_s = busy.again_s
            raise denied from None
        # The file may be another one by now.
        self._users.refresh()
        if not good or user is None or self._users.get(name) != user:
            self._log.write("log-in-failed", client=client.address, user=name)
            raise Denied(403, "forbidden", WRONG)
        before = self.session(client, fields)
        if before is not None:
            self._sessions.end(before)
        self._log.write("logged-in", client=client.address, user=name, role=str(user.role))
        return [cookie(self._sessions.begin(user, client.address), secure=client.secure),
                device_cookie(self._devices.cookie(user, device), secure=client.secure)]

    def log_out(self, client: Client, session: Session) -> tuple[str, str]:
        """The header field that takes the cookie away."""
        self._sessions.end(session)
        self._log.write("logged-out", client=client.address, user=session.user.name)
        return cookie("", secure=client.secure)

    def _say_refused(self, address: str, name: str) -> None:
        # Nobody's password was looked at, so these may be as many as there are packets: one line a minute.
        self._refused.add((address, name))
        due = self._refused.due()
        if due is not None:
            self._log.write("log-in-refused", client=due[1][0], user=due[1][1], times=due[0])
