"""The configuration file: from lines to assignments.

One option a line: its long name, white space, its value. Names are case-insensitive; white space before them and CR LF
are fine; `#` starts a comment line. What is nearly an option (nearness.py) is an error, as is a missing value or one
too many. Other unknown names are skipped as they always were: with a warning, or, of fewer than three characters,
without one.

Whoever can write this file decides whose mail comes in, and which path a root process uses for its pid file. So a file
that others than root and the user of this process may change, or put another one in the place of, is refused. A link is
followed; it, its target, and the directories of both count.
"""
import codecs
import os
import re
import stat
import time
from pathlib import Path
from typing import NamedTuple

from mxallowd.errors import ConfigError
from mxallowd.process import broker
from mxallowd.process.paths import who_could_replace
from mxallowd.settings import Assignment, Problem
from mxallowd.settings.nearness import described, near, plain
from mxallowd.settings.options import BY_NAME, OPTIONS, SWITCHED_OFF, SWITCHED_ON, Kind, Option
from mxallowd.text import printable, quoted

# A configuration is some lines; a larger file is not one, and an endless one must not eat the memory.
MAX_BYTES = 1 << 20
SHORTEST_NAME = 3
FRESH_S = 1.0
COMMENT_BEHIND = re.compile(r"(^|\s)#")
SIGN_BEFORE = re.compile(r"=|:(?![:0-9A-Fa-f])|->")
_IN_FILE = tuple(option for option in OPTIONS if option.in_file)
STARTED_BY = os.geteuid()  # which is not who reads it again at SIGHUP


class Content(NamedTuple):
    """What a configuration file says."""

    assignments: list[Assignment]
    problems: list[Problem]  # with its lines
    active: bool  # it has a line that is neither empty nor a comment, whatever that line is


def read(path: Path) -> Content:
    """What a file says.

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


def parse(content: bytes, name: str) -> Content:
    """The same for the content of a file that is called `name`."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Content([], [Problem(f"{name}:1", "is text in UTF-16; save the file in UTF-8", line=1)], active=True)
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    active = False
    for line, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        active = active or raw.strip()[:1] not in (b"", b"#")
        found = _read_line(raw.strip(), f"{name}:{line}", line)
        if isinstance(found, Assignment):
            assignments.append(found)
        elif found:
            problems.append(found)
            if found.passed_over is not None:
                assignments.append(Assignment(found.passed_over, "", found.where, line))
    return Content(assignments, problems, active)


def _read_line(raw: bytes, where: str, line: int) -> Assignment | Problem | None:
    if b"\r" in raw:
        # Also of a comment: what follows may have been meant as a line of its own.
        return Problem(where, f"{quoted(_text(raw))} has a carriage return inside; each line ends with a line feed",
                       line=line)
    # Split as bytes: only the white space of ASCII counts, as it did in C.
    word, value = (_text(field) for field in (*raw.split(None, 1), b"", b"")[:2])
    if not word or word.startswith("#"):
        return None
    option = BY_NAME.get(word.lower())
    if option is None or not option.in_file:
        return _unknown(_text(raw), word, where, line)
    if message := _wrong_value(option, word, value):
        return Problem(where, message, line=line)
    if option.kind is Kind.FLAG and value:
        return Problem(where, f"{option.name} stands alone; {quoted(value)} is passed over", fatal=False, line=line,
                       passed_over=option)
    return Assignment(option, value, where, line)


def _unknown(text: str, word: str, where: str, line: int) -> Problem | None:
    found = near(text, _IN_FILE)
    if found[0]:
        return Problem(where, f"{quoted(text)} is no option, but nearly one: write {quoted(described(found))}",
                       line=line)
    if len(word) < SHORTEST_NAME:
        return None
    return Problem(where, f"unknown option {quoted(word)}, skipped", fatal=False, line=line)


def _wrong_value(option: Option, word: str, value: str) -> str:
    """What is wrong with a value that the converter of its option could take for one, or cannot explain."""
    hint = "; a comment is a line of its own" if COMMENT_BEHIND.search(plain(value)) else ""
    if option.kind is Kind.FLAG:
        if not value or value.lower() in SWITCHED_ON:
            return ""
        if value.lower() in SWITCHED_OFF:
            hint = f"; leave the line out to switch {option.name} off"
        return f"{option.name} stands alone, but {quoted(value)} follows{hint}"
    if not value:
        return f"{quoted(word)} needs a value"
    if hint:
        return f"{option.name}: {quoted(value)} has a comment behind the value{hint}"
    if SIGN_BEFORE.match(value):
        return f"{option.name}: {quoted(value)} has a sign before it; only white space stands between name and value"
    return ""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
