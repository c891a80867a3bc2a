"""The decision: the compiled fast path against the oracle, packet by packet and event by event."""
import struct
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import OUTCOME_NAMES, Fastpath
from mxallowd.engine._headers import REASONS
from mxallowd.engine._ring import EVENT_SIZE, Ring
from mxallowd.engine._rules import RENEW, Rules
from mxallowd.engine._table import Table
from tests import oracle
from tests.pair import ACCEPTED, LIFETIME_S, NO_FD, QUEUE, REFUSED, WHITELISTED, Event, Pair, taken
from tests.strategies import FAKE, HOSTS, NO_HOSTS, REAL, ipv4, ipv6, packed, packets, plain_packets, segment, syn

HOST, OTHER = HOSTS[0], HOSTS[1]


@pytest.fixture
def pair() -> Pair:
    return Pair(8)


# ---- against the oracle

# A batch is decided 64 packets at a time: some are longer.
batches = st.builds(
    lambda batch, times: batch * times, st.lists(plain_packets | packets, max_size=20), st.sampled_from((1, 1, 1, 9)))
servers = st.lists(st.sampled_from(FAKE + REAL), max_size=4)
# Single hosts, the networks of several, and of all.
listed_networks = st.lists(st.tuples(
    st.booleans(), st.sampled_from(HOSTS + NO_HOSTS + FAKE + [packed("0.0.0.0")]),
    st.sampled_from((0, 96, 120, 124, 126, 127, 128))), max_size=5)


class Step(NamedTuple):
    """Some time passes, the rules may change, a host completes a handshake, then a batch arrives at a queue."""

    wait_us: int
    batch: list[bytes]
    shard: int
    rules: tuple[list[bytes], list[bytes], list[tuple[bool, bytes, int]]] | None
    proven: bytes | None


steps = st.builds(
    Step, st.integers(0, 400_000) | st.sampled_from((0, 124_999, 125_000, 999_999, 1_000_000, 1_000_001)), batches,
    st.integers(0, 2), st.none() | st.none() | st.none() | st.tuples(
        servers, servers, listed_networks),
    st.none() | st.sampled_from(HOSTS))


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 10), st.integers(1, 3), st.booleans(), st.sampled_from(sorted(RENEW)),
       st.lists(steps, max_size=12))
def test_compiled_equals_oracle(
    capacity: int, shards: int, collide: bool, renew: str, sequence: list[Step],
) -> None:
    shards = min(shards, capacity)
    pair = Pair(capacity, shards, collide=collide)
    pair.publish(FAKE, REAL, LIFETIME_S, renew)
    now_us = 0
    for step in sequence:
        now_us += step.wait_us
        if step.rules:
            fake, real, lists = step.rules
            pair.publish(fake, real, LIFETIME_S, renew, lists)
        if step.proven:
            assert pair.table.prove(step.proven, now_us) == pair.oracle.whitelist.prove(step.proven, now_us)
        pair.decide(step.batch, now_us, step.shard % shards)
    pair.check_counters(now_us)
    pair.check_counters(now_us + 1_000_000 * LIFETIME_S)


@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 65, 127, 128, 129, 500])
def test_batches_of_every_size(size: int) -> None:
    """Each host meets the fake and then the real server, in one batch or across its edge."""
    pair = Pair(512)
    batch = [syn(packed(f"10.0.{i >> 8}.{i & 255}"), server) for i in range(250) for server in (FAKE[0], REAL[0])]
    outcomes = pair.decide(batch[:size], 0)
    assert outcomes == (["fake-new", "real-first"] * 250)[:size]
    pair.check_counters(0)


# ---- the rules of the contract, one by one


@pytest.mark.parametrize("family", [0, 1])
def test_the_contract(pair: Pair, family: int) -> None:
    host, fake, real = HOSTS[-family], FAKE[-family], REAL[-family]
    assert pair.decide([syn(host, real)], 0) == ["real-refused"]
    assert pair.decide([syn(host, fake)], 0) == ["fake-new"]
    assert pair.decide([syn(host, fake)], 0) == ["fake-known"]
    assert pair.decide([syn(host, real)], 1) == ["real-first"]
    assert pair.decide([syn(host, real)], 998) == ["real-again"]
    assert pair.decide([syn(host, fake)], 999_999) == ["fake-known"]
    assert pair.decide([syn(host, real)], 999_999) == ["real-again"]
    assert pair.decide([syn(host, real)], 1_000_000) == ["real-refused"]
    pair.check_counters(1_000_000)
    assert pair.table.counters()["successful"] == 1


