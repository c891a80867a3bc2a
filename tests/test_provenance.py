"""Notes are bounded, the oldest goes first, and a note that is made again is the youngest."""
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd import provenance
from mxallowd.control.answers.judging import why
from mxallowd.engine._table import BY_HAND, CONTACT, Table
from mxallowd.provenance import MAX_TEXT, Note, Pool, Provenance, with_way
from mxallowd.whitelist import Whitelist

A, B, C = (bytes(15) + bytes([number]) for number in (1, 2, 3))


def test_a_note_is_found_until_it_is_forgotten() -> None:
    notes = Provenance()
    assert notes.find(A) is None
    notes.note(A, 17, "mail.example.org")
    assert notes.find(A) == Note(17, "mail.example.org")
    notes.forget(A)
    notes.forget(A)
    assert notes.find(A) is None and len(notes) == 0


def test_the_oldest_makes_room() -> None:
    notes = Provenance(2)
    notes.note(A, 1, "a")
    notes.note(B, 2, "b")
    notes.note(A, 3, "again")
    notes.note(C, 4, "c")
    assert notes.find(B) is None
    assert (notes.find(A), notes.find(C), len(notes)) == (Note(3, "again"), Note(4, "c"), 2)


def test_a_text_is_cut() -> None:
    notes = Provenance()
    notes.note(A, 1, "x" * 1000)
    assert notes.find(A) == Note(1, "x" * MAX_TEXT)


def test_notes_without_a_text_push_out_none_that_has_one() -> None:
    notes = Provenance(2, 2)
    notes.note(A, 1, "the bank")
    for number in range(10, 20):
        notes.note(bytes(15) + bytes([number]), number, "")
    assert (notes.find(A), len(notes)) == (Note(1, "the bank"), 3)
    # A host has one note.
    notes.note(A, 2, "")
    assert (notes.find(A), len(notes)) == (Note(2, ""), 2)
    notes.recall({A: Note(3, "older"), B: Note(3, "b"), C: Note(3, "")})  # of those without there are enough
    assert notes.copy() == {A: (2, ""), B: (3, "b"), bytes(15) + bytes([19]): (19, "")}
    assert dict(notes.noted({A, B, C})) == {A: Note(2, ""), B: Note(3, "b")}


def test_an_operators_note_leaves_how_a_child_came_in() -> None:
    whitelist = Whitelist(Table(1016, main=1000), lambda: 5)
    host = bytes(10) + b"\xff\xff\xcb\x00\x71\x08"
    pool = Pool("example.org", "203.0.113.9", "a.example.org").text
    for way in ("mx.example.org", "network 203.0.113.0/24", pool, ""):
        assert whitelist.admit(host, 10**9, 5, note=way)
        before = why(whitelist.entry(host), None, None, None)
        for note in ("network of the bank, ticket 4711", "bank"):
            whitelist.annotate(host, note)
            entry = whitelist.entry(host)
            assert entry and entry.note
            assert (why(entry, None, None, None), entry.way) == (before, way)
            assert entry.note.text == f"{way} # {note}".strip()
        whitelist.annotate(host, "")
        assert (found := whitelist.entry(host)) and found.note and found.note.text == way
        assert whitelist.end(host)
    assert with_way("network 203.0.113.0/24 # bank", "former network 203.0.113.0/24") == (
        "former network 203.0.113.0/24 # bank")
    # What an operator notes of any other host says nothing of how it came in.
    for origin in (BY_HAND, CONTACT):
        assert whitelist.admit(host, 10**9, 5, origin=origin)
        whitelist.annotate(host, "network people # two")
        entry = whitelist.entry(host)
        assert entry and entry.note
        assert (entry.note.text, entry.way) == ("network people # two", "")
        assert whitelist.end(host)


def test_notes_that_were_told_come_back_behind_ours() -> None:
    notes = Provenance(2, 2, 2)
    notes.note_told(C, 3, "theirs")
    notes.note(A, 1, "a")
    notes.note(B, 2, "b")
    assert list(notes.copy()) == [A, B, C]
    assert dict(notes.noted({A, C})) == {A: Note(1, "a"), C: Note(3, "theirs")}
    after = Provenance(2, 2, 1)
    after.recall({host: Note(*note) for host, note in notes.copy().items()} | {bytes(16): Note(4, "too many")})
    assert [after.find(host) for host in (A, B, C, bytes(16))] == [
        Note(1, "a"), Note(2, "b"), Note(3, "theirs"), None]
    after.note(C, 5, "ours")
    assert (after.find(C), len(after)) == (Note(5, "ours"), 2)
    after.forget(C)
    assert after.find(C) is None


@given(st.integers(0, 30), st.integers(0, 15), st.sets(st.integers(0, 29), max_size=8), st.integers(0, 5))
def test_all_texts_come_whatever_is_forgotten_meanwhile(
    count: int, taken: int, forgotten: set[int], added: int,
) -> None:
    notes = Provenance()
    for number in range(count):
        notes.note(bytes([number]) * 16, 1, f"mail{number}" if number % 4 else "")
        if number % 4 == 3:
            notes.note_told(bytes([number]) * 16, 1, f"told{number}")
    texts = {number: f"told{number}" if number % 4 == 3 else f"mail{number}" for number in range(count) if number % 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "FORGOTTEN", 8)
        patch.setattr(provenance, "PIECE", 4)
        found = notes.texts()
        seen = [one for _, one in zip(range(taken), found, strict=False)]
        for number in forgotten:
            notes.forget(bytes([number]) * 16)
        for number in range(added):
            notes.note(bytes([100 + number]) * 16, 1, "new")
        seen += found
    told = [one for one in seen if one is not None]
    # Others have their turn before each piece, however many notes there are.
    rests = [place for place, one in enumerate([*seen, None]) if one is None]
    assert max(b - a for a, b in pairwise([-1, *rests])) <= 4 + 8 + 1
    if not forgotten and not added:
        assert len(told) == len(dict(told))
    assert {number: text for number, text in texts.items() if number not in forgotten}.items() <= {
        host[0]: text for host, text in told}.items()
