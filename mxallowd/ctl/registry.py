"""Which module has which subcommand. A module is imported when one of its subcommands is chosen, or all are shown."""
from collections.abc import Iterator
from importlib import import_module

from mxallowd.ctl.command import Command

# One line for each module of commands/, in the order in which --help shows them.
MODULES: dict[str, tuple[str, ...]] = {
    "state": ("status", "stats"),
    "entries": ("list", "show", "add", "remove", "flush"),
    "lists": ("allow", "deny", "direct"),
    "trust": ("trust",),
    "fleet": ("fleet",),
    "explain": ("explain",),
    "doctor": ("doctor",),
    "top": ("top",),
    "trial": ("forecast", "first-mx-only"),
    "copies": ("export", "import"),
    "running": ("reload", "log-level"),
}


def find(name: str) -> Command | None:
    """The subcommand of this name; None: there is none."""
    for module, names in MODULES.items():
        if name in names:
            return next((command for command in _commands(module) if command.name == name), None)
    return None


def names() -> list[str]:
    """The names of all, in the order in which they are shown."""
    return [name for names in MODULES.values() for name in names]


def every() -> Iterator[Command]:
    """All subcommands, in the order in which they are shown."""
    for name in names():
        command = find(name)
        if command:
            yield command


def _commands(module: str) -> tuple[Command, ...]:
    commands: tuple[Command, ...] = import_module(f"mxallowd.ctl.commands.{module}").COMMANDS
    return commands