def test_order_within_a_batch_counts(pair: Pair) -> None:
    fake, real = syn(HOST, FAKE[0]), syn(HOST, REAL[0])
    assert pair.decide([real, fake, real, real, fake], 0) == [
        "real-refused", "fake-new", "real-first", "real-again", "fake-known"]


def test_only_the_destination_gives_the_role(pair: Pair) -> None:
    """Answers of the servers, and strangers, are not ours to judge."""
    assert pair.decide([syn(FAKE[0], HOST), syn(REAL[0], HOST), syn(HOST, OTHER)], 0) == ["other"] * 3
    assert pair.decide([syn(FAKE[0], REAL[0]), syn(REAL[0], FAKE[0])], 0) == ["other", "fake-no-host"]
    assert pair.decide([b"", b"\x45", b"\x60" + bytes(38), b"\0" * 100], 0) == ["malformed"] * 4


def test_a_syn_is_found_behind_options_and_extension_headers(pair: Pair) -> None:
    hop, first, more = (0, bytes(6)), (44, bytes(2) + bytes(4)), (60, bytes(14))
    long_way = ipv4(HOST, REAL[0], segment(2), options=b"\1" * 40)
    extended = ipv6(HOSTS[-1], REAL[-1], segment(2), extensions=(hop, first, more))
    assert pair.decide([long_way, extended], 0) == ["real-refused"] * 2
    pair.decide([syn(HOST, FAKE[0]), syn(HOSTS[-1], FAKE[-1])], 0)
    assert pair.decide([long_way, extended], 0) == ["real-first"] * 2
    # Nine headers are more than it looks at, and flags that were cut off are not seen: nobody passes by that.
    for hidden in (ipv6(OTHER, REAL[-1], segment(0x10), extensions=(more,) * 9), syn(OTHER, REAL[0], 0x10)[:33]):
        assert pair.decide([hidden], 0) == ["real-refused"]


@pytest.mark.parametrize("flags", [flags for flags in range(256) if flags & 0x17 != 2])
def test_what_is_no_syn_is_let_through_and_lists_nobody(flags: int) -> None:
    """The middle of a connection that the firewall's connection tracking does not know."""
    pair = Pair(4)
    assert pair.decide([syn(host, server, flags) for host, server in (
        (HOST, FAKE[0]), (HOST, REAL[0]), (HOSTS[-1], FAKE[-1]), (HOSTS[-1], REAL[-1]))], 0) == ["no-syn"] * 4
    assert len(pair.table) == 0


@pytest.mark.parametrize("flags", [2, 0x42, 0x82, 0xC2, 0x0A, 0x22])
def test_a_syn_with_other_flags_is_a_syn(flags: int) -> None:
    """ECN and odd ones (RFC 3168): as --syn of iptables looks at SYN, ACK, RST and FIN alone."""
    assert Pair(4).decide([syn(HOST, REAL[0], flags), syn(HOST, FAKE[0], flags)], 0) == ["real-refused", "fake-new"]


def test_other_protocols_and_later_fragments_are_no_syn(pair: Pair) -> None:
    packets = [ipv4(HOST, REAL[0], segment(2), protocol=17), ipv4(HOST, FAKE[0], segment(2), fragment=1),
               ipv6(HOSTS[-1], FAKE[-1], segment(2), protocol=58), ipv6(HOSTS[-1], REAL[-1], segment(2), extensions=(
                   (44, b"\0\x08" + bytes(4)),))]
    assert pair.decide(packets, 0) == ["no-syn"] * 4


@pytest.mark.parametrize("source", [*NO_HOSTS, *FAKE, *REAL])
def test_no_address_but_a_hosts_is_whitelisted(pair: Pair, source: bytes) -> None:
    fakes = [server for server in FAKE if server.startswith(oracle.MAPPED) == source.startswith(oracle.MAPPED)]
    assert pair.decide([syn(source, fakes[0])], 0) == ["fake-no-host"]
    assert len(pair.table) == 0


@pytest.mark.parametrize("source", [packed(text) for text in (
    "10.0.0.1", "100.64.0.1", "172.16.0.1", "192.168.0.1", "1.0.0.0", "223.255.255.255", "240.0.0.1", "169.253.1.1",
    "fd00::1", "fec0::1", "2001:db8::1", "64:ff9b::1", "0:0:0:1::")])
