"""Who has logged in: sessions in memory, which end with the process.

A browser has a token of 32 random bytes; here is only its SHA-256, so memory that leaks lets nobody in. A session ends
IDLE_S after its last request (a stream that is open is one), LONGEST_S after the log-in, at the log-out, and when the
line of its user in the file is another one or gone. Bounds: MOST sessions, MOST_OF_A_USER of one user; at a bound the
one that was used longest ago ends.
"""
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mxallowd.console.saying import Sayings
from mxallowd.console.users import User, Users

IDLE_S, LONGEST_S = 12 * 3600.0, 7 * 86_400.0
MOST, MOST_OF_A_USER = 256, 16


def boot_clock() -> float:
    """Seconds that no step of the clock changes, and in which a machine that sleeps ages as well."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(eq=False)
class Session:
    """Somebody who has logged in."""

    user: User
    client: str  # the address he logged in from
    began_s: float
    used_s: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    sayings: Sayings = field(default_factory=Sayings, repr=False)  # what its changes came to
    ended: bool = False


class Sessions:
    """All of them."""

    def __init__(self, users: Users, clock: Callable[[], float] = boot_clock) -> None:
        self._users = users
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}  # who was used longest ago is first

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, user: User, client: str) -> str:
        """The token of a new session."""
        for key, session in list(self._sessions.items()):
            if not self.alive(session):
                self._end(key)
        theirs = [key for key, session in self._sessions.items() if session.user.name == user.name]
        if len(theirs) >= MOST_OF_A_USER:
            self._end(theirs[0])
        elif len(self._sessions) >= MOST:
            self._end(next(iter(self._sessions)))
        token = secrets.token_urlsafe(32)
        now_s = self._clock()
        self._sessions[_key(token)] = Session(user, client, now_s, now_s)
        return token

    def get(self, token: str) -> Session | None:
        """The session of this token, whose time begins again; None: there is none."""
        key = _key(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        if not self.alive(session):
            self._end(key)
            return None
        session.used_s = self._clock()
        self._sessions[key] = self._sessions.pop(key)
        return session

    def alive(self, session: Session) -> bool:
        """Whether it has not ended; asked again and again for a stream."""
        now_s = self._clock()
        if session.ended or now_s >= session.used_s + IDLE_S or now_s >= session.began_s + LONGEST_S:
            return False
        self._users.refresh()
        return self._users.get(session.user.name) == session.user

    def streams(self, session: Session) -> bool:
        """Whether it has not ended, for a stream of it that is open: its time begins again."""
        alive = self.alive(session)
        if alive:
            session.used_s = self._clock()
        return alive

    def end(self, session: Session) -> None:
        """End it."""
        for key, found in list(self._sessions.items()):
            if found is session:
                self._end(key)

    def _end(self, key: bytes) -> None:
        self._sessions.pop(key).ended = True


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
