"""Messages of nfnetlink_queue, built by struct from linux/netlink.h and linux/netfilter/nfnetlink_queue.h.

Every buffer has the exact size of what it holds, so that the sanitize build sees a read past the end.
"""
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.backends._nfnetlink import mark, read, verdict
from tests.strategies import FAKE, HOSTS, syn

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
QUEUE_PACKET, QUEUE_VERDICT, QUEUE_VERDICT_BATCH = 3 << 8 | 0, 3 << 8 | 1, 3 << 8 | 3
NLM_F_REQUEST = 1
NFQA_PACKET_HDR, NFQA_VERDICT_HDR, NFQA_MARK, NFQA_IFINDEX_INDEV, NFQA_HWADDR, NFQA_PAYLOAD = 1, 2, 3, 5, 9, 10
NLA_F_NESTED, NLA_F_NET_BYTEORDER = 0x8000, 0x4000
NF_DROP, NF_ACCEPT = 0, 1

ids = st.integers(0, 2**32 - 1)


def aligned(length: int) -> int:
    return (length + 3) & ~3


def message(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A netlink message, padded; `length` is what its header says where that is not the truth."""
    header = struct.pack("=IHHII", 16 + len(body) if length is None else length, kind, 0, 0, 0)
    return header + body + bytes(-len(body) % 4)


def attribute(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack("=HH", 4 + len(body) if length is None else length, kind) + body + bytes(-len(body) % 4)


def packet_header(packet_id: int) -> bytes:
    return attribute(NFQA_PACKET_HDR, struct.pack("!IHB", packet_id, 0x0800, 1))


OTHERS = (
    attribute(NFQA_IFINDEX_INDEV, bytes(4)) + attribute(NFQA_MARK, bytes(4))
    + attribute(NFQA_HWADDR, struct.pack("!HH8s", 6, 0, bytes(8))))
GENERIC = struct.pack("!BBH", 2, 0, 23)  # nfgenmsg: AF_INET, version, queue


def queued(packet_id: int, payload: bytes) -> bytes:
    """A packet message with the attributes in the kernel's order."""
    return message(QUEUE_PACKET, GENERIC + packet_header(packet_id) + OTHERS + attribute(NFQA_PAYLOAD, payload))


def read_all(data: bytes) -> list[tuple[str, int, bytes]]:
    """All messages of a datagram."""
    found: list[tuple[str, int, bytes]] = []
    while data:
        what, number, payload, taken = read(data)
        assert 0 < taken <= len(data)
        found.append((what, number, payload))
        data = data[taken:]
    return found


# ---- packets


@given(ids, st.binary(max_size=80))
def test_packet(packet_id: int, payload: bytes) -> None:
    data = queued(packet_id, payload)
    assert read(data) == ("packet", packet_id, payload, len(data))


@pytest.mark.parametrize("payload", [b"", b"x", b"xyz", syn(HOSTS[0], FAKE[0]), bytes(60)])
def test_every_truncation(payload: bytes) -> None:
    """The id comes first, so a packet that was cut is still known by it; only a whole payload is believed."""
    data = queued(0xdeadbeef, payload)
    id_ends = 16 + 4 + 4 + 7
    whole = data.index(OTHERS) + len(OTHERS) + 4 + len(payload)
    for end in range(1, len(data) + 1):
        what, number, found, taken = read(data[:end])
        assert taken == end
        if end < id_ends:
            assert (what, number, found) == ("broken", 0, b"")
        else:
            assert (what, number) == ("packet", 0xdeadbeef)
            assert found == (payload if end >= whole else b"")


@given(ids)
def test_the_mark_of_a_packet(number: int) -> None:
    marked = attribute(NFQA_MARK, struct.pack("!I", number))
    for attributes in (packet_header(1) + marked, marked + packet_header(1)):
        data = message(QUEUE_PACKET, GENERIC + attributes + attribute(NFQA_PAYLOAD, b"abc"))
        assert mark(data) == number
        assert read(data) == ("packet", 1, b"abc", len(data))
    assert mark(message(QUEUE_PACKET, GENERIC + packet_header(1) + attribute(NFQA_MARK, b"\1\2\3"))) == 0
    assert mark(message(QUEUE_PACKET, GENERIC + packet_header(1))) == 0


@given(st.lists(st.tuples(ids, st.binary(max_size=40)), max_size=5))
def test_several_messages_in_a_datagram(expected: list[tuple[int, bytes]]) -> None:
    datagram = b"".join(queued(*each) for each in expected)
    assert read_all(datagram) == [("packet", *each) for each in expected]


def test_bytes_behind_a_message_are_not_its_own() -> None:
    """The header's length ends a message, not the buffer."""
    inner = GENERIC + packet_header(7)
    data = message(QUEUE_PACKET, inner) + attribute(NFQA_PAYLOAD, b"not ours")
    assert read(data) == ("packet", 7, b"", 16 + len(inner))


def test_order_and_flags_of_attributes_do_not_matter() -> None:
    payload, number = attribute(NFQA_PAYLOAD | NLA_F_NESTED, b"abc"), packet_header(9)
    flagged = bytearray(number)
    struct.pack_into("=H", flagged, 2, NFQA_PACKET_HDR | NLA_F_NET_BYTEORDER)
    data = message(QUEUE_PACKET, GENERIC + payload + OTHERS + bytes(flagged))
    assert read(data) == ("packet", 9, b"abc", len(data))


@pytest.mark.parametrize("attributes", [
    b"",
    OTHERS,
    attribute(NFQA_PAYLOAD, b"abc"),
    attribute(NFQA_PACKET_HDR, b"\0\0\1"),
    attribute(NFQA_PACKET_HDR, b""),
    attribute(NFQA_MARK, b"", length=0) + packet_header(1),
    attribute(NFQA_MARK, b"", length=3) + packet_header(1),
    attribute(NFQA_MARK, bytes(4), length=0xffff) + packet_header(1),
])
def test_a_packet_without_an_id_is_broken(attributes: bytes) -> None:
    assert read(message(QUEUE_PACKET, GENERIC + attributes))[:3] == ("broken", 0, b"")


@pytest.mark.parametrize("length", [0, 1, 3, 8, 9, 0xffff])
def test_an_attribute_of_a_wrong_length_ends_all_but_the_id(length: int) -> None:
    data = message(QUEUE_PACKET, GENERIC + packet_header(5) + attribute(NFQA_PAYLOAD, b"abc", length=length))
    what, number, payload, taken = read(data)
    assert (what, number, taken) == ("packet", 5, len(data))
    assert payload == (b"abc\0" if length == 8 else b"")


# ---- errors and others


@pytest.mark.parametrize(("error", "number"), [
    (0, 0), (-errno.ENOENT, 2), (-errno.EPERM, 1), (-4095, 4095), (-4096, 4096), (1, 4096), (-2**31, 4096),
    (2**31 - 1, 4096),
])
def test_error(error: int, number: int) -> None:
    body = struct.pack("=i", error) + verdict(23, 1, True)[:16]
    data = message(NLMSG_ERROR, body)
    assert read(data) == ("error", number, b"", len(data))
    for end in range(1, 20):
        assert read(data[:end])[:3] == ("broken", 0, b"")
    for end in range(20, len(data)):
        assert read(data[:end]) == ("error", number, b"", end)


@pytest.mark.parametrize("kind", [
    NLMSG_NOOP, NLMSG_DONE, 0, QUEUE_VERDICT, 3 << 8 | 2, 1 << 8, 0xffff, NLMSG_ERROR << 8])
def test_what_is_not_for_us(kind: int) -> None:
    data = message(kind, GENERIC + packet_header(1))
    assert read(data) == ("other", 0, b"", len(data))


@pytest.mark.parametrize("length", range(16))
def test_a_length_below_the_header_ends_the_datagram(length: int) -> None:
    data = message(QUEUE_PACKET, GENERIC + packet_header(1), length=length)
    assert read(data) == ("broken", 0, b"", len(data))


@pytest.mark.parametrize("length", [17, 19])
def test_a_packet_message_too_short_for_its_header(length: int) -> None:
    data = message(QUEUE_PACKET, GENERIC + packet_header(1), length=length)
    assert read(data) == ("broken", 0, b"", 20)


@pytest.mark.parametrize("length", [2**32 - 1, 2**32 - 4, 2**31, 65_535])
def test_a_length_beyond_the_datagram(length: int) -> None:
    data = message(QUEUE_PACKET, GENERIC + packet_header(1), length=length)
    assert read(data) == ("packet", 1, b"", len(data))


# ---- junk


kinds = st.sampled_from((NLMSG_NOOP, NLMSG_ERROR, QUEUE_PACKET, QUEUE_PACKET)) | st.integers(0, 0xffff)
lengths = st.none() | st.integers(0, 120) | st.integers(0, 2**32 - 1)
short_lengths = st.none() | st.integers(0, 60) | st.integers(0, 0xffff)
junk_attributes = st.lists(
    st.builds(attribute, st.integers(0, 12) | st.integers(0, 0xffff), st.binary(max_size=12), short_lengths),
    max_size=5).map(b"".join)
junk_messages = st.builds(message, kinds, junk_attributes.map(lambda rest: GENERIC + rest), lengths)
junk = st.binary(max_size=100) | st.builds(
    lambda messages, end: b"".join(messages)[:end], st.lists(junk_messages, max_size=4), st.integers(1, 200))


@given(junk)
def test_junk_neither_raises_nor_reads_past_the_end(data: bytes) -> None:
    for what, number, payload in read_all(data):
        assert what in ("packet", "error", "other", "broken")
        assert payload in data
        assert number == 0 or what in ("packet", "error")
        assert payload == b"" or what == "packet"


@given(ids, st.integers(0, 200), st.integers(0, 255))
def test_one_wrong_byte(packet_id: int, at: int, value: int) -> None:
    data = bytearray(queued(packet_id, syn(HOSTS[-1], FAKE[-1])))
    data[at % len(data)] = value
    read_all(bytes(data))


def test_an_empty_buffer_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        read(b"")
    with pytest.raises(TypeError):
        read(None)  # type: ignore[arg-type]


# ---- verdicts


@given(st.integers(0, 2**16 - 1), ids, st.booleans(), st.booleans())
def test_verdict(queue: int, packet_id: int, accept: bool, batch: bool) -> None:
    kind = QUEUE_VERDICT_BATCH if batch else QUEUE_VERDICT
    assert verdict(queue, packet_id, accept, batch=batch) == (
        struct.pack("=IHHII", 32, kind, NLM_F_REQUEST, 0, 0)
        + struct.pack("!BBH", 0, 0, queue)
        + struct.pack("=HH", 12, NFQA_VERDICT_HDR)
        + struct.pack("!II", NF_ACCEPT if accept else NF_DROP, packet_id))


@pytest.mark.parametrize(("queue", "packet_id"), [(-1, 0), (2**16, 0), (0, -1), (0, 2**32)])
def test_verdict_out_of_range(queue: int, packet_id: int) -> None:
    with pytest.raises(OverflowError):
        verdict(queue, packet_id, True)
