"""What the pages for a night without mail quote is what the programs say."""
import re
from pathlib import Path

import pytest

from mxallowd.control.answers.judging import IN_A_DRY_RUN
from mxallowd.ctl import registry
from mxallowd.engine._table import ORIGINS
from mxallowd.history.hosts import WHAT
from mxallowd.log.words import LINES
from mxallowd.metrics.counters import COUNTERS
from mxallowd.settings.options import OPTIONS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SAID = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "mxallowd").rglob("*.py")))
# Sentences of the programs, without the values in them and the marks of strings that go on in the next line.
SENTENCES = re.sub(r"\{[^{}\n]*\}", "", re.sub(r"\"\s+f?\"", "", SAID)).lower()


@pytest.mark.parametrize("page", ["trial.md", "where-is-my-mail.md"])
def test_what_is_quoted_is_said(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    outside = re.sub(r"^ {4}[^ -].*$", "", text, flags=re.MULTILINE)
    quoted = [" ".join(one.split()) for one in re.findall(r'"([^"`]+)"', outside)]
    assert quoted
    for one in quoted:
        for part in re.split(r" ?…|\b(?:of )?example\.org|\b2[35]\b", one):
            assert part.strip().lower() in SENTENCES, one


def test_each_word_for_trouble_has_what_to_do() -> None:
    rows = re.findall(r"^\| (.+?) \| .{20}", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = {word for row in rows for word in re.findall(r"`([a-z-]+)", row)}
    assert {line.word for line in LINES if {"warning", "error"} & set(line.levels)} - words == set()


def test_each_word_of_explain_is_explained() -> None:
    page = (DOCS / "where-is-my-mail.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z-]+ at`.*?) \| ", page, re.MULTILINE)
    named = [word for row in rows for word in re.findall("`([a-z-]+) at`", row)]
    assert sorted(named) == sorted((*WHAT, *IN_A_DRY_RUN.values()))


def test_each_origin_is_explained() -> None:
    page = (DOCS / "good-mail.md").read_text(encoding="utf-8").partition("| `--origin` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    named = [word for row in rows for word in re.findall("`([a-z-]+)`", row)]
    assert sorted(named) == sorted(ORIGINS)


def test_each_word_for_trouble_is_one_of_the_program() -> None:
    rows = re.findall(r"^\| (.+?) \| ", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"`([a-z]+(?:-[a-z]+)*)(?: reason=…)?`", row)]
    known = {line.word for line in LINES} | {one.name for one in COUNTERS} | {one.name for one in OPTIONS}
    assert len(words) > 10
    assert set(words) <= known | set(registry.names())
