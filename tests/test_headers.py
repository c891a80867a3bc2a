"""IPv4 and IPv6 headers: the compiled parser against the oracle, and the packets of the tests against dpkt."""
import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine._headers import REASONS, addresses, no_syn, port
from tests import oracle
from tests.strategies import (
    DESTINATION,
    FAKE,
    FRAGMENT,
    HOP_BY_HOP,
    HOSTS,
    REAL,
    ROUTING,
    UDP,
    hosts,
    ipv4,
    ipv4_packets,
    ipv6,
    packets,
    payloads,
    segment,
    sound_packets,
    syn,
)

HOST4, HOST6, FAKE4, FAKE6 = HOSTS[0], HOSTS[-1], FAKE[0], FAKE[-1]
EXPERIMENT = 253  # RFC 3692: dpkt has no parser for it


def parsed(packet: bytes) -> tuple[bytes, bytes] | str:
    try:
        return addresses(packet)
    except ValueError as error:
        assert str(error) in REASONS[1:]
        return str(error)


def expected(packet: bytes) -> tuple[bytes, bytes] | str:
    try:
        return oracle.addresses(packet)
    except oracle.Malformed as error:
        return str(error)


# ---- the packets of these tests are packets


@given(ipv4_packets)
def test_the_ipv4_builder_agrees_with_dpkt(packet: bytes) -> None:
    theirs = dpkt.ip.IP(packet)
    assert oracle.addresses(packet) == (oracle.MAPPED + theirs.src, oracle.MAPPED + theirs.dst)
    assert theirs.hl * 4 == 20 + len(theirs.opts)
    assert theirs.len == len(packet)


EXTENSIONS = ((HOP_BY_HOP, bytes(6)), (DESTINATION, bytes(14)), (ROUTING, bytes(22)))


@given(hosts, hosts, payloads, st.permutations(EXTENSIONS))
def test_the_ipv6_builder_agrees_with_dpkt(
        source: bytes, destination: bytes, payload: bytes, extensions: list[tuple[int, bytes]]) -> None:
    packet = ipv6(source, destination, payload, protocol=EXPERIMENT, extensions=tuple(extensions))
    theirs = dpkt.ip6.IP6(packet)
    assert oracle.addresses(packet) == (theirs.src, theirs.dst) == (source, destination)
    assert 40 + theirs.plen == len(packet)
    assert list(theirs.extension_hdrs) == [number for number, _ in extensions]
    assert (theirs.p, bytes(theirs.data)) == (EXPERIMENT, payload)


def test_dpkt_sees_the_parts_that_were_asked_for() -> None:
    four = dpkt.ip.IP(ipv4(HOST4, FAKE4, b"payload", protocol=200, options=b"\1\1\1", fragment=0x2005))
    assert (four.p, four.opts, four.mf, four.offset, bytes(four.data)) == (200, b"\1\1\1\0", 1, 5, b"payload")
    six = dpkt.ip6.IP6(ipv6(HOST6, FAKE6, b"payload", protocol=200, extensions=((FRAGMENT, b"\0\1\0\0\0\7"),)))
    assert (six.p, six.extension_hdrs[FRAGMENT].id, bytes(six.data)) == (200, 7, b"payload")
    attempt = dpkt.ip.IP(syn(HOST4, FAKE4))
    assert (attempt.tcp.dport, attempt.tcp.flags) == (25, dpkt.tcp.TH_SYN)


# ---- the parser


@given(packets)
def test_compiled_equals_oracle(packet: bytes) -> None:
    assert parsed(packet) == expected(packet)


@given(sound_packets)
def test_every_length_of_a_packet(packet: bytes) -> None:
    """What lies past the end counts for nothing; the sanitize build also sees that it is not read."""
    for end in range(len(packet) + 1):
        cut = packet[:end]
        assert parsed(cut) == expected(cut)


