"""Text from outside becomes one printable line, whatever it was."""
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.text import printable, quoted


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert "\n" not in shown


@given(st.binary())
def test_any_bytes_of_a_file_become_one_printable_line(data: bytes) -> None:
    shown = printable(data.decode("utf-8", "surrogateescape"))
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(), st.text())
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (printable(one) == printable(other)) == (one == other)


def test_escapes() -> None:
    assert printable("a\nb\x1b[31m\\") == "a\\x0ab\\x1b[31m\\\\"
    assert printable("\u2028\U000e0001\udcff") == "\\u2028\\U000e0001\\xff"
    assert quoted('say "hi"') == '"say \\"hi\\""'
