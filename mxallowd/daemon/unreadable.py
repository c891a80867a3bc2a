"""What the daemon's user will not be able to read later, looked for at the start as that user.

The start reads it as root: the configuration, which SIGHUP reads again, and the program, from which a guard that has
ended is started again. That it will fail must not be found out in the moment in which it matters.
"""
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mxallowd.lists.lists import list_files
from mxallowd.process.child import PACKAGE
from mxallowd.process.paths import obstacle
from mxallowd.settings import Settings
from mxallowd.text import quoted


def find_unreadable(settings: Settings) -> list[tuple[Path, str]]:
    """What cannot be entered or read, once each, and what will not work with the remedy. To be called as the user."""
    found: dict[Path, str] = {}
    for what, file, execute in _needed(settings):
        place = obstacle(file, execute=execute)
        if place is not None and place not in found:
            found[place] = f"the user with id {os.geteuid()} cannot {_verb(place)} it, so {what}{_remedy(place)}"
    return list(found.items())


def _verb(place: Path) -> str:
    return "enter" if place.is_dir() else "read"


def _remedy(place: Path) -> str:
    return f", or: chmod o+{'x' if place.is_dir() else 'r'} {quoted(str(place))}"


def _needed(settings: Settings) -> Iterator[tuple[str, Path, bool]]:
    config = settings.config
    yield f"SIGHUP will fail to read {quoted(str(config))}; put it where that user can read it", config, False
    for file in list_files(settings):
        yield f"SIGHUP will fail to read {quoted(str(file))}; put it where that user can read it", file, False
    if settings.no_watchdog or settings.queue_num is None:
        return
    guard = ("a guard that ends cannot be started again; install mxallowd where that user can read it, as in "
             "/opt/mxallowd")
    yield guard, Path(sys.executable), True
    yield guard, PACKAGE / "__init__.py", False
    # The rest only of what can be seen.
    for directory, _, names in os.walk(PACKAGE):
        yield guard, Path(directory), True
        for name in sorted(names):
            if name.endswith((".py", ".so")):
                yield guard, Path(directory, name), False
    # And what the package imports: modules of the environment, which may lie elsewhere.
    for name in {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}:
        if name.startswith("/"):
            yield guard, Path(name), False
