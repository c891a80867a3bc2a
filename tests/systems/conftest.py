"""What the machines have in common."""
from pathlib import Path

import pytest

from tests.systems import machine


@pytest.fixture(scope="session")
def program() -> Path:
    """mxallowd, installed once for all machines."""
    return machine.program()
