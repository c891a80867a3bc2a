"""The engine's clock as a gateway has it, and with which time it signs."""
import time

import pytest

from mxallowd.fleet.clock import APART_S, EngineClock, told

S = 1_000_000
NEAR_S = 2


def clock(ahead_s: float) -> EngineClock:
    """One whose engine is so far ahead of this host."""
    made = EngineClock()
    assert not made.said(time.time_ns() // 1000 + int(ahead_s * S), time.monotonic_ns() // 1000)
    return made


@pytest.mark.parametrize("ahead_s", [0, APART_S - 2, 2 - APART_S])
def test_a_clock_that_is_near_signs(ahead_s: int) -> None:
    made = clock(ahead_s)
    assert not made.is_off()
    assert abs(made.wall_ms() / 1000 - time.time()) <= NEAR_S


@pytest.mark.parametrize("ahead_s", [APART_S + 2, -APART_S - 2, 86_400, -86_400])
def test_else_the_engines_time_signs(ahead_s: int) -> None:
    made = clock(ahead_s)
    assert made.is_off()
    assert abs(made.wall_ms() / 1000 - time.time() - ahead_s) <= NEAR_S
    assert abs(made.apart_s() + ahead_s) <= 1
    words = "behind" if ahead_s > 0 else "ahead of"
    assert told(-ahead_s) == f"this host's clock is {abs(ahead_s)} s {words} the engine's"


def test_before_the_engine_was_asked_the_own_one_signs() -> None:
    assert EngineClock().apart_s() == 0
    assert abs(EngineClock().wall_ms() / 1000 - time.time()) <= NEAR_S


@pytest.mark.parametrize(("by_s", "was_set"), [(0, False), (APART_S - 2, False), (APART_S + 2, True),
                                               (-APART_S - 2, True)])
def test_that_it_was_set_is_seen(by_s: int, was_set: bool) -> None:
    made = clock(0)
    assert made.said(time.time_ns() // 1000 + by_s * S, time.monotonic_ns() // 1000) is was_set
