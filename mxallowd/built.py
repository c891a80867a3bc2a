"""Whether the compiled modules are there for this Python, and the command that builds them.

A checkout is often not built, or built for another Python. The command then prints one line that says how to build it.
"""
import importlib
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
LINUX_ONLY = ("backends._nfnetlink", "backends._verdicts", "backends._worker", "watchdog._watch")


def compiled_modules(package: Path = PACKAGE) -> list[str]:
    """Their names below the package: each has a stub beside it."""
    names = [".".join(stub.relative_to(package).with_suffix("").parts) for stub in sorted(package.rglob("_*.pyi"))]
    return [name for name in names if sys.platform == "linux" or name not in LINUX_ONLY]


def problem() -> str | None:
    """Why the compiled modules cannot be loaded, as one line; None where they can."""
    for name in compiled_modules():
        try:
            importlib.import_module(f"mxallowd.{name}")
        except ModuleNotFoundError as error:
            if not error.name or not error.name.startswith("mxallowd."):
                raise
            return f"{error.name} is not built for Python {sys.version_info.major}.{sys.version_info.minor}"
        except ImportError as error:
            return f"mxallowd.{name} cannot be loaded ({' '.join(str(error).split())})"
    return None


def remedy(checkout: Path, extra: str = "") -> str:
    """What to do, with the command that builds and installs a checkout in place, with the packages of an extra."""
    if not (checkout / "setup.py").is_file():
        return "install mxallowd again, for this Python"
    what = shlex.quote(f"{checkout}{extra and f'[{extra}]'}")
    if sys.prefix != sys.base_prefix and find_spec("pip"):
        return f"run {shlex.quote(sys.executable)} -m pip install --editable {what}"
    # Python of the system installs nothing, or nothing for good.
    own = shlex.quote(str(checkout / ".venv"))
    return f"run python3 -m venv {own} && {own}/bin/pip install --editable {what}, then start it with {own}/bin/python"
