"""Captured records: every link type, and the firewall's rule against a plain-Python twin of it."""
import struct
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.captures._capture import CANDIDATE_SIZE, HEAD, LINK_TYPES, count_destinations, select, survey
from mxallowd.captures.filters import destination_port
from tests.links import LINKS
from tests.strategies import FAKE, HOSTS, REAL, ipv4, ipv6, packets, syn

RAW = 101
PROGRAM = destination_port(25)
EXTENSIONS = {0, 43, 44, 51, 60}  # IANA protocol numbers of the headers that ipv6_find_hdr of the kernel passes over


def batch(records: Sequence[bytes], times_us: Sequence[int] = ()) -> tuple[bytes, bytes]:
    """Records as pcapy's next_batch gives them."""
    table, at = b"", 0
    for number, record in enumerate(records):
        seconds, rest = divmod(times_us[number], 1_000_000) if times_us else (number, 0)
        table += struct.pack("=IIII", seconds, rest, at, len(record))
        at += len(record)
    return b"".join(records), table


def candidates(records: Sequence[bytes], link_type: int = RAW, port: int = 25) -> tuple[list[bytes], int]:
    """The packets that were selected, cut to the copy range, and the number of malformed records."""
    chosen, malformed = select(*batch(records), link_type, destination_port(port))
    found = [chosen[at:at + CANDIDATE_SIZE] for at in range(0, len(chosen), CANDIDATE_SIZE)]
    assert all(one[12 + int.from_bytes(one[8:12], sys.byteorder):].strip(b"\0") == b"" for one in found)
    return [one[12:12 + int.from_bytes(one[8:12], sys.byteorder)] for one in found], malformed


def tcp(flags: int = 2, port: int = 25) -> bytes:
    """A TCP header."""
    return struct.pack("!HHIIBBHHH", 49152, port, 1, 0, 5 << 4, flags, 64240, 0, 0)


def verdict(packet: bytes, port: int = 25) -> str:
    """The rule of the contract in plain Python: "yes", "no", or "cannot-tell"."""
    if not packet or packet[0] >> 4 not in (4, 6):
        return "cannot-tell"
    if packet[0] >> 4 == 4:
        header = 4 * (packet[0] & 15)
        if len(packet) >= 20 and 0 < int.from_bytes(packet[2:4], "big") < len(packet):
            packet = packet[:int.from_bytes(packet[2:4], "big")]
        if len(packet) < 20 or header < 20 or len(packet) < header:
            return "cannot-tell"
        if packet[9] != 6 or int.from_bytes(packet[6:8], "big") & 0x1fff:
            return "no"
        segment = packet[header:]
    else:
        if len(packet) < 40:
            return "cannot-tell"
        if payload := int.from_bytes(packet[4:6], "big"):
            packet = packet[:40 + payload]
        kind, at = packet[6], 40
        while kind != 6:
            if kind not in EXTENSIONS:
                return "no"
            if len(packet) - at < 8:
                return "cannot-tell"
            if kind == 44 and int.from_bytes(packet[at + 2:at + 4], "big") >> 3:
                return "no"
            size = 8 if kind == 44 else 4 * (packet[at + 1] + 2) if kind == 51 else 8 * (packet[at + 1] + 1)
            if len(packet) - at < size:
                return "cannot-tell"
            kind, at = packet[at], at + size
        segment = packet[at:]
    if len(segment) < 14:
        return "cannot-tell"
    return "yes" if segment[2:4] == port.to_bytes(2, "big") and segment[13] & 0x17 == 2 else "no"


# Packets that come near the rule more often than chance would have it.
segments = st.builds(tcp, st.sampled_from((2, 2, 0x12, 0x10, 0xc2, 0x0a, 3, 6, 0)), st.sampled_from((25, 25, 26)))
authentication = st.integers(0, 3).flatmap(
    lambda words: st.tuples(st.just(51), st.binary(min_size=6 + 4 * words, max_size=6 + 4 * words)))