def test_private_networks_are_whitelisted(pair: Pair, source: bytes) -> None:
    fake = FAKE[0 if source.startswith(oracle.MAPPED) else -1]
    assert pair.decide([syn(source, fake)], 0) == ["fake-new"]


def test_a_mapped_source_in_ipv6_is_no_ipv4_host(pair: Pair) -> None:
    """No such packet may be on a wire (RFC 4291, 2.5.5.2 has the form for programs alone)."""
    assert pair.decide([ipv6(HOST, FAKE[-1], segment(2)), syn(HOST, REAL[0])], 0) == ["fake-no-host", "real-refused"]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 200])
def test_a_malformed_packet_is_accepted_and_shown(size: int) -> None:
    pair = Pair(1)
    packet = bytes(range(0xf0, 0xf0 + 16)) * 20
    assert pair.decide([packet[:size]], 7) == ["malformed"]
    pair.paths[0].decide([packet[:size]], 8)
    (event,) = taken(pair.rings[0])
    assert (event.source + event.destination)[:min(size, 32)] == packet[:min(size, 32)]
    assert (event.length, REASONS[event.reason]) == (size, "bad-version" if size else "empty")


def test_a_full_table_takes_newcomers(pair: Pair) -> None:
    """A SYN to the real server is no proof, so the oldest makes room; a completed handshake is one."""
    crowd = [packed(f"10.0.0.{i}") for i in range(30)]
    for host in crowd[:8]:
        assert pair.decide([syn(host, FAKE[0]), syn(host, REAL[0])], 0) == ["fake-new", "real-first"]
    assert pair.table.prove(crowd[0], 0)
    assert pair.oracle.whitelist.prove(crowd[0], 0)
    for host in crowd[8:]:
        assert pair.decide([syn(host, FAKE[0]), syn(host, REAL[0])], 0) == ["fake-new", "real-first"]
    assert pair.decide([syn(host, REAL[0]) for host in crowd[:2]], 0) == ["real-again", "real-refused"]
    pair.check_counters(1_000_000)


def test_who_meets_the_fake_again_in_a_full_table_is_the_youngest(pair: Pair) -> None:
    """It is about to come to the real server."""
    crowd = [packed(f"10.0.0.{i}") for i in range(20)]
    pair.decide([syn(host, FAKE[0]) for host in crowd[:8]], 0)
    assert pair.decide([syn(crowd[0], FAKE[0])], 1) == ["fake-known"]
    pair.decide([syn(host, FAKE[0]) for host in crowd[8:15]], 2)
    assert pair.decide([syn(host, REAL[0]) for host in crowd[:9]], 3) == [
        "real-first", *["real-refused"] * 7, "real-first"]


def test_nobody_is_refused_while_contacts_may_pass_unseen(pair: Pair) -> None:
    path = pair.paths[0]
    pair.table.be_lenient(10)
    packets = [syn(HOST, REAL[0]), syn(OTHER, FAKE[0]), syn(OTHER, REAL[0])]
    assert [OUTCOME_NAMES[number] for number in path.decide(packets, 9)] == ["real-untold", "fake-new", "real-first"]
    # It is let in, and no more: who did not meet the fake server is not listed.
    assert [OUTCOME_NAMES[number] for number in path.decide(packets[:1], 10)] == ["real-refused"]


def test_leniency_holds_for_all_threads_and_only_grows() -> None:
    pair = Pair(8, 2)

    def met(now_us: int) -> list[str]:
        return [OUTCOME_NAMES[path.decide([syn(HOST, REAL[0])], now_us)[0]] for path in pair.paths]

    pair.table.be_lenient(10)
    pair.table.be_lenient(5)
    assert met(9) == ["real-untold"] * 2
    pair.table.refuse_nobody(True)
    assert met(10) == ["real-untold"] * 2
    # Packets were lost while hosts were being entered.
    pair.table.be_lenient(20)
    pair.table.refuse_nobody(False)
    assert met(19) == ["real-untold"] * 2
    assert met(20) == ["real-refused"] * 2


# ---- rules


def test_rules_hold_from_the_next_batch_on(pair: Pair) -> None:
    contact, visit = syn(HOST, FAKE[0]), syn(HOST, REAL[0])
    assert pair.decide([contact, visit], 0) == ["fake-new", "real-first"]
    pair.publish([REAL[0]], [FAKE[0]], 7)
    assert pair.decide([contact, visit, syn(HOST, FAKE[1])], 0) == ["real-again", "fake-known", "other"]
    assert pair.decide([contact, syn(OTHER, REAL[0]), syn(OTHER, FAKE[0])], 1_000_000) == [
        "real-refused", "fake-new", "real-first"]
    pair.publish([], [], 1)
    assert pair.decide([contact, visit], 2_000_000) == ["other"] * 2
    pair.publish(FAKE, REAL, 1)
    assert pair.decide([syn(OTHER, REAL[0])], 7_999_999) == ["real-again"]
    assert pair.decide([syn(OTHER, REAL[0])], 8_000_000) == ["real-refused"]


