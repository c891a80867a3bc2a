"""The sample configuration: every option is in it, none is set, and each line is valid once it is."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd import cli
from mxallowd.settings import arguments, build, configfile, sample
from mxallowd.settings.loading import load
from mxallowd.settings.options import BY_NAME, OPTIONS, Kind

# What can be switched on: the name of an option directly behind the mark of a comment.
LINE = re.compile(r"^#([a-z].*)$", re.MULTILINE)
LINES = LINE.findall(sample.text())
FEWEST = ("fake-mailserver", "real-mailserver", "queue-num")


def said_of(name: str) -> str:
    """The prose above the lines of an option, as one line."""
    part = sample.text().partition(f"\n#{name}\n" if BY_NAME[name].kind is Kind.FLAG else f"\n#{name} ")[0]
    return " ".join(part.rpartition("\n\n")[2].replace("# ", "").split())


def recommended() -> list[str]:
    return [f"{name} {value}".rstrip() for name, value in sample.recommended().items()]


def test_every_option_is_in_it_once_and_in_no_other_form() -> None:
    listed = [name for _, names in sample.GROUPS for name in names]
    assert sorted(listed) == sorted(option.name for option in OPTIONS if option.in_file)
    assert list(dict.fromkeys(line.partition(" ")[0] for line in LINES)) == listed
    text = sample.text()
    assert text.isascii()
    assert all(len(line) <= sample.WIDTH for line in text.splitlines())
    assert {line[:1] for line in text.splitlines()} == {"#", ""}


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_valid_without_the_mark(line: str) -> None:
    assignments, problems, _ = configfile.parse(line.encode(), "sample")
    assert (len(assignments), problems) == (1, [])
    assert not [problem for problem in build(assignments)[1] if problem.where == "sample"]


def test_what_is_shown_as_default_is_the_default() -> None:
    for line in LINES:
        name, _, value = line.partition(" ")
        option = BY_NAME[name]
        said = said_of(name)
        assert option.help[1:] in said
        assert option.values in said
        assert ("follows a reload" in said) == option.live
        if said.endswith((" Default:", " Default, and recommended:")):
            assert option.convert(value) == option.default
        elif option.kind is Kind.SINGLE and option.default is not None:
            assert f"Default: {option.default_text}. Recommended:" in said
            assert option.convert(option.default_text) == option.default


def test_what_is_recommended_is_what_the_file_of_it_sets() -> None:
    marked = [line for line in LINES if said_of(line.partition(" ")[0]).endswith("ecommended:")]
    assert sorted(marked) == sorted(recommended())


def test_nothing_is_set_and_the_fewest_lines_serve(tmp_path: Path) -> None:
    path = tmp_path / "mxallowd.conf"
    command = arguments.parse(["-c", str(path)])[0]
    path.write_text(sample.text(), encoding="ascii")
    assert [problem.missing for problem in load(command, bare=False).problems] == [True] * 3
    assert cli.main(["-c", str(path), "--check"]) == cli.NOT_SET_UP == 78
    for wanted in (FEWEST, (*FEWEST, *(line.partition(" ")[0] for line in recommended()))):
        active = LINE.sub(lambda found: found[1] if found[1].partition(" ")[0] in wanted else found[0],  # noqa: B023
                          sample.text())
        path.write_text(active, encoding="ascii")
        loaded = load(command, bare=False)
        assert loaded.settings
        assert loaded.problems == ()


def test_the_command_prints_it_and_says_where_it_cannot() -> None:
    command = f"exec {sys.executable} -m mxallowd --print-config "
    for to, result in (("", (0, sample.text(), "")),
                       (">/dev/full", (1, "", "print-config: the sample could not be written to standard output")),
                       (">&-", (1, "", "print-config: standard output is closed"))):
        done = subprocess.run(["sh", "-c", command + to], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout, done.stderr.removeprefix("mxallowd: ").rstrip("\n")) == result


@pytest.mark.parametrize(("words", "other"), [
    (["--check"], "check"), (["-f", "192.0.2.1"], "fake-mailserver"), (["-c", "/dev/null"], "config"),
    (["--print-ruleset", "a"], "print-ruleset")])
def test_it_stands_alone(words: list[str], other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--print-config", *words]) == 1
    assert capsys.readouterr() == (
        "", f"mxallowd: --print-config stands alone, it prints a sample: leave --{other} out\n")
