"""What records come to: the last one of each host is true, the order is that of age, and no life gets longer."""
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._refused import Refused
from mxallowd.engine._saved import ENDED_ORIGIN, gather, look_up, refused_since, settle
from mxallowd.engine._table import BY_HAND, CHILD, LATEST_US, ORIGINS, Table
from tests.strategies import HOSTS, REAL, RECORD, record

NOW_US = 1_000_000_000
MOST_US = [10_000_000] * len(ORIGINS)
SOME = [b"\x20" + number.to_bytes(15, "big") for number in range(1, 9)]


def unpacked(records: bytes) -> list[tuple[bytes, int, int, bool, bool]]:
    return list(RECORD.iter_unpack(records))


@given(st.lists(st.tuples(
    st.sampled_from(SOME), st.integers(NOW_US - 3, NOW_US + 20_000_000), st.sampled_from([0, 1, 2, 5, 6, 255]),
    st.booleans(), st.booleans()), max_size=40))
def test_the_last_record_of_each_host_is_true(records: list[tuple[bytes, int, int, bool, bool]]) -> None:
    listed, ended = settle(b"".join(record(*one) for one in records), NOW_US, MOST_US)
    last = {one[0]: one for one in records}
    true = {host: (min(until, NOW_US + MOST_US[0]), origin, used, proven)
            for host, until, origin, used, proven in last.values() if until > NOW_US and origin < len(ORIGINS)}
    assert {host: rest for host, *rest in map(list, unpacked(listed))} == {
        host: list(rest) for host, rest in true.items()}
    assert {one[0] for one in unpacked(ended)} == {
        one[0] for one in last.values() if one[1] > NOW_US and one[2] == ENDED_ORIGIN}
    # Proven ones last, and who ends first comes first, in steps of a millisecond.
    order = [(one[4], (last[one[0]][1] - NOW_US) >> 10) for one in unpacked(listed)]
    assert order == sorted(order)


def test_what_can_be_no_host_is_left_out() -> None:
    bad = [bytes(16), b"\0" * 10 + b"\xff\xff\x7f\0\0\1", b"\xff" + bytes(15), b"\xfe\x80" + bytes(14)]
    assert settle(b"".join(record(host, NOW_US + 5) for host in bad), NOW_US, MOST_US) == (b"", b"")


def test_each_origin_has_its_longest_time() -> None:
    most = list(range(1, len(ORIGINS) + 1))
    records = b"".join(record(host, NOW_US + 100, at) for at, host in enumerate(SOME[: len(most)]))
    assert {one[2]: one[1] - NOW_US for one in unpacked(settle(records, NOW_US, most)[0])} == dict(enumerate(most))
    with pytest.raises(ValueError, match="longest"):
        settle(b"", NOW_US, most[1:])


@pytest.mark.parametrize("work", [
    lambda: settle(bytes(31), NOW_US, MOST_US), lambda: gather([(bytes(32), 1), (bytes(33), 1)]),
    lambda: look_up(Table(8), bytes(15), 1)])
def test_what_is_no_row_of_records(work) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="no records"):
        work()


def test_times_are_shifted_and_stay_times() -> None:
    records = b"".join(record(SOME[0], until) for until in (0, 1, 500, LATEST_US, (1 << 64) - 1))
    # Each part by its own clock.
    assert [one[1] for one in unpacked(gather([(records, 100), (memoryview(records), -100)]))] == [
        0, 1, 400, LATEST_US - 100, LATEST_US - 100, 0, 101, 600, LATEST_US + 100, LATEST_US + 100]
    assert records == b"".join(record(SOME[0], until) for until in (0, 1, 500, LATEST_US, (1 << 64) - 1))
    assert gather([]) == b""


def test_many_hosts_are_looked_up_at_once() -> None:
    table = Table(100, 2, main=10)
    table.add(HOSTS[0], 50, 1)
    table.add(HOSTS[1], 60, 1, shard=1)
    table.admit(HOSTS[2], 70, 1, BY_HAND)
    table.mark_used(HOSTS[0], 1)
    table.prove(HOSTS[1], 1)
    found = unpacked(look_up(table, b"".join((*HOSTS[:3], SOME[0])), 55))
    assert found == [(HOSTS[0], 0, 0, False, False), (HOSTS[1], 60, 0, False, True),
                     (HOSTS[2], 70, BY_HAND, False, False), (SOME[0], 0, 0, False, False)]


def test_refused_hosts_come_back_as_they_were() -> None:
    table = Table(8, 2)
    before, after = Refused(1024, 2, table), Refused(1024, 2, table)
    number = before.number_of(REAL[0])
    for at, now_us in enumerate((50 << 20, 250 << 20)):
        before.note(HOSTS[0], number, 1000 + at, now_us, shard=at)
    before.note(HOSTS[1], number, 1, 90 << 20)
    records, following = refused_since(before, 0, 0, 1024, 8)
    # One record for each shard that has it, each with what both know.
    assert (len(records), following) == (3 * RECORD_SIZE, 0)
    assert {record[16:] for record in (records[:32], records[32:64], records[64:]) if record[:16] == HOSTS[0]} == {
        struct.pack("=IIIB3x", 50, 250, 2, number)}
    assert refused_since(before, 91 << 20, 0, 1024, 8)[0][:16] == HOSTS[0]
    assert refused_since(before, 251 << 20, 0, 1024, 8) == (b"", 0)
    first, following = refused_since(before, 0, 0, 1024, 1)
    assert first + refused_since(before, 0, following, 1024, 8)[0] == records
    assert refused_since(before, 0, 0, 1000, 8)[1] == 1000
    # There the server has another number, and the clock is 20 steps behind.
    own = after.number_of(REAL[0])
    assert after.restore(records, bytes((own,)) * 256, 300 << 20, 20 << 20) == 3
    found = after.find(HOSTS[0])
    assert found == (30 << 20, 230 << 20, 2, REAL[0])
    assert after.find(HOSTS[1]) == (70 << 20, 70 << 20, 1, REAL[0])
    assert len(after) == 2
    # What is known already and newer stays, and nothing was refused in the future or before the start of the machine.
    assert after.restore(records, bytes(256), 300 << 20, 60 << 20) == 0
    assert after.restore(records, bytes(256), 300 << 20, -1000 << 20) == 3
    newest = after.find(HOSTS[0])
    assert newest
    assert newest.last_us == 300 << 20
    with pytest.raises(ValueError, match="no records"):
        after.restore(bytes(31), bytes(256), 1, 0)


def test_in_a_full_set_those_stay_that_were_refused_last() -> None:
    table = Table(8)
    before, small = Refused(4096, 1, table), Refused(4, 1, table)
    for at, host in enumerate(SOME):
        before.note(host, 0, 1, (at + 1) << 20)
    small.restore(before.entries(0, 4096)[0], bytes(256), 100 << 20, 0)
    assert {host for host in SOME if small.find(host)} == set(SOME[4:])


def test_a_child_is_a_child_again() -> None:
    table = Table(8, main=4)
    table.add(HOSTS[0], 50, 1, origin=3)
    assert table.restore(record(HOSTS[0], 40, CHILD, False, True), 1, shard=0) == (0, 1, 0, 0)
    assert table.find(HOSTS[0], 1) == (50, False, CHILD)
    assert table.is_proven(HOSTS[0], 1)
