"""Programs: those in C, compiled when they are needed, one of them the sender of made-up SYNs (flood.c); and what each
daemon is given for its own."""
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

ENDLESS = 2**31
_FLOOD = Path(__file__).with_name("flood.c")


class CompileError(RuntimeError):
    """A program cannot be compiled here; the text says why."""


@cache
def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="mxallowd-programs-")


@cache
def compiled(source: Path, *flags: str) -> Path:
    """The compiled form of a C file, with the optimization that mxallowd's own modules get. Raises CompileError."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CompileError("no C compiler: install gcc")
    variant = "".join(flag for flag in flags if flag.startswith("-D"))
    target = Path(_directory().name) / (source.stem + variant + (".so" if "-shared" in flags else ""))
    command = [compiler, "-O3", "-Wall", "-Wextra", "-o", str(target), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.splitlines()
        raise CompileError(f"{source.name} does not compile: {next((line for line in said if 'error' in line), '')}")
    return target


def own_places(directory: str | Path) -> list[str]:
    """Options that give a daemon a state directory and a socket that no other one has, both inside `directory`.

    With those of the system it would begin with what the one before it has left, and take the place of one that serves.
    """
    place = tempfile.mkdtemp(dir=directory)
    return ["--state-dir", f"{place}/state", "--control", f"{place}/control.sock"]


class Sources(NamedTuple):
    """So many addresses, which count up from `first` by `step`. Every `without`-th of them is left out."""

    first: str
    number: int
    step: int = 1
    without: int | None = None


def flood(
    destination: str, sources: Sources, *, count: int | None = None, rate: int = 0, second: str | None = None,
) -> list[str]:
    """The words that send `count` SYNs to port 25, by default one from each source. Raises CompileError.

    `rate` is in packets a second; 0: as fast as possible. With `second` each source sends one to both, in turn.
    """
    if second:
        destination = f"{destination},{second}"
    numbers = (sources.number if count is None else count, rate, destination, sources.first, sources.step,
               sources.number)
    without = [] if sources.without is None else [str(sources.without)]
    return [str(compiled(_FLOOD)), *map(str, numbers), *without]
