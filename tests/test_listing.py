"""A listing of the whitelist: the table's own records, what they say, and who comes first where not all have room."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine._table import Table
from mxallowd.mirrors import Listed, Listing, seconds_left
from mxallowd.whitelist import READ_ENTRIES, Whitelist, pack, unpack
from tests.strategies import HOSTS, hosts, listed

HOUR_US = 3_600_000_000
NOW_US = 5_000_000


@given(st.dictionaries(hosts, st.tuples(st.integers(1, HOUR_US), st.booleans()), max_size=30))
def test_a_listing_says_what_the_table_holds(entries: dict[bytes, tuple[int, bool]]) -> None:
    table = Table(100, 2, main=10)
    for number, (host, (lifetime_us, used)) in enumerate(entries.items()):
        table.add(host, NOW_US + lifetime_us, NOW_US, shard=number % 3)
        if used:
            table.mark_used(host, NOW_US)
    whitelist = Whitelist(table, lambda: NOW_US)
    assert listed(whitelist) == {
        host: (NOW_US + lifetime_us, used) for host, (lifetime_us, used) in entries.items()}
    listing = Listing(whitelist.records(), NOW_US, 5)
    assert len(listing) == len(entries)
    assert dict(listing.times()) == {host: NOW_US + lifetime_us for host, (lifetime_us, _) in entries.items()}
    left_s = {host: -(-lifetime_us // 1_000_000) for host, (lifetime_us, _) in entries.items()}
    expected = {
        Listed(host, left_s[host], used, max(0, left_s[host] - 5)) for host, (_, used) in entries.items()}
    # More than once: the bytes are held, not an iterator.
    assert set(listing) == set(listing) == set(listing.best_first()) == expected
    assert [(not entries[one.host][1], -entries[one.host][0]) for one in listing.best_first()] == sorted(
        (not used, -lifetime_us) for lifetime_us, used in entries.values())


def test_a_table_of_several_strings_is_listed_whole() -> None:
    many = 2 * READ_ENTRIES + 5
    table = Table(many, 1)
    for number in range(many):
        table.add(number.to_bytes(16, "big"), NOW_US + HOUR_US + number, NOW_US)
    whitelist = Whitelist(table, lambda: NOW_US)
    strings = list(whitelist.records())
    assert len(strings) >= 3
    listing = Listing(strings, NOW_US)
    assert (len(listing), len({one.host for one in listing})) == (many, many)
    assert [int.from_bytes(one.host, "big") for one in listing.best_first()] == list(reversed(range(many)))


def test_a_record_is_what_the_table_gives() -> None:
    """The layout stands in _table.pxd and in whitelist.py; they must not part."""
    table = Table(10, 1)
    table.add(HOSTS[0], NOW_US + 7, NOW_US)
    table.add(HOSTS[1], NOW_US + 8, NOW_US)
    table.mark_used(HOSTS[1], NOW_US)
    entries = [(HOSTS[0], NOW_US + 7, 0), (HOSTS[1], NOW_US + 8, 1)]
    assert list(unpack(table.entries(NOW_US, 0, 10)[0])) == entries
    assert list(unpack(b"".join(pack(host, until_us, used=used == 1) for host, until_us, used in entries))) == entries


def test_an_empty_listing() -> None:
    for listing in (Listing([], 0), Listing([b"", b""], 0), Listing(Whitelist(Table(10, 1)).records(), 0)):
        assert (len(listing), list(listing), list(listing.best_first()), list(listing.times())) == (0, [], [], [])


@pytest.mark.parametrize(("until_us", "now_us", "expected"), [
    (10_000_000, 0, 10), (10_000_001, 0, 11), (1, 0, 1), (0, 5_000_000, 1)])
def test_seconds_are_rounded_up(until_us: int, now_us: int, expected: int) -> None:
    assert seconds_left(until_us, now_us) == expected


def test_who_has_not_connected_is_shown_at_each_contact() -> None:
    unused, unproven, proven = HOSTS[:3]
    strings = [b"".join(pack(host, NOW_US + 60_000_000, used=host != unused) for host in (unused, unproven, proven))]
    assert [one.fresh_s for one in Listing(strings, NOW_US, 5)] == [55] * 3
    shown = Listing(strings, NOW_US, 5, shows=lambda host: host == unproven)
    assert [one.fresh_s for one in shown] == [0, 0, 55]
