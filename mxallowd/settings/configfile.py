"""The configuration file: from lines to assignments.

One option a line: its long name, white space, its value. Names are case-insensitive; white space before them and CR LF
are fine; `#` starts a comment line; names of fewer than three characters are ignored. An unknown
name is a warning and skipped, as it always was; a missing value or one too many is an error.

Whoever can write this file decides whose mail comes in, and which path a root process uses for its pid file. So a file
that others than root and the user of this process may change, or put another one in the place of, is refused. A link is
followed; it, its target, and the directories of both count.
"""
import codecs
import os
import stat
import time
from pathlib import Path

from mxallowd.errors import ConfigError
from mxallowd.process import broker
from mxallowd.process.paths import who_could_replace
from mxallowd.settings import Assignment, Problem
from mxallowd.settings.options import BY_NAME, Kind
from mxallowd.text import printable, quoted

# A configuration is some lines; a larger file is not one, and an endless one must not eat the memory.
MAX_BYTES = 1 << 20
SHORTEST_NAME = 3
FRESH_S = 1.0
STARTED_BY = os.geteuid()  # which is not who reads it again at SIGHUP


def read(path: Path) -> tuple[list[Assignment], list[Problem]]:
    """The assignments of a file and what is wrong with its lines.

    Raises FileNotFoundError where there is none, and ConfigError where it cannot be read.
    """
    try:
        # Without blocking: a FIFO that nobody writes must hold up neither a start nor a reload.
        descriptor = broker.open_file(path)
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(descriptor))
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {quoted(str(path))}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"cannot read {quoted(str(path))}: larger than {MAX_BYTES} bytes")
    return parse(content, printable(str(path)))


def _check(path: Path, status: os.stat_result) -> None:
    name = quoted(str(path))
    if stat.S_ISFIFO(status.st_mode):
        raise ConfigError(f"cannot read {name}: it is a pipe, which can be read only once")
    if not stat.S_ISREG(status.st_mode):
        return
    reason = who_could_replace(path, {0, STARTED_BY})
    if reason:
        raise ConfigError(f"will not read {name}: {reason}")


def being_written(path: Path) -> tuple[int, int, int] | None:
    """What each write changes, of a file that was written within the last second; None: it is at rest, or not there.

    Who writes a file in place and asks for it to be read at the same time shows us half of it, which may be valid.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if not 0 <= time.time() - status.st_mtime < FRESH_S:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def parse(content: bytes, name: str) -> tuple[list[Assignment], list[Problem]]:
    """The same for the content of a file that is called `name`."""
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for line_number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        # Split as bytes: only the white space of ASCII counts, as it did in C.
        word, value = (
            field.decode("utf-8", "surrogateescape") for field in (*raw.strip().split(None, 1), b"", b"")[:2]
        )
        if not word or word.startswith("#"):
            continue
        where = f"{name}:{line_number}"
        if len(word) < SHORTEST_NAME:
            continue
        option = BY_NAME.get(word.lower())
        if option is None or not option.in_file:
            problems.append(Problem(where, f"unknown option {quoted(word)}, skipped", fatal=False, line=line_number))
        elif option.kind is Kind.FLAG and value:
            problems.append(Problem(where, f"{option.name} stands alone, but {quoted(value)} follows",
                                    line=line_number))
        elif option.kind is not Kind.FLAG and not value:
            problems.append(Problem(where, f"{quoted(word)} needs a value", line=line_number))
        else:
            assignments.append(Assignment(option, value, where, line_number))
    return assignments, problems
