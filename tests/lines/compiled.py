"""Lines of the compiled modules that were reached.

The coverage build (setup.py) counts with gcc's own means, which see native threads and change nothing in how they run;
with Cython's own tracing a queue thread would take the interpreter's lock, and be seen nowhere. gcov knows lines of C.
Comments of Cython's say there which line of its source comes next, and the first C line with code behind such a comment
says how often that one was reached. A line without any code (a declaration, `else`) does not count.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from bisect import bisect_left
from pathlib import Path

PARSERS = ("_headers", "_capture", "_nfnetlink")

# /* "mxallowd/engine/_headers.pyx":28
_PLACE = re.compile(r'\s*/\* "([^"]+)":(\d+)$')
# What comes here from everywhere belongs to no line.
_END = "/* function exit code */"


def build(tree: Path) -> None:
    """Compile the modules of the checkout `tree` so that they count; their counters are files there."""
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tree, capture_output=True, text=True, timeout=300,
        env=os.environ | {"MXALLOWD_BUILD": "coverage", "CC": "gcc"})
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    # Processes that are root no more, or may make no file, count as well.
    for notes in _notes(tree):
        counters = notes.with_suffix(".gcda")
        counters.touch()
        counters.chmod(0o666)


def counters(tree: Path) -> Path:
    """The directory that each process writes to at its end."""
    return _notes(tree)[0].parent


def _notes(tree: Path) -> list[Path]:
    return sorted((tree / "build").rglob("*.gcno"))


def reached(tree: Path) -> dict[str, dict[int, int]]:
    """For each .pyx and .pxd, by its path in the tree: how often each of its lines was reached."""
    found: dict[str, dict[int, int]] = {}
    gcov = shutil.which("gcov")
    if gcov is None:
        raise RuntimeError("there is no gcov; it comes with gcc")
    for notes in _notes(tree):
        data = notes.with_suffix(".gcda")
        if data.exists() and data.stat().st_size == 0:
            data.unlink()
        printed = subprocess.run(
            [gcov, "--json-format", "--stdout", str(notes)], cwd=tree, capture_output=True, text=True, check=True,
            timeout=60).stdout
        for source in json.loads(printed)["files"]:
            path = tree / source["file"]
            if path.suffix != ".c" or not path.is_relative_to(tree / "mxallowd"):
                continue
            counts: dict[int, int] = {}
            for line in source["lines"]:
                counts[line["line_number"]] = counts.get(line["line_number"], 0) + line["count"]
            for name, number, count in statements(path.read_text(encoding="utf-8"), counts):
                if (tree / name).suffix in (".pyx", ".pxd"):
                    lines = found.setdefault(name, {})
                    lines[number] = lines.get(number, 0) + count
    return found


def statements(text: str, counts: dict[int, int]) -> list[tuple[str, int, int]]:
    """File, line and count of each line that this C is made from; `counts` is by its lines that have code."""
    starts: list[tuple[int, tuple[str, int] | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if place := _PLACE.match(line):
            starts.append((number, (place[1], int(place[2]))))
        elif line.strip() == _END:
            starts.append((number, None))
    with_code = sorted(counts)
    ends = [number for number, _ in starts[1:]] + [sys.maxsize]
    found = []
    for (number, statement_of), end in zip(starts, ends, strict=True):
        first = bisect_left(with_code, number)
        if statement_of and first < len(with_code) and with_code[first] < end:
            found.append((*statement_of, counts[with_code[first]]))
    return found