def test_many_rules_one_after_the_other(pair: Pair) -> None:
    """Sets that nobody looks at any more are freed; the current one is not, whether or not packets come between."""
    for round_ in range(200):
        fake = [packed(f"10.1.{round_}.1"), packed(f"2001:db8::{round_}:1")]
        pair.publish(fake, REAL, LIFETIME_S)
        if round_ % 3:
            hosts = [HOST, HOSTS[-1], HOST, HOST, HOSTS[-1]]
            packets = [syn(host, server) for host, server in zip(hosts, [*fake, *FAKE], strict=True)]
            assert pair.decide(packets, round_ * 1_000_000) == ["fake-new", "fake-new", "other", "other", "other"]


def test_a_server_of_both_lists_is_fake_and_twice_is_once() -> None:
    path = Fastpath(Table(4), Ring(16, NO_FD), Rules([FAKE[0], FAKE[0]], [FAKE[0], REAL[0], REAL[0]], 1))
    outcomes = path.decide([syn(HOST, REAL[0]), syn(HOST, FAKE[0]), syn(HOST, REAL[0])], 0)
    assert [OUTCOME_NAMES[number] for number in outcomes] == ["real-refused", "fake-new", "real-first"]


def test_many_servers() -> None:
    """More than one place of the rule set is asked before a server is found."""
    fake = [packed(f"10.2.{i}.1") for i in range(200)] + [packed(f"2001:db8:2::{i:x}") for i in range(200)]
    real = [packed(f"10.3.{i}.1") for i in range(200)]
    pair = Pair(4)
    pair.publish(fake, real, LIFETIME_S)
    for server in fake:
        assert pair.decide([syn(HOST, server)], 0)[0].startswith("fake")
    for server in real:
        assert pair.decide([syn(OTHER, server)], 0) == ["real-refused"]
    assert pair.decide([syn(HOST, packed(f"10.4.{i}.1")) for i in range(200)], 0) == ["other"] * 200


@pytest.mark.parametrize("lifetime_s", [1, 3600, 2**29])
def test_lifetimes(lifetime_s: int) -> None:
    pair = Pair(2)
    pair.publish(FAKE, REAL, lifetime_s)
    start, end = 10**10, 10**10 + lifetime_s * 1_000_000
    assert pair.decide([syn(HOST, FAKE[0])], start) == ["fake-new"]
    assert pair.decide([syn(HOST, REAL[0])], end - 1) == ["real-first"]
    assert pair.decide([syn(HOST, REAL[0])], end) == ["real-refused"]


@pytest.mark.parametrize("lifetime_s", [-1, 0, 2**29 + 1])
def test_lifetimes_out_of_range(lifetime_s: int) -> None:
    with pytest.raises(ValueError, match="lifetime"):
        Rules(FAKE, REAL, lifetime_s)


