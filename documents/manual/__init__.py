"""The manual pages: prose of documents/prose with the package's tables in it, as mdoc and as Markdown for the site."""
from pathlib import Path

from documents import markdown, reference
from documents.manual.pages import as_blocks, as_mdoc, pages

PLACE = Path(__file__).parent.parent.parent / "mxallowd" / "data" / "man"


def manuals() -> dict[Path, str]:
    """Each file that is made of the pages, with its text."""
    found = {}
    for page in pages():
        found[PLACE / page.file] = as_mdoc(page)
        found[reference.PLACE / f"{markdown.MANUAL[page.title]}.md"] = markdown.write(
            as_blocks(page), about=reference.ABOUT)
    return found


def write() -> None:
    """Writes them anew."""
    for file, text in manuals().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
