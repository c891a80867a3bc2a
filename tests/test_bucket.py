"""The token bucket: a burst, then the rate, and never more."""
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.sinks.bucket import Bucket, Buckets


class Clock:
    """A clock to turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: Bucket, most: int = 1000) -> int:
    """How many tokens there are."""
    return next((count for count in range(most) if not bucket.take()), most)


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    bucket = Bucket(10, 40, clock)
    assert taken(bucket) == 40
    clock.now = 2.0
    assert taken(bucket) == 20
    clock.now = 1000.0
    assert taken(bucket) == 40


def test_parts_of_a_token_are_kept() -> None:
    clock = Clock()
    bucket = Bucket(1, 2, clock)
    taken(bucket)
    found = 0
    for _ in range(8):
        clock.now += 0.25
        found += bucket.take()
    assert found == 2


def test_another_rate_holds_from_now_on() -> None:
    clock = Clock()
    bucket = Bucket(10, 40, clock)
    taken(bucket)
    clock.now = 1.0
    bucket.resize(100, 400)
    # The second that has passed was one of the old rate.
    assert taken(bucket) == 10
    clock.now = 2.0
    assert taken(bucket) == 100
    clock.now = 100.0
    bucket.resize(1, 4)
    assert taken(bucket) == 4


@given(st.integers(1, 50), st.integers(1, 200), st.lists(st.tuples(st.floats(0, 20), st.integers(0, 300))))
def test_never_more_than_burst_and_rate(per_s: int, burst: int, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    bucket = Bucket(per_s, burst, clock)
    total = 0
    for after_s, wanted in steps:
        clock.now += after_s
        total += taken(bucket, wanted)
        assert total <= burst + per_s * clock.now + 1e-6


def test_each_has_his_own_and_those_who_asked_last_are_known() -> None:
    clock = Clock()
    buckets: Buckets[str] = Buckets(1, 2, 3, clock)
    assert taken(buckets.of("a")) == 2
    assert (taken(buckets.of("b")), taken(buckets.of("a")), len(buckets)) == (2, 0, 2)
    clock.now = 1.0
    assert taken(buckets.of("a")) == 1
    # Of more than three the one who has not asked for longest is forgotten.
    for name in ("c", "a", "d"):
        buckets.of(name)
    assert (len(buckets), taken(buckets.of("a")), taken(buckets.of("b"))) == (3, 0, 2)
