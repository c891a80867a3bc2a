"""The command line of mxallowctl. The parser of one command is made from it alone, so no other is imported."""
import argparse
from collections.abc import Iterable, Sequence
from typing import NoReturn

from mxallowd import __version__
from mxallowd.ctl import checks
from mxallowd.ctl.client import DEFAULT_SOCKET
from mxallowd.ctl.command import Command
from mxallowd.ctl.output import safe

STATUSES = ("Exit status: 0 all is well; 1 what was asked for is not so (an unknown address), or cannot be done; "
            "2 a mistake in the command line; 3 the daemon cannot be reached or does not answer. "
            "mxallowctl(8) says more.")
# What shtab (which is not imported for it) takes for an argument that is a file.
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "fish": "(__fish_complete_path (commandline -ct))"}


class Misused(Exception):
    """A mistake in the command line, in one line."""


class Parser(argparse.ArgumentParser):
    """One whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise Misused with what is wrong with the command line."""
        raise Misused(f"{safe(message)}; see {self.prog} --help")


def _common(parser: argparse.ArgumentParser, *, suppressed: bool) -> None:
    """What each command has; before its name or behind it."""
    parser.add_argument(
        "--socket", metavar="PATH", type=checks.given, default=argparse.SUPPRESS if suppressed else DEFAULT_SOCKET,
        help=f"control socket of the daemon, its --control (default: {DEFAULT_SOCKET})",
    ).complete = FILES  # type: ignore[attr-defined]
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS if suppressed else False,
        help="print the answer as JSON, with keys that stay")


def build(commands: Iterable[Command]) -> Parser:
    """The parser of these commands."""
    parser = Parser(
        prog="mxallowctl", allow_abbrev=False, description="Asks and changes a running mxallowd.", epilog=STATUSES)
    _common(parser, suppressed=False)
    parser.add_argument("--version", action="version", version=f"mxallowctl {__version__}")
    # With a name of the program that is given, argparse makes no formatter, which would ask for the terminal's size.
    several = parser.add_subparsers(dest="command", metavar="COMMAND", prog="mxallowctl", required=True)
    for command in commands:
        one = several.add_parser(
            command.name, help=command.help, description=f"{command.help[:1].upper()}{command.help[1:]}.",
            epilog=f"example:\n  {command.example}", allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        _common(one, suppressed=True)
        command.arguments(one)
    return parser


def command_of(words: Sequence[str]) -> str | None:
    """The name of the command in a command line; None: there is none."""
    takes_next = False
    for word in words:
        if takes_next:
            takes_next = False
        elif word == "--socket":
            takes_next = True
        elif not word.startswith("-"):
            return word
    return None
