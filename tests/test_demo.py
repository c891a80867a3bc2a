"""The demo ends well in each of its ways."""
import subprocess
import sys
from pathlib import Path

import pytest

from lab.demo import WAYS

ROOT = Path(__file__).parent.parent


@pytest.mark.usefixtures("namespaces")
def test_the_demo() -> None:
    # Side by side: most of it waits for what does not come.
    running = [subprocess.Popen([sys.executable, "-m", "lab.demo", way], cwd=ROOT, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for way in sorted(WAYS)]
    try:
        for one in running:
            text, _ = one.communicate(timeout=60)
            assert one.returncode == 0, text
            # Its last steps are the questions of an operator, and their answers.
            assert "192.0.2.66: is refused\n" in text
            assert "192.0.2.101: gets in\n" in text
            assert text.endswith("\nEverything was as expected.\n")
    finally:
        for one in running:
            one.kill()
            one.wait()


def test_a_way_that_is_none() -> None:
    done = subprocess.run([sys.executable, "-m", "lab.demo", "e"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "invalid choice: 'e'" in done.stderr
