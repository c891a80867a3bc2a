"""The four pages: what their heads say, and which of the package's tables stand where in their prose."""
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from documents import ctl, facts, reference
from documents.blocks import Block, Example, Heading, Paragraph, Terms, plain, read, section
from documents.manual import mdoc
from documents.manual.inline import macro_line
from documents.options import COMMAND_LINE_ONLY, PROSE, Described, groups
from mxallowd.console import log as console
from mxallowd.log.words import LINES
from mxallowd.metrics.counters import COUNTERS, Part
from mxallowd.settings import sample

# The day of the release that the pages belong to; of one that is not out yet, the day of the last change to them.
DATE = "November 27, 2026"
# Of a way to call a program: something in brackets, or what stands between two of these.
_PART = re.compile(r"\[(?:`[^`]*`|\*[^*]*\*|[^`*\]])*\]|(?:`[^`]*`|\*[^*]*\*|[^`*\[])+")


@dataclass(frozen=True)
class Page:
    """A page: its name, section, one sentence of purpose, ways to call it (inline markup), and its blocks."""

    name: str
    section: int
    purpose: str
    synopsis: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def title(self) -> str:
        """As it is cited."""
        return f"{self.name}({self.section})"

    @property
    def file(self) -> str:
        """The name of the file in a directory of manual pages."""
        return f"{self.name}.{self.section}"


def pages() -> tuple[Page, ...]:
    """All four."""
    return (
        Page("mxallowd", 8, "nolisting daemon for mail gateways",
             ("[`-F`] [`-s`] [`-q`] [`-b`] [`-c` *FILE*] [`-f` *ADDRESS* ...] [`-r` *ADDRESS* ...] [`-n` *N[:M]*] "
              "[`-p` *INTERFACE*] [`-l` *EXPRESSION*] [`-t` *SECONDS*] [`--`*OPTION* ...]",
              "`--check` [*OPTION* ...]",
              "`--print-ruleset` `a` | `b` | `c` | `d` [`--iptables`] [*OPTION* ...]",
              "`--print-config` | `--help` | `--version`"), _page("mxallowd.8", _daemon())),
        Page("mxallowd.conf", 5, "configuration of the nolisting daemon mxallowd",
             (), _page("mxallowd.conf.5", _configuration())),
        Page("mxallowctl", 8, "ask and change a running mxallowd",
             ("[`--json`] [`--socket` *PATH*] *COMMAND* [*ARGUMENT* ...]", "*COMMAND* `--help`",
              "`--help` | `--version`"), _page("mxallowctl.8", _control())),
        Page("mxallowd-console", 8, "web page that shows and changes what mxallowd does",
             ("[`serve`] [`--check`] [`--listen` *ADDRESS:PORT*] [`--cert` *FILE* `--key` *FILE*] "
              "[`--proxy` *ADDRESS|NETWORK*] [`--`*OPTION* ...]",
              "`passwd` *NAME* [`--role` `look` | `change`] [`--remove`] [`--users` *FILE*] [`--user` *NAME*]",
              "`--help` | `--version`"), _page("mxallowd-console.8", _console())))


def _page(name: str, parts: Mapping[str, tuple[Block, ...]]) -> tuple[Block, ...]:
    return read((PROSE / "manual" / f"{name}.md").read_text(encoding="utf-8"), parts)


def as_mdoc(page: Page) -> str:
    """The text of a page in mdoc(7)."""
    lines = [
        '.\\" Made by python -m documents; change the tables of the package or documents/prose, not this file.',
        f".Dd {DATE}", f".Dt {page.name.upper()} {page.section}", ".Os",
        ".Sh NAME", f".Nm {page.name}", f".Nd {page.purpose}"]
    if page.synopsis:
        lines.append(".Sh SYNOPSIS")
        for call in page.synopsis:
            lines += [".Nm", *_call(call)]
    # A page that cites itself says its name.
    own = re.compile(rf"\bXr {re.escape(page.name)} {page.section}\b")
    return "\n".join([*lines, *(own.sub(f"Nm {page.name}", line) for line in mdoc.write(page.blocks)), ""])


def _call(call: str) -> list[str]:
    """A way to call a program: what stands in brackets is on a line of its own, so that no line ends within."""
    parts = [part.strip() for part in _PART.findall(call) if part.strip()]
    return [f".Op {macro_line(part[1:-1])}" if part.startswith("[") else f".{macro_line(part)}" for part in parts]


def as_blocks(page: Page) -> tuple[Block, ...]:
    """The page for the site, without its own links to itself."""
    head: tuple[Block, ...] = (Heading(1, page.title), Paragraph(f"{page.purpose[0].upper()}{page.purpose[1:]}."))
    if page.synopsis:
        calls = "\n".join(textwrap.fill(f"{page.name} {plain(call)}", 72, subsequent_indent=" " * len(f"{page.name} "))
                          for call in page.synopsis)
        head += section("Synopsis", Example(calls))
    return *head, *page.blocks


