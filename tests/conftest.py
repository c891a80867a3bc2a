"""Fixtures that several files share."""
import os
from collections.abc import Iterator

import pytest

from lab.hosts import Lab, supported

# Its asserts say what they saw, as those of test files do.
pytest.register_assert_rewrite("tests.target_conformance")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A gateway in a namespace of its own. Where none can be made: a failure under CI=true, else a skip."""
    reason = supported()
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the kernel's queue: {reason}")
        pytest.skip(reason)
    with Lab() as made:
        yield made
