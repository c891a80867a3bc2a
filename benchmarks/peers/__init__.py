"""What mxallowd is measured against: small, readable, and compiled when a benchmark needs them."""
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent


class PeerError(Exception):
    """A peer cannot be built here; the text says why."""


@cache
def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="mxallowd-peers-")


@cache
def compiled(source: str, *flags: str) -> Path:
    """The compiled form of a C file beside this one, with the optimization that mxallowd's own modules get."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise PeerError("no C compiler: install gcc")
    variant = "".join(flag for flag in flags if flag.startswith("-D"))
    target = Path(_directory().name) / (Path(source).stem + variant + (".so" if "-shared" in flags else ""))
    command = [compiler, "-O3", "-Wall", "-Wextra", "-o", str(target), str(SOURCES / source), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(f"{source} does not compile: {done.stderr.strip()}")
    return target
