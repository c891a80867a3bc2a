"""Each fuzz target for some seconds (scripts/fuzz has more time for them), and that a target finds what it is for."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import run

IN_CI = os.environ.get("CI") == "true"
SECONDS = 2
# For the first one everything is built.
PATIENCE_S = SECONDS + 400


def check(target: str) -> None:
    """Skip what cannot be built or run here; under CI=true it is a failure."""
    try:
        run.check(target)
    except run.Missing as missing:
        if IN_CI:
            pytest.fail(f"CI must fuzz: {missing}")
        pytest.skip(str(missing))


@pytest.mark.builds
@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("target", [*run.COMPILED, *run.INTERPRETED])
def test_nothing_is_found(target: str) -> None:
    check(target)
    result = run.run(target, seconds=SECONDS)
    assert result.status == 0, result.output[-5000:]
    # Fewer are no fuzzing: the target returned early, or hung.
    assert result.executions > 100 * SECONDS


@pytest.mark.builds
@pytest.mark.timeout(PATIENCE_S)
def test_a_read_of_one_byte_too_many_is_found() -> None:
    """(The parser with this mistake is in headers.c.)"""
    check(run.DEFECTIVE)
    result = run.run(run.DEFECTIVE, seconds=30)
    assert result.status != 0
    assert "heap-buffer-overflow" in result.output
    # By its name only where there is a program that looks names up.
    if shutil.which("llvm-symbolizer"):
        assert "read_too_far" in result.output


def fuzz(*words: str) -> "subprocess.CompletedProcess[str]":
    """What scripts/fuzz runs."""
    return subprocess.run([sys.executable, "-m", "tests.fuzz.run", *words], cwd=run.ROOT, capture_output=True,
                          text=True, timeout=60)


def test_an_exception_that_is_not_documented_is_found() -> None:
    """(The target with this mistake is in interpreted.py.)"""
    check(run.DEFECTIVE_INTERPRETED)
    done = fuzz("--seconds", "30", run.DEFECTIVE_INTERPRETED)
    assert done.returncode == 1
    assert "IndexError" in done.stderr
    assert done.stdout.endswith(", a finding\n")


def test_the_command_runs_the_targets_that_are_named() -> None:
    check("proc")
    done = fuzz("--seconds", "1", "proc", "events")
    assert (done.returncode, done.stderr) == (0, "")
    found = re.findall(r"^(\w+): [1-9]\d* executions .* no finding$", done.stdout, re.MULTILINE)
    assert sorted(found) == ["events", "proc"]


def test_a_target_that_is_none() -> None:
    done = fuzz("nothing")
    assert done.returncode == 2
    assert "'nothing' is none of headers, " in done.stderr


@pytest.mark.parametrize("target", run.COMPILED)
def test_a_target_says_what_it_holds(target: str) -> None:
    assert (Path(run.HERE) / f"{target}.c").read_text(encoding="ascii").startswith("/* Whatever ")