@given(st.integers(0, 255), st.integers(0, 64))
def test_every_first_byte_at_every_length(first: int, length: int) -> None:
    packet = (bytes([first]) + bytes(range(1, 64)))[:length]
    assert parsed(packet) == expected(packet)


@pytest.mark.parametrize(("packet", "reason"), [
    (b"", "empty"),
    (b"\x50" + bytes(60), "bad-version"),
    (b"\x00", "bad-version"),
    (b"\x45" + bytes(18), "truncated"),
    (b"\x46" + bytes(22), "truncated"),
    (b"\x4f" + bytes(58), "truncated"),
    (b"\x40" + bytes(18), "truncated"),
    (b"\x44" + bytes(60), "bad-header-length"),
    (b"\x40" + bytes(60), "bad-header-length"),
    (b"\x60" + bytes(38), "truncated"),
])
def test_reasons(packet: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        addresses(packet)


@pytest.mark.parametrize("packet", [b"\x45" + bytes(19), b"\x46" + bytes(23), b"\x4f" + bytes(59), b"\x60" + bytes(39)])
def test_the_shortest_that_will_do(packet: bytes) -> None:
    assert parsed(packet) == expected(packet)
    assert isinstance(parsed(packet), tuple)


def test_ipv4_is_mapped() -> None:
    assert addresses(ipv4(HOST4, FAKE4, protocol=UDP)) == (HOST4, FAKE4)
    assert addresses(ipv6(HOST4, FAKE4)) == (HOST4, FAKE4)


@pytest.mark.parametrize("wrong", [None, "E", bytearray(40), memoryview(bytes(40))])
def test_only_bytes(wrong: object) -> None:
    with pytest.raises(TypeError):
        addresses(wrong)  # type: ignore[arg-type]


# ---- the source's port


@given(packets)
def test_the_port_is_that_of_the_oracle(packet: bytes) -> None:
    assert port(packet) == oracle.port(packet)


@given(ipv4_packets)
def test_the_port_is_that_of_dpkt(packet: bytes) -> None:
    theirs = dpkt.ip.IP(packet)
    if theirs.p == dpkt.ip.IP_PROTO_TCP and not theirs.offset and len(packet) >= 4 * theirs.hl + 2:
        assert port(packet) == int.from_bytes(packet[4 * theirs.hl : 4 * theirs.hl + 2], "big")
    else:
        assert port(packet) == 0


def test_the_port_of_a_syn() -> None:
    for source, destination in ((HOST4, FAKE4), (HOST6, FAKE6)):
        packet = syn(source, destination)
        header = len(packet) - 20
        assert port(packet) == 49152
        assert [port(packet[:length]) for length in range(header + 2)] == [0] * (header + 2)
        assert port(packet[: header + 2]) == 49152


@given(packets)
def test_what_is_no_syn(packet: bytes) -> None:
    try:
        oracle.addresses(packet)
    except oracle.Malformed as reason:
        with pytest.raises(ValueError, match=str(reason)):
            no_syn(packet)
    else:
        assert no_syn(packet) == oracle.no_syn(packet)


@pytest.mark.parametrize(("number", "size"), [(0, 8), (43, 16), (51, 12), (60, 24), (135, 8), (139, 8), (140, 8)])
@pytest.mark.parametrize(("flags", "expected"), [(0x02, False), (0x12, True), (0x10, True), (0x04, True)])
def test_a_segment_behind_each_extension_header(number: int, size: int, flags: int, expected: bool) -> None:
    """The length is in units of 8 bytes beyond the first, of the authentication header in units of 4 beyond two."""
    units = size // 4 - 2 if number == 51 else size // 8 - 1
    header = bytes([6, units]) + bytes(size - 2)
    packet = bytearray(ipv6(HOSTS[-1], REAL[-1], header + segment(flags)))
    packet[6] = number
    assert no_syn(bytes(packet)) == expected
    # Cut within the chain, it may be one.
    assert not no_syn(bytes(packet[:43]))
