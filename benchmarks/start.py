"""How every benchmark starts when it is run by its path: the packages are found, or one line says what is missing.

The mxallowd of this checkout is measured where any of it is built for this Python; else the one that is installed,
which a bare checkout would hide. Nothing but Python's own modules is imported before that is settled.
"""
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def run(script: str) -> int:
    """Import a script of this directory, again and as a part of its package, and run its main(); the exit status."""
    name = Path(script).resolve().stem
    find_packages()
    from mxallowd import built

    try:
        missing = built.problem()
        if missing is None:
            module = import_module(f"benchmarks.{name}")
            return int(import_module("benchmarks.command").run(name, module.main))
    except ImportError as error:
        missing = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
    print(f"{name}: {missing}: {built.remedy(ROOT, 'benchmark')}", file=sys.stderr)
    return 1


def find_packages() -> None:
    """Let this process, and what it starts, find mxallowd and the packages of this checkout."""
    others = [path for path in sys.path if Path(path or ".").resolve() not in (ROOT, HERE)]
    if not built_here():
        sys.path[:] = others
        # Once it is imported, all of its modules come from where it was found.
        with suppress(ImportError):
            import mxallowd  # noqa: F401
    sys.path[:] = [str(ROOT), *others]
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep)
              if place and Path(place).resolve() != ROOT]
    os.environ["PYTHONPATH"] = os.pathsep.join([*([str(ROOT)] if built_here() else []), *places])


def built_here() -> bool:
    """Whether any compiled module of this checkout is built for this Python. (The others are missed later, if any.)"""
    return any(source.with_suffix(suffix).exists()
               for source in (ROOT / "mxallowd").rglob("_*.pyx") for suffix in EXTENSION_SUFFIXES)
