"""Blocks as a manual page in mdoc(7)."""
from collections.abc import Iterable

from documents.blocks import Block, Bullets, Example, Heading, Paragraph, Table, Terms
from documents.manual.inline import escaped, lines, macro_line


def write(blocks: Iterable[Block]) -> list[str]:
    """The lines of the blocks below the head of the page. Level 2 of a heading is a section, 3 one within."""
    found: list[str] = []
    first = True  # no paragraph is opened below a heading
    for block in blocks:
        match block:
            case Heading():
                found.append(f".{'Sh' if block.level == 2 else 'Ss'} {_title(block)}")
            case Paragraph():
                found += [*([] if first else [".Pp"]), *lines(block.text)]
            case Example():
                found += _example(block.text, first=first)
            case Bullets():
                found += _list(".Bl -bullet", [(".It", lines(text)) for text in block.texts])
            case Terms():
                found += _list(".Bl -tag -width Ds", [
                    (f".It {macro_line(term)}", write(inner)) for term, inner in block.items])
            case Table():
                found += write((as_terms(block),))
        first = isinstance(block, Heading)
    return found


def _title(heading: Heading) -> str:
    return escaped(heading.text.upper() if heading.level == 2 else heading.text)


def _list(begin: str, items: list[tuple[str, list[str]]]) -> list[str]:
    return [begin, *(line for item, inner in items for line in (item, *inner)), ".El"]


def _example(text: str, *, first: bool) -> list[str]:
    body = [_literal(line) for line in text.splitlines()]
    return [*([] if first else [".Pp"]), ".Bd -literal -offset indent -compact", *body, ".Ed"]


def _literal(line: str) -> str:
    done = escaped(line, code=True)
    return f"\\&{done}" if done.startswith((".", "\\(aq")) else done


def as_terms(table: Table) -> Terms:
    """A table as a list: the first cell is the term, the last one its text, and what is between has its head."""
    items = []
    for row in table.rows:
        between = [f"{head}: {cell}." for head, cell in zip(table.heads[1:-1], row[1:-1], strict=True) if cell]
        text = " ".join([sentence(row[-1]), *between])
        items.append((row[0], (Paragraph(text),)))
    return Terms(tuple(items))


def sentence(text: str) -> str:
    """A meaning of a table as a sentence."""
    text = text if text.startswith("mxallow") else text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!", ".)")) else f"{text}."
