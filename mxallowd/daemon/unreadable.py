"""What the daemon's user will not be able to read later, looked for at the start as that user.

The start reads it as root: the configuration, which SIGHUP reads again, and the program, from which a guard that has
ended is started again. That it will fail must not be found out in the moment in which it matters.
"""
import os
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from mxallowd.daemon import fleet
from mxallowd.exporter.process import NEEDED
from mxallowd.lists.lists import list_files
from mxallowd.process.child import PACKAGE
from mxallowd.process.paths import obstacle
from mxallowd.settings import Settings
from mxallowd.text import quoted

# Now, since it imports a module, which the daemon's user may be unable to read.
LIBRARY = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}


def find_unreadable(settings: Settings) -> list[tuple[Path, str]]:
    """What cannot be entered or read, once each, and what will not work with the remedy. To be called as the user."""
    found: dict[Path, str] = {}
    secrets = fleet.secrets(settings)
    for what, file, execute in _needed(settings):
        place = obstacle(file, execute=execute)
        if place is not None and place not in found:
            remedy = _remedy_of_secret(place) if place in secrets else _remedy(place)
            found[place] = f"the user with id {os.geteuid()} cannot {_verb(place)} it, so {what}{remedy}"
    return list(found.items())


def _verb(place: Path) -> str:
    return "enter" if place.is_dir() else "read"


def _remedy(place: Path) -> str:
    return f", or: chmod o+{'x' if place.is_dir() else 'r'} {quoted(str(place))}"


def _remedy_of_secret(place: Path) -> str:
    """What nobody else may read."""
    name = quoted(str(place))
    return f", or: chgrp {os.getegid()} {name}; chmod 640 {name}"


def _needed(settings: Settings) -> Iterator[tuple[str, Path, bool]]:
    config = settings.config
    yield f"SIGHUP will fail to read {quoted(str(config))}; put it where that user can read it", config, False
    for file in (*list_files(settings), *fleet.secrets(settings)):
        yield f"SIGHUP will fail to read {quoted(str(file))}; put it where that user can read it", file, False
    processes = []
    if not settings.no_watchdog and settings.queue_num is not None:
        processes.append("a guard")
    if settings.metrics:
        processes.append("an exporter of metrics")
    if not processes:
        return
    again = (f"{' or '.join(processes)} that ends cannot be started again; install mxallowd where that user can read "
             "it, as in /opt/mxallowd")
    yield again, Path(sys.executable), True
    yield again, PACKAGE / "__init__.py", False
    # The rest only of what can be seen. What the exporter alone imports are these packages, and the library of Python.
    for directory in [PACKAGE, *(_exporters() if settings.metrics else ())]:
        for place, execute in _program(directory):
            yield again, place, execute
    # And what the package imports: modules of the environment, which may lie elsewhere.
    for name in {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}:
        if name.startswith("/"):
            yield again, Path(name), False


def _exporters() -> Iterator[Path]:
    for name in NEEDED:
        found = find_spec(name)
        yield from map(Path, (found.submodule_search_locations or ()) if found else ())
    yield from map(Path, LIBRARY)


def _program(directory: Path) -> Iterator[tuple[Path, bool]]:
    """Directories and modules below a directory; whether each must be entered."""
    yield directory, True
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in ("site-packages", "dist-packages", "test")]
        yield Path(place), True
        for name in sorted(names):
            if name.endswith((".py", ".so")):
                yield Path(place, name), False
