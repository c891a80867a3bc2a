"""The last lines of the log in memory: bounds, numbers, what a line says, and writers beside a reader."""
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.log.grammar import format_line, format_value
from mxallowd.log.recent import LONGEST, MOST_BYTES, MOST_LINES, Line, Recent
from mxallowd.text import printable


def test_lines_have_numbers_and_the_oldest_go() -> None:
    recent = Recent(most_lines=3)
    kept = recent.kept()
    assert (kept.first, kept.last, kept.lines) == (1, 0, ())
    for number in range(1, 6):
        recent.add(number, logging.INFO, f"line n={number}")
    kept = recent.kept()
    assert (kept.first, kept.last, [line.text for line in kept.lines]) == (3, 5, [f"line n={n}" for n in (3, 4, 5)])
    assert recent.epoch != Recent().epoch


def test_bytes_are_bounded_whatever_the_characters() -> None:
    for sign, most in (("x", 4), ("\U0001f600", 4), ("é", 5)):
        recent = Recent(most_bytes=4 * LONGEST)
        for _ in range(9):
            recent.add(0.0, logging.INFO, sign * LONGEST * 2)
        texts = [line.text for line in recent.kept().lines]
        assert most - 1 <= len(texts) <= most
        assert all(text.endswith("…") and LONGEST - 8 < len(text.encode()) <= LONGEST for text in texts)
    recent = Recent()
    for _ in range(2 * MOST_LINES):
        recent.add(0.0, logging.INFO, "y" * LONGEST)
    assert MOST_BYTES - LONGEST < sum(len(line.text) for line in recent.kept().lines) <= MOST_BYTES


def test_a_short_line_stays_as_it_is() -> None:
    recent = Recent()
    recent.add(0.0, logging.INFO, "x" * LONGEST)
    recent.add(0.0, logging.INFO, "é" * (LONGEST // 2))
    assert [len(line.text) for line in recent.kept().lines] == [LONGEST, LONGEST // 2]


@pytest.mark.parametrize(("text", "word", "address", "values"), [
    ("stop", "stop", None, {}),
    ("fake-mailserver [192.0.2.1]", "fake-mailserver", "192.0.2.1", {}),
    ("added [2001:db8::1] user=0 by=a@b seconds=5", "added", "2001:db8::1", {"user": "0", "by": "a@b", "seconds": "5"}),
    ('config where=x reason="[a] b=\\"c\\" \\\\"', "config", None, {"where": "x", "reason": '[a] b="c" \\\\'}),
    ('config where=x reason="cut of…', "config", None, {"where": "x"}),
])
def test_what_a_line_says(text: str, word: str, address: str | None, values: dict[str, str]) -> None:
    line = Line(0.0, logging.WARNING, text)
    assert (line.word, line.address, line.values, line.level_name) == (word, address, values, "warning")


@given(st.text(), st.text(max_size=20), st.none() | st.just("192.0.2.1"))
def test_values_are_found_whatever_they_hold(one: str, other: str, address: str | None) -> None:
    line = Line(0.0, logging.INFO, format_line("some-word", address, {"a_key": one, "b": other}))
    assert (line.word, line.address) == ("some-word", address)
    assert line.values == {"a-key": printable(one), "b": printable(other)}, format_value(one)


def test_threads_write_while_another_one_reads() -> None:
    recent = Recent(most_lines=50)

    def write(name: int) -> None:
        for number in range(2000):
            recent.add(number, logging.INFO, f"line writer={name} n={number}")

    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for one in writers:
        one.start()
    while any(one.is_alive() for one in writers):
        kept = recent.kept()
        assert len(kept.lines) == kept.last - kept.first + 1 <= 50
    for one in writers:
        one.join()
    kept = recent.kept()
    assert (kept.first, kept.last) == (7951, 8000)
    for name in range(4):
        own = [int(line.values["n"]) for line in kept.lines if line.values["writer"] == str(name)]
        assert own == sorted(own)
