"""Blocks: whatever byte of a file is damaged, it costs the block that has it, and is said."""
import random
import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.mirrors.disk.blocks import (
    HEADER_SIZE,
    LATEST_S,
    MARK,
    MOST_BYTES,
    Clock,
    Kind,
    Reader,
    Writer,
    note_blocks,
    pieces,
    read_notes,
)

NOW = Clock(b"b" * 16, 5_000, 9_000)
CONTENTS = [bytes([number]) * size for number, size in enumerate((0, 32, 64, 8192, 320, 32))]


def written(contents: list[bytes] = CONTENTS, *, end: bool = True) -> bytes:
    writer = Writer()
    blocks = [writer.block(Kind.HOSTS, NOW, content) for content in contents]
    return b"".join(blocks + ([writer.block(Kind.END, NOW)] if end else []))


def read(data: bytes, *, complete: bool = True) -> tuple[list[bytes], Reader]:
    reader = Reader(data, complete=complete)
    return [bytes(block.content) for block in reader if block.kind == Kind.HOSTS], reader


def test_what_was_written_is_read() -> None:
    found, reader = read(written())
    assert found == CONTENTS
    assert reader.damage() is None


def damaged() -> Iterator[tuple[str, bytes]]:
    """Every byte of the headers, and some of the rest, with one bit changed, as zero, and as a page of zeros."""
    data, chance = written(), random.Random(1)
    places = {*range(3 * HEADER_SIZE + 32), *(chance.randrange(len(data)) for _ in range(300))}
    for place in sorted(places):
        yield f"bit {place}", data[:place] + bytes((data[place] ^ 1 << chance.randrange(8),)) + data[place + 1:]
        if data[place : place + 512].strip(b"\0"):
            yield f"page {place}", data[:place] + bytes(len(data[place : place + 512])) + data[place + 512:]


def test_any_damage_is_noticed_and_costs_its_block() -> None:
    count = 0
    for what, data in damaged():
        found, reader = read(data)
        assert reader.damage(), what
        assert set(found) <= set(CONTENTS), what
        if what.startswith("bit"):
            assert len(found) >= len(CONTENTS) - 1, what
        count += 1
    assert count > 600


@given(st.integers(1, sum(map(len, CONTENTS)) + 7 * HEADER_SIZE - 1))
def test_a_snapshot_that_was_cut_is_noticed(kept: int) -> None:
    found, reader = read(written()[:kept])
    assert reader.damage()
    assert found == CONTENTS[:len(found)]


def test_a_journal_may_end_after_any_block() -> None:
    data = written(end=False)
    found, reader = read(data, complete=False)
    assert (found, reader.damage()) == (CONTENTS, None)
    found, reader = read(data[:-1], complete=False)
    damage = reader.damage()
    assert damage
    assert (damage.bytes, damage.reason) == (HEADER_SIZE + 31, "it ends in the middle of a block")


@given(st.binary(max_size=3000))
def test_any_bytes_are_no_blocks(data: bytes) -> None:
    found, reader = read(data + MARK + data, complete=False)
    assert found == []
    damage = reader.damage()
    assert damage
    assert damage.bytes == 2 * len(data) + 4


def test_a_block_of_another_file_is_none() -> None:
    """Not even one that is whole: text inside a block, or what a disk has put into the wrong place."""
    foreign = written([b"f" * 32], end=False)
    data = written()
    middle = data.index(MARK, 200)
    found, reader = read(data[:middle] + foreign + data[middle:])
    assert found == CONTENTS
    assert reader.damage()


def test_another_version_is_said() -> None:
    import zlib

    body = bytes((9,)) + written([b""], end=False)[9:]
    data = MARK + zlib.crc32(body).to_bytes(4, "little") + body
    reader = read(data)[1]
    damage = reader.damage()
    assert damage
    assert "another version" in damage.reason


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, LATEST_S), st.text(max_size=200)),
                max_size=100))
def test_notes_come_back(notes: list[tuple[bytes, int, str]]) -> None:
    notes = [(host, since, text.encode("utf-8", "replace").decode()) for host, since, text in notes]
    contents = list(note_blocks(notes))
    assert all(len(content) <= MOST_BYTES for content in contents)
    assert [note for content in contents for note in read_notes(memoryview(content))] == notes


@pytest.mark.parametrize("cut", [1, 20, 30])
def test_a_note_that_is_not_whole(cut: int) -> None:
    content = next(note_blocks([(bytes(16), 1, "a name of a host")]))
    with pytest.raises(ValueError, match="not whole"):
        list(read_notes(memoryview(content)[:cut]))


def test_pieces_hold_whole_records() -> None:
    content = bytes(range(256)) * 100
    found = list(pieces(content, 100))
    assert b"".join(found) == content
    assert all(len(piece) % 100 == 0 and len(piece) <= MOST_BYTES for piece in found[:-1])


@pytest.mark.parametrize(("earlier", "later", "us"), [
    (Clock(b"a" * 16, 10, 500), Clock(b"a" * 16, 30, 400), 20),  # same boot: whatever the wall clock did
    (Clock(b"a" * 16, 10, 500), Clock(b"a" * 16, 30, 1 << 50), 20),
    (Clock(b"a" * 16, 10, 500), Clock(b"b" * 16, 3, 700), 200),
    (Clock(b"a" * 16, 10, 500), Clock(b"b" * 16, 30, 400), 0),  # it went back
    (Clock(b"a" * 16, 10, 500), Clock(b"a" * 16, 3, 700), 200),  # as in another time namespace
])
def test_how_long_ago_it_is(earlier: Clock, later: Clock, us: int) -> None:
    assert later.since(earlier) == us


def test_a_time_that_no_clock_has_is_bounded() -> None:
    contents = b"".join(struct.pack("=16sqH", bytes(16), since_s, 0) for since_s in (-1, 1 << 62))
    assert [since_s for _, since_s, _ in read_notes(memoryview(contents))] == [0, LATEST_S]


@pytest.mark.parametrize("length", [0, MOST_BYTES])
def test_what_only_looks_like_blocks_costs_little(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """A file of marks: each might begin a block, and none does."""
    checked = [0, 0]

    def check(body: memoryview) -> int:
        checked[0] += len(body)
        checked[1] += 1
        return 0

    header = bytearray(Writer().block(Kind.HOSTS, NOW))
    header[4:8] = b"\1\2\3\4"
    header[12:16] = length.to_bytes(4, "little")
    data = bytes(header) * 16_384
    monkeypatch.setattr(zlib, "crc32", check)
    reader = Reader(data, complete=False)
    assert list(reader) == []
    damage = reader.damage()
    assert damage
    assert damage.bytes == len(data)
    assert checked[0] <= 2 * len(data) + (4 << 20) + MOST_BYTES + HEADER_SIZE
    assert checked[1] <= 6200
