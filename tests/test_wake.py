"""What wakes the main loop, as an eventfd and as the pipe that other systems have."""
import os
import select
from collections.abc import Iterator

import pytest

from mxallowd.engine.wake import Wake


@pytest.fixture(params=["eventfd", "pipe"])
def wake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wake]:
    """Both kinds."""
    if request.param == "pipe":
        monkeypatch.delattr(os, "eventfd", raising=False)
    made = Wake()
    yield made
    for descriptor in {made.fd, made.write_fd}:
        os.close(descriptor)


def is_readable(wake: Wake) -> bool:
    """Whether a loop would be woken."""
    return bool(select.select([wake.fd], [], [], 0)[0])


def test_it_is_readable_from_a_signal_until_it_is_cleared(wake: Wake) -> None:
    assert not is_readable(wake)
    wake.signal()
    wake.signal()
    assert is_readable(wake)
    wake.clear()
    assert not is_readable(wake)
    wake.clear()
    assert not is_readable(wake)


def test_signals_that_nobody_takes_hold_nobody_up(wake: Wake) -> None:
    for _ in range(20_000):
        wake.signal()
    wake.clear()
    assert not is_readable(wake)


def test_what_is_wanted_now_is_a_signal_until_somebody_does_it(wake: Wake) -> None:
    wake.now()
    assert is_readable(wake)
    wake.clear()
    done: list[bool] = []
    wake.handle_now(lambda: done.append(True))
    wake.now()
    assert done == [True]
    assert not is_readable(wake)
