"""The command line: from argv to assignments, and the texts of --help and of the usage.

Nothing is converted here: a value is text with the place where it stood, like a line of the configuration file, and
settings/__init__.py makes both into settings by the same rules.
"""
import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from mxallowd.errors import ConfigError
from mxallowd.settings import Assignment
from mxallowd.settings.options import OPTIONS, Kind, Option
from mxallowd.text import printable

COMMAND_LINE = "command line"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(printable(message))


def _flags(option: Option) -> list[str]:
    return [*(f"-{letter}" for letter in option.short), f"--{option.name}"]


def _help(option: Option) -> str:
    default = option.default
    notes = [option.values] if option.values else []
    if option.kind is Kind.SINGLE and default is not None:
        notes.append(f"default: {default}")
    text = f"{option.help} ({'; '.join(notes)})" if notes else option.help
    return text.replace("%", "%%")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mxallowd",
        add_help=False,
        description="Nolisting: lets a host reach the real mail server only after it met the fake one.",
        epilog="Signals: HUP reads the configuration again, USR1 logs the counters, TERM and INT stop. "
        "Exit status: 0 after a stop, 1 where something is wrong.",
    )
    for option in OPTIONS:
        keywords: dict[str, Any] = {"dest": option.field, "help": _help(option)}
        if option.kind in (Kind.FLAG, Kind.ACTION):
            keywords |= {"action": "store_true"}
        else:
            keywords |= {"action": "append", "metavar": option.metavar, "default": []}
        parser.add_argument(*_flags(option), **keywords)
    return parser


def usage() -> str:
    """The usage, some lines of text."""
    return _parser().format_usage()


def help_text() -> str:
    """What --help prints."""
    return _parser().format_help()


def parse(argv: Sequence[str]) -> tuple[list[Assignment], frozenset[str]]:
    """Assignments in the order of the table, and the names of the actions asked for.

    Raises ConfigError on an unknown option, a missing value or a word that belongs to no option.
    """
    # The end of the options, as getopt has it; nothing may follow it.
    words = argv[:-1] if argv and argv[-1] == "--" else argv
    found = _parser().parse_args(words)
    assignments = []
    actions = set()
    for option in OPTIONS:
        value = getattr(found, option.field)
        if option.kind is Kind.ACTION:
            if value:
                actions.add(option.name)
        elif option.kind is Kind.FLAG:
            if value:
                assignments.append(Assignment(option, "", COMMAND_LINE))
        else:
            # A value of two dashes (-f--) was the end of the options for argparse before Python 3.13: no text at all.
            assignments += [
                Assignment(option, text if isinstance(text, str) else "--", COMMAND_LINE) for text in value]
    return assignments, frozenset(actions)
