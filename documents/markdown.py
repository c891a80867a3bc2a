"""Blocks as Markdown, for the site and for who reads the files themselves.

A document that is named as `docs/NAME.md`, and a page of the manual as name(section), become links where there is such
a page. Lines are as wide as those of the other documents.
"""
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from documents.blocks import Block, Bullets, Example, Heading, Paragraph, Table, Terms

DOCS = Path(__file__).parent.parent / "docs"
WIDTH = 118
MANUAL = {"mxallowd(8)": "manual-mxallowd", "mxallowd.conf(5)": "manual-mxallowd.conf",
          "mxallowctl(8)": "manual-mxallowctl", "mxallowd-console(8)": "manual-mxallowd-console"}
_DOCUMENT = re.compile(r"`docs/([a-z0-9/-]+\.md)`")
_PAGE = re.compile(r"(?<![\w`.])(mxallowd\.conf\(5\)|mxallowd\(8\)|mxallowctl\(8\)|mxallowd-console\(8\))")


def write(blocks: Iterable[Block], *, about: str) -> str:
    """The page in docs/reference; `about` says in a comment where it comes from."""
    return "\n".join([f"<!-- {about} -->\n", *(_block(block) for block in blocks)])


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}\n"
        case Paragraph():
            return _wrapped(linked(block.text))
        case Example():
            return textwrap.indent(block.text, "    ") + "\n"
        case Bullets():
            return "".join(_wrapped(linked(text), "- ", "  ") for text in block.texts)
        case Table():
            rows = (block.heads, tuple("---" for _ in block.heads), *block.rows)
            return "".join(f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in rows)
        case Terms():
            return "\n".join(_term(term, inner) for term, inner in block.items)


def _cell(text: str) -> str:
    return linked(text).replace("|", "\\|")


def _term(term: str, blocks: tuple[Block, ...]) -> str:
    """A term of a list of definitions, as the extension def_list has it."""
    inner = textwrap.indent("\n".join(_block(block) for block in blocks), "    ", lambda line: bool(line.strip()))
    return f"{linked(term).strip()}\n:   {inner[4:]}"


def _wrapped(text: str, first: str = "", others: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False,
                         break_on_hyphens=False) + "\n"


def linked(text: str) -> str:
    """The text with links."""
    text = _DOCUMENT.sub(lambda found: f"[docs/{found[1]}](../{found[1]})" if (DOCS / found[1]).exists() else found[0],
                         text)
    return _PAGE.sub(lambda found: f"[{found[1]}]({MANUAL[found[1]]}.md)", text)
