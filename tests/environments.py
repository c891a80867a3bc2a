"""Pythons and checkouts as a user may have them: built or not, with or without packages. Nothing asks a registry."""
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILT = sysconfig.get_config_var("EXT_SUFFIX")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
EXTRAS = ("tqdm", "matplotlib", "tabulate", "dpkt")


def checkout(place: Path, *, built: bool) -> Path:
    """A copy of this checkout's programs, with its compiled modules or without."""
    place.mkdir(parents=True)
    for name in ("mxallowd", "benchmarks", "lab"):
        left_out = ["__pycache__", *(["*.c"] if name == "mxallowd" else []), *([] if built else ["*.so"])]
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns(*left_out))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / name)
    return place


def installed(place: Path) -> Path:
    """A directory of packages in which mxallowd is installed, as pip leaves it."""
    shutil.copytree(ROOT / "mxallowd", place / "mxallowd", ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.pyx"))
    return place


def python(place: Path, *packages: Path, without: Sequence[str] = ()) -> Path:
    """A Python with the packages of this one, without mxallowd and those left out, and with further directories."""
    venv.create(place, symlinks=True)
    site = next(place.glob("lib/python*/site-packages"))
    for directory in map(Path, sys.path):
        for entry in directory.iterdir() if directory.name in ("site-packages", "dist-packages") else ():
            name = entry.name.lower()
            if not name.startswith(("mxallowd", "__editable__", "_distutils", *without)) and not (
                    name.endswith(".pth") or (site / entry.name).exists()):
                (site / entry.name).symlink_to(entry)
    (site / "further.pth").write_text("".join(f"{package}\n" for package in packages), encoding="utf-8")
    return place / "bin" / "python"


def bare(place: Path) -> tuple[Path, Path]:
    """A Python without mxallowd, and a checkout that is not built."""
    return python(place / "venv"), checkout(place / "checkout", built=False)


def spoil(package: Path, how: str) -> str:
    """Damage the build of a package: `missing`, `empty` or `of another Python`; what is said of it."""
    module = package / "engine" / f"_ring{BUILT}"
    if how == "missing":
        module.unlink()
        return f"mxallowd.engine._ring is not built for Python {VERSION}: "
    if how == "empty":
        module.write_bytes(b"")
        return "mxallowd._fastpath cannot be loaded ("
    for other in package.rglob(f"*{BUILT}"):
        other.rename(other.with_name(other.name.replace(BUILT, ".cpython-39-x86_64-linux-gnu.so")))
    return f"mxallowd._fastpath is not built for Python {VERSION}: "


def run(*command: str | Path, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that finds nothing by the environment of the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=100,
                          env=environment | variables)


def the_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a program said when it could not start."""
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr
