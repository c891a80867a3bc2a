"""The pages of the console without its server: a page, the daemon's socket, and the real renderer."""
import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mxallowd.console.pages import PAGES
from mxallowd.console.render import Renderer
from mxallowd.console.visit import Page, Role, Visit, Visitor
from mxallowd.console.watching import Watching
from mxallowd.control.exchange import RequestError, Response
from mxallowd.control.wire import Asked, Head, Wire

RENDERER = Renderer()
LOOK, CHANGE = (Visitor("alice", role, "token-of-alice", "192.0.2.250") for role in (Role.LOOK, Role.CHANGE))


class Shown(HTMLParser):
    """A document as a browser takes it: the text, the elements, and the targets of links."""

    def __init__(self, html: str, status: int = 200) -> None:
        super().__init__()
        self.html, self.status = html, status
        self.elements: list[str] = []
        self.links: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        names = {name for name, _ in attrs}
        assert "style" not in names, attrs
        assert not any(name.startswith("on") for name in names), attrs
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    @property
    def text(self) -> str:
        """With single blanks."""
        return " ".join(" ".join(self._text).split())


def shown(socket: Path, path: str, query: Mapping[str, str] | None = None, visitor: Visitor = LOOK) -> Shown:
    """What a page shows of the daemon at this socket."""
    entry = next(one for one in PAGES if one.path == path)
    visit = Visit(visitor, path, query or {})

    async def answered() -> Page | Response:
        return await entry.show(visit, Watching(socket, None, print))

    page = asyncio.run(answered())
    assert isinstance(page, Page)
    return Shown(RENDERER.html(page.template, {
        "title": entry.title, "path": path, "pages": PAGES, "visitor": visitor, "said": "", **page.values}),
        page.status)


@contextmanager
def answering(directory: Path, answers: Mapping[str, Any]) -> Iterator[Path]:
    """A socket that answers these paths with these documents, and others with 404, over the daemon's own wire.

    For what a real daemon cannot be brought to say in a test. An answer (status, document) has another status.
    """
    socket = directory / "control.sock"
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    ready = threading.Event()

    def begin(head: Head) -> Asked:
        async def answered(_: bytes | None) -> Response:
            path = head.target.partition("?")[0]
            if path not in answers:
                raise RequestError(404, "not-found", f"there is no {path}")
            found = answers[path]
            return Response(found[1], found[0]) if isinstance(found, tuple) else Response(found)
        return answered

    async def serve() -> None:
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await Wire(begin).serve(reader, writer)
            finally:
                writer.transport.abort()

        async with await asyncio.start_unix_server(one, socket):
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield socket
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(5)
        loop.close()
