"""What is known of other gateways: what is new, what is a replay, whose name two have, and how much each may say."""
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine._told import MOST_GATEWAY
from mxallowd.fleet import peers as peers_module
from mxallowd.fleet.peers import (
    ALL_REMOVALS_PER_S,
    FEW_EPOCHS,
    LEAST_OF_MS,
    MANY_PEERS,
    MOST_ALL_FLUSHES,
    MOST_ALL_REMOVALS,
    MOST_EPOCHS,
    MOST_NEW,
    MOST_REMOVALS,
    MOST_STRANGERS,
    MOST_WAITED_MS,
    NEW_PER_S,
    REASONS,
    RETURNED_MS,
    RETURNS,
    ROOMS,
    WINDOW,
    Peer,
    Peers,
    Spent,
    Waiting,
)


def get(peers: Peers, name: str) -> Peer:
    found = peers.get(name)
    assert found is not None
    return found


def peer() -> Peer:
    return get(Peers(), "mx1")


def test_a_bucket_goes_by_the_clock_of_its_caller() -> None:
    bucket = Spent(100, 1000, 5_000)
    assert bucket.take(1000, 5_000)
    assert not bucket.take(1, 5_009)
    assert bucket.take(1, 5_010)
    # A clock that goes back brings nothing.
    assert not bucket.take(1, 4_000)
    assert not bucket.take(2, 5_020)
    assert bucket.take(1, 5_020)
    assert bucket.some(300, 6_020) == 100
    bucket.give(40)
    assert bucket.some(300, 6_020) == 40
    bucket.give(10**9)
    assert bucket.some(10**9, 6_020) == 1000


@pytest.mark.parametrize("apart_ms", [0, 600_000, -600_000])
def test_how_long_a_batch_waited(apart_ms: int) -> None:
    """Whatever the clock of its gateway; and one that is set changes nothing for long."""
    waiting = Waiting()
    wall_ms = 10_000_000 + apart_ms
    assert [waiting.of(10_000_000 + place + later, wall_ms + place) for place, later in (
        (0, 4), (10, 5), (20, 3), (30, 3900), (4000, 4), (5000, MOST_WAITED_MS + 4))] == [0, 1, 0, 3897, 1, 0]
    # It is set back by a minute, or by ten.
    for place, back_ms, waited in ((6000, 60_000, 60_001), (7000, 600_000, 0), (6000 + LEAST_OF_MS, 60_000, 60_001),
                                   (7000 + 2 * LEAST_OF_MS, 60_000, 0), (8000 + 2 * LEAST_OF_MS, 0, 0)):
        assert waiting.of(10_000_000 + place + 4, wall_ms + place - back_ms) == waited, place


def test_a_batch_is_new_once() -> None:
    one = peer()
    assert one.is_new(7, 0, (1000, 0))
    assert one.is_new(7, 1, (1000, 1))
    # Read again, after the connection was lost: the same places.
    assert one.is_new(7, 0, (1000, 0)) is False
    assert one.is_new(7, 1, (1000, 1)) is False
    # At a later place it is a replay.
    assert one.is_new(7, 1, (1000, 2)) is None
    assert one.is_new(7, 0, (2000, 0)) is None
    assert one.is_new(7, 2, (2000, 1))
    # Another run counts anew.
    assert one.is_new(8, 0, (2001, 0))
    assert one.epoch == 8


def test_a_batch_that_was_overtaken_is_passed_over() -> None:
    """One that its gateway gave up waits in an engine that was stopped, and what it says may not be true any more."""
    one = peer()
    assert one.is_new(7, 10, (1000, 0))
    assert one.is_new(7, 12, (1001, 0))
    assert one.is_new(7, 11, (1002, 0)) is False
    # Read again it is the same, and at another place a replay.
    assert one.is_new(7, 11, (1002, 0)) is False
    assert one.is_new(7, 11, (1003, 0)) is None
    # It has taken nobody's place.
    assert one.is_new(7, 13, (1004, 0))


@given(st.lists(st.integers(0, 200), max_size=80))
def test_sequences_only_grow(sequences: list[int]) -> None:
    """The oracle remembers all of them; what is older than the window counts as known."""
    one, seen, highest = peer(), set[int](), -1
    for at, sequence in enumerate(sequences):
        expected = True if sequence > highest else None if sequence in seen or sequence <= highest - WINDOW else False
        assert one.is_new(7, sequence, (1000 + at, 0)) is expected
        seen.add(sequence)
        highest = max(highest, sequence)


