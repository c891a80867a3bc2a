"""Several threads on one whitelist: verdicts that must be right in any order, and no data race that a checker sees."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import builds, sharing

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


@pytest.mark.builds
@pytest.mark.timeout(400)
def test_thread_sanitizer_sees_no_race() -> None:
    """The same with modules that are built for ThreadSanitizer."""
    library = subprocess.run(["gcc", "-print-file-name=libtsan.so"], capture_output=True, text=True).stdout.strip()
    if not Path(library).is_file():
        assert not os.environ.get("CI"), "gcc has no ThreadSanitizer"
        pytest.skip("gcc has no ThreadSanitizer")
    built = builds.package("thread")
    # -R: it needs the address space as it was before high-entropy randomization.
    python = ["setarch", "-R", sys.executable, "-P"]
    environment = os.environ | {
        "LD_PRELOAD": str(Path(library).resolve()), "TSAN_OPTIONS": "exitcode=66", "PYTHONPATH": f"{built}:{ROOT}",
        "PYTHONMALLOC": "malloc"}
    where = subprocess.run([*python, "-c", "from mxallowd.engine import _table; print(_table.__file__)"],
                           capture_output=True, text=True, check=True, env=environment).stdout
    assert Path(where.strip()).is_relative_to(built)
    run = subprocess.run(
        [*python, "-m", "tests.sharing", "4"], capture_output=True, text=True, timeout=200, env=environment)
    assert "ThreadSanitizer" not in run.stderr, run.stderr[:5000]
    assert run.returncode == 0, run.stderr
    for counted in json.loads(run.stdout):
        check(counted, 1000)
