"""Several threads on one whitelist: verdicts that must be right in any order, and no data race that a checker sees."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sharing

ROOT = Path(__file__).parent.parent


def check(counted: dict[str, int], least: int) -> None:
    assert counted["let-in"] == counted["shut-out"] == counted["missed"] == counted["strange"] == 0
    # Both threads gave entries away all the while, and the main thread read beside them.
    assert counted["evicted"] > least
    assert counted["found"] > 0
    assert counted["events"] > 0
    assert counted["ended"] > 0


@pytest.mark.parametrize("shape", [sharing.LARGE, sharing.SMALL], ids=["large", "small"])
def test_no_verdict_is_wrong_while_entries_change_hands(shape: tuple[int, int, int]) -> None:
    """(That this can fail was tried: without the second look at an entry's state, the small one lets strangers in.)"""
    check(sharing.main(3, shape), 50_000)


@pytest.mark.timeout(400)
def test_thread_sanitizer_sees_no_race(tmp_path: Path) -> None:
    """The same with modules that are built for ThreadSanitizer."""
    library = subprocess.run(["gcc", "-print-file-name=libtsan.so"], capture_output=True, text=True).stdout.strip()
    if not Path(library).is_file():
        assert not os.environ.get("CI"), "gcc has no ThreadSanitizer"
        pytest.skip("gcc has no ThreadSanitizer")
    for name in ("mxallowd", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
        else:
            shutil.copy(source, target)
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"MXALLOWD_BUILD": "thread"})
    assert built.returncode == 0, built.stderr
    # -R: it needs the address space as it was before high-entropy randomization.
    run = subprocess.run(
        ["setarch", "-R", sys.executable, "-m", "tests.sharing", "8"], cwd=tmp_path, capture_output=True, text=True,
        timeout=200, env=os.environ | {
            "LD_PRELOAD": str(Path(library).resolve()), "TSAN_OPTIONS": "exitcode=66", "PYTHONPATH": str(tmp_path),
            "PYTHONMALLOC": "malloc"})
    assert "ThreadSanitizer" not in run.stderr, run.stderr[:5000]
    assert run.returncode == 0, run.stderr
    for counted in json.loads(run.stdout):
        check(counted, 1000)
