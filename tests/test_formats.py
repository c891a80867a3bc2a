"""Capture files in bytes: every format, however they come in, gives the same records."""
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.captures.formats import RECORD, FormatError, Reader
from tests.links import pcap, pcapng

BODIES = [bytes([number]) * (number * 7 % 90) for number in range(40)]
MOST = 7


def block(kind: int, body: bytes, order: str = "=") -> bytes:
    """A block of pcapng."""
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, 12 + len(body)) + body + struct.pack(f"{order}I", 12 + len(body))


def section(order: str = "=") -> bytes:
    """The block with which a section begins."""
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int, options: bytes = b"", order: str = "=") -> bytes:
    """The block of an interface."""
    return block(1, struct.pack(f"{order}HHI", link_type, 0, 65535) + options, order)


def packet(number: int, time: int, body: bytes, order: str = "=") -> bytes:
    """An enhanced packet block."""
    return block(6, struct.pack(f"{order}IIIII", number, time >> 32, time & 0xFFFFFFFF, len(body), len(body)) + body,
                 order)


def records(content: bytes, steps: int = 1 << 20) -> list[tuple[int, int, bytes]]:
    """Link type, time in microseconds and bytes of each record."""
    reader, found = Reader(), []
    for at in range(0, len(content), steps):
        reader.feed(content[at:at + steps])
        while taken := reader.take(MOST):
            assert len(taken.table) <= MOST * RECORD.size
            for seconds, microseconds, offset, length in RECORD.iter_unpack(taken.table):
                found.append((taken.link_type, seconds * 1_000_000 + microseconds, taken.data[offset:offset + length]))
    assert reader.whole()
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("formats") / "a"
    times = [(1_700_000_000 + number, number * 1000) for number in range(40)]
    nanoseconds = [(seconds, fraction * 1000) for seconds, fraction in times]
    ng = [(seconds * 1_000_000 + fraction) for seconds, fraction in times]
    return {
        "little": pcap(path, 1, BODIES, order="<", times=times).read_bytes(),
        "big": pcap(path, 1, BODIES, order=">", times=times).read_bytes(),
        "nanoseconds": pcap(path, 1, BODIES, nanoseconds=True, times=nanoseconds).read_bytes(),
        **{f"ng{order}": section(order) + interface(1, order=order) + b"".join(
            packet(0, time, body, order) for time, body in zip(ng, BODIES, strict=True)) for order in "<>"}}


@pytest.mark.parametrize("name", ["little", "big", "nanoseconds", "ng<", "ng>"])
@pytest.mark.parametrize("steps", [1, 13, 1000])
def test_every_format_in_any_portions(files: dict[str, bytes], name: str, steps: int) -> None:
    assert records(files[name], steps) == [
        (1, (1_700_000_000 + number) * 1_000_000 + number * 1000, body) for number, body in enumerate(BODIES)]


def test_interfaces_of_different_link_types_and_clocks() -> None:
    resolution = struct.pack("=HHB3x", 9, 1, 9)
    offset = struct.pack("=HHq", 14, 8, 100)
    binary = struct.pack("=HHB3x", 9, 1, 0x80 | 10)
    content = (section() + interface(1, resolution + offset) + interface(101, binary) + packet(1, 5 << 10, b"raw")
               + packet(0, 2_000_003_000, b"ether") + packet(0, 3_000_000_000, b"ether2") + block(3, b"\3\0\0\0abc")
               + block(99, b"a block that nobody knows") + section(">") + interface(113, order=">")
               + packet(0, 7, b"cooked", ">"))
    assert records(content) == [(101, 5_000_000, b"raw"), (1, 102_000_003, b"ether"), (1, 103_000_000, b"ether2"),
                                (1, 100_000_000, b"abc"), (113, 7, b"cooked")]


def test_the_modified_format_of_old_systems() -> None:
    content = struct.pack("=IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1) + struct.pack("=IIII8x", 1, 2, 3, 3) + b"abc"
    assert records(content) == [(1, 1_000_002, b"abc")]


@pytest.mark.parametrize("damage", [
    packet(1, 0, b"x"), block(6, bytes(8)), section()[:-4] + bytes(4), struct.pack("=II", 6, 13) + bytes(8),
    struct.pack("=II", 6, 1 << 30) + bytes(8), block(6, struct.pack("=IIIII", 0, 0, 0, 99, 99)),
    block(0x0A0D0D0A, bytes(16))])
def test_damage_comes_after_what_stands_before_it(damage: bytes) -> None:
    reader = Reader()
    reader.feed(section() + interface(1) + packet(0, 0, b"first") + damage)
    assert reader.take(100)
    with pytest.raises(FormatError):
        reader.take(100)


def test_what_is_no_capture() -> None:
    for content in (b"fake-mailserver 192.0.2.1\n", bytes(100), struct.pack("=IH", 0xA1B2C3D4, 9) + bytes(18)):
        reader = Reader()
        reader.feed(content)
        with pytest.raises(FormatError):
            reader.take(1)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_junk_behind_a_header_is_read_or_refused(junk: bytes, steps: int) -> None:
    for head in (section() + interface(1), struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)):
        reader = Reader()
        try:
            for at in range(0, len(head + junk), steps):
                reader.feed((head + junk)[at:at + steps])
                while taken := reader.take(3):
                    assert all(offset + length <= len(taken.data)
                               for _, _, offset, length in RECORD.iter_unpack(taken.table))
        except FormatError as error:
            assert str(error)


def test_the_writers_of_other_tests_are_read_alike(tmp_path: Path) -> None:
    content = pcapng(tmp_path / "a", 276, BODIES).read_bytes()
    assert [body for _, _, body in records(content)] == BODIES