def _daemon() -> dict[str, tuple[Block, ...]]:
    return {
        "options": _flags(),
        "signals": (Terms(tuple((f"`{name}`", (Paragraph(effect),)) for name, effect in facts.SIGNALS)),),
        "live": (Paragraph(reference.live()),),
        "environment": _named(facts.ENVIRONMENT),
        "files": _named(facts.FILES),
        "statuses": (*_statuses(facts.STATUSES), Paragraph(facts.KILLED)),
        "log": reference.prose("log"),
        "lines": (Terms(tuple((f"`{line.form}`", (Paragraph(_levelled(line.levels, line.help)),)) for line in LINES)),),
        "counters-text": reference.prose("counters"),
        "counters": _counters(),
    }


def _console() -> dict[str, tuple[Block, ...]]:
    return {
        "environment": _named(facts.CONSOLE_ENVIRONMENT),
        "lines": (Terms(tuple(
            (f"`{line.form}`", (Paragraph(_levelled(line.levels, line.help)),))
            for line in console.LINES)),)}


def _flags() -> tuple[Block, ...]:
    """The options in short, as --help has them; those of the command line first, with all of their text."""
    ordered = sorted(groups(), key=lambda group: group.title != COMMAND_LINE_ONLY)
    blocks: list[Block] = []
    for group in ordered:
        whole = group.title == COMMAND_LINE_ONLY
        blocks += [Heading(3, group.title), Terms(tuple(
            (one.flags, (Paragraph(_together(one.text if whole else _short(one), one.facts)),))
            for one in group.options))]
    return tuple(blocks)


def _short(one: Described) -> str:
    return mdoc.sentence(one.option.help)


def _together(*texts: str) -> str:
    return " ".join(text for text in texts if text)


def _levelled(levels: tuple[str, ...], text: str) -> str:
    return f"({', '.join(levels)}) {mdoc.sentence(text)}"


def _counters() -> tuple[Block, ...]:
    """The counters by who counts them."""
    blocks: list[Block] = []
    for part in Part:
        named = [counter for counter in COUNTERS if counter.part is part]
        blocks += [Paragraph(f"Counted by: {part.value}."),
                   Terms(tuple((f"`{one.name}`", (Paragraph(mdoc.sentence(one.help)),)) for one in named))]
    return tuple(blocks)


def _configuration() -> dict[str, tuple[Block, ...]]:
    blocks: list[Block] = []
    for group in groups():
        if group.title == COMMAND_LINE_ONLY:
            continue
        blocks += [Heading(3, group.title), Terms(tuple(
            (one.line, _setting(one)) for one in group.options))]
    named = {path: text for path, text in facts.FILES if path == "/etc/mxallowd.conf"}
    return {
        "syntax": reference.prose("configuration"),
        "options": tuple(blocks),
        "live": (Paragraph(reference.live()),),
        "sighup": reference.prose("sighup"),
        "recommended": (Example("\n".join(" ".join(line).rstrip() for line in sample.recommended().items())),),
        "files": _named((*named.items(), *facts.CONFIGURED)),
    }


def _setting(one: Described) -> tuple[Block, ...]:
    return Paragraph(one.text), Paragraph(one.facts), *((Example(one.shown),) if one.shown else ())


def _control() -> dict[str, tuple[Block, ...]]:
    return {
        "common": (Terms(tuple((form, (Paragraph(text),)) for form, text in reference.common())),),
        "commands": (Terms(tuple((f"`{one.name}` {one.synopsis}", _command(one)) for one in ctl.commands())),),
        "environment": _named(facts.CTL_ENVIRONMENT),
        "files": _named(tuple(row for row in facts.FILES if row[0].endswith(".sock"))),
        "statuses": _statuses(facts.CTL_STATUSES),
        "doctor-statuses": _statuses(facts.DOCTOR_STATUSES),
    }


def _command(one: ctl.Shown) -> tuple[Block, ...]:
    arguments = tuple((argument.form, (Paragraph(argument.help),)) for argument in one.arguments)
    return Paragraph(one.help), Example(one.example), *((Terms(arguments),) if arguments else ())


def _named(rows: tuple[tuple[str, str], ...]) -> tuple[Block, ...]:
    return (Terms(tuple((f"`{name}`", (Paragraph(text),)) for name, text in rows)),)


def _statuses(rows: tuple[tuple[int, str], ...]) -> tuple[Block, ...]:
    return (Terms(tuple((f"`{status}`", (Paragraph(mdoc.sentence(text)),)) for status, text in rows)),)
