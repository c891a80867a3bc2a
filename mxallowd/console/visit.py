"""What passes between the site and its pages: a visit, and the page or the answer that it gets. No input or output."""
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from mxallowd.console.asking import Daemon
from mxallowd.control.exchange import Response


class Role(StrEnum):
    """What a user of the console may do."""

    LOOK = "look"
    CHANGE = "change"


@dataclass(frozen=True)
class Visitor:
    """Who has logged in."""

    name: str
    role: Role
    csrf: str  # of this session: each form has it in a field of this name
    client: str  # the address he came from

    @property
    def may_change(self) -> bool:
        """Whether forms that change something are shown to him, and taken."""
        return self.role is Role.CHANGE


@dataclass(frozen=True)
class Visit:
    """A request of somebody who has logged in."""

    visitor: Visitor
    path: str
    query: Mapping[str, str] = field(default_factory=dict)  # each name once, decoded
    form: Mapping[str, str] = field(default_factory=dict)  # of a POST, without its token
    said: str = ""  # what the change that led here came to; shown once
    ok: bool = True  # whether it was one


class Page(NamedTuple):
    """What render.py makes a page of."""

    template: str  # its file
    values: Mapping[str, object]
    status: int = 200


class Outcome(StrEnum):
    """What became of a change, by the word that the log has for it."""

    DONE = "changed"
    NOTHING = "unchanged"  # there was nothing to do
    REFUSED = "not-changed"
    UNKNOWN = "change-unknown"  # no answer came, or not to all of it


class Done(NamedTuple):
    """What a change came to: the browser is sent to `path` (303), which shows `said`."""

    path: str
    said: str
    outcome: Outcome = Outcome.DONE

    @property
    def ok(self) -> bool:
        """Whether all is as it was asked for, as far as that is known."""
        return self.outcome in (Outcome.DONE, Outcome.NOTHING)


Show = Callable[[Visit, Daemon], Awaitable[Page | Response]]
Change = Callable[[Visit, Daemon], Awaitable[Done]]