def test_runs_are_remembered_and_not_too_many() -> None:
    one = peer()
    for epoch in range(MOST_EPOCHS + 1):
        assert one.is_new(epoch, 5, (1000 + epoch, 0))
    assert one.is_new(1, 5, (2000, 0)) is None
    assert one.is_new(0, 5, (2001, 0))


def test_sequences_may_be_as_large_as_they_can() -> None:
    one = peer()
    assert one.is_new((1 << 64) - 1, (1 << 64) - 1, ((1 << 64) - 1, 0))
    assert one.is_new((1 << 64) - 1, (1 << 64) - 2, ((1 << 64) - 1, 1)) is False
    assert one.is_new((1 << 64) - 1, 0, ((1 << 64) - 1, 2)) is None


def turns(one: Peer, count: int, step_ms: int = 1000) -> int:
    """Two gateways speak in turn; until when."""
    for at in range(count):
        assert one.is_new(7 + at % 2, at, (1000 + step_ms * at, 0))
    return 1000 + step_ms * count


def test_two_gateways_of_one_name_are_seen() -> None:
    one = peer()
    now_ms = turns(one, RETURNS + 2)
    assert one.is_shared(now_ms)
    # One of them has another name by now.
    assert not one.is_shared(now_ms + RETURNED_MS)


def test_a_gateway_that_starts_again_shares_its_name_with_nobody() -> None:
    one = peer()
    for epoch in range(40):
        for sequence in range(5):
            assert one.is_new(epoch, sequence, (10_000 + 1000 * epoch + 10 * sequence, 0))
        # A last one of the run before comes late, and all of it is read again.
        if epoch:
            assert one.is_new(epoch - 1, 4, (9040 + 1000 * epoch, 0)) is False
        if epoch % 6 == 5:
            assert one.is_new(epoch - 1, 5, (10_060 + 1000 * epoch, 0))
        assert not one.is_shared(10_000 + 1000 * epoch)
    assert one.is_new(38, 4, (60_000, 0)) is None


def test_a_replay_of_an_earlier_run_is_no_second_gateway() -> None:
    one = peer()
    turns(one, 2)
    for at in range(50):
        assert one.is_new(7, 0, (10_000 + 2 * at, 0)) is None
        assert one.is_new(8, 10 + at, (10_001 + 2 * at, 0))
    assert not one.is_shared(10_100)


def test_the_gateway_heard_longest_ago_is_forgotten_first() -> None:
    peers = Peers(most=3)
    first = {name: get(peers, name) for name in "abc"}
    assert [one.name for one in peers] == ["a", "b", "c"]
    assert get(peers, "a") is first["a"]
    get(peers, "d")
    assert [one.name for one in peers] == ["c", "a", "d"]
    assert (len(peers), peers.forgotten, peers.others("x"), peers.others("a")) == (3, 1, 3, 2)
    assert peers.gateway_name(first["b"].number) == ""
    assert peers.gateway_name(first["a"].number) == "a"
    assert get(peers, "b") is not first["b"]


def test_a_name_is_known_as_long_as_its_entries_are() -> None:
    alive = {1, 2}
    peers = Peers(most=2, has_entries=alive.__contains__)
    numbers = {name: get(peers, name).number for name in "abcdefgh"}
    assert (len(peers), numbers["a"], numbers["b"], numbers["c"]) == (2, 1, 2, 3)
    assert [peers.gateway_name(number) for number in (1, 2, 3, 7, 8)] == ["a", "b", "", "g", "h"]
    assert [peers.gateway_number(name) for name in "abcghx"] == [1, 2, 0, 7, 8, 0]
    # It comes back with the number that its entries have.
    assert get(peers, "a").number == 1
    assert get(peers, "c").number == 9
    alive.clear()
    for at in range(6):
        get(peers, f"x{at}")
    assert [peers.gateway_number(name) for name in "ab"] == [0, 0]


def test_names_that_are_kept_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "MOST_NAMED", 3)
    peers = Peers(most=1, has_entries=lambda _: True)
    for at in range(20):
        get(peers, f"x{at}")
    known = [at for at in range(20) if peers.gateway_number(f"x{at}")]
    assert len(known) <= 4
    assert known[-1] == 19


