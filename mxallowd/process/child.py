"""Processes of our own beside the daemon: the guard and the privileged helper.

They run from the same files as this process, and ignore the current directory and the environment, since a helper keeps
root's privileges. This file, run as a script, starts them.
"""
import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# First word of a process that finds other packages beside this one.
BESIDE = "--beside"


def command(module: str, *words: str) -> list[str]:
    """The words that run a module of this package as a program."""
    # -I: neither this file's directory nor the current one, nor the environment's, nor one of the user.
    return [sys.executable, "-I", str(Path(__file__).resolve()), *_beside(), module, *words]


def _beside() -> list[str]:
    """Whether the launcher named the directory of this package, as Debian's does: the bundled packages are there, too.

    Only where this process is isolated: else it may be the current directory, or one of the environment.
    """
    return [BESIDE] if sys.flags.isolated and str(PACKAGE.parent) in sys.path else []


def _load_package() -> None:
    # Without a look at the directory that holds it: a sandbox that is inherited may not allow that.
    spec = spec_from_file_location("mxallowd", PACKAGE / "__init__.py")
    assert spec
    assert spec.loader
    sys.modules["mxallowd"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["mxallowd"])


if __name__ == "__main__":
    _load_package()
    sys.argv = sys.argv[1:]
    if sys.argv[0] == BESIDE:
        sys.argv = sys.argv[1:]
        sys.path.insert(0, str(PACKAGE.parent))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
