"""When hosts are to be looked at again."""

from hypothesis import given
from hypothesis import strategies as st

from mxallowd.mirrors.expiry import Expiry
from tests.strategies import HOSTS


@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.integers(0, 10_000_000))), st.integers(0, 12_000_000))
def test_each_host_comes_when_its_time_is_over(noted: list[tuple[bytes, int]], now_us: int) -> None:
    expiry = Expiry()
    for host, until_us in noted:
        expiry.note(host, until_us)
    due = list(expiry.take(now_us))
    assert sorted(due) == sorted(host for host, until_us in noted if (until_us // 1_000_000 + 1) * 1_000_000 <= now_us)
    assert expiry.size == len(noted) - len(due)
    expiry.clear()
    assert (expiry.size, list(expiry.take(2**60))) == (0, [])
