"""Batches of the fleet: what is sealed comes out again, and nothing else does."""
import struct
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.fleet import batch
from mxallowd.fleet.batch import (
    FLUSH,
    MOST_BYTES,
    MOST_NOTES,
    MOST_RECORDS,
    NAME,
    PROVEN,
    RECORD_SIZE,
    REMOVE,
    USED,
    WAY,
    BadBatch,
    Batch,
    Note,
    seal,
    unseal,
)
from mxallowd.fleet.keys import Keys

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
KEYS = Keys([SECRET], "example")
HOST = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1))
RECORD = batch.entry(HOST, 3_600_789, USED, 0)
PLAIN = Batch("mx1.example.org", 1 << 63, 7, 1_764_000_000_000, 3600, RECORD, ())
U64 = st.integers(0, (1 << 64) - 1)
NAMES = st.from_regex(batch.NAMES, fullmatch=True)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(0, 20))
    notes = draw(st.lists(st.builds(Note, st.integers(0, max(count - 1, 0)), st.integers(0, 255), st.text(max_size=60)),
                          max_size=MOST_NOTES * count)) if count else []
    return Batch(draw(NAMES), draw(U64), draw(U64), draw(U64), draw(st.integers(0, (1 << 32) - 1)),
                 draw(st.binary(min_size=RECORD_SIZE * count, max_size=RECORD_SIZE * count)), tuple(notes))


