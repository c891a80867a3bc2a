"""The time from the fake server to the real one, as the entries tell it."""
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine.events import Event, Kind
from mxallowd.history.toreal import BOUNDS_S, Histogram, ToReal

HOST, SECOND_US = b"\x20" * 16, 1_000_000


def accepted(now_s: float, until_s: float) -> Event:
    return Event(Kind.ACCEPTED, 0, 0, 0, int(now_s * SECOND_US), HOST, HOST, int(until_s * SECOND_US))


@given(st.lists(st.floats(0, 40_000)))
def test_buckets_are_cumulative(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert histogram.buckets() == [
        (bound, sum(value <= bound for value in values)) for bound in (*BOUNDS_S, float("inf"))]
    assert (histogram.count, histogram.sum) == (len(values), sum(values))


def test_an_entry_says_when_its_host_met_the_fake_server() -> None:
    to_real = ToReal(3600, lambda _: "contact")
    to_real.handle([accepted(1000.0, 999.7 + 3600)])
    assert to_real.histogram.buckets()[:3] == [(0.1, 0), (0.25, 0), (0.5, 1)]
    assert abs(to_real.histogram.sum - 0.3) < 1e-5


def test_who_met_none_does_not_count() -> None:
    for origin in ("child", "by-hand", "restored", None):
        to_real = ToReal(3600, lambda _, origin=origin: origin)  # type: ignore[misc]
        to_real.handle([accepted(1000.0, 999.7 + 3600), accepted(1000.0, 0)._replace(kind=Kind.REFUSED)])
        assert to_real.histogram.count == 0


def test_a_lifetime_that_changed_gives_no_wrong_time() -> None:
    to_real = ToReal(3600, lambda _: "contact")
    to_real.set_lifetime(7200, 1000 * SECOND_US)
    to_real.set_lifetime(7200, 1500 * SECOND_US)
    # Of before the change, of after it, and one that neither lifetime explains.
    to_real.handle([accepted(1010, 990 + 3600), accepted(1010, 1005 + 7200), accepted(1010, 500 + 7200)])
    assert (to_real.histogram.count, to_real.histogram.sum) == (2, 25.0)
