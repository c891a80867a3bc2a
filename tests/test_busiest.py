"""The busiest refused hosts and networks, as plain Python finds them among all that the memory has."""
import asyncio
import ipaddress
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.control.answers import busiest as answers
from mxallowd.control.answers.busiest import busiest_networks, busiest_of
from mxallowd.control.answers.listing import Wanted
from mxallowd.engine._busiest import Weights, busiest
from mxallowd.engine._refused import STEP_US, Refused
from mxallowd.engine._table import Table
from mxallowd.engine.events import MAPPED, address_text
from tests.strategies import packed
from tests.test_refused import RECORD, memory
from tests.test_select import ADDRESSES, NETWORKS

hosts = st.dictionaries(st.sampled_from(ADDRESSES), st.tuples(st.integers(1, 6), st.integers(1, 5)))


def remembered(given: dict[bytes, tuple[int, int]], shards: int = 1) -> Refused:
    """Of each host how many attempts there were, and in which step the last one was."""
    made = memory(400, shards)
    for number, (host, (times, step)) in enumerate(given.items()):
        for attempt in range(times):
            made.note(host, 0, 1 + attempt, step * STEP_US, shard=number % shards)
    return made


@settings(deadline=None)
@given(hosts, st.integers(1, 3), st.integers(1, 50), st.integers(0, 6), st.integers(0, 6),
       st.none() | st.sampled_from(NETWORKS))
def test_what_is_counted_and_given(
    given: dict[bytes, tuple[int, int]], shards: int, budget: int, least: int, since: int,
    network: tuple[bytes, bytes] | None,
) -> None:
    made = remembered(given, shards)
    count, found, start = 0, dict[bytes, int](), -1
    while start:
        some, records, start = busiest(made, max(start, 0), budget, least, since=since, network=network)
        count += some
        found |= {host: times for host, _, _, times, _ in RECORD.iter_unpack(records)}
    expected = {host: times for host, (times, step) in given.items()
                if step >= since and Wanted(network=network).has(host)}
    assert count == len(expected)
    assert found == {host: times for host, times in expected.items() if times > least}


@settings(deadline=None)
@given(hosts, st.integers(1, 4), st.integers(0, 6))
def test_the_busiest_hosts_and_networks(given: dict[bytes, tuple[int, int]], most: int, since: int) -> None:
    made = remembered(given, 2)
    recent = {host: times for host, (times, step) in given.items() if step >= since}
    count, best = asyncio.run(busiest_of(made, most, since=since))
    assert count == len(recent)
    assert [one.times for one in best] == sorted(recent.values(), reverse=True)[:most]
    assert all((recent[one.host], given[one.host][1] * STEP_US) == (one.times, one.last_us) for one in best)
    sums = Counter[str]()
    for host, times in recent.items():
        sums[str(ipaddress.ip_network(
            f"{address_text(host)}/{24 if host.startswith(MAPPED) else 48}", strict=False))] += times
    networks = asyncio.run(busiest_networks(made, most, since))
    assert [times for _, times in networks] == sorted(sums.values(), reverse=True)[:most]
    assert all(sums[str(ipaddress.ip_network(name))] == times for name, times in networks)


def test_networks_stand_out_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SLOTS", 1 << 12)
    made = Refused(60_000, 1, Table(4))
    for number in range(20_000):
        made.note(MAPPED + (0x5B000000 + 256 * number).to_bytes(4, "big"), 0, 1, 10**9)
    for network in range(5):
        for number in range(20 + network):
            made.note(packed(f"198.51.{network}.{number}"), 0, 1, 10**9)
    found = asyncio.run(busiest_networks(made, 5, 0))
    assert found == [(f"198.51.{network}.0/24", 20 + network) for network in (4, 3, 2, 1, 0)]
    # Of the flood few are looked at twice: those of buckets that two networks share.
    weights = Weights(made)
    assert weights.weigh(0, 1 << 20) == 0
    records, _ = weights.heavy(0, 1 << 20, weights.level())
    assert len(records) // RECORD.size < 4000


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        busiest(memory(), 0, 1, 0, network=(b"", b""))
    assert Weights(memory()).weigh(10**9, 1) == 0
    assert busiest(memory(), 10**9, 1, 0) == (0, b"", 0)
