"""Entries as records: listed, and restored as they were."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._table import Table
from tests.strategies import RECORD, record


def host(number: int) -> bytes:
    return number.to_bytes(16, "big")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 99), st.integers(0, 5), st.booleans(), st.booleans()),
                unique_by=lambda one: one[0]), st.integers(1, 3))
def test_what_was_listed_is_restored(hosts: list[tuple[int, int, int, bool, bool]], shards: int) -> None:
    before, after = Table(300, shards, main=100), Table(300, shards, main=100)
    for number, until_us, origin, used, proven in hosts:
        before.add(host(number), until_us, 0, origin=origin, shard=number % shards)
        if used:
            before.mark_used(host(number), 0)
        if proven:
            before.prove(host(number), 0)
    records, _ = before.entries(0, 0, 1000)
    assert len(records) == len(hosts) * RECORD_SIZE
    for shard in range(shards + 1):
        result = after.restore(records, 50, shard=shard)
        later = sum(until_us > 50 for _, until_us, *_ in hosts)
        assert result == ((later, 0, 0, len(hosts) - later) if shard == 0 else (0, later, 0, len(hosts) - later))
    for number, until_us, origin, used, proven in hosts:
        assert after.find(host(number), 50) == ((until_us, used, origin) if until_us > 50 else None)
        assert after.is_proven(host(number), 50) == (proven and until_us > 50)


def test_the_layout_is_the_same_on_both_sides() -> None:
    assert RECORD.size == RECORD_SIZE
    table = Table(2)
    table.add(host(1), 2**48 + 1, 0, origin=4)
    table.mark_used(host(1), 0)
    table.prove(host(1), 0)
    assert table.entries(0, 0, 10) == (record(host(1), 2**48 + 1, 4, True, True), 0)


def test_restoring_pushes_nobody_out() -> None:
    table = Table(4, 1)
    for number in range(3):
        table.add(host(number), 100, 0)
    assert table.restore(b"".join(record(host(10 + i), 90) for i in range(3)), 0, shard=0) == (1, 0, 2, 0)
    assert all(table.find(host(number), 0) for number in (0, 1, 2, 10))
    # Expired ones are nobody's loss.
    assert table.restore(b"".join(record(host(20 + i), 300) for i in range(4)), 200, shard=0) == (4, 0, 0, 0)
    assert (table.counters()["evicted"], table.counters()["entries"]) == (0, 4)


def test_restoring_what_are_no_records() -> None:
    table = Table(4)
    with pytest.raises(ValueError, match="no records"):
        table.restore(bytes(RECORD_SIZE + 1), 0, shard=0)
    with pytest.raises(IndexError):
        table.restore(b"", 0, shard=1)
    assert table.restore(b"", 0, shard=0) == (0, 0, 0, 0)