@pytest.mark.parametrize("address", [b"", b"1234", bytes(15), bytes(17)])
def test_addresses_of_another_length(address: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Rules([*FAKE, address], REAL, 1)
    with pytest.raises(ValueError, match="16 bytes"):
        Rules(FAKE, [address], 1)


def test_addresses_of_another_type() -> None:
    for wrong in (None, "192.0.2.3", bytearray(16)):
        with pytest.raises(TypeError):
            Rules([wrong], REAL, 1)  # type: ignore[list-item]


# ---- several queues


def test_two_queues_share_one_whitelist() -> None:
    pair = Pair(8, 2)
    assert pair.decide([syn(HOST, FAKE[0])], 0, 0) == ["fake-new"]
    assert pair.decide([syn(HOST, FAKE[0]), syn(HOST, REAL[0])], 0, 1) == ["fake-known", "real-first"]
    assert pair.decide([syn(HOST, REAL[0])], 0, 0) == ["real-again"]
    assert pair.decide([syn(OTHER, FAKE[0])], 0, 1) == ["fake-new"]
    assert pair.decide([syn(OTHER, REAL[0])], 500_000, 0) == ["real-first"]
    assert pair.decide([syn(HOST, FAKE[0])], 1_000_000, 1) == ["fake-new"]
    assert pair.decide([syn(HOST, REAL[0])], 1_000_000, 0) == ["real-first"]
    pair.check_counters(2_000_000)
    assert pair.table.counters()["successful"] == 3


def test_a_full_shard_makes_room_while_another_is_empty() -> None:
    pair = Pair(2, 2)
    assert pair.decide([syn(HOST, FAKE[0]), syn(HOST, REAL[0])], 0, 0) == ["fake-new", "real-first"]
    assert pair.decide([syn(OTHER, FAKE[0]), syn(HOST, REAL[0])], 0, 0) == ["fake-new", "real-refused"]
    assert pair.decide([syn(HOST, FAKE[0])], 0, 1) == ["fake-new"]
    assert len(pair.table) == 2


# ---- events


def test_a_full_ring_changes_no_verdict() -> None:
    table, ring = Table(100), Ring(4, NO_FD)
    path = Fastpath(table, ring, Rules(FAKE, REAL, LIFETIME_S))
    hosts = [packed(f"10.0.0.{i}") for i in range(50)]
    outcomes = path.decide([syn(host, server) for host in hosts for server in (FAKE[0], REAL[0])], 0)
    assert [OUTCOME_NAMES[number] for number in outcomes] == ["fake-new", "real-first"] * 50
    assert [event.kind for event in taken(ring)] == [WHITELISTED, ACCEPTED] * 2
    assert ring.lost == 96


def test_refusals_leave_room_for_what_is_pressing() -> None:
    ring = Ring(8, NO_FD)
    path = Fastpath(Table(100), ring, Rules(FAKE, REAL, LIFETIME_S))
    path.decide([syn(HOST, REAL[0])] * 20 + [b""] * 20 + [syn(HOST, FAKE[0]), syn(HOST, REAL[0])], 0)
    assert [event.kind for event in taken(ring)] == [REFUSED] * 4 + [WHITELISTED, ACCEPTED]
    assert ring.lost == 36


# ---- the border to Python


def test_an_event_has_the_size_of_its_layout() -> None:
    assert struct.calcsize("=BBHIQ16s16sQQ") == EVENT_SIZE


def test_arguments_out_of_range() -> None:
    table, ring, rules = Table(4, 2), Ring(4, NO_FD), Rules(FAKE, REAL, 1)
    for shard in (-1, 2):
        with pytest.raises(IndexError):
            Fastpath(table, ring, rules, shard=shard)
    for queue in (-1, 2**16):
        with pytest.raises(OverflowError):
            Fastpath(table, ring, rules, queue=queue)
    path = Fastpath(table, ring, rules, queue=2**16 - 1)
    with pytest.raises(OverflowError):
        path.decide([b""], -1)
    for wrong in ("x", None, bytearray(20)):
        with pytest.raises(TypeError):
            path.decide([wrong], 0)  # type: ignore[list-item]
    for none in (0, 1, 2):
        with pytest.raises(TypeError):
            Fastpath(*[None if i == none else each for i, each in enumerate((table, ring, rules))])  # type: ignore
    assert sum(path.counters().values()) == 0
    assert (path.table, path.ring) == (table, ring)


def test_a_packet_generator_will_do(pair: Pair) -> None:
    outcomes = pair.paths[0].decide((syn(HOST, server) for server in (FAKE[0], REAL[0])), 0)
    assert [OUTCOME_NAMES[number] for number in outcomes] == ["fake-new", "real-first"]


def test_who_makes_room_is_told_where_it_was_asked_for() -> None:
    """Before the host that took its place, so that who copies the events never has one too many."""
    table, ring = Table(2), Ring(64, NO_FD)
    path = Fastpath(table, ring, Rules(FAKE, REAL, LIFETIME_S), queue=QUEUE)
    path.decide([syn(host, FAKE[0]) for host in HOSTS[:3]], 5)
    assert [event.kind for event in taken(ring)] == [WHITELISTED] * 3
    path.tell_evicted()
    path.decide([syn(HOSTS[3], FAKE[0])], 6)
    assert taken(ring) == [
        Event(8, 0, QUEUE, 0, 6, HOSTS[1], bytes(16), 0), Event(WHITELISTED, 0, QUEUE, 0, 6, HOSTS[3], FAKE[0],
                                                                6 + LIFETIME_S * 1_000_000)]
    # Who has expired is not told of.
    path.decide([syn(HOSTS[4], FAKE[0])], 10_000_000)
    assert [event.kind for event in taken(ring)] == [WHITELISTED]
