"""What the machines have in common."""
from pathlib import Path

import pytest

from tests.systems import image, machine


@pytest.fixture(scope="session")
def program() -> Path:
    """mxallowd, installed once for all machines."""
    return machine.program()


@pytest.fixture(scope="session")
def storage() -> Path:
    """Images of Podman, with the one of mxallowd built anew where its files have changed."""
    return image.built()
