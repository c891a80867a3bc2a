"""The documents as a site: it builds without a warning, all its links lead somewhere, and no page asks another host."""
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
TOP = [path for path in (ROOT / name for name in ("README.md", "CHANGES.md", "CONTRIBUTING.md", "SECURITY.md"))
       if path.exists()]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
# What a browser loads by itself. A link (`a`) is followed by a click alone.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data",
          "link": "href", "use": "href", "image": "href"}


@dataclass
class Read(HTMLParser):
    """What a page names: places in it, links, and what is loaded."""
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])
        self.loads += re.findall(r"url\(([^)]+)\)", given.get("style", ""))
        self.loads += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]


def build(top: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    # --quiet would keep --strict from counting warnings. Material says at each build that it has a successor.
    return subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
                          cwd=top, capture_output=True, text=True, timeout=60,
                          env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = build(ROOT, place)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Read]:
    read = {path: Read() for path in site.rglob("*.html")}
    for path, page in read.items():
        page.feed(path.read_text(encoding="utf-8"))
    return read


def test_each_document_is_a_page(site: Path) -> None:
    for path in DOCS:
        assert (site / path.relative_to(ROOT / "docs").with_suffix(".html")).exists()


def test_all_links_lead_somewhere(pages: dict[Path, Read]) -> None:
    lost = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links start at the top of a server
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            there = target.exists() and (not parts.fragment or target not in pages or parts.fragment == "__skip"
                                         or unquote(parts.fragment) in pages[target].ids)
            if not there:
                lost.append((path.name, link))
    assert not lost


def test_no_page_asks_another_host(site: Path, pages: dict[Path, Read]) -> None:
    for path, page in pages.items():
        assert not [one for one in page.loads if urlsplit(one).netloc], path
        text = path.read_text(encoding="utf-8")
        # For these the theme's script asks another host.
        assert 'class="mermaid"' not in text and 'data-md-component="source"' not in text, path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(url\(|@import)\s*["']?(https?:)?//""", sheet.read_text(encoding="utf-8")), sheet
    for picture in site.rglob("*.svg"):
        text = picture.read_text(encoding="utf-8")
        assert not re.search(r"""(href|src)=["'](https?:)?//|url\(["']?https?:|@import""", text), picture


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """All that the site is made of, to be changed."""
    for name in ("mkdocs.yml", "docs", "documents"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    for path in TOP:
        shutil.copy(path, tmp_path)
    return tmp_path


def test_what_is_wrong_fails_the_build(copy: Path) -> None:
    """Each of these is a warning, and one of them is enough; one build names all of them."""
    page = copy / "docs" / "lists.md"
    wrong = "[gone](gone.md) [part](state.md#gone) [root](/state.md)"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{wrong}\n", encoding="utf-8")
    (copy / "docs" / "other.md").write_text("# Not in nav\n", encoding="utf-8")
    done = build(copy, copy / "site")
    assert done.returncode == 1
    for named in ("gone.md", "#gone", "/state.md", "other.md"):
        assert any(("WARNING" in line and named in line) or line.strip() == f"- {named}"
                   for line in done.stderr.splitlines()), named


def slugs(path: Path) -> set[str]:
    """The anchors of headings, as a forge makes them."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+?)\s*$", re.sub(r"\]\([^)]*\)", "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TOP + DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_work_on_a_forge_too(path: Path) -> None:
    for link in re.findall(r"\]\(([^()\s]+)\)", path.read_text(encoding="utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = path.parent / parts.path if parts.path else path
        # Pages of manuals are made for the site.
        assert target.exists(), link
        assert not parts.fragment or parts.fragment in slugs(target), link
