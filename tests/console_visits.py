"""Visits of the console's pages without its server: what a page shows for a running daemon, as a document in parts."""
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from mxallowd.console.asking import Daemon
from mxallowd.console.pages import CHANGES, PAGES
from mxallowd.console.render import Renderer
from mxallowd.console.visit import Done, Page, Role, Visit, Visitor

RENDERER = Renderer()
VOID = ("meta", "link", "input", "br", "hr", "img")
Attributes = dict[str, str | None]


@dataclass
class Document(HTMLParser):
    """The elements and the text of a page, as a browser would have them."""

    status: int = 200
    elements: list[tuple[str, Attributes]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The innermost element ends."""
        assert self.unclosed, tag
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All of it, with one blank between two words."""
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str, **wanted: str) -> list[Attributes]:
        """The elements of that kind that have these attributes."""
        return [attributes for name, attributes in self.elements
                if name == tag and all(attributes.get(key) == value for key, value in wanted.items())]

    @property
    def form_actions(self) -> set[str | None]:
        """What can be done on the page, the search and the end of the session aside."""
        return {one.get("action") for one in self.of("form")} - {"/search", "/logout"}


def parsed(html: str, status: int = 200) -> Document:
    """A page in parts; each element must be closed where it should be."""
    document = Document(status)
    document.feed(html)
    document.close()
    assert not document.unclosed
    return document


def visitor(role: Role = Role.CHANGE) -> Visitor:
    """Somebody who has logged in."""
    return Visitor("anna", role, "the-token", "192.0.2.99")


def shown(control: Path, target: str, role: Role = Role.CHANGE, said: Done | None = None) -> Document:
    """What a page has for a target such as /search?q=192.0.2.1."""
    parts = urlsplit(target)
    entry = next(one for one in PAGES if one.path == parts.path)
    visit = Visit(visitor(role), parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)),
                  said=said.said if said else "", ok=said is None or said.ok)
    page = asyncio.run(_page(entry.show(visit, Daemon(control))))
    return rendered(page, entry.title, visit)


async def _page(shows: object) -> Page:
    page = await shows  # type: ignore[misc]  # any awaitable
    assert isinstance(page, Page)
    return page


def rendered(page: Page, title: str, visit: Visit) -> Document:
    """A page as the site renders it."""
    values = {"title": title, "path": visit.path, "pages": PAGES, "visitor": visit.visitor, "said": visit.said,
              "said_ok": visit.ok, **page.values}
    return parsed(RENDERER.html(page.template, values), page.status)


def changed(control: Path, path: str, form: Mapping[str, str], role: Role = Role.CHANGE) -> Done:
    """What a form comes to."""
    async def run() -> Done:
        return await CHANGES[path](Visit(visitor(role), path, form=form), Daemon(control))
    return asyncio.run(run())