def test_numbers_are_those_of_the_whitelist_and_come_back_last() -> None:
    peers = Peers(most=2)
    get(peers, "kept")
    numbers = []
    for at in range(MOST_GATEWAY + 5):
        peers.now_ms += 100
        numbers.append(get(peers, f"mx{at}").number)
        get(peers, "kept")
    assert min(numbers) == 2
    assert max(numbers) == MOST_GATEWAY
    assert get(peers, "kept").number == 1
    assert numbers[:3] == [2, 3, 4]
    assert numbers[MOST_GATEWAY - 2:MOST_GATEWAY + 1] == [MOST_GATEWAY, 2, 3]


def test_what_is_refused_is_counted_by_reason() -> None:
    peers = Peers(most=1)
    one = get(peers, "mx1")
    peers.refuse(one, "too-fast", 256)
    peers.refuse(None, "forged")
    assert one.refused["too-fast"] == 256
    get(peers, "mx2")
    assert {reason: count for reason, count in peers.refused.items() if count} == {"too-fast": 256, "forged": 1}
    assert set(peers.refused) == set(REASONS)
    with pytest.raises(KeyError):
        peers.refuse(None, "nonsense")


def test_names_without_a_key_are_kept_apart_and_are_few() -> None:
    peers = Peers()
    for _ in range(3):
        peers.strange("mx1", "key", 5000)
    for at in random.Random(1).sample(range(1000), MOST_STRANGERS - 1):
        peers.strange(f"evil{at}", "forged", 0)
    assert peers.strangers()["mx1"] == ("key", 3, 5000)
    peers.strange("mx1", "forged", 5000)
    assert peers.strangers()["mx1"] == ("forged", 4, 5000)
    for at in range(2000, 2000 + MOST_STRANGERS):
        peers.strange(f"evil{at}", "forged", 0)
    assert len(peers.strangers()) == MOST_STRANGERS
    assert "mx1" not in peers.strangers()
    assert len(peers) == 0


def test_made_up_names_are_too_many_after_some_time() -> None:
    peers = Peers()
    known = get(peers, "mx1")
    assert sum(peers.get(f"evil{at}") is not None for at in range(3 * MOST_NEW)) == MOST_NEW - 1
    peers.now_ms += 1000
    assert sum(peers.get(f"evil{at}") is not None for at in range(10**5, 10**5 + 500)) == NEW_PER_S
    # Who speaks is not forgotten for them.
    for at in range(20):
        peers.now_ms += 10_000
        assert get(peers, "mx2")
        peers.get(f"more{at}")
    assert peers.gateway_name(known.number) in ("", "mx1")


def test_a_batch_that_was_not_taken_to_its_end_is_new_again() -> None:
    one = peer()
    assert one.is_new(7, 4, (1000, 0))
    assert one.is_new(7, 5, (1001, 0))
    one.forget(7, 4)
    one.forget(8, 5)
    one.forget(7, 5)
    assert one.is_new(7, 4, (1000, 0)) is False
    assert one.is_new(7, 5, (1001, 0))
    assert one.is_new(7, 5, (1001, 0)) is False


def test_names_that_cost_nothing_bring_nobody_more_than_all_may() -> None:
    """Each has a bucket of its own, and all of them one together, which those that are forgotten have used as well."""
    peers = Peers(most=8, room=1_000_000)
    peers.now_ms = 1000
    removals = flushes = records = 0
    for number in range(200):
        one = get(peers, f"evil{number}")
        removals += sum(peers.spend(one.removal_rate, peers.removal_rate, 1) for _ in range(1000))
        flushes += sum(peers.spend(one.flush_rate, peers.flush_rate, 1) for _ in range(2))
        records += 50_000 * peers.spend(one.rate, peers.rate, 50_000)
    assert (removals, flushes, records) == (MOST_ALL_REMOVALS, MOST_ALL_FLUSHES, ROOMS * 1_000_000)
    peers.now_ms += 1000
    one = get(peers, "mx9")
    assert sum(peers.spend(one.removal_rate, peers.removal_rate, 1) for _ in range(1000)) == ALL_REMOVALS_PER_S
    # What all together may not is given back to the one.
    assert one.removal_rate.some(1000, peers.now_ms) == MOST_REMOVALS - ALL_REMOVALS_PER_S


def test_runs_of_made_up_gateways_fill_no_memory() -> None:
    peers = Peers()
    for number in range(MANY_PEERS + 1):
        one = get(peers, f"evil{number}")
    for epoch in range(2 * MOST_EPOCHS):
        assert one.is_new(epoch, 5, (1000 + epoch, 0))
        assert get(peers, "evil7").is_new(epoch, 5, (1000 + epoch, 0))
    assert (len(one._epochs), len(get(peers, "evil7")._epochs)) == (FEW_EPOCHS, MOST_EPOCHS)
