"""What is drawn: rates of counters, gaps where nothing can be known, and lines of other releases."""
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.console.plots import (
    BY_KEY,
    LARGEST,
    MOST_NUMBERS,
    MOST_PARTS,
    PLOTS,
    Look,
    Reading,
    flat,
    lines_of,
    measured,
)
from mxallowd.metrics.series import BY_NAME


def reading(at: float, since: str = "monday", **values: object) -> Reading:
    return Reading(at, since, flat(values))


def test_rates_are_of_a_second_and_fills_of_a_hundred() -> None:
    before = reading(10, packets={"real-first": 5, "real-again": 7, "fake-new": 1}, looked_up=100)
    after = reading(12, packets={"real-first": 9, "real-again": 9, "fake-new": 1}, looked_up=101,
                    entries=25, entries_room=100, event_ring_ratio=0.5, queue_waiting={"10": 4, "2": 1})
    found = measured(Look(before, after))
    assert (found["decisions.passed"], found["decisions.new"], found["lookups.hosts"]) == (3, 0, 0.5)
    assert (found["fills.whitelist"], found["fills.ring"], found["fills.lookups"]) == (25, 50, None)
    assert [key for key in found if key.startswith("queue.")] == ["queue.2", "queue.10"]


@pytest.mark.parametrize("after", [
    reading(12, "tuesday", packets={"fake-new": 50}, entries=3, entries_room=4),
    reading(12, packets={"fake-new": 4}, entries=3, entries_room=4),
    reading(10, packets={"fake-new": 50}, entries=3, entries_room=4)], ids=["start", "back", "no time"])
def test_no_rate_goes_through_a_start_of_the_daemon(after: Reading) -> None:
    found = measured(Look(reading(10, packets={"fake-new": 9}, entries=1, entries_room=4), after))
    assert {name for name, value in found.items() if value is not None} == {"fills.whitelist"}
    assert found["fills.whitelist"] == 75


def test_one_counter_that_went_back_makes_all_rates_unknown() -> None:
    found = measured(Look(reading(1, looked_up=9, packets={"fake-new": 1}),
                          reading(2, looked_up=8, packets={"fake-new": 2})))
    assert set(found.values()) == {None}


def test_what_the_kernel_decides_alone_is_counted() -> None:
    before = reading(0, packets={"real-first": 0, "real-again": 0, "real-refused": 0, "real-denied": 0},
                     kernel_packets={"accept": 0, "drop": 0, "deny": 0})
    values: dict[str, Any] = {"packets": {"real-first": 2, "real-again": 0, "real-refused": 3, "real-denied": 1},
                              "kernel_packets": {"accept": 100, "drop": 60, "deny": 10}}
    found = measured(Look(before, reading(1, **values)))
    # By capture, the kernel's counters have all; those of refused hosts have the denied ones in them.
    assert [found[f"decisions.{key}"] for key in ("passed", "refused", "denied")] == [100, 50, 10]
    # With a queue, it counts what the daemon does not see.
    assert measured(Look(before, reading(1, queue_room=9, **values)))["decisions.passed"] == 102


def test_what_is_rare_is_counted_by_the_minute() -> None:
    first, last, now = (reading(at, refused_later_passed=count) for at, count in ((0, 4), (58, 6), (60, 6)))
    assert measured(Look(last, now, first))["later.passed"] == 2
    assert measured(Look(last, now, last))["later.passed"] is None


@given(st.dictionaries(st.text(max_size=5), st.recursive(
    st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.booleans()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=3)), max_size=4))
def test_only_numbers_are_taken(values: dict[str, object]) -> None:
    found = flat(values)
    assert all(abs(value) < LARGEST for value in found.values())
    measured(Look(Reading(0, "", {}), Reading(1, "", found)))


def test_numbers_and_lines_have_bounds() -> None:
    assert len(flat({"queue_waiting": {str(one): one for one in range(9999)}})) == MOST_NUMBERS
    found = measured(Look(None, reading(0, queue_waiting={str(one): one for one in range(99)})))
    assert [key for key in found if key.startswith("queue.")] == [f"queue.{one}" for one in range(MOST_PARTS)]
    assert len(lines_of(BY_KEY["queue"], {f"queue.{one}" for one in range(99)})) == MOST_PARTS


def test_lines_of_another_release_and_the_order_of_the_table() -> None:
    plot = BY_KEY["decisions"]
    names = {"decisions.gone", "decisions.refused", "decisions.passed", "queue.1", "no plot"}
    assert lines_of(plot, names) == ["passed", "refused"]
    assert lines_of(BY_KEY["queue"], names) == ["1"]


def test_every_line_comes_from_series_that_the_daemon_has() -> None:
    asked: set[str] = set()

    class Asked(dict[str, float]):
        def __contains__(self, name: object) -> bool:
            asked.add(str(name))
            return super().__contains__(name)

    numbers = Asked()
    measured(Look(Reading(0, "", numbers), Reading(60, "", numbers), Reading(0, "", numbers)))
    assert {name.partition(".")[0] for name in asked} - {"queue_room"} <= BY_NAME.keys()
    assert {plot.parts for plot in PLOTS if plot.parts} <= BY_NAME.keys()
    labels = {name.partition(".")[2] for name in asked if name.startswith("packets.")}
    from mxallowd.metrics.counters import COUNTERS
    assert labels == {one.label[1] for one in COUNTERS if one.family == "packets"}
