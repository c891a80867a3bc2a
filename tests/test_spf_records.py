"""The text of an SPF record: which top labels there are, and that no text holds the main loop for long."""
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.trust.record import Record, RecordError, parse

LONG = 63_000
# Section 7.1 of RFC 7208, as it stands there.
TOP_LABEL = re.compile(r"\.([0-9a-z]*[a-z][0-9a-z]*|[0-9a-z]+-[0-9a-z-]*[0-9a-z])\.?\Z", re.IGNORECASE)
PIECES = ["a", "1", "-", ".", "!", "%", "%{i}", "%{s1", "%{s", "}", "r", "/", "//32", "=", ":", "_", ","]
HEADS = ["a:", "a:.", "exists:", "exists:%{i}.", "include:", "ip4:", "ip6:", "ip6:::", "redirect=", "exp=", "other=",
         "mx", "ptr:", "", "?", "a:x.example/"]


def parsed(text: str) -> Record:
    steps = parse(text)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Record = end.value
            return found


def is_taken(text: str) -> bool:
    try:
        parsed(text)
    except RecordError:
        return False
    return True


@given(st.text("aZ09-.!", max_size=12))
def test_a_top_label_is_what_the_rfc_says(end: str) -> None:
    assert is_taken(f"v=spf1 a:x{end}") == (TOP_LABEL.search(f"x{end}") is not None)


@pytest.mark.parametrize(("label", "taken"), [("a" * 63, True), ("a" * 64, False), ("1" * 63, False)])
def test_a_top_label_is_as_long_as_a_label(label: str, taken: bool) -> None:
    assert is_taken(f"v=spf1 exists:%{{i}}.{label}.") is taken


@pytest.mark.parametrize("length", [1000, LONG])
@pytest.mark.parametrize("head", HEADS)
def test_long_texts_take_no_time(head: str, length: int) -> None:
    for piece in PIECES:
        for end in ("", "!", ".example"):
            word = f"{head}{piece * (length // len(piece))}{end} "
            text = f"v=spf1 {word * (LONG // len(word))}"
            started = time.process_time()
            is_taken(text)
            # What is quadratic takes seconds.
            assert time.process_time() - started < 0.2, text[:40]


@pytest.mark.parametrize(("length", "taken"), [(1024, True), (1025, False)])
def test_a_term_has_a_bound(length: int, taken: bool) -> None:
    end = ".example.org"
    assert is_taken("v=spf1 -exists:" + "x" * (length - len(f"-exists:{end}")) + end) is taken


def test_long_terms_have_pauses_between_them() -> None:
    steps, pauses = parse("v=spf1" + f" exists:{'x.' * 480}example.org" * 60), 0
    while True:
        try:
            next(steps)
        except StopIteration:
            break
        pauses += 1
    assert pauses >= 20


@pytest.mark.parametrize(("digits", "taken"), [("0", False), ("0" * 900 + "1", True), ("1" * 5000, False)])
def test_a_macro_may_have_many_digits(digits: str, taken: bool) -> None:
    assert is_taken(f"v=spf1 exists:%{{s{digits}}}.example.org") is taken
