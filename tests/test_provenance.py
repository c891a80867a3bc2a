"""Notes are bounded, the oldest goes first, and a note that is made again is the youngest."""
from mxallowd.provenance import MAX_TEXT, Note, Provenance

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
