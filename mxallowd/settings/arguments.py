"""The command line: from argv to assignments, and the texts of --help and of the usage.

Nothing is converted here: a value is text with the place where it stood, like a line of the configuration file, and
settings/__init__.py makes both into settings by the same rules.

Long names may be shortened, as getopt_long had it: what was unambiguous among the options of mxallowd 1.9 still means
the same one. A word that belongs to no option is an error: it may be an address that would stay unprotected. Only a
"yes" behind a flag is passed over, as 1.9 did; not behind what asks for a text or a check.
"""
import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from mxallowd.errors import ConfigError
from mxallowd.settings import Assignment
from mxallowd.settings.nearness import described, near
from mxallowd.settings.options import BY_NAME, OPTIONS, SWITCHED_OFF, SWITCHED_ON, Kind, Option
from mxallowd.text import printable, quoted

COMMAND_LINE = "command line"
# Abbreviations of these mean what they meant before there were others.
OF_1_9 = (
    "config", "fake-mailserver", "real-mailserver", "queue-num", "whitelist-time", "no-rdns-whitelist", "stdout",
    "quiet", "foreground", "pflog-interface", "pcap-filter", "help")
_FLAG_LETTERS = {letter for option in OPTIONS if option.stands_alone for letter in option.short}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(printable(message))


def _flags(option: Option) -> list[str]:
    return [*(f"-{letter}" for letter in option.short), f"--{option.name}"]


def _help(option: Option) -> str:
    notes = [option.values] if option.values else []
    if option.default_text:
        notes.append(f"default: {option.default_text}")
    text = f"{option.help} ({'; '.join(notes)})" if notes else option.help
    return text.replace("%", "%%")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mxallowd",
        add_help=False,
        allow_abbrev=False,
        description="Nolisting: lets a host reach the real mail server only after it met the fake one.",
        epilog="Signals: HUP reads the configuration again, USR1 logs the counters, TERM and INT stop. "
        "Exit status: 0 after a stop, 1 where something is wrong, 78 where nothing is set up yet. "
        "mxallowd(8) and mxallowd.conf(5) say more.",
    )
    for option in OPTIONS:
        keywords: dict[str, Any] = {"dest": option.field, "help": _help(option)}
        if option.stands_alone:
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


def parse(argv: Sequence[str]) -> tuple[list[Assignment], dict[str, str]]:
    """Assignments in the order of the table, and the actions asked for, by name, with the last value of each.

    Raises ConfigError on an unknown option, a missing value or a word that belongs to no option.
    """
    # The end of the options, as getopt has it; nothing may follow it.
    words = argv[:-1] if argv and argv[-1] == "--" else argv
    found, left_over = _parser().parse_known_args(_as_getopt_took_them(words))
    if left_over:
        raise ConfigError(_belongs_nowhere(left_over))
    assignments = []
    actions: dict[str, str] = {}
    for option in OPTIONS:
        value = getattr(found, option.field)
        if option.kind is Kind.ACTION:
            if value:
                actions[option.name] = "" if option.stands_alone else value[-1] if isinstance(value[-1], str) else "--"
        elif option.kind is Kind.FLAG:
            if value:
                assignments.append(Assignment(option, "", COMMAND_LINE))
        else:
            # A value of two dashes (-f--) was the end of the options for argparse before Python 3.13: no text at all.
            assignments += [
                Assignment(option, text if isinstance(text, str) else "--", COMMAND_LINE) for text in value]
    return assignments, actions


def _as_getopt_took_them(words: Sequence[str]) -> list[str]:
    """The words with long names in full, and without a "yes" behind a flag. Raises ConfigError."""
    taken: list[str] = []
    flag = ""  # the one before, which stands alone
    for number, word in enumerate(words):
        if word == "--":
            return [*taken, *words[number:]]
        full = word
        if flag and word.lower() in SWITCHED_ON:
            flag = ""
            continue
        if flag and word.lower() in SWITCHED_OFF:
            raise ConfigError(f"{flag} stands alone, but {quoted(word)} follows; leave {flag} out to switch it off")
        flag = ""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = _long(name)
            if option:
                full = f"--{option.name}{equals}{value}"
            if option and option.kind is Kind.FLAG:
                flag = f"--{option.name}"
                if equals and value.lower() in SWITCHED_OFF:
                    raise ConfigError(f"{flag} stands alone, but {quoted(word)} has a value; leave {flag} out to "
                                      "switch it off")
                full = flag if value.lower() in SWITCHED_ON else full
        elif word.startswith("-") and word[1:].partition("=")[0] in BY_NAME:
            raise ConfigError(f"unknown option {quoted(word)}; did you mean {quoted(f'-{word}')}?")
        elif len(word) > 1 and word[0] == "-" and set(word[1:]) <= _FLAG_LETTERS:
            flag = word
        taken.append(full)
    return taken


def _long(word: str) -> Option | None:
    """The option of a long name, which may be shortened. Raises ConfigError where it may be several."""
    name = word.removeprefix("--")
    if name in BY_NAME:
        return BY_NAME[name]
    for names in (OF_1_9, tuple(BY_NAME)):
        found = [one for one in names if name and one.startswith(name)]
        if len(found) == 1:
            return BY_NAME[found[0]]
        if found:
            raise ConfigError(f"{quoted(word)} may be " + " or ".join(f"--{one}" for one in BY_NAME
                                                                      if one.startswith(name)))
    return None


def _belongs_nowhere(words: Sequence[str]) -> str:
    """What is wrong with words that are left over, and what to do about it."""
    first = next((word for word in words if word != "--"), words[0])
    following = words[list(words).index(first) + 1 :][:1]
    looks_like_option = not first[:1].isalnum() and first[:1] not in ("", ":", "/", ".")
    found = near(" ".join([first, *following]), OPTIONS) if looks_like_option or "=" in first else ((), "")
    if found[0]:
        return f"unknown option {quoted(first)}; did you mean {printable(described(found, prefix='--'))}?"
    if first.startswith("-"):
        return f"unknown option {quoted(first)}; --help shows all"
    return (f"{quoted(first)} belongs to no option; put its option before it, as in -f ADDRESS or -r ADDRESS, "
            "or leave it out")
