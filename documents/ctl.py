"""The commands of mxallowctl as documents show them, from its parser."""
import argparse
import re
from dataclasses import dataclass

from mxallowd.ctl import registry
from mxallowd.ctl.command import Command

_OPTION = re.compile(r"(?<![\w`-])--[a-z][a-z-]*")


@dataclass(frozen=True)
class Argument:
    """An option or a word of a command."""

    form: str  # inline markup
    help: str


@dataclass(frozen=True)
class Shown:
    """A command."""

    name: str
    help: str
    example: str
    synopsis: str  # inline markup, what follows the name
    arguments: tuple[Argument, ...]


def commands() -> tuple[Shown, ...]:
    """All of them, in the order of --help."""
    return tuple(_shown(command) for command in registry.every())


def _shown(command: Command) -> Shown:
    parser = argparse.ArgumentParser(add_help=False)
    command.arguments(parser)
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = [action for action in actions if action.option_strings]
    words = [action for action in actions if not action.option_strings]
    synopsis = [*(_word(action) for action in words), *(f"[{_option(action)}]" for action in options)]
    arguments = [Argument(_value(action), _help(action)) for action in words]
    arguments += [Argument(", ".join(_option(action, flag) for flag in action.option_strings), _help(action))
                  for action in options]
    return Shown(command.name, f"{command.help[:1].upper()}{command.help[1:]}.", command.example, " ".join(synopsis),
                 tuple(arguments))


def _value(action: argparse.Action) -> str:
    if action.choices and not action.option_strings:
        return " | ".join(f"`{choice}`" for choice in action.choices)
    return " | ".join(f"*{word}*" for word in str(action.metavar or action.dest.upper()).split("|"))


def _word(action: argparse.Action) -> str:
    value = _value(action)
    return {"?": f"[{value}]", "*": f"[{value} ...]"}.get(str(action.nargs), value)


def _option(action: argparse.Action, flag: str = "") -> str:
    flag = flag or action.option_strings[0]
    return f"`{flag}`" if action.nargs == 0 else f"`{flag}` {_value(action)}"


def _help(action: argparse.Action) -> str:
    text = _OPTION.sub(r"`\g<0>`", (action.help or "") % {"default": action.default})
    text = f"{text[:1].upper()}{text[1:]}."
    if action.choices and action.option_strings:
        *others, last = (f"`{choice}`" for choice in action.choices)
        text += f" One of {', '.join(others)} and {last}."
    return text
