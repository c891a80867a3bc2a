"""The grammar of a line: any word and value gives one line that a program can take apart."""
import logging
import re

from hypothesis import given
from hypothesis import strategies as st

from mxallowd.log.grammar import format_line, line_record

LINE = re.compile(r'[a-z-]+( \[[^ ]+\])?( [a-z0-9-]+=([^ "=]+|"([^"\\]|\\.)*"))*$')


@given(st.text(), st.text(), st.integers())
def test_any_value_gives_one_line_of_the_grammar(address: str, value: str, number: int) -> None:
    line = format_line("word", None, {"some_key": value, "other": number})
    assert line.isprintable()
    assert LINE.match(line), line
    assert format_line("word", address, {}).isprintable()


def test_grammar() -> None:
    assert format_line("refused", "192.0.2.1", {"real": "192.0.2.2", "times": 1}) == \
        "refused [192.0.2.1] real=192.0.2.2 times=1"
    assert format_line("x", None, {"queue_num": "", "reason": 'a "b"'}) == 'x queue-num="" reason="a \\"b\\""'


def test_a_record_has_the_level_and_the_line() -> None:
    record = line_record(logging.WARNING, "suppressed", None, {"lines": 3})
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "suppressed lines=3")
    # A percent sign asks for no further value.
    assert line_record(logging.INFO, "bad-name", "192.0.2.1", {"name": "%s"}).getMessage() == \
        "bad-name [192.0.2.1] name=%s"
