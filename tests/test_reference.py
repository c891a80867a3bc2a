"""The reference pages are those of the package's tables, and what they say besides holds for the package."""
import re
import signal
from pathlib import Path

import pytest

from documents import blocks, ctl, facts, reference
from documents.options import groups
from documents.tables import RENEW
from mxallowd import cli
from mxallowd.ctl import command, registry
from mxallowd.ctl.client import DEFAULT_SOCKET
from mxallowd.ctl.doctor import findings
from mxallowd.log.words import LINES
from mxallowd.metrics.counters import COUNTERS
from mxallowd.process.signals import SIGNALS
from mxallowd.settings import build, configfile
from mxallowd.settings.options import BY_NAME, OPTIONS, Kind
from mxallowd.watchdog._watch import SILENT_STATUS


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_that_of_the_tables(name: str) -> None:
    assert (reference.PLACE / f"{name}.md").read_text(encoding="utf-8") == reference.page(name), f"renew it: {RENEW}"


def test_the_pages_have_each_option_line_counter_and_command() -> None:
    text = {name: reference.page(name) for name in reference.PAGES}
    for option in OPTIONS:
        assert f"\n### {option.name}\n" in text["options"]
        assert f"`--{option.name}`" in text["options"]
        assert all(f"`-{letter}`" in text["options"] for letter in option.short)
    for line in LINES:
        assert f"| `{line.form}` | {', '.join(line.levels)} | " in text["log"]
    for counter in COUNTERS:
        assert f"| `{counter.name}` | {counter.part.value} | " in text["counters"]
    for one in registry.every():
        assert f"\n## {one.name}\n" in text["mxallowctl"]
        assert f"    {one.example}\n" in text["mxallowctl"]


def test_an_option_has_default_and_range_of_the_table() -> None:
    for one in (one for group in groups() for one in group.options):
        for part in one.option.values.split("; "):
            assert part in one.facts or ("without it" in part and one.default)
        assert ("Follows SIGHUP." in one.facts) == one.option.live
        simple = one.option.kind is Kind.SINGLE and isinstance(one.option.default, (int, str, Path))
        assert not simple or f"Default: {one.option.default}." in one.facts.replace("`", "")


def test_the_daemon_takes_the_example_of_each_option() -> None:
    examples = [one.example for group in groups() for one in group.options if one.example]
    assert len(examples) == sum(option.in_file for option in OPTIONS)
    # Of those that exclude each other: dns lookups, and what needs them.
    lines = [line for line in examples if line != "no-rdns-whitelist"]
    assignments, problems, _ = configfile.parse("\n".join(lines).encode(), "examples")
    settings, more = build(assignments)
    assert settings
    assert [*problems, *more] == []
    for group in groups():
        assert all(one.example.split()[0] == one.option.name for one in group.options if one.example)


def test_the_signals_are_those_that_the_daemon_handles() -> None:
    assert {getattr(signal, f"SIG{name}") for name, _ in facts.SIGNALS} == set(SIGNALS)


def test_the_statuses_are_those_of_the_programs() -> None:
    assert {0, 1, SILENT_STATUS, cli.NOT_SET_UP} == {status for status, _ in facts.STATUSES}
    assert {status for status, _ in facts.CTL_STATUSES} == {
        command.OK, command.NO, command.USAGE, command.UNREACHABLE, 128 + signal.SIGINT, 128 + signal.SIGPIPE}
    assert {status for status, _ in facts.DOCTOR_STATUSES} == set(findings.STATUS.values())


def test_the_files_are_the_defaults_of_the_options() -> None:
    paths = {str(option.default) for option in OPTIONS if isinstance(option.default, Path)}
    assert paths == {path for path, meaning in facts.FILES if "names another one" in meaning}
    for path, meaning in facts.FILES:
        for name in re.findall(r"`--([a-z-]+)` names another one", meaning):
            assert str(BY_NAME[name].default) == path
    assert BY_NAME["control"].default == Path(DEFAULT_SOCKET)


def test_the_environment_is_that_which_the_programs_read() -> None:
    package = Path(registry.__file__).parent.parent
    used = re.compile(r'(?:environ\.get\(|(?=\S+ in os\.environ))"([A-Z_]+)"')
    read = {name for path in package.rglob("*.py") for name in used.findall(path.read_text(encoding="utf-8"))}
    assert read == {name for name, _ in (*facts.ENVIRONMENT, *facts.CTL_ENVIRONMENT, *facts.CONSOLE_ENVIRONMENT)}


def test_a_command_has_the_arguments_of_its_parser() -> None:
    one = {command.name: command for command in ctl.commands()}["add"]
    assert one.synopsis == "*ADDRESS* | *NETWORK* [`--time` *SECONDS*] [`--note` *TEXT*]"
    assert [argument.form for argument in one.arguments] == [
        "*ADDRESS* | *NETWORK*", "`--time` *SECONDS*", "`--note` *TEXT*"]


def test_prose_is_read_as_blocks() -> None:
    text = "# Page\n\nOne\ntwo.\n\n- a\n  b\n- c\n\n    x\n\n    y\n\n`t`\n:   means\n    this\n\n`u`\n:   that\n"
    text += "\n{{part}}\n"
    assert blocks.read(text, {"part": (blocks.Paragraph("P"),)}) == (
        blocks.Heading(1, "Page"), blocks.Paragraph("One two."), blocks.Bullets(("a b", "c")), blocks.Example("x\n\ny"),
        blocks.Terms((("`t`", (blocks.Paragraph("means this"),)), ("`u`", (blocks.Paragraph("that"),)))),
        blocks.Paragraph("P"))


@pytest.mark.parametrize(("text", "parts"), [("{{other}}\n", {}), ("text\n", {"part": ()})])
def test_a_part_without_a_place_is_an_error(text: str, parts: dict[str, tuple[blocks.Block, ...]]) -> None:
    with pytest.raises(ValueError, match=r"part"):
        blocks.read(text, parts)
