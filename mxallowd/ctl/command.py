"""What a subcommand of mxallowctl is: its name, its arguments, and what it does.

Exit statuses: 0 all is well; 1 what was asked for is not so, or cannot be done; 2 a mistake in the command line; 3 the
daemon cannot be reached or does not answer. `doctor` has its own: 0, 1 (warnings), 2 (broken).
(Tuples, not data classes: those import what takes as long as all of the rest.)
"""
import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, TextIO

OK, NO, USAGE, UNREACHABLE = 0, 1, 2, 3


class Answer(Protocol):
    """An answer of the daemon."""

    status: int
    body: object
    """Parsed JSON, or text where it is none; None of a stream."""
    def lines(self) -> Iterator[dict[str, object]]:
        """The objects of a stream, as they come."""


class Daemon(Protocol):
    """The way to the daemon."""

    def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None,
        stream: bool = False,
    ) -> Answer:
        """Ask, and return the answer, whatever its status is. Raises Unreachable."""


class Context(NamedTuple):
    """What a subcommand works with."""

    daemon: Daemon
    arguments: argparse.Namespace  # .json: print JSON, with stable keys
    out: TextIO
    err: TextIO


def no_arguments(_: argparse.ArgumentParser) -> None:
    """For a subcommand that takes none of its own."""


class Command(NamedTuple):
    """A subcommand."""

    name: str
    help: str  # one line
    example: str  # a command line
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Context], int]  # the exit status
