"""The reference pages in docs/reference: options, log, counters, signals with statuses and files, mxallowctl."""
from collections.abc import Callable
from pathlib import Path

from documents import ctl, facts, markdown
from documents.blocks import Block, Example, Heading, Paragraph, Table, read, section
from documents.options import PROSE, groups
from mxallowd.ctl.client import DEFAULT_SOCKET
from mxallowd.log.words import LINES
from mxallowd.metrics.counters import COUNTERS
from mxallowd.settings.options import OPTIONS

PLACE = markdown.DOCS / "reference"
ABOUT = "Made by python -m documents; change the tables of the package or documents/prose, not this file."


def prose(name: str) -> tuple[Block, ...]:
    """The blocks of a file in prose/."""
    return read((PROSE / f"{name}.md").read_text(encoding="utf-8"))


def live() -> str:
    """Which options follow SIGHUP, as a sentence."""
    names = [f"`{option.name}`" for option in OPTIONS if option.live]
    return (f"These options change with SIGHUP: {', '.join(names[:-1])} and {names[-1]}. Files of `allow`, `deny`, "
            "`trust`, `fleet-key-file` and `fleet-login-file` are read again as well.")


def options() -> tuple[Block, ...]:
    """All options: a table of them, then each with its text."""
    rows = [(f"[`{one.option.name}`](#{one.option.name})", ", ".join(f"`-{letter}`" for letter in one.option.short),
             one.default, "yes" if one.option.live else "") for group in groups() for one in group.options]
    blocks = [Heading(1, "Options"), Paragraph(
        "Each option can stand on the command line of mxallowd(8) (`--whitelist-time 3600`) and in the configuration "
        "file mxallowd.conf(5) (`whitelist-time 3600`), but for the last group."),
        *section("All options", Table(("option", "letter", "default", "follows SIGHUP"), tuple(rows))),
        *section("The configuration file", *prose("configuration")),
        *section("Options that follow SIGHUP", Paragraph(live()), *prose("sighup"))]
    for group in groups():
        blocks.append(Heading(2, group.title))
        for one in group.options:
            blocks += section(one.option.name, Paragraph(one.flags), Paragraph(one.text), level=3)
            if one.facts:
                blocks.append(Paragraph(one.facts))
            if one.shown:
                blocks.append(Example(one.shown))
    return tuple(blocks)


def log() -> tuple[Block, ...]:
    """The lines of the log."""
    rows = tuple((f"`{line.form}`", ", ".join(line.levels), line.help) for line in LINES)
    return (Heading(1, "The log"), *prose("log"), *section("JSON", *prose("log-json")),
            *section("The lines", Table(("line", "level", "meaning"), rows)))


def counters() -> tuple[Block, ...]:
    """The counters."""
    rows = tuple((f"`{counter.name}`", counter.part.value, counter.help) for counter in COUNTERS)
    return Heading(1, "The counters"), *prose("counters"), Table(("counter", "counted by", "meaning"), rows)


def signals() -> tuple[Block, ...]:
    """Signals, exit statuses, files and the environment of the daemon."""
    return (
        Heading(1, "Signals, exit statuses, files"),
        *section("Signals", Table(("signal", "effect"), facts.SIGNALS), Paragraph(live()), *prose("sighup")),
        *section("Exit statuses", Table(("status", "meaning"), _statuses(facts.STATUSES)), Paragraph(facts.KILLED),
                 Paragraph("Those of mxallowctl(8) are on its page.")),
        *section("Files", Table(("path", "what it is"), _coded(facts.FILES))),
        *section("Environment", Table(("variable", "meaning"), _coded(facts.ENVIRONMENT))))


def mxallowctl() -> tuple[Block, ...]:
    """All commands of mxallowctl."""
    blocks: list[Block] = [
        Heading(1, "The commands of mxallowctl"),
        Paragraph("`mxallowctl COMMAND` asks and changes a running mxallowd. `docs/mxallowctl.md` explains them; "
                  "`mxallowctl COMMAND --help` prints what stands here."),
        Table(("command", "what it does"),
              tuple((f"[`{one.name}`](#{one.name})", one.help) for one in ctl.commands())),
        *section("For each command", Table(("option", "meaning"), common())),
        *section("Exit statuses", Table(("status", "meaning"), _statuses(facts.CTL_STATUSES)),
                 Paragraph("`doctor` has its own:"), Table(("status", "meaning"), _statuses(facts.DOCTOR_STATUSES))),
        *section("Environment", Table(("variable", "meaning"), _coded(facts.CTL_ENVIRONMENT)))]
    for one in ctl.commands():
        blocks += section(one.name, Paragraph(one.help), Paragraph(f"`mxallowctl {one.name}` {one.synopsis}".strip()),
                          Example(one.example))
        if one.arguments:
            blocks.append(Table(("argument", "meaning"), tuple((arg.form, arg.help) for arg in one.arguments)))
    return tuple(blocks)


def common() -> tuple[tuple[str, str], ...]:
    """The options that stand before a command or behind it."""
    return (("`--json`", "Print the answer as JSON in one line; of `list` and `export` one object a line. Keys stay."),
            ("`--socket` *PATH*", f"The control socket of the daemon, its `--control` (default: `{DEFAULT_SOCKET}`)."))


def _statuses(rows: tuple[tuple[int, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((str(status), meaning) for status, meaning in rows)


def _coded(rows: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"`{name}`", meaning) for name, meaning in rows)


PAGES: dict[str, Callable[[], tuple[Block, ...]]] = {
    "options": options, "log": log, "counters": counters, "signals": signals, "mxallowctl": mxallowctl}


def page(name: str) -> str:
    """The text of a page."""
    return markdown.write(PAGES[name](), about=ABOUT)


def write(place: Path = PLACE) -> None:
    """Writes all of them anew."""
    place.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (place / f"{name}.md").write_text(page(name), encoding="utf-8")
