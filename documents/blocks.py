"""A page as a row of blocks, which is written as Markdown or as a manual page; and the reader of prose files.

Prose is a small part of Markdown: headings, paragraphs, bullets, tables, indented examples, terms with what they mean
(a line, and below it `:   ` with the text), and `{{name}}` on a line of its own, where the page puts something that a
table of the package says. Within a text: `code`, *words to be replaced*, and pages of the manual as name(section).
"""
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ROW = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is that of the page."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text in one line."""

    text: str


@dataclass(frozen=True)
class Example:
    """Lines that stand as they are."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list without an order."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Terms, and what each means."""

    items: "tuple[tuple[str, tuple[Block, ...]], ...]"


@dataclass(frozen=True)
class Table:
    """Rows of cells below a row of heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Example | Bullets | Terms | Table


def read(text: str, parts: Mapping[str, tuple[Block, ...]] | None = None) -> tuple[Block, ...]:
    """The blocks of a text. Raises ValueError where it asks for a part that is not there, or one is left over."""
    waiting = dict(parts or {})
    blocks: list[Block] = []
    for chunk in _chunks(text):
        name = re.fullmatch(r"\{\{([a-z-]+)\}\}", chunk)
        if not name:
            _append(blocks, _block(chunk))
        elif name[1] in waiting:
            blocks += waiting.pop(name[1])
        else:
            raise ValueError(f"there is no part {name[1]}")
    if waiting:
        raise ValueError(f"no place for {', '.join(waiting)}")
    return tuple(blocks)


def _chunks(text: str) -> Iterator[str]:
    """What blank lines divide. An indented example goes on behind a blank line."""
    held = ""
    for chunk in re.split(r"\n\s*\n", text.strip("\n")):
        if held and chunk.startswith("    "):
            held += f"\n\n{chunk}"
        elif chunk.startswith("    "):
            held = chunk
        else:
            if held:
                yield held
            held = ""
            yield chunk.rstrip()
    if held:
        yield held


def _block(chunk: str) -> Block:
    lines = chunk.splitlines()
    marks, _, rest = chunk.partition(" ")
    if marks and set(marks) == {"#"}:
        return Heading(len(marks), rest)
    if chunk.startswith("    "):
        return Example(textwrap.dedent(chunk))
    if chunk.startswith("- "):
        return Bullets(tuple(_joined(one) for one in re.split(r"\n- ", chunk[2:])))
    if chunk.startswith("| "):
        rows = [tuple(cell.strip().replace("\\|", "|") for cell in _ROW.split(line.strip())[1:-1]) for line in lines]
        return Table(rows[0], tuple(rows[2:]))
    if len(lines) > 1 and lines[1].startswith(":   "):
        return Terms(((lines[0], (Paragraph(_joined("\n".join(lines[1:])[4:])),)),))
    return Paragraph(_joined(chunk))


def _append(blocks: list[Block], block: Block) -> None:
    """Terms that follow each other are one list."""
    if isinstance(block, Terms) and blocks and isinstance(blocks[-1], Terms):
        blocks[-1] = Terms(blocks[-1].items + block.items)
    else:
        blocks.append(block)


def _joined(text: str) -> str:
    return " ".join(text.split())


def plain(text: str) -> str:
    """A text without its marks, for an example."""
    return re.sub(r"`([^`]+)`|\*([^*]+)\*", r"\1\2", text)


def section(title: str, *blocks: Block, level: int = 2) -> tuple[Block, ...]:
    """A heading and what stands below it."""
    return Heading(level, title), *blocks
