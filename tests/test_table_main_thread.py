"""The whitelist as the main thread has it: whom it admits, renews and ends, where entries come from, what is listed."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._table import CHILD, LATEST_US, ORIGINS, Table, table_bytes
from tests.strategies import RECORD, record
from tests.test_table import counters, host

# ---- hosts that the main thread admits


def test_admitted_hosts_have_a_shard_of_their_own() -> None:
    table = Table(8, 2, main=4)
    assert table.shard_count == 3
    # There is no room for the fifth; the queue threads' shares are as they were.
    assert [table.admit(host(number), 100, 0) for number in range(1, 6)] == [True] * 4 + [False]
    assert table.find(host(4), 0) == (100, False, True)
    for number in range(10, 14):
        table.add(host(number), 50, 0, shard=number % 2)
    assert len(table) == 8
    assert not table.admit(host(10), 100, 0)
    assert table.find(host(10), 0) == (50, False, False)


def test_admitted_hosts_are_in_none_of_the_three_counters() -> None:
    table = Table(8, 1, main=4)
    table.admit(host(1), 10, 0)
    table.mark_used(host(1), 0)
    table.admit(host(2), 10, 0)
    assert counters(table, "entries") == (2,)
    table.sweep_main(10)
    assert counters(table, "entries", "successful", "direct-to-fake", "evicted") == (0, 0, 0, 0)


def test_renewal() -> None:
    table = Table(8, 1, main=4)
    table.add(host(1), 10, 0)
    assert table.renew(host(1), 20, 5)
    assert table.find(host(1), 19) == (20, False, False)
    assert not table.renew(host(1), 20, 5)
    assert not table.renew(host(1), 30, 20)
    assert not table.renew(host(2), 30, 0)
    table.add(host(3), 12, 0)
    # It is the youngest now, so one that ends earlier need not wait for it.
    table.expire(15, 10)
    assert len(table) == 1
    assert table.find(host(1), 15)
    table.expire(20, 10)
    assert len(table) == 0
    assert counters(table, "successful", "direct-to-fake") == (0, 2)


def test_a_table_without_room_for_admitted_hosts() -> None:
    with pytest.raises(ValueError, match="no shard for the main thread"):
        Table(8).admit(host(1), 10, 0)
    for wrong in ((4, 2, 3), (4, 1, -1), (4, 1, 4)):
        with pytest.raises(ValueError, match="cannot be shared"):
            Table(wrong[0], wrong[1], main=wrong[2])


def listed(table: Table, now_us: int, budget: int) -> dict[bytes, tuple[int, bool]]:
    """All that entries() gives, `budget` entries a call."""
    found: dict[bytes, tuple[int, bool]] = {}
    start = 0
    while True:
        records, start = table.entries(now_us, start, budget)
        for address, until_us, _, used, _ in RECORD.iter_unpack(records):
            assert address not in found
            found[address] = (until_us, bool(used))
        if start == 0:
            return found


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 20),
       st.lists(st.tuples(st.integers(0, 200), st.integers(0, 9), st.booleans())))
def test_entries_gives_each_listed_host_once(shards: int, budget: int, hosts: list[tuple[int, int, bool]]) -> None:
    table = Table(1000, shards, main=200)
    wanted: dict[bytes, tuple[int, bool]] = {}
    for number, until_us, used in hosts:
        address = host(number)
        if address in wanted or until_us == 0:
            continue
        if number % 5 == 0:
            assert table.admit(address, until_us, 0)
        else:
            table.add(address, until_us, 0, shard=number % shards)
        if used:
            table.mark_used(address, 0)
        wanted[address] = (until_us, used)
    assert listed(table, 0, budget) == wanted
    assert listed(table, 5, budget) == {address: one for address, one in wanted.items() if one[0] > 5}
    sample = table.sample(5, 100)
    assert sample.items() <= {address: one for address, one in wanted.items() if one[0] > 5}.items()
    if wanted and all(one[0] > 5 for one in wanted.values()):
        assert table.sample(5, 1000)


def test_entries_of_an_empty_table() -> None:
    table = Table(10, 2)
    assert table.entries(0, 0, 100) == (b"", 0)
    assert table.sample(0, 10) == {}
    # Any start can be asked for: there is nothing behind the end.
    assert table.entries(0, 2**40, 100) == (b"", 0)


def test_an_admission_displaces_nobody() -> None:
    table = Table(8, 1, main=2)
    # Two find room, the third one does not while they live; an expired one is nobody's loss.
    admitted = [
        table.admit(host(number), until_us, now_us)
        for number, until_us, now_us in ((1, 100, 0), (2, 100, 0), (3, 100, 0), (4, 300, 150), (4, 300, 150))]
    assert admitted == [True, True, False, True, False]
    assert counters(table, "evicted") == (0,)


def test_a_sweep_of_one_shard() -> None:
    table = Table(8, 2)
    table.add(host(1), 10, 0, shard=0)
    table.add(host(2), 10, 0, shard=1)
    table.sweep_shard(10, 0)
    assert len(table) == 1
    with pytest.raises(IndexError):
        table.sweep_shard(10, 2)


# ---- origins, an early end, and what was listed before


@pytest.mark.parametrize("origin", range(len(ORIGINS)))
def test_an_entry_says_where_it_comes_from(origin: int) -> None:
    table = Table(8, 1, main=4)
    table.admit(host(1), 10, 0, origin)
    table.add(host(2), 10, 0, origin=origin)
    assert [table.find(host(number), 0) for number in (1, 2)] == [(10, False, origin)] * 2
    table.mark_used(host(1), 0)
    assert table.renew(host(1), 20, 0)
    assert table.find(host(1), 0) == (20, True, origin)
    table.sweep(20)
    counted = ORIGINS[origin] in ("contact", "restored")
    assert counters(table, "successful", "direct-to-fake") == (counted, counted)


def test_there_is_no_other_origin() -> None:
    table = Table(8, 1, main=4)
    for origin in (-1, len(ORIGINS)):
        with pytest.raises(ValueError, match="no origin"):
            table.add(host(1), 10, 0, origin=origin)
        with pytest.raises(ValueError, match="no origin"):
            table.admit(host(1), 10, 0, origin)
    assert table.restore(record(host(1), 10, len(ORIGINS)), 0, shard=0) == (0, 0, 0, 1)


def test_an_end_before_its_time() -> None:
    table = Table(9, 2, main=3)
    table.add(host(1), 100, 0, shard=0)
    table.add(host(1), 100, 0, shard=1)  # two threads at the same time
    table.admit(host(2), 100, 0)
    for number in (1, 2):
        assert table.end(host(number), 5)
        assert table.find(host(number), 5) is None
        assert not table.end(host(number), 5)
        assert not table.renew(host(number), 200, 5)
        assert not table.mark_used(host(number), 5)
    # They are counted no more, although they are removed later.
    assert (*counters(table, "entries", "ended"), len(table), table.free(0)) == (0, 3, 0, 2)
    # It may come back at once, in the place that it had.
    table.add(host(1), 300, 6)
    assert table.find(host(1), 6) == (300, False, 0)
    table.sweep(6)
    assert counters(table, "entries", "successful", "direct-to-fake", "evicted", "ended") == (1, 0, 0, 0, 3)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_ended_entry_makes_room_wherever_it_is(number: int, used: bool) -> None:
    table = Table(8, 1, main=4)
    for shard in (0, 1):
        for one in range(1, 5):
            table.add(host(10 * shard + one), 100, 0, shard=shard)
            if used or one < 4:
                table.mark_used(host(10 * shard + one), 0)
        table.expire(0, 10, shard=shard)
    # Before, every one of them is in use, or the one that never was would go.
    assert table.end(host(number), 0)
    assert table.end(host(10 + number), 0)
    table.add(host(30), 100, 0)
    assert table.admit(host(31), 100, 0)
    listed_now = {one for one in range(1, 40) if table.find(host(one), 0)}
    assert listed_now == {1, 2, 3, 4, 11, 12, 13, 14, 30, 31} - {number, 10 + number}
    assert counters(table, "evicted", "ended") == (0, 2)
    # And to one that is restored.
    assert table.end(host(30), 0)
    assert table.restore(record(host(32), 90), 0, shard=0) == (1, 0, 0, 0)


def test_ended_entries_of_a_large_shard_are_found_step_by_step() -> None:
    table = Table(10_000)
    for number in range(10_000):
        table.add(host(number), 100, 0)
        table.prove(host(number), 0)
    table.expire(0, 20_000)
    for number in range(9_000, 9_010):
        table.end(host(number), 0)
    evicted = []
    for number in range(60):
        table.add(host(20_000 + number), 100, 0)
        evicted.append(counters(table, "evicted")[0])
    # Some came too early: a look goes through 256 entries. Until it is through, living ones make room.
    assert (evicted[29], evicted[-1]) == (30, 50)


def test_times_that_an_entry_cannot_say() -> None:
    table = Table(8, 1, main=4)
    table.add(host(1), 2**63, 0)
    assert table.admit(host(2), LATEST_US + 1, 0)
    table.add(host(3), 10, 0)
    assert table.renew(host(3), 2**64 - 1, 0)
    assert table.restore(record(host(4), 2**64 - 1), 0, shard=0) == (1, 0, 0, 0)
    assert [table.find(host(number), 0) for number in range(1, 5)] == [
        (LATEST_US, False, 0), (LATEST_US, False, CHILD), (LATEST_US, False, 0), (LATEST_US, False, 0)]


def test_the_share_of_memory_is_known() -> None:
    assert 38 * 10_000_000 < table_bytes(10_000_000) <= 400 << 20
