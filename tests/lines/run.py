"""The command behind scripts/coverage: builds a copy of the checkout, runs its tests there, and prints who got where.

    python -m tests.lines.run [--parsers]

With --parsers the tests of the compiled parsers alone, and only those count. The status is 1 where less is reached
than LEAST_PARSERS and LEAST_PYTHON say.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest

from tests.lines import compiled

ROOT = Path(__file__).parent.parent.parent
# In percent, of all parsers together and of all Python together.
LEAST_PARSERS, LEAST_PYTHON = 95.0, 90.0
PARSER_TESTS = (
    "test_headers", "test_capture", "test_formats", "test_pcapfilter", "test_nfnetlink", "test_verdicts",
    "test_fastpath")
# Load, other builds, and what looks at the checkout and not at the package.
LEFT_OUT = (
    "test_allocation", "test_benchmarks", "test_clocks", "test_demo", "test_flood", "test_fuzz", "test_house",
    "test_install", "test_lines", "test_rdns_load", "test_sharing")
# What judges speed, which this build does not have, what takes long and reaches nothing that others do not, and what
# needs the command beside its Python.
DESELECTED = (
    "test_capture_backend.py::test_what_the_kernel_could_not_hand_over_is_said",
    "test_faults.py::test_5_a_queue_that_is_full",
    "test_kernel_nft.py::test_200_000_entries_are_filled_in_under_2_s",
    "test_lifecycle.py::test_a_start_that_is_interrupted_starts_nothing",
    "test_rdns.py::test_a_bad_name_server_is_in_nobodys_way",
    "test_replay.py::test_plot",
    "test_replay.py::test_ten_million_packets_balance",
    "test_systemd.py::test_the_unit_is_clean",
    "test_ways.py::test_a_change_is_in_the_kernel_within_50_ms",
    "test_ways.py::test_the_kernel_forgets_by_itself",
    "test_ways.py::test_a_ruleset_reload_in_mid_flight",
    "test_ways.py::test_the_sender_gets_in_and_the_spammer_does_not",
)
# Takes most of the time, and reaches nothing of the parsers that others do not.
DESELECTED_OF_PARSERS = ("test_fastpath.py::test_compiled_equals_oracle",)


class Figures(NamedTuple):
    """A file: how many lines could run, and which of them did not."""

    name: str
    lines: int
    missed: list[int]


def share(files: Iterable[Figures]) -> float:
    """How many of all their lines were reached, in percent."""
    files = list(files)
    lines = sum(file.lines for file in files)
    return 100 * (lines - sum(len(file.missed) for file in files)) / lines if lines else 0.0


def ranges(numbers: Iterable[int]) -> str:
    """1, 2, 3, 5 as 1-3 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def copy(tree: Path) -> None:
    """The checkout without what was built in it."""
    tree.mkdir()
    for source in ROOT.iterdir():
        if source.name in (".git", ".venv", "build", "dist") or source.name.endswith((".egg-info", "_cache")):
            continue
        if source.is_dir():
            shutil.copytree(
                source, tree / source.name, symlinks=True,
                ignore=lambda directory, names: [name for name in names if name == "__pycache__" or (
                    Path(directory).is_relative_to(ROOT / "mxallowd") and name.endswith((".so", ".c")))])
        else:
            shutil.copy(source, tree / source.name)


def environment(directory: Path, tree: Path, data: Path) -> Path:
    """A Python that measures itself, with the packages of this one; its program."""
    venv.create(directory, symlinks=True)
    packages = next(directory.glob("lib/python*/site-packages"))
    shutil.copy(Path(__file__).with_name("startup.py"), packages / "measured_lines.py")
    arguments = ", ".join(repr(str(path)) for path in (tree, data, compiled.counters(tree)))
    (packages / "measured_lines.pth").write_text(
        "".join(f"{path}\n" for path in [*map(Path, sys.path[1:]), tree] if path.is_dir() and path != ROOT)
        + f"import measured_lines; measured_lines.install({arguments})\n", encoding="utf-8")
    return directory / "bin" / "python"