def chained(source: bytes, extensions: list[tuple[int, bytes]], segment: bytes, last: int) -> bytes:
    """An IPv6 packet whose headers name each other rightly; an authentication header counts in words of 4 bytes."""
    numbers = [kind for kind, _ in extensions] + [last]
    chain = b""
    for (kind, body), following in zip(extensions, numbers[1:], strict=True):
        length = (len(body) + 2) // 4 - 2 if kind == 51 else (len(body) + 2) // 8 - 1
        chain += struct.pack("!BB", following, length) + body
    return struct.pack("!IHBB16s16s", 6 << 28, len(chain + segment), numbers[0], 64, source, REAL[1]) + chain + segment


fragments = st.tuples(st.just(44), st.sampled_from((bytes(6), b"\0\1" + bytes(4), b"\0\x08" + bytes(4))))
others = st.tuples(st.sampled_from((0, 43, 60)), st.sampled_from((bytes(6), bytes(14))))
near = st.builds(ipv4, st.sampled_from(HOSTS), st.sampled_from(FAKE + REAL), segments,
                 protocol=st.sampled_from((6, 6, 17)), options=st.binary(max_size=40),
                 fragment=st.sampled_from((0, 0, 0x4000, 0x2000, 1))) | st.builds(
    chained, st.sampled_from(HOSTS), st.lists(authentication | fragments | others, max_size=4), segments,
    st.sampled_from((6, 6, 17, 59, 50)))
cut = st.builds(lambda packet, end: packet[:end], near, st.integers(0, 120))
longer = st.builds(lambda packet, more: packet + more, near, st.binary(max_size=20))


@settings(max_examples=500, deadline=None)
@given(st.lists(near | cut | longer | packets, max_size=30))
def test_the_rule_equals_its_twin(records: list[bytes]) -> None:
    wanted = [verdict(record) for record in records]
    found, malformed = candidates(records)
    assert found == [record[:HEAD] for record, one in zip(records, wanted, strict=True) if one == "yes"]
    assert malformed == wanted.count("cannot-tell")


def test_the_twin_meets_every_answer() -> None:
    """The strategies come near enough: all three answers, and IPv6 behind each extension header."""
    assert verdict(syn(HOSTS[0], FAKE[0])) == verdict(syn(HOSTS[-1], FAKE[-1])) == "yes"
    for kind, body in ((0, bytes(6)), (43, bytes(14)), (44, bytes(6)), (51, bytes(10)), (60, bytes(6))):
        assert verdict(chained(HOSTS[-1], [(kind, body)], tcp(), 6)) == "yes"
    assert verdict(chained(HOSTS[-1], [(44, b"\0\x08" + bytes(4))], tcp(), 6)) == "no"
    assert verdict(ipv4(HOSTS[0], REAL[0], tcp(), fragment=1)) == "no"
    assert verdict(ipv4(HOSTS[0], REAL[0], tcp(0x12))) == "no"
    assert verdict(ipv4(HOSTS[0], REAL[0], tcp()[:13])) == "cannot-tell"


@pytest.mark.parametrize("name", LINKS)
def test_every_link_type(name: str) -> None:
    link_type, wrap = LINKS[name]
    four, six = syn(HOSTS[0], FAKE[0]), syn(HOSTS[-1], FAKE[-1])
    ack = ipv4(HOSTS[0], REAL[0], tcp(0x10))
    assert candidates([wrap(four), wrap(ack), wrap(six)], link_type) == ([four, six], 0)
    assert candidates([wrap(four)], link_type, port=26) == ([], 0)


@pytest.mark.parametrize("name", LINKS)
def test_a_record_cut_anywhere_is_told_or_counted(name: str) -> None:
    link_type, wrap = LINKS[name]
    for packet in (syn(HOSTS[0], FAKE[0]), syn(HOSTS[-1], FAKE[-1])):
        whole = wrap(packet)
        tail = len(whole) - whole.index(packet) - len(packet)
        for end in range(len(whole)):
            found, malformed = candidates([whole[:end]], link_type)
            # Up to the flags of TCP it can be told; behind them nothing matters.
            assert (len(found), malformed) in ((1, 0), (0, 1))
            if end < len(whole) - tail - 6:
                assert malformed == 1, end


