"""Which failures are given a second try."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST, again


@pytest.mark.parametrize(("names", "expected"), [
    (["tests/test_a.py::test_one"], 1), ([f"tests/test_a.py::test_{n}" for n in range(MOST)], MOST),
    ([f"tests/test_a.py::test_{n}" for n in range(MOST + 1)], 0), (["tests/test_a.py"], 0), ([], 0)])
def test_a_few_are_run_again(names: list[str], expected: int, tmp_path: Path) -> None:
    failed = tmp_path / "lastfailed"
    failed.write_text(json.dumps(dict.fromkeys(names, True)), encoding="utf-8")
    assert len(again(failed, tmp_path / "crashed")) == expected
    (tmp_path / "crashed").touch()
    assert again(failed, tmp_path / "crashed") == []


def test_none_failed(tmp_path: Path) -> None:
    assert again(tmp_path / "lastfailed", tmp_path / "crashed") == []


def test_what_pytest_writes_is_what_is_read(tmp_path: Path) -> None:
    """A failure in a process of a real run; and such a process that crashed."""
    (tmp_path / "conftest.py").write_text(
        f"import tests.again\nfrom pathlib import Path\ntests.again.CRASHED = Path({str(tmp_path / 'crashed')!r})\n"
        "import tests.conftest\nfrom tests.conftest import pytest_handlecrashitem\n", encoding="utf-8")
    (tmp_path / "test_it.py").write_text(
        "import os\ndef test_fails(): assert not 1\ndef test_passes(): pass\n"
        "def test_ends(): os.environ.get('END') and os.kill(os.getpid(), 9)\n", encoding="utf-8")
    failed = tmp_path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    command = [sys.executable, "-m", "pytest", "-q", "-n1", f"--rootdir={tmp_path}", "-c", "/dev/null", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    for end in ("", str(int(signal.SIGKILL))):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | {"END": end}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stdout + done.stderr
        found = again(failed, tmp_path / "crashed")
        assert found == ([] if end else ["test_it.py::test_fails"]), done.stdout
