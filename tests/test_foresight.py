"""What the decision says it would do is what it does, and asking changes nothing."""
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import OUTCOME_NAMES
from mxallowd._foresight import Foresight
from tests.oracle import MAPPED
from tests.pair import LIFETIME_S, Pair
from tests.strategies import FAKE, HOSTS, NO_HOSTS, REAL, packed, syn

steps = st.lists(st.tuples(
    st.integers(0, 600_000), st.sampled_from(HOSTS + NO_HOSTS + FAKE + REAL), st.sampled_from(FAKE + REAL),
    st.integers(0, 2)), max_size=40)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 10), st.integers(1, 3), st.booleans(), st.sampled_from(["never", "contact", "both"]), steps)
def test_foreseen_is_decided(
    capacity: int, shards: int, collide: bool, renew: str, sequence: list[tuple[int, bytes, bytes, int]],
) -> None:
    shards = min(shards, capacity)
    pair = Pair(capacity, shards, collide=collide)
    pair.publish(FAKE, REAL, LIFETIME_S, renew)
    foresights = [Foresight(path) for path in pair.paths]
    now_us = 0
    for wait_us, host, server, shard in sequence:
        now_us += wait_us
        if host.startswith(MAPPED) != server.startswith(MAPPED):
            continue
        before = pair.table.entries(now_us, 0, 1000), pair.table.counters()
        asked = [one.foresee(host, server, now_us) for one in foresights]
        assert (pair.table.entries(now_us, 0, 1000), pair.table.counters()) == before
        # The pair compares the events as well: asking has written none.
        assert asked == pair.decide([syn(host, server)], now_us, shard % shards) * shards


def test_leniency_is_foreseen() -> None:
    pair = Pair(4)
    pair.table.be_lenient(10)
    one = Foresight(pair.paths[0])
    assert one.foresee(HOSTS[0], REAL[0], 9) == "real-untold"
    assert one.foresee(HOSTS[0], REAL[0], 10) == "real-refused"
    assert "real-refused" in OUTCOME_NAMES
    assert one.foresee(packed("192.0.2.77"), FAKE[0], 10) == "fake-new"
    assert one.foresee(packed("192.0.2.77"), FAKE[0], 10) == "fake-new"
