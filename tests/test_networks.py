"""Networks of the lists in the packet path, against plain Python and against pytricia."""
import ipaddress
import random
import struct
from collections.abc import Sequence
from itertools import pairwise

import pytest
import pytricia
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._networks import RECORD_SIZE, Networks
from mxallowd.lists.composition import Composition, Source, disjoint, disjoint_of, ends_of, network_of, record
from tests.networks_oracle import Address, Network, holds, says
from tests.strategies import packed

FIRST4, LAST4 = ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("255.255.255.255")
FIRST6, LAST6 = ipaddress.ip_address("::"), ipaddress.ip_address("f" * 4 + ":ffff" * 7)


def made(networks: Sequence[tuple[str, Network]]) -> Networks:
    return Networks(b"".join(record(network, verdict) for verdict, network in networks))


def around(network: Network) -> list[Address]:
    """The edges of a network and what is beside them."""
    kind = type(network.network_address)
    top = (1 << network.max_prefixlen) - 1
    first, last = int(network.network_address), int(network.broadcast_address)
    return [kind(number) for number in {max(0, first - 1), first, (first + last) // 2, last, min(top, last + 1)}]


# Few bits in front, so that networks hold one another and lie beside each other.
starts4 = st.sampled_from((0, 0x0A000000, 0xC0000200, 0xFFFFFF00)) | st.integers(0, 2**32 - 1)
starts6 = st.sampled_from((0, 1, 0xFFFF << 32, 0x20010DB8 << 96, 0x3FFF << 112, 2**128 - 1, 0xFE80 << 112)) | (
    st.integers(0, 2**128 - 1))
networks4 = st.builds(
    lambda start, near, length: ipaddress.IPv4Network(((start + near) & 0xFFFFFFFF, length), strict=False),
    starts4, st.integers(0, 300), st.integers(0, 32) | st.integers(24, 32))
networks6 = st.builds(
    lambda start, near, length: ipaddress.IPv6Network(((start + near) % 2**128, length), strict=False),
    starts6, st.integers(0, 300), st.integers(0, 128) | st.integers(120, 128)).filter(
        lambda network: not (network.prefixlen >= 96 and network.network_address.ipv4_mapped))
both_lists = st.lists(st.tuples(st.sampled_from(("allow", "deny")), networks4 | networks6), max_size=30)


@settings(max_examples=400, deadline=None)
@given(both_lists)
def test_compiled_equals_oracle(networks: list[tuple[str, Network]]) -> None:
    compiled = made(networks)
    asked = {address for _, network in networks for address in around(network)} | {FIRST4, LAST4, FIRST6, LAST6}
    # No packet has such a source: the parser makes it zero.
    asked = {address for address in asked if address.version == 4 or not address.ipv4_mapped}
    addresses = sorted(asked, key=str)
    given_back = compiled.look_up(b"".join(packed(str(address)) for address in addresses))
    assert list(given_back) == [says(networks, address) for address in addresses]
    assert [compiled.find(packed(str(address))) for address in addresses] == [
        holds(networks, address) for address in addresses]


@settings(max_examples=200, deadline=None)
@given(both_lists, networks4 | networks6)
def test_those_that_decide_within_a_network(networks: list[tuple[str, Network]], asked: Network) -> None:
    """As the oracle says it of each address at which a network begins, or behind which one ends."""
    composition = Composition.of([Source("x", "", b"".join(record(one, verdict) for verdict, one in networks))])
    first, last = int(asked.network_address), int(asked.broadcast_address)
    edges = {first, *(edge for _, one in networks if one.version == asked.version
                      for edge in (int(one.network_address), int(one.broadcast_address) + 1))}
    found = [holds(networks, type(asked.network_address)(edge)) for edge in edges if first <= edge <= last]
    for verdict in ("allow", "deny"):
        numbers = composition.networks.deciding(*ends_of(asked), denied=verdict == "deny", most=4096)
        assert sorted(numbers) == sorted({place for place in found if place is not None
                                          and networks[place][0] == verdict})
        assert len(composition.networks.deciding(*ends_of(asked), denied=verdict == "deny", most=1)) == bool(numbers)


@settings(max_examples=200, deadline=None)
@given(both_lists)
def test_ranges_are_disjoint_sorted_and_true(networks: list[tuple[str, Network]]) -> None:
    """What the kernel is told is what the packet path says."""
    found = disjoint(networks)
    asked = {address for _, network in networks for address in around(network)}
    for version, allowed, denied in ((4, found.allow4, found.deny4), (6, found.allow6, found.deny6)):
        for ranges in (allowed, denied):
            assert all(first <= last for first, last in ranges)
            assert all(one[1] + 1 < other[0] for one, other in pairwise(ranges))
        merged = sorted(allowed + denied)
        assert all(one[1] < other[0] for one, other in pairwise(merged))
        for address in asked:
            if address.version == version:
                number = int(address)
                assert says(networks, address) == (
                    1 * any(first <= number <= last for first, last in allowed)
                    + 2 * any(first <= number <= last for first, last in denied))


@pytest.mark.parametrize("version", [4, 6])
def test_many_networks_agree_with_pytricia(version: int) -> None:
    """A patricia tree that others wrote: 20,000 networks, 40,000 addresses in and beside them."""
    chosen = random.Random(version)
    bits, kind = (32, ipaddress.IPv4Network) if version == 4 else (128, ipaddress.IPv6Network)
    tree = pytricia.PyTricia(bits)
    networks: dict[Network, str] = {}
    for _ in range(20_000):
        length = chosen.randint(8, 32) if version == 4 else chosen.randint(20, 64)
        start = chosen.getrandbits(24) << (bits - 24)
        start |= chosen.getrandbits(bits - 24)
        if version == 6:
            start = start & ~(7 << 125) | 1 << 125
        network = kind((start, length), strict=False)
        # A tree has one value a network.
        networks.setdefault(network, chosen.choice(("allow", "deny")))
    for network, verdict in networks.items():
        tree[str(network)] = verdict
    compiled = made([(verdict, network) for network, verdict in networks.items()])
    asked = [type(network.network_address)((int(network.network_address) + chosen.getrandbits(4) - 8) % 2**bits)
             for network in chosen.choices(list(networks), k=20_000)]
    asked += [type(asked[0])(chosen.getrandbits(bits - 3) | 1 << (bits - 3)) for _ in range(20_000)]
    words = {None: 0, "allow": 1, "deny": 2}
    assert list(compiled.look_up(b"".join(packed(str(address)) for address in asked))) == [
        words[tree.get(str(address))] for address in asked]
    assert compiled.memory() < 64 << 20


def test_deny_wins_where_both_are_equally_long() -> None:
    for order in (("allow", "deny"), ("deny", "allow")):
        compiled = made([(verdict, ipaddress.ip_network("192.0.2.0/24")) for verdict in order])
        assert compiled.look_up(packed("192.0.2.9")) == b"\2"
        assert compiled.find(packed("192.0.2.9")) == order.index("deny")


def test_the_families_are_apart() -> None:
    """What is said of all of IPv6 says nothing of IPv4, whose addresses stand in the form of IPv6."""
    compiled = made([("deny", ipaddress.ip_network("::/0"))])
    assert compiled.look_up(packed("192.0.2.9") + packed("2001:db8::1")) == b"\0\2"
    compiled = made([("allow", ipaddress.ip_network("0.0.0.0/0"))])
    assert compiled.look_up(packed("192.0.2.9") + packed("2001:db8::1") + packed("::")) == b"\1\0\0"


def test_bits_behind_a_prefix_do_not_count() -> None:
    compiled = Networks(struct.pack("=16sBB", packed("192.0.2.77"), 120, 0))
    assert compiled.look_up(packed("192.0.2.0") + packed("192.0.2.255") + packed("192.0.3.0")) == b"\1\1\0"
    assert disjoint_of(compiled).allow4 == [(0xC0000200, 0xC00002FF)]


def test_none_is_denied_in_a_dry_run_with_a_queue() -> None:
    """A network within an allowed one that is denied is a gap all the same: its packets come to the decision."""
    laid_out = made([(verdict, ipaddress.ip_network(text)) for text, verdict in (
        ("192.0.2.0/24", "allow"), ("192.0.2.128/25", "deny"), ("2001:db8::/32", "deny"),
        ("2001:db8:1::/48", "allow"))])
    armed, dry = disjoint_of(laid_out), disjoint_of(laid_out, denied=False)
    assert (dry.allow4, dry.allow6) == (armed.allow4, armed.allow6)
    assert armed.allow4 == [(0xC0000200, 0xC000027F)]
    assert len(armed.allow6) == 1
    assert (dry.deny4, dry.deny6) == ([], [])
    assert (len(armed.deny4), len(armed.deny6)) == (1, 2)


def test_networks_that_hold_one_another_at_every_length() -> None:
    networks: list[tuple[str, Network]] = [
        ("deny" if length % 2 else "allow", ipaddress.IPv6Network((0x20010DB8 << 96, length), strict=False))
        for length in range(129)]
    networks *= 2
    compiled = made(networks)
    for _, network in networks:
        for address in around(network):
            assert compiled.find(packed(str(address))) == holds(networks, address)


def test_neighbours_become_one_range() -> None:
    found = disjoint([("allow", ipaddress.ip_network(text)) for text in ("10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16")])
    assert found == ([(10 << 24, (11 << 24) - 1)], [], [], [])


def test_overlapping_names_the_rules() -> None:
    texts = ("10.0.0.0/8", "10.1.0.0/16", "::/0", "10.2.0.0/16", "::a00:0/104")
    networks: list[tuple[str, Network]] = [("deny", ipaddress.ip_network(text)) for text in texts]
    composed = Composition.of([
        Source("a.list", "deny", b"".join(record(network, verdict) for verdict, network in networks),
               lines=range(1, 6))])
    assert [match.where for match in composed.overlapping(ipaddress.ip_network("10.1.7.0/24"))] == [
        "a.list:1", "a.list:2"]
    assert [match.line for match in composed.overlapping(ipaddress.ip_network("::/96"))] == [3, 5]
    assert len(composed.overlapping(ipaddress.ip_network("0.0.0.0/0"), 2)) == 2


def test_what_cannot_be_a_record_is_refused() -> None:
    with pytest.raises(ValueError, match="18 bytes"):
        Networks(bytes(RECORD_SIZE + 1))
    with pytest.raises(ValueError, match="not 129"):
        Networks(struct.pack("=16sBB", bytes(16), 129, 0))
    compiled = Networks(b"")
    for wrong in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            compiled.find(wrong)
    with pytest.raises(ValueError, match="version"):
        compiled.ranges(5, denied=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4096"):
        compiled.overlapping(bytes(16), bytes(16), 0)
    assert compiled.find(bytes(16)) is None
    assert len(compiled) == 0


@given(networks4 | networks6)
def test_a_record_gives_its_network_back(network: Network) -> None:
    assert network_of(record(network, "allow")) == network