@pytest.mark.parametrize(("link_type", "record"), [
    (1, bytes(12) + b"\x08\x06" + bytes(28)), (1, bytes(12) + b"\x81\x00\0\1\x08\x06" + bytes(28)),
    (113, bytes(14) + b"\x08\x06" + bytes(28)), (276, b"\x08\x06" + bytes(46)), (0, b"\x07\0\0\0" + bytes(40)),
    (108, b"\0\0\0\x07" + bytes(40)), (117, b"\x3d\x07" + bytes(100)),
])
def test_other_protocols_are_no_candidates(link_type: int, record: bytes) -> None:
    assert candidates([record], link_type) == ([], 0)


@settings(max_examples=300)
@given(st.sampled_from(sorted(LINK_TYPES)), st.lists(st.binary(max_size=150), max_size=10))
def test_junk_is_read_on_every_link_type(link_type: int, records: list[bytes]) -> None:
    found, malformed = candidates(records, link_type)
    assert len(found) + malformed <= len(records)


def test_records_that_point_outside_their_batch() -> None:
    data, _ = batch([syn(HOSTS[0], FAKE[0])])
    for offset, length in ((0, len(data) + 1), (1, len(data)), (2**32 - 1, 2**32 - 1), (len(data) + 1, 0)):
        assert select(data, struct.pack("=IIII", 0, 0, offset, length), RAW, PROGRAM) == (b"", 1)


def test_times_are_microseconds() -> None:
    chosen, _ = select(*batch([syn(HOSTS[0], FAKE[0])], [1_700_000_000_123_456]), RAW, PROGRAM)
    assert int.from_bytes(chosen[:8], sys.byteorder) == 1_700_000_000_123_456


def test_an_unknown_link_type() -> None:
    with pytest.raises(ValueError, match="link type 999 is none of Ethernet"):
        select(b"", b"", 999, PROGRAM)


def test_destinations_are_counted() -> None:
    chosen, _ = select(*batch([syn(HOSTS[0], FAKE[0]), syn(HOSTS[1], FAKE[0]), syn(HOSTS[-1], REAL[1])]), RAW, PROGRAM)
    counts = {REAL[1]: 5}
    count_destinations(chosen, counts)
    assert counts == {FAKE[0]: 2, REAL[1]: 6}


def test_the_length_of_a_payload_counts_where_it_is_shorter() -> None:
    """Padding of short Ethernet frames is no part of the packet; a length of 0 stands for a packet not cut yet."""
    padded = ipv6(HOSTS[-1], REAL[1], tcp()[:13]) + bytes(20)
    assert candidates([padded]) == ([], 1)
    offloaded = bytearray(ipv4(HOSTS[0], REAL[0], tcp()))
    offloaded[2:4] = b"\0\0"
    assert candidates([bytes(offloaded)]) == ([bytes(offloaded)], 0)


@pytest.mark.parametrize("name", LINKS)
def test_a_survey_counts_attempts_whatever_the_filter(name: str) -> None:
    link_type, wrap = LINKS[name]
    found = survey(*batch([wrap(syn(HOSTS[0], FAKE[0])), wrap(ipv4(HOSTS[0], FAKE[0], tcp(0x12))), b""]), link_type)
    assert found[0] == 1


@pytest.mark.parametrize(("link_type", "record", "kind"), [
    (1, bytes(12) + b"\x08\x06" + bytes(28), 0x0806), (1, bytes(12) + b"\x81\0\0\1\x08\x06" + bytes(28), 0x0806),
    (113, bytes(14) + b"\x08\x06" + bytes(28), 0x0806), (276, b"\x08\x06" + bytes(46), 0x0806)])
def test_a_survey_tells_what_is_no_ip(link_type: int, record: bytes, kind: int) -> None:
    assert survey(*batch([record, record]), link_type) == (0, {kind: 2})
    # A record that lies outside of the data is passed over.
    assert survey(b"", struct.pack("=IIII", 0, 0, 5, 9), link_type) == (0, {})
