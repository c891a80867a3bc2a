"""What passes between the server of the control socket and the answers: requests, responses, routes.

No input or output: the server, the tests and any other carrier use these alike. Keys of JSON are lower case with
underscores, times RFC 3339 in UTC (`2026-11-27T05:10:00Z`), durations whole seconds.
"""
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from mxallowd.errors import MxallowdError

LATEST_S = 253_402_300_799  # the end of the year 9999
JSON, NDJSON = "application/json", "application/x-ndjson"


@dataclass(frozen=True)
class Request:
    """A request that may be answered: its peer has been asked for what it may do."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the route's template, decoded
    query: Mapping[str, str] = field(default_factory=dict)  # each name once
    body: object = None  # parsed JSON; None: there was none
    user: int = -1  # who asks, by id; -1: nobody knows
    accept: str = ""  # the header field; "": there was none
    by: str = ""  # whom that user asks for, as Mxallowd-User says; "": it was not said

    @property
    def who(self) -> dict[str, object]:
        """Who asks, as a line of the log about a change has it."""
        return {"user": self.user, "by": self.by} if self.by else {"user": self.user}


@dataclass(frozen=True)
class Response:
    """An answer: either `body`, which becomes JSON (text stays as it is), or `pieces` of a stream."""

    body: object = None
    status: int = 200
    content_type: str = JSON
    pieces: AsyncIterator[bytes] | None = None
    fields: tuple[tuple[str, str], ...] = ()  # further header fields; Cache-Control takes the place of the usual one


class RequestError(MxallowdError):
    """The request cannot be answered; the text says why and quotes what it is about."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """`status` is that of HTTP, `code` a stable word for programs, such as `not-listed`."""
        super().__init__(message)
        self.status = status
        self.code = code


Handler = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """One thing that can be asked.

    A part of the template in braces takes one segment of the path; `{name:path}`, at its end, takes all that is left.
    """

    method: str
    template: str
    handler: Handler
    changes: bool = False  # root, the daemon's user and --control-change-group only
    long: bool = False  # its body may be a long object of lists (documents.py)


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 has them, in UTC; what no year from 1970 to 9999 has becomes their end."""
    return datetime.fromtimestamp(max(0, min(int(seconds), LATEST_S)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
