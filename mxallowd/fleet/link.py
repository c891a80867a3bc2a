"""One connection to the engine of the fleet, Redis or Valkey, on the main loop: what is asked there, and how it fails.

The one rule: every failure is a LinkError with one line that says what is wrong, and after it the connection is closed.
Nothing is tried again here, since a command that is sent twice is done twice; who opens it anew decides when. What the
engine says is from outside: replies are as long as replies.py allows, and of the form that is expected, or an error.
It is the only module that knows redis-py.
"""
import asyncio
import inspect
import re
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from mxallowd.fleet.login import Login
from mxallowd.fleet.opening import LinkError, LongReply, Reader, Way, reason_of
from mxallowd.fleet.replies import MOST_KEPT, Strange, TooLong
from mxallowd.settings.fleet import CLI
from mxallowd.text import printable

REPLY_S = 3.0  # for a reply; BLOCK_MS is less
BLOCK_MS = 1000
LONGEST_REASON = 200  # characters of an error of the engine
LONGEST_HOST = 255
LATEST_S = 1 << 40  # of a clock
FIELD = b"d"
# What redis-py calls errors of the engine, and the word by which the engine begins them.
CODES = {"OutOfMemoryError": "OOM", "NoPermissionError": "NOPERM", "ReadOnlyError": "READONLY",
         "BusyLoadingError": "LOADING", "MasterDownError": "MASTERDOWN", "ClusterDownError": "CLUSTERDOWN",
         "MovedError": "MOVED", "AskError": "MOVED"}
MEANINGS = {
    "OOM": "it has no memory left (maxmemory), and takes no entries",
    "READONLY": "it is a replica, and takes no entries",
    "LOADING": "it still loads what it has on its disk",
    "MISCONF": "it cannot write to its disk, and takes no entries",
    "MASTERDOWN": "it is a replica without a master",
    "MOVED": "it belongs to a cluster, and the list is at another server of it",
    "CLUSTERDOWN": "it belongs to a cluster that does not work",
    "NOAUTH": "it wants a login (fleet-login-file)",
    "WRONGPASS": "it refuses user or password (fleet-login-file)",
}
_AT_ONCE = struct.pack("@ii", 1, 0)  # struct linger of sys/socket.h
# ValueError: redis-py takes what it cannot read for that.
_ERRORS = (RedisError, OSError, ValueError, MemoryError)


class Id(NamedTuple):
    """The ID of a message of the stream: milliseconds of the engine's clock, and a number within them."""

    ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


def id_of(raw: object) -> Id:
    """An ID as the engine writes it. Raises ValueError."""
    if not isinstance(raw, bytes):
        raise ValueError("is no ID")
    ms, _, number = raw.partition(b"-")
    found = Id(int(ms), int(number))
    if not FIRST <= found <= Id(LARGEST, LARGEST):
        raise ValueError("is no ID")
    return found


FIRST = Id(0, 0)
LARGEST = 2**64 - 1


class Stream(NamedTuple):
    """What stands in the stream."""

    length: int
    last: Id  # that was ever added
    first: Id | None  # None: it is empty


class About(NamedTuple):
    """What the engine says of itself."""

    version: str
    master: bool
    policy: str  # what it does where its memory ends (maxmemory-policy); empty: it does not say


