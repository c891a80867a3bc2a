"""Every allocation of the compiled constructors fails once: MemoryError, no crash, and everything is given back."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLASSES = {"Networks", "Table", "Ring", "Refused", "Rules", "Fastpath"} | (
    {"Heartbeats", "Watchdog", "QueueThread"} if sys.platform == "linux" else set())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The allocator that fails, compiled."""
    target = tmp_path_factory.mktemp("library") / "failing_memory.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(target),
                    str(ROOT / "tests" / "failing_memory.c")], check=True)
    return target


# Under malloc each small object of Python is an allocation, too.
@pytest.mark.parametrize("allocator", ["pymalloc", pytest.param("malloc", marks=pytest.mark.builds)])
@pytest.mark.skipif(sys.platform != "linux", reason="the preloaded library knows glibc alone")
def test_every_allocation_fails_once(library: Path, allocator: str) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.failing_memory"], cwd=ROOT, capture_output=True, text=True,
        timeout=100, env=os.environ | {"LD_PRELOAD": str(library), "PYTHONMALLOC": allocator})
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found.keys() == CLASSES
    for name, result in found.items():
        assert result["other"] == [], name
        assert result["lost"] == [], name
        # The interpreter gets along without some of what it asks for; not these.
        assert result["allocations"] >= result["raised"] >= 1, name
    # The shards, for each of four entries and lines, and what stands beside told ones.
    assert found["Table"]["raised"] >= 10


def test_what_is_lost_is_seen(library: Path) -> None:
    """That the test above can fail: objects that are kept are neither given back nor overlooked."""
    script = (
        "import json; from tests import failing_memory as f; kept = []\n"
        "from mxallowd.engine._ring import Ring\n"
        "def make(): kept.append(Ring(1024, -1)); bytearray(100_000)\n"
        "print(json.dumps(f.examine(make)))")
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100,
        env=os.environ | {"LD_PRELOAD": str(library)})
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["lost"]
