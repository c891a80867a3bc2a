"""What the table chooses and counts by itself, as plain Python chooses among all of its entries."""
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.control.answers.listing import Wanted, bounds
from mxallowd.engine._table import ORIGINS, Table
from tests.strategies import RECORD, packed

NOW_US = 1_000
# Around the edges of IPv4 in its IPv6 form, and of networks.
ADDRESSES = [packed(one) for one in (
    "0.0.0.0", "192.0.2.0", "192.0.2.1", "192.0.2.255", "192.0.3.0", "255.255.255.255", "::", "::fffe:ffff:ffff",
    "::1:0:0:0", "2001:db8::", "2001:db8::1", "2001:db8:0:1::", "ffff::")]
NETWORKS = [bounds(ip_network(one)) for one in (
    "0.0.0.0/0", "192.0.2.0/24", "192.0.2.0/31", "192.0.2.1/32", "128.0.0.0/1", "::/0", "::/64", "2001:db8::/32",
    "2001:db8::/64", "2001:db8::1/128", "8000::/1")]
entries = st.dictionaries(st.sampled_from(ADDRESSES), st.tuples(
    st.integers(NOW_US - 2, NOW_US + 2), st.integers(0, len(ORIGINS) - 1), st.booleans(), st.booleans()))
networks = st.none() | st.sampled_from(NETWORKS)
truth = st.none() | st.booleans()
Row = tuple[bytes, int, int, int, int]


def filled(given: dict[bytes, tuple[int, int, bool, bool]], shards: int) -> Table:
    table = Table(100, shards, main=10)
    for number, (host, (until_us, origin, used, proven)) in enumerate(given.items()):
        table.add(host, until_us, 0, origin=origin, shard=number % (shards + 1))
        if used:
            table.mark_used(host, 0)
        if proven:
            table.prove(host, 0)
    return table


def collected(ask: Callable[[int], tuple[bytes, int]]) -> list[Row]:
    """All rows, from piece to piece."""
    rows, start = list[Row](), -1
    while start:
        records, start = ask(max(start, 0))
        rows += RECORD.iter_unpack(records)
    return rows


@settings(deadline=None)
@given(entries, st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), networks,
       st.none() | st.integers(0, len(ORIGINS) - 1), truth, truth)
def test_what_is_chosen_is_what_plain_python_chooses(
    given: dict[bytes, tuple[int, int, bool, bool]], shards: int, budget: int, most: int,
    network: tuple[bytes, bytes] | None, origin: int | None, used: bool | None, proven: bool | None,
) -> None:
    table = filled(given, shards)
    found = collected(lambda start: table.select(
        NOW_US, start, budget, most, network=network, origin=origin, used=used, proven=proven))
    # In the order of the whole listing.
    everything = collected(lambda start: table.entries(NOW_US, start, 1000))
    assert len(everything) == sum(until_us > NOW_US for until_us, *_ in given.values())
    assert found == [row for row in everything if (
        Wanted(network=network).has(row[0]) and origin in (None, row[2]) and used in (None, bool(row[3]))
        and proven in (None, bool(row[4])))]


@settings(deadline=None)
@given(entries, st.integers(1, 3), st.integers(1, 9), networks)
def test_a_survey_counts_what_is_there(
    given: dict[bytes, tuple[int, int, bool, bool]], shards: int, budget: int, network: tuple[bytes, bytes] | None,
) -> None:
    table = filled(given, shards)
    counts, used, proven, start = [0] * len(ORIGINS), 0, 0, -1
    while start:
        some, some_used, some_proven, start = table.survey(NOW_US, max(start, 0), budget, network)
        counts = [known + more for known, more in zip(counts, some, strict=True)]
        used, proven = used + some_used, proven + some_proven
    living: list[Any] = [one for host, one in given.items() if one[0] > NOW_US and Wanted(network=network).has(host)]
    assert counts == [sum(one[1] == origin for one in living) for origin in range(len(ORIGINS))]
    assert (used, proven) == (sum(one[2] for one in living), sum(one[3] for one in living))


@settings(deadline=None)
@given(st.sampled_from(ADDRESSES), st.sampled_from(NETWORKS))
def test_a_host_is_in_the_networks_it_is_in(host: bytes, network: tuple[bytes, bytes]) -> None:
    """As plain numbers say it, of one version of IP at a time."""
    four = network[0].startswith(packed("0.0.0.0")[:12])
    inside = int.from_bytes(network[0]) <= int.from_bytes(host) <= int.from_bytes(network[1])
    assert Wanted(network=network).has(host) == (inside and host.startswith(packed("0.0.0.0")[:12]) == four)


def test_not_more_than_asked_for_in_a_piece() -> None:
    table = Table(100, 1)
    for number in range(50):
        table.add(number.to_bytes(16, "big"), NOW_US + 1, 0)
    records, start = table.select(NOW_US, 0, 40, 7)
    assert (len(records) // RECORD.size, start) == (7, 7)
    assert table.select(NOW_US, start, 40, 50) == (table.entries(NOW_US, 7, 40)[0], 47)
    assert table.select(NOW_US, 47, 40, 50)[1] == 0


def test_what_makes_no_sense_is_refused() -> None:
    table = Table(10, 1)
    for network in ((b"", b""), (bytes(16), b"short")):
        with pytest.raises(ValueError, match="16 bytes"):
            table.select(0, 0, 1, 1, network=network)
        with pytest.raises(ValueError, match="16 bytes"):
            table.survey(0, 0, 1, network)
    with pytest.raises(ValueError, match="no origin"):
        table.select(0, 0, 1, 1, origin=len(ORIGINS))