class _Connection(Connection):
    """redis-py's, over a stream that somebody else has opened."""

    def __init__(self, reader: Reader, writer: asyncio.StreamWriter, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._opened = reader, writer

    async def _connect(self) -> None:
        self._reader, self._writer = self._opened

    def expect_reply(self) -> None:
        self._opened[0].replies.begin()

    @property
    def received(self) -> int:
        """Bytes of the reply so far."""
        return self._opened[0].replies.received

    def abandon(self) -> None:
        """Close it at once, whatever waits to be sent."""
        self._reader = self._writer = None
        self._parser.on_disconnect()  # type: ignore[no-untyped-call]
        # One with TLS that the other side has ended is no transport any more (CPython 3.11).
        with suppress(AttributeError, OSError):
            # Else the kernel goes on to send what the engine has not got, which may be there minutes later.
            self._opened[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._opened[1].transport.abort()


def _arguments(login: Login, database: int) -> dict[str, Any]:
    """Of a connection, as this version of redis-py takes them."""
    wanted: dict[str, Any] = {
        "db": database, "username": login.user, "password": login.password,
        # Ours hold: its own are asyncio.wait_for, which may lose a cancellation (CPython 3.11).
        "socket_timeout": None, "socket_connect_timeout": REPLY_S,
        "health_check_interval": 0,
        # Replies differ by it.
        "protocol": 2,
        # Else it says which client it is, which the rights of the user need not allow.
        "driver_info": None, "lib_name": None, "lib_version": None}
    taken = inspect.signature(AbstractConnection.__init__).parameters
    if "driver_info" in taken:
        # Then these two are deprecated.
        wanted.pop("lib_name"), wanted.pop("lib_version")
    return {name: value for name, value in wanted.items() if name in taken}


class Link:
    """A connection: open it, ask one thing after the other, close it."""

    def __init__(self, way: Way, login: Login, *, database: int = 0, name: str = "") -> None:
        """`name` is what the engine shows of us to whoever looks after it (CLIENT LIST)."""
        self.way = way
        self._login = login
        self._database = database
        self._name = name
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Connect and log in. Raises LinkError."""
        self.close()
        self._connection = _Connection(*await self.way.open(), **_arguments(self._login, self._database))
        try:
            async with asyncio.timeout(REPLY_S):
                await self._connection.connect()  # type: ignore[no-untyped-call]
        except _ERRORS as error:
            failed = self._failed(error, entering=True)
            self.close()
            raise failed from None
        except BaseException:
            self.close()
            raise
        if self._name:
            try:
                await self.call("CLIENT", "SETNAME", self._name)
            except LinkError as error:
                if not error.code:
                    raise

    def close(self) -> None:
        """Close it, whatever is under way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    async def call(self, *words: str | bytes | int) -> Any:
        """What the engine replies. Raises LinkError; one with a code leaves the connection open."""
        connection = self._connection
        if connection is None:
            raise LinkError(f"{self.way}: there is no connection")
        connection.expect_reply()
        try:
            async with asyncio.timeout(REPLY_S):
                await connection.send_command(*words)
                return await connection.read_response()
        except _ERRORS as error:
            failed = self._failed(error)
            if not failed.code:
                self.close()
            raise failed from None
        except BaseException:
            # An answer that still comes must not be taken for that of the next question.
            self.close()
            raise

    def _failed(self, error: Exception, *, entering: bool = False) -> LinkError:
        """The error as it is told."""
        if isinstance(error, AuthenticationError):
            # What it says may be what we sent.
            code = "NOAUTH" if "required" in str(error) else "WRONGPASS"
            return LinkError(f"{self.way}: {MEANINGS[code]}", code)
        code = CODES.get(type(error).__name__, "")
        text = str(error)
        if isinstance(error, ResponseError):
            # Versions differ in whether the word is still there.
            first = text.partition(" ")[0]
            code = code or (first if first.isalpha() and first.isupper() else "ERR")
        if code:
            said = MEANINGS.get(code) or printable(text)[:LONGEST_REASON] or "it refuses that, and does not say why"
            return LinkError(f"{self.way}: {'it refuses us' if entering and code == 'ERR' else said}", code)
        return self._lost(error)

    def _lost(self, error: Exception) -> LinkError:
        """One that the engine did not reply."""
        if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
            if self._connection is not None and self._connection.received > MOST_KEPT:
                return LongReply(f"{self.way}: a reply has not come to its end within {REPLY_S:g} s")
            return LinkError(f"{self.way}: no answer within {REPLY_S:g} s")
        if isinstance(cause := _cause(error), TooLong):
            return LongReply(f"{self.way}: {cause}")
        if isinstance(cause, Strange) or not isinstance(error, (RedisError, OSError, MemoryError)):
            return LinkError(f"{self.way}: {Strange()}")
        return LinkError(f"{self.way}: the connection is lost: {_told(error)}")

    # ---- what is asked

    async def add(self, key: str, data: bytes, least_ms: int) -> Id:
        """Add a message, and let the engine drop those that are older; its ID. Raises LinkError."""
        return self._id(await self.call("XADD", key, "MINID", "~", max(0, least_ms), "*", FIELD, data))

    async def trim(self, key: str, least_ms: int) -> int:
        """Drop messages that are older, where none can be added any more; how many. Raises LinkError."""
        return self._number(await self.call("XTRIM", key, "MINID", max(0, least_ms)))

    async def shorten(self, key: str, most: int) -> int:
        """Drop all but that many, the latest; how many. Raises LinkError."""
        return self._number(await self.call("XTRIM", key, "MAXLEN", most))

    async def read(self, key: str, after: Id, count: int, *, wait: bool = True) -> list[tuple[bytes, bytes | None]]:
        """At most `count` messages behind that ID: each one's ID and what it has under `d` (None: nothing).

        With `wait`, once there are some; none after BLOCK_MS. Raises LinkError.
        """
        blocking = ("BLOCK", BLOCK_MS) if wait else ()
        try:
            reply = await self.call("XREAD", "COUNT", count, *blocking, "STREAMS", key, str(after))
        except LongReply as error:
            if count > 1:
                raise
            raise self._too_long(key, error) from None
        if reply is None:
            return []
        try:
            (_, messages), = reply
            if len(messages) > count:
                raise ValueError("more than was asked for")
            # What was dropped at once wakes up whoever waits, and is not there any more.
            found = [(_text(number), _data(fields)) for number, fields in messages]
            if found:
                id_of(found[-1][0])
        except (TypeError, ValueError):
            raise self._strange() from None
        return found

    async def stream(self, key: str) -> Stream:
        """What stands there; as an empty one where there is none. Raises LinkError."""
        try:
            reply = await self.call("XINFO", "STREAM", key)
        except LinkError as error:
            if "no such key" in str(error):
                return Stream(0, FIRST, None)
            raise self._too_long(key, error) if isinstance(error, LongReply) else error from None
        try:
            found = dict(zip(reply[::2], reply[1::2], strict=True))
            first = found[b"first-entry"]
            return Stream(int(found[b"length"]), self._id(found[b"last-generated-id"]),
                          self._id(first[0]) if first else None)
        except (TypeError, ValueError, KeyError, IndexError):
            raise self._strange() from None

    async def time_us(self) -> int:
        """The engine's clock. Raises LinkError."""
        reply = await self.call("TIME")
        try:
            seconds, microseconds = map(int, reply)
            if not (0 <= seconds <= LATEST_S and 0 <= microseconds < 1_000_000):
                raise ValueError("is no time")
            return seconds * 1_000_000 + microseconds
        except (TypeError, ValueError):
            raise self._strange() from None

    async def about(self) -> About:
        """What it says of itself. Raises LinkError."""
        # One section at a time: Redis 6.2 takes no more.
        sections = [await self.call("INFO", name) for name in ("server", "replication", "memory")]
        if not all(isinstance(one, bytes) for one in sections):
            raise self._strange()
        server, replication, memory = sections
        version = _value(server, b"valkey_version") or _value(server, b"redis_version")
        return About(version, (_value(replication, b"role") or "master") == "master",
                     _value(memory, b"maxmemory_policy"))

    async def master(self, name: str) -> tuple[str, int] | None:
        """Of a Sentinel: host and port of that master; None: it knows none. Raises LinkError."""
        reply = await self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        if reply is None:
            return None
        try:
            host, port = reply[0].decode("ascii"), int(reply[1])
            if len(reply) != 2 or not 0 < len(host) <= LONGEST_HOST or not 0 < port < 1 << 16:
                raise ValueError("is no address")
            return printable(host), port
        except (IndexError, TypeError, ValueError, AttributeError):
            raise self._strange() from None

    def _number(self, raw: object) -> int:
        if not isinstance(raw, int):
            raise self._strange()
        return raw

    def _id(self, raw: object) -> Id:
        try:
            return id_of(raw)
        except ValueError:
            raise self._strange() from None

    def _strange(self) -> LinkError:
        self.close()
        return LinkError(f"{self.way}: {Strange()}")

    def _too_long(self, key: str, error: LinkError) -> LinkError:
        """One message alone is: nobody can read over it."""
        return LinkError(f"{error}, so a message of {key} cannot be read; the remedy is {CLI} del {key}",
                         remedy=f"{CLI} del {key}: each gateway says its entries again")


def _text(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("is no text")
    return value


def _value(section: bytes, name: bytes) -> str:
    """What INFO says in a line; empty: nothing."""
    found = re.search(rb"^%s:([^\r\n]{0,%d})" % (name, LONGEST_REASON), section, re.MULTILINE)
    return printable(found[1].decode("utf-8", "replace")) if found else ""


def _data(fields: Sequence[bytes]) -> bytes | None:
    """What a message has under our field; None: nothing."""
    if len(fields) == 2 and fields[0] == FIELD:
        found: object = fields[1]
    else:
        found = dict(zip(fields[::2], fields[1::2], strict=True)).get(FIELD)
    return found if isinstance(found, bytes) else None


def _cause(error: Exception) -> OSError | None:
    """The error of the system in it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _told(error: Exception) -> str:
    """What an error of the system says, without what redis-py adds."""
    if (cause := _cause(error)) is not None:
        return reason_of(cause)
    if isinstance(error, MemoryError):
        return "there is no memory for so long a reply"
    # redis-py says "Connection closed by server."
    return printable(str(error).rstrip(".") or type(error).__name__)[:LONGEST_REASON].lower()


async def find_master(ways: Sequence[Way], name: str, login: Login) -> Way:
    """The way to the master of that name, as the first of these Sentinels that knows it says. Raises LinkError."""
    reasons = []
    for way in ways:
        link = Link(way, login)
        try:
            await link.open()
            found = await link.master(name)
        except LinkError as error:
            reasons.append(str(error))
        else:
            if found:
                return way._replace(host=found[0], port=found[1])
            reasons.append(f"{way}: it knows no such master")
        finally:
            link.close()
    raise LinkError(f"no Sentinel tells where the master {name} is: {'; '.join(reasons)[:LONGEST_REASON]}")
