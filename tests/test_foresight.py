"""What the decision says it would do is what it does, and asking changes nothing."""
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import OUTCOME_NAMES
from mxallowd._foresight import Foresight
from mxallowd.control.answers.explain import DROPS, REASONS
from tests.oracle import DENIED, DROPPED, MAPPED
from tests.pair import LIFETIME_S, Pair
from tests.strategies import FAKE, HOSTS, NO_HOSTS, REAL, packed, syn

steps = st.lists(st.tuples(
    st.integers(0, 600_000), st.sampled_from(HOSTS + NO_HOSTS + FAKE + REAL), st.sampled_from(FAKE + REAL),
    st.integers(0, 2)), max_size=40)


def networks_of(pair: Pair, now_us: int) -> bytes:
    """What contacts have let in."""
    return pair.meetings.entries(now_us, 0, 1024)[0] if pair.meetings else b""


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 10), st.integers(1, 3), st.booleans(), st.sampled_from(["never", "contact", "both"]),
       st.sampled_from([None, (24, 64), (30, 128)]), steps)
def test_foreseen_is_decided(
    capacity: int, shards: int, collide: bool, renew: str, key: tuple[int, int] | None,
    sequence: list[tuple[int, bytes, bytes, int]],
) -> None:
    shards = min(shards, capacity)
    pair = Pair(capacity, shards, collide=collide, network_key=key)
    pair.publish(FAKE, REAL, LIFETIME_S, renew)
    foresights = [Foresight(path) for path in pair.paths]
    now_us = 0
    for wait_us, host, server, shard in sequence:
        now_us += wait_us
        if host.startswith(MAPPED) != server.startswith(MAPPED):
            continue
        before = pair.table.entries(now_us, 0, 1000), pair.table.counters()
        networks = networks_of(pair, now_us)
        asked = [one.foresee(host, server, now_us) for one in foresights]
        assert (pair.table.entries(now_us, 0, 1000), pair.table.counters()) == before
        assert networks_of(pair, now_us) == networks
        # The pair compares the events as well: asking has written none.
        assert asked == pair.decide([syn(host, server)], now_us, shard % shards) * shards


ALL = FAKE + REAL
lists = st.lists(st.tuples(st.booleans(), st.sampled_from(HOSTS + NO_HOSTS), st.integers(64, 128)), max_size=6)
changes = st.one_of(
    st.tuples(st.just("packet"), st.integers(0, 600_000), st.sampled_from(HOSTS + NO_HOSTS + ALL),
              st.sampled_from(ALL), st.integers(0, 2)),
    st.tuples(st.just("rules"), st.sets(st.sampled_from(ALL)), st.sampled_from(["never", "contact", "use", "both"]),
              lists),
    st.tuples(st.just("lenient"), st.integers(0, 1_000_000)), st.tuples(st.just("nobody"), st.booleans()))


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 8), st.integers(1, 3), st.lists(changes, max_size=40))
def test_foreseen_with_lists_other_servers_and_leniency(
    capacity: int, shards: int, sequence: list[tuple[Any, ...]],
) -> None:
    """Which servers are fake changes, too."""
    shards = min(shards, capacity)
    pair = Pair(capacity, shards)
    foresights = [Foresight(path) for path in pair.paths]
    now_us = 0
    for what, *values in sequence:
        if what == "rules":
            fake, renew, some = values
            real = [one for one in ALL if one not in fake]
            pair.publish(sorted(fake), real, LIFETIME_S, renew, some)
        elif what == "nobody":
            pair.table.refuse_nobody(values[0])
        elif what == "lenient":
            pair.table.be_lenient(now_us + values[0])
        else:
            wait_us, host, server, shard = values
            now_us += wait_us
            if host.startswith(MAPPED) != server.startswith(MAPPED):
                continue
            path = pair.paths[shard % shards]
            asked = foresights[shard % shards].foresee(host, server, now_us)
            [decided] = path.decide([syn(host, server)], now_us)
            assert asked == OUTCOME_NAMES[decided]
            assert asked in REASONS


def test_what_explain_calls_refused_is_what_is_dropped() -> None:
    assert set(DROPS) == {DROPPED, DENIED}


def test_leniency_is_foreseen() -> None:
    pair = Pair(4)
    pair.table.be_lenient(10)
    one = Foresight(pair.paths[0])
    assert one.foresee(HOSTS[0], REAL[0], 9) == "real-untold"
    assert one.foresee(HOSTS[0], REAL[0], 10) == "real-refused"
    assert "real-refused" in OUTCOME_NAMES
    assert one.foresee(packed("192.0.2.77"), FAKE[0], 10) == "fake-new"
    assert one.foresee(packed("192.0.2.77"), FAKE[0], 10) == "fake-new"
