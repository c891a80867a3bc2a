"""How often a host has met the fake server within a time, against a plain list of all attempts."""
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.sinks.attempts import SPACING_S, AttemptMemory
from tests.strategies import packed

HOUR_S = 3600
HOST, OTHER = packed("192.0.2.1"), packed("192.0.2.2")


def test_six_in_six_hours_at_any_pace_of_an_hour_or_quicker() -> None:
    for pace_s in (HOUR_S, 20 * 60, SPACING_S):
        memory = AttemptMemory(6, 6 * HOUR_S)
        found = [memory.note(HOST, number * pace_s) for number in range(8)]
        assert [one is not None for one in found] == [False] * 5 + [True] * 3
        assert found[5] == (6, 0)
    memory = AttemptMemory(6, 6 * HOUR_S)
    assert not any(memory.note(HOST, number * 1.3 * HOUR_S) for number in range(100))


def test_what_is_sent_at_once_is_one_attempt() -> None:
    memory = AttemptMemory(6, 6 * HOUR_S)
    assert not any(memory.note(HOST, number * 0.5) for number in range(100))
    # Less than a minute, where the time itself is short.
    assert AttemptMemory(2, 4).spacing_s == 1


@given(st.lists(st.integers(0, 900), max_size=60), st.integers(2, 15))
def test_any_attempts_count_as_a_list_of_them(pauses: list[int], wanted: int) -> None:
    memory = AttemptMemory(wanted, HOUR_S)
    counted: list[int] = []
    now_s = 0
    for pause_s in pauses:
        now_s += pause_s
        found = memory.note(HOST, now_s)
        if counted and now_s - counted[-1] < memory.spacing_s:
            assert found is None
            continue
        counted.append(now_s)
        enough = len([one for one in counted if now_s - one <= HOUR_S]) >= wanted
        assert (found is not None) is enough


def test_a_flood_pushes_out_who_has_come_as_often_as_its_own() -> None:
    memory = AttemptMemory(3, HOUR_S, once=8, most=4)
    memory.note(HOST, 0)
    memory.note(HOST, 300)
    memory.note(OTHER, 400)
    for number in range(1000):
        memory.note(number.to_bytes(16, "big"), 500)
    assert len(memory) == 9
    assert memory.note(HOST, 600)
    assert not memory.note(OTHER, 800)
    assert not memory.note(OTHER, 1000)
    memory.forget(HOST)
    assert not memory.note(HOST, 700)