def compiled_figures(tree: Path) -> list[Figures]:
    """The compiled modules; what is inline in a contents page counts by itself."""
    return [Figures(name, len(lines), [number for number, count in sorted(lines.items()) if not count])
            for name, lines in sorted(compiled.reached(tree).items())]


def python_figures(tree: Path, data: Path) -> list[Figures]:
    """All of the package's Python, also what no process ever imported."""
    collected = coverage.CoverageData(basename=str(data / "all"))
    for file in sorted(data.glob("*.json")):
        text = file.read_text(encoding="utf-8")
        if text:
            collected.add_lines(json.loads(text))
    collected.write()
    report = coverage.Coverage(data_file=str(data / "all"), config_file=str(tree / "pyproject.toml"))
    report.load()
    figures = []
    for path in sorted((tree / "mxallowd").rglob("*.py")):
        _, lines, _, missed, _ = report.analysis2(str(path))
        figures.append(Figures(str(path.relative_to(tree)), len(lines), missed))
    return figures


def show(title: str, files: list[Figures]) -> None:
    """A table, the worst file first."""
    width = max(len(file.name) for file in files)
    print(f"\n{title:{width}}  lines missed  share")
    for file in sorted(files, key=lambda file: (share([file]), file.name) if file.lines else (100.0, file.name)):
        reached = f"{share([file]):5.1f} %" if file.lines else "      -"
        print(f"{file.name:{width}} {file.lines:6} {len(file.missed):6} {reached}  {ranges(file.missed)}".rstrip())
    print(f"{'together':{width}} {sum(file.lines for file in files):6} "
          f"{sum(len(file.missed) for file in files):6} {share(files):5.1f} %")


def tests_of(tree: Path, *, parsers: bool) -> list[str]:
    """The test files that are run."""
    names = sorted(path.stem for path in (tree / "tests").glob("test_*.py"))
    return [f"tests/{name}.py" for name in names if (name in PARSER_TESTS if parsers else name not in LEFT_OUT)]


def measure(directory: Path, *, parsers: bool, words: list[str]) -> list[str]:
    """Run it all in the empty `directory`; what is wrong with the result."""
    tree, data = directory / "checkout", directory / "lines"
    # Daemons that are not root any more write here.
    directory.chmod(0o755)
    data.mkdir()
    data.chmod(0o777)
    copy(tree)
    compiled.build(tree)
    python = environment(directory / "venv", tree, data)
    deselected = DESELECTED_OF_PARSERS if parsers else DESELECTED
    status = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words,
         *(f"--deselect=tests/{name}" for name in deselected), *tests_of(tree, parsers=parsers)], cwd=tree).returncode
    # Whether tests hold is for scripts/test to say: in this build all is slow, and some judge by the clock.
    if status == pytest.ExitCode.TESTS_FAILED:
        print("coverage: tests failed; what they would have reached is missing", file=sys.stderr)
    problems = [f"pytest ended with status {status}"] if status > pytest.ExitCode.TESTS_FAILED else []
    found = compiled_figures(tree)
    own = [file for file in found if re.fullmatch(r"mxallowd/(.*)\.pyx", file.name)
           and Path(file.name).stem in compiled.PARSERS]
    show("compiled parsers", own)
    if len(own) != len(compiled.PARSERS) or share(own) < LEAST_PARSERS:
        problems.append(f"the tests reach {share(own):.1f} % of the compiled parsers: less than {LEAST_PARSERS:.0f} %")
    if parsers:
        return problems
    show("other compiled modules", [file for file in found if file not in own])
    python_files = python_figures(tree, data)
    show("Python", python_files)
    if share(python_files) < LEAST_PYTHON:
        problems.append(f"the tests reach {share(python_files):.1f} % of the Python: less than {LEAST_PYTHON:.0f} %")
    return problems


def main() -> int:
    """Run as the command."""
    parser = argparse.ArgumentParser(prog="coverage", description="Which lines of the package the tests reach.")
    parser.add_argument("--parsers", action="store_true", help="the compiled parsers and their tests alone")
    parser.add_argument("words", nargs="*", metavar="PYTEST-ARGUMENT", help="behind --: for pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mxallowd-coverage-") as directory:
        problems = measure(Path(directory), parsers=options.parsers, words=options.words)
    for problem in problems:
        print(f"coverage: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
