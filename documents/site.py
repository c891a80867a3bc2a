"""What MkDocs does besides, for the site of mkdocs.yml: pages from outside of docs/, and links that lead there.

CHANGES.md and the like stand at the top, where a forge looks for them; the site has them as pages, without a copy. A
link is written as it works on a forge. Where it leads to such a file, the site gets the name of its page. A document
that is named by its file (`docs/state.md`, as tables of the package do, or [state.md](state.md)) is named by its title.

MkDocs loads this file by its path (`hooks`), so it imports nothing of the project.
"""
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Files at the top, and the pages that they are.
PAGES = {"CHANGES.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "reporting.md",
         "README.md": "index.md"}
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s:#]+)((?:#[^()\s]+)?)\)")
_NAMED = re.compile(r"(?<!\[)`(docs/[\w/-]+\.md|[A-Z]+\.md)`")
_FILE = re.compile(r"`?[\w./-]+\.md`?")
_WORD = re.compile(r"<code>([^<\s]{1,32})</code>")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files at the top that are there."""
    top = Path(config.config_file_path).parent
    for name, page in PAGES.items():
        if files.get_file_from_path(page) is None and (top / name).exists():
            files.append(File.generated(config, page, content=(top / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with the links of the site."""
    place = page.file.src_uri
    # Where its text stands in the project: links start there.
    tops = [name for name, other in PAGES.items() if other == place and page.file.generated_by]
    written = tops[0] if tops else f"docs/{place}"

    def found(path: str) -> File | None:
        """The page of a path in the project. None where the site has none."""
        return files.get_file_from_path(PAGES.get(path) or path.removeprefix("docs/"))

    def linked(match: re.Match[str]) -> str:
        text, path, anchor = match.groups()
        file = found(posixpath.normpath(posixpath.join(posixpath.dirname(written), path)))
        if file is None:
            return match[0]
        if _FILE.fullmatch(text):
            text = _title(file, anchor[1:])
        return f"[{text}]({posixpath.relpath(file.src_uri, posixpath.dirname(place) or '.')}{anchor})"

    def named(match: re.Match[str]) -> str:
        file = found(match[1])
        if file is None or file.src_uri == place:
            return match[0]
        return f"[{_title(file)}]({posixpath.relpath(file.src_uri, posixpath.dirname(place) or '.')})"

    return _NAMED.sub(named, _LINK.sub(linked, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Names of options and counters stay in one piece: a browser would break a line behind each hyphen."""
    return _WORD.sub(r'<code class="word">\1</code>', html)


def _title(file: File, anchor: str = "") -> str:
    """The heading of a page, or of a part of it; where there is none, the name of the file."""
    headings = _HEADING.findall(file.content_string)
    parts = [one for one in headings if anchor and re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") == anchor]
    return next(iter(parts + headings), file.name)
