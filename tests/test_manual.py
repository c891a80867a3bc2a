"""The manual pages: made from the package's tables, clean for mandoc and groff, and complete as they are shown."""
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from documents import ctl, facts, manual
from documents.blocks import Example, Heading, Paragraph, Terms
from documents.manual import mdoc
from documents.manual.pages import DATE, as_mdoc, pages
from documents.options import groups
from documents.tables import RENEW
from mxallowd import __version__
from mxallowd.ctl import dumps, registry
from mxallowd.log.words import LINES
from mxallowd.metrics.counters import COUNTERS
from mxallowd.settings.options import OPTIONS

FILES = manual.manuals()
PAGES = {page.title: page for page in pages()}
# What mandoc says of the manual pages that this machine has, and not of ours.
ELSEWHERE = ("referenced manual not found", "outdated mandoc.db")


def mandoc(*arguments: str, text: str) -> "subprocess.CompletedProcess[str]":
    assert shutil.which("mandoc"), "mandoc is not installed: ./scripts/prepare test"
    return subprocess.run(["mandoc", *arguments], input=text, capture_output=True, text=True, timeout=30)


def shown(text: str) -> str:
    """The page as a terminal of ASCII shows it, in lines as long as they get, without bold."""
    return re.sub(r".\x08", "", mandoc("-T", "ascii", "-O", "width=500", text=text).stdout)


@cache
def page(title: str) -> str:
    """All of a shown page, each run of blanks as one."""
    return " ".join(shown(as_mdoc(PAGES[title])).split())


def bare(text: str) -> str:
    """Without the marks of prose, and the quotes that they become."""
    return re.sub("[`'*]", "", text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_is_what_the_tables_make(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == FILES[file], f"renew it: {RENEW}"


@pytest.mark.parametrize("title", PAGES)
def test_mandoc_has_nothing_to_say(title: str) -> None:
    done = mandoc("-T", "lint", "-W", "style", text=as_mdoc(PAGES[title]))
    assert [line for line in done.stdout.splitlines() if not any(one in line for one in ELSEWHERE)] == []


@pytest.mark.parametrize("title", PAGES)
def test_groff_has_nothing_to_say(title: str) -> None:
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    for width in ("80n", "40n"):
        done = subprocess.run(["groff", "-mandoc", "-ww", "-Tutf8", "-K", "utf8", f"-rLL={width}", "-z"],
                              input=as_mdoc(PAGES[title]), capture_output=True, text=True, timeout=30)
        # At a width of a telephone, lines of examples stand out.
        assert (done.returncode, done.stderr if width == "80n" else "") == (0, "")


def test_the_head_of_a_page_says_what_it_is() -> None:
    for one in PAGES.values():
        head = as_mdoc(one).splitlines()[1:7]
        assert head == [f".Dd {DATE}", f".Dt {one.name.upper()} {one.section}", ".Os",
                        ".Sh NAME", f".Nm {one.name}", f".Nd {one.purpose}"]
        assert len(one.purpose) < 90


def test_the_date_is_that_of_the_release() -> None:
    changes = (Path(__file__).parent.parent / "CHANGES.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[?(\d+\.\d+\.\d+)\]? - (\d{4})-(\d\d)-(\d\d)$", changes, re.MULTILINE)
    if released is None or released[1] != __version__:
        assert re.fullmatch(r"[A-Z][a-z]+ [1-9]\d?, 20\d\d", DATE)
    else:
        import datetime
        day = datetime.date(int(released[2]), int(released[3]), int(released[4]))
        assert f"{day:%B} {day.day}, {day.year}" == DATE


def test_the_daemon_s_page_has_all_of_its_tables() -> None:
    text = page("mxallowd(8)")
    for option in OPTIONS:
        flags = ", ".join([*(f"-{letter}" for letter in option.short), f"--{option.name}"])
        assert f" {flags}{f' {option.metavar}' if option.metavar else ''} " in text
    for one in (one for group in groups() for one in group.options):
        assert bare(one.facts) in bare(text)
    for line in LINES:
        assert f" {line.form.replace('…', '...')} ({', '.join(line.levels)}) " in text
    for counter in COUNTERS:
        assert f" {counter.name} {counter.help[0].upper()}" in text
    for name, effect in facts.SIGNALS:
        assert f" {name} {effect[:40]}" in text
    for status, meaning in facts.STATUSES:
        assert f" {status} {meaning[0].upper()}{meaning[1:12]}" in text
    for path, _ in (*facts.FILES, *facts.ENVIRONMENT):
        assert f" {path} " in text


def test_the_configuration_s_page_has_each_option() -> None:
    text = page("mxallowd.conf(5)")
    for option in OPTIONS:
        heading = f" {option.name}{f' {option.metavar}' if option.metavar else ''} "
        assert (heading in text) == option.in_file
    assert "\n    proven-time 3110400\n" in FILES[
        next(file for file in FILES if file.name == "manual-mxallowd.conf.md")]


def test_the_page_of_mxallowctl_has_each_command() -> None:
    text = page("mxallowctl(8)")
    for one in ctl.commands():
        assert f" {one.help} {one.example} " in text
        for argument in one.arguments:
            assert bare(f" {argument.help} ") in bare(text)
    assert [one.name for one in ctl.commands()] == registry.names()
    for status, meaning in (*facts.CTL_STATUSES, *facts.DOCTOR_STATUSES):
        assert f" {status} {meaning[0].upper()}{meaning[1:12]}" in text
    for name in dumps.FORMATS:
        assert re.search(rf" {name} [A-Z]", text)
    for name, _ in facts.CTL_ENVIRONMENT:
        assert f" {name} " in text


def test_an_example_can_be_copied() -> None:
    """Dashes, quotes and backslashes are shown as a shell needs them, also in UTF-8."""
    for one in PAGES.values():
        text = re.sub(r".\x08", "", mandoc("-T", "utf8", "-O", "width=90", text=as_mdoc(one)).stdout)
        for block in one.blocks:
            if isinstance(block, Example):
                assert "\n".join(f"           {line}".rstrip() for line in block.text.splitlines()) in text


@pytest.mark.parametrize("text", [
    ".Sh not a section", "'br not a request", "a \\fB b \\e", "Fl Ar Nm are words", "say \"it\" (now).", "x | y",
    "~ ^ -", "an `Fl` and a `\"` and a `.`, a `|`;", "(`--dry-run`)", "x`a b`y", "`refuse reset`'s", "`a`/`b`",
    "`'x'` and `-`", "*N[:M]* or *a b*?", "end `--quiet`.", "`%T` `(` `)`", "[`--yes`] [*N* ...]"])
def test_no_text_is_taken_for_a_macro(text: str) -> None:
    lines = mdoc.write((Heading(2, "X"), Paragraph(text), Terms(((text, (Paragraph(text),)),))))
    got = shown("\n".join([".Dd x", ".Dt X 8", ".Os x", ".Sh NAME", ".Nm x", ".Nd x", *lines, ""]))
    body = got.partition("\nX\n")[2].strip().rpartition("\n")[0]
    # Quotes are those of the text, or those of a literal.
    assert " ".join(bare(body).split()) == " ".join([bare(text)] * 3), "\n".join(lines)
