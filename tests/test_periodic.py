"""Lines at most once a minute: none is written too early, and nothing that they stand for is lost or counted twice."""
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.log.periodic import PERIOD_S, Grown, Pace, Repeated, Summed


class Clock:
    """A clock to turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """It stands at zero: the first line must not wait for a whole minute of uptime."""
    return Clock()


def test_the_first_is_due_and_the_next_after_a_period(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.due()
    clock.now = PERIOD_S - 0.1
    assert not pace.due()
    clock.now = PERIOD_S
    assert pace.due()
    assert not pace.due()


def test_a_period_of_ones_own(clock: Clock) -> None:
    pace = Pace(clock, 2.0)
    assert pace.due()
    clock.now = 2.0
    assert pace.due()


def test_a_sum_has_the_count_and_the_newest(clock: Clock) -> None:
    summed: Summed[str] = Summed(clock)
    assert summed.due() is None
    summed.add("first")
    assert summed.due() == (1, "first")
    for item in ("second", "third"):
        summed.add(item)
        assert summed.due() is None
    clock.now = PERIOD_S
    assert summed.due() == (2, "third")
    clock.now = 2 * PERIOD_S
    assert summed.due() is None
    # Nothing to say took no turn.
    summed.add("fourth")
    assert summed.due() == (1, "fourth")


def test_growth_is_since_the_last_line(clock: Clock) -> None:
    grown = Grown(clock)
    assert grown.due(0, 0) is None
    assert grown.due(3, 0) == (3, 0)
    assert grown.due(4, 2) is None
    clock.now = PERIOD_S
    assert grown.due(5, 2) == (2, 2)
    clock.now = 2 * PERIOD_S
    assert grown.due(5, 2) is None


def test_the_last_growth_is_said_at_once(clock: Clock) -> None:
    grown = Grown(clock)
    assert grown.due(1) == (1,)
    assert grown.due(3) is None
    assert grown.due(3, at_once=True) == (2,)
    assert grown.due(3, at_once=True) is None


def test_another_reason_is_said_at_once(clock: Clock) -> None:
    repeated = Repeated(clock)
    assert repeated.due("one")
    assert not repeated.due("one")
    assert repeated.due("other")
    clock.now = PERIOD_S - 0.1
    assert not repeated.due("other")
    assert repeated.due("one")
    clock.now = 2 * PERIOD_S
    assert repeated.due("one")


def test_a_forgotten_reason_is_said_at_once(clock: Clock) -> None:
    repeated = Repeated(clock)
    assert repeated.due("one")
    repeated.forget()
    assert repeated.due("one")
    assert not repeated.due("one")


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5))))
def test_the_sum_of_all_lines_is_what_happened(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    summed: Summed[int] = Summed(clock)
    grown = Grown(clock)
    total, said_by_sum, said_by_growth = 0, 0, 0
    lines: list[float] = []
    for after_s, times in steps:
        clock.now += after_s
        for _ in range(times):
            summed.add(total)
        total += times
        found, growth = summed.due(), grown.due(total)
        # Both say the same at the same moments.
        assert (found is None) == (growth is None)
        if found and growth:
            lines.append(clock.now)
            said_by_sum += found[0]
            said_by_growth += growth[0]
            assert said_by_sum == said_by_growth == total
    assert all(after - before >= PERIOD_S for before, after in pairwise(lines))
    growth = grown.due(total, at_once=True)
    assert said_by_growth + (growth[0] if growth else 0) == total
