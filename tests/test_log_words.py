"""The table of lines is complete and true: what the code can write is in it, and nothing else is."""
import re
from pathlib import Path

import pytest

from mxallowd.log.words import LINES
from tests.log_calls import Call, Hidden, calls_below, calls_of

PACKAGE = Path(__file__).parent.parent / "mxallowd"
FORM = re.compile(r"[a-z-]+( \[[A-Z]\])?( [a-z-]+=[A-Za-z0-9-]*)*( …)?")


def test_the_table_has_what_the_code_writes_and_no_more() -> None:
    written = {str(call): call.where for call in calls_below(PACKAGE)}
    known = {str(Call(level, line.word, line.host, line.keys, "")) for line in LINES for level in line.levels}
    assert {line: where for line, where in written.items() if line not in known} == {}, "not in mxallowd/log/words.py"
    assert known - written.keys() == set(), "in mxallowd/log/words.py, and nobody writes it"


def test_a_form_is_of_the_grammar() -> None:
    for line in LINES:
        assert FORM.fullmatch(line.form), line.form
        assert set(line.levels) <= {"info", "warning", "error"}
        assert line.help
        assert "|" not in line.form + line.help
    assert len({line.form for line in LINES}) == len(LINES)


def test_what_a_form_says() -> None:
    forms = {line.form: line for line in LINES}
    line = forms["refused [A] real= times=N seconds=S"]
    assert (line.word, line.host, line.keys) == ("refused", True, ("real", "times", "seconds"))
    line = forms["counters blocked= successful= direct-to-fake= …"]
    assert (line.word, line.host, line.keys) == ("counters", False, ("…",))
    assert forms["fake-mailserver [A]"].keys == ()


# ---- that the collector finds every call


def lines_of(body: str, more: str = "") -> list[str]:
    source = "def f(self, value):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return sorted(map(str, calls_of({"one": source, "more": more})))


@pytest.mark.parametrize(("body", "found"), [
    ("self._log.info('a-b')", ["info a-b"]),
    ("log.notice('a', None, some_key=1, **{'b': 2})", ["info a some-key= b="]),
    ("self._hostlog.warning('a', host, **of(1))", ["warning a [host] …="]),
    ("log.notice('a', None, **request.who, what=1)", ["info a user= by= what="]),
    ("async def g():\n    log.notice('a', None, **await self.collect())", ["info a …="]),
    ("of = {'of': 1} if value else {}\nhostlog.error('a', value, name=1, **of, seconds=2)",
     ["error a [host] name= of= seconds="]),
    ("where = {}\nwhere['x_y'] = 1\nlog.info('a', None, **where)", ["info a x-y="]),
    ("say = self._log.info if value else self._log.error\nsay('a')", ["error a", "info a"]),
    ("line_record(logging.WARNING, 'a', None, {'lines': 1})", ["warning a lines="]),
    ("def g():\n    log.info('a')", ["info a"]),
    ("h(lambda text: log.info('a', b=text))", ["info a b="]),
    ("self.of.another.name.info('a')", ["info a"]),
    ("self.log('a')", []),
    ("self._logger.handle(value)", []),
])
def test_the_collector_finds_lines(body: str, found: list[str]) -> None:
    assert lines_of(body) == found


def test_the_collector_follows_words_that_a_method_returns() -> None:
    more = "class B:\n    def failures(self):\n        return [('x-failed', self.a)] if self.a else []\n"
    assert lines_of("for word, why in self.b.failures():\n    log.error(word, reason=why)", more) == [
        "error x-failed reason="]
    assert lines_of("found = self.b.failures()\nfor word, why in found:\n    log.error(word, reason=why)", more) == [
        "error x-failed reason="]


@pytest.mark.parametrize("body", [
    "log.info(value)", "log.info(word=1)", "log.info('a', None, **value)", "self.write(log.info)",
    "log.info(f'a-{value}')", "keys = dict(value)\nlog.info('a', **keys)", "say = log.info",
    "for word, why in self.unknown():\n    log.error(word)"])
def test_a_line_that_nobody_can_read_is_an_error(body: str) -> None:
    with pytest.raises(Hidden, match="one:"):
        lines_of(body)