@given(batches())
def test_what_is_sealed_comes_out_again(said: Batch) -> None:
    message = seal(said, KEYS)
    assert len(message) == batch.size_of(said.origin, len(said.records) // RECORD_SIZE) + batch.notes_size(said.notes)
    found = unseal(message, KEYS)
    assert found._replace(notes=tuple(found.notes)) == said


def test_the_layout_is_what_the_module_says() -> None:
    """Gateways of other versions read it, so it is written down here by hand."""
    said = PLAIN._replace(notes=(Note(0, WAY, "näher"),))
    number = blake2b(key=SECRET, digest_size=4, person=b"mxallowd key id").digest()
    content = (b"\x01" + number + b"\x0f" + struct.pack(">HHQQQI", 1, 1, 1 << 63, 7, 1_764_000_000_000, 3600)
               + b"mx1.example.org" + HOST + struct.pack(">IBBH", 3600, 1, 0, 789) + b"\x00\x00\x06n\xc3\xa4her")
    own = blake2b(content, key=SECRET, digest_size=16, person=b"example".ljust(16, b"\0"), salt=bytes(16)).digest()
    assert seal(said, KEYS) == content + own


def test_records_of_each_kind() -> None:
    assert batch.entry(HOST, 1 << 50, PROVEN, 3)[:22] == HOST + b"\xff\xff\xff\xff\x02\x03"
    assert batch.removal(HOST, -5) == HOST + bytes(4) + bytes((REMOVE, 0, 0, 0))
    assert batch.flush(1500) == bytes(16) + struct.pack(">I", 1500) + bytes((FLUSH, 0, 0, 0))


def reason(message: bytes, keys: Keys = KEYS) -> tuple[str, str]:
    with pytest.raises(BadBatch) as raised:
        unseal(message, keys)
    return raised.value.reason, raised.value.claimed


@given(st.integers(0, 8 * len(seal(PLAIN, KEYS)) - 1))
def test_one_bit_that_is_wrong_is_seen(bit: int) -> None:
    message = bytearray(seal(PLAIN, KEYS))
    message[bit // 8] ^= 1 << bit % 8
    expected = {0: {"version"}, 5: {"broken", "forged"}}
    found, claimed = reason(bytes(message))
    assert found in expected.get(bit // 8, {"key"} if 1 <= bit // 8 <= 4 else {"forged", "broken"})
    if found in {"key", "forged"} and not 38 <= bit // 8 < 53 and bit // 8 != 5:
        assert claimed == PLAIN.origin


@given(st.integers(0, len(seal(PLAIN, KEYS)) - 1))
def test_a_batch_that_is_cut_off_is_seen(size: int) -> None:
    assert reason(seal(PLAIN, KEYS)[:size])[0] in {"broken", "forged"}


def test_another_key_and_another_site_are_told_apart() -> None:
    message = seal(PLAIN, KEYS)
    assert reason(message, Keys([OTHER], "example")) == ("key", "mx1.example.org")
    # Two sites with one key do not mix, however alike their names are.
    for site in ("example2", "examplf", "Example", "example" + "." * 20, "e"):
        assert reason(message, Keys([SECRET], site)) == ("forged", "mx1.example.org")
    long = "a" * 31
    assert reason(seal(PLAIN, Keys([SECRET], long + "b")), Keys([SECRET], long + "c"))[0] == "forged"


def test_both_keys_open_while_a_key_is_changed() -> None:
    old, new = Keys([SECRET], "example"), Keys([OTHER], "example")
    for first, second in ((SECRET, OTHER), (OTHER, SECRET)):
        both = Keys([first, second], "example")
        assert unseal(seal(PLAIN, old), both) == unseal(seal(PLAIN, new), both) == PLAIN
    assert unseal(seal(PLAIN, Keys([OTHER, SECRET], "example")), new) == PLAIN


@given(st.binary(max_size=600) | st.binary(min_size=MOST_BYTES, max_size=MOST_BYTES + 9))
def test_any_bytes_are_refused_in_one_way(message: bytes) -> None:
    reason(message)


def signed(content: bytes) -> bytes:
    """Whatever a gateway that was taken over seals."""
    return content + KEYS.first.seal_of(content)


def header(name: bytes, count: int, notes: int) -> bytes:
    return b"\x01" + KEYS.first.number + bytes((len(name),)) + struct.pack(">HHQQQI", count, notes, 1, 1, 1, 1) + name


@pytest.mark.parametrize("content", [
    header(b"", 1, 0) + RECORD,
    header(b"a" * 65, 1, 0) + RECORD,
    header(b"mx 1", 1, 0) + RECORD,
    header(b"mx1\n", 1, 0) + RECORD,
    header("mä".encode(), 1, 0) + RECORD,
    header(b"mx1", 257, 0) + 257 * RECORD,
    header(b"mx1", 2, 0) + RECORD,
    header(b"mx1", 1, 0) + RECORD + b"\0",
    header(b"mx1", 0, 1) + b"\0\0\0",
    header(b"mx1", 1, 1) + RECORD,
    header(b"mx1", 1, 1) + RECORD + b"\0\0",
    header(b"mx1", 1, 1) + RECORD + b"\0\0\x02a",
    header(b"mx1", 1, 1) + RECORD + b"\0\0\x01ab",
    header(b"mx1", 1, 1) + RECORD + b"\x01\0\x01a",
    header(b"mx1", 1, 1) + RECORD + b"\0\0\x01\xff",
    header(b"mx1", 1, 1) + RECORD + b"\0\0\x03\xed\xa0\x80",
    header(b"mx1", 1, 6) + RECORD + 6 * b"\0\0\0",
    header(b"mx1", 65_535, 65_535)], ids=lambda content: str(len(content)))
def test_a_seal_does_not_make_nonsense_a_batch(content: bytes) -> None:
    assert reason(signed(content))[0] == "broken"


@given(st.binary(max_size=60), st.integers(0, 4), st.integers(0, 20))
def test_whatever_is_sealed_is_a_batch_or_broken(rest: bytes, count: int, notes: int) -> None:
    try:
        found = unseal(signed(header(b"mx1", count, notes) + count * RECORD + rest), KEYS)
    except BadBatch as bad:
        assert bad.reason == "broken"
    else:
        assert len(found.notes) == notes
        assert all(note.record < count for note in found.notes)


def test_a_batch_without_records_says_that_the_gateway_is_there() -> None:
    said = PLAIN._replace(records=b"")
    assert unseal(seal(said, KEYS), KEYS) == said


@pytest.mark.parametrize("said", [
    PLAIN._replace(records=RECORD[1:]), PLAIN._replace(records=RECORD * (MOST_RECORDS + 1)),
    PLAIN._replace(origin=""), PLAIN._replace(origin="a b"), PLAIN._replace(origin="a" * 65),
    PLAIN._replace(notes=(Note(1, WAY, "x"),)), PLAIN._replace(notes=(Note(0, WAY, "x"),) * 6),
    PLAIN._replace(records=RECORD * 256, notes=(Note(0, NAME, "x" * 200),) * 10)])
def test_no_batch_is_sealed_that_nobody_would_open(said: Batch) -> None:
    with pytest.raises(ValueError, match=r"this is no batch|a note is of no record|no room"):
        seal(said, KEYS)


def test_a_long_note_is_cut_in_whole_characters() -> None:
    said = PLAIN._replace(notes=(Note(0, WAY, "a" + "\u20ac" * 200), Note(0, WAY, "\ud800x")))
    found = unseal(seal(said, KEYS), KEYS).notes
    assert [note.text for note in found] == ["a" + "\u20ac" * 84, "?x"]


def test_the_largest_batch_has_room() -> None:
    said = PLAIN._replace(origin="a" * 64, records=RECORD * MOST_RECORDS)
    assert len(seal(said, KEYS)) <= MOST_BYTES
    assert unseal(seal(said, KEYS), KEYS) == said
