"""The demo ends well in each of its ways."""
import subprocess
import sys
from pathlib import Path

import pytest

from lab.demo import WAYS

ROOT = Path(__file__).parent.parent


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("way", sorted(WAYS))
def test_the_demo(way: str) -> None:
    done = subprocess.run([sys.executable, "-m", "lab.demo", way], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    # Its last steps are the questions of an operator, and their answers.
    assert "192.0.2.66: is refused\n" in done.stdout
    assert "192.0.2.101: gets in\n" in done.stdout
    assert done.stdout.endswith("\nEverything was as expected.\n")


def test_a_way_that_is_none() -> None:
    done = subprocess.run([sys.executable, "-m", "lab.demo", "d"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "invalid choice: 'd'" in done.stderr
