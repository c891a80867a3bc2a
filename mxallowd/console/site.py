"""What a request gets: a page, a change, a file, an answer for the script; and the header fields of all of them.

Every response has the fields of SECURITY: a page gets what it needs from here alone, and is shown in no other page.
"""
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl

from mxallowd.console.asking import Daemon, Refusal, Unreachable
from mxallowd.console.assets import Assets
from mxallowd.console.pages import CHANGES, PAGES
from mxallowd.console.render import Renderer
from mxallowd.console.visit import Page, Role, Visit, Visitor
from mxallowd.control.exchange import RequestError, Response
from mxallowd.control.routes import split
from mxallowd.control.wire import Asked, Head

HTML = "text/html; charset=utf-8"
SECURITY = (
    ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
     "object-src 'none'"),
    ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"))
MOST_FORM_FIELDS = 32
Answer = Callable[[Visit], Awaitable[Response]]


class Site:
    """Answers requests of one client after the other; server.py has their connections."""

    def __init__(self, daemon: Daemon, renderer: Renderer, assets: Assets, answers: Mapping[str, Answer]) -> None:
        """`answers` are those for the script, by path: streams and JSON."""
        self._daemon = daemon
        self._renderer = renderer
        self._assets = assets
        self._answers = answers

    def begin(self, client: str, head: Head) -> Asked:
        """What answers a request with this head, from this address. Raises RequestError."""
        segments, query = split(head.target)
        return partial(self._answer, client, head, "/" + "/".join(segments), query)

    async def _answer(
        self, client: str, head: Head, path: str, query: Mapping[str, str], body: bytes | None,
    ) -> Response:
        if path.startswith("/files/"):
            found = self._assets.get(path.removeprefix("/files/"), head.fields.get("if-none-match", ""))
            if found is None:
                raise RequestError(404, "not-found", "there is no such file")
            return found
        # Until there are sessions: everybody.
        visitor = Visitor("somebody", Role.CHANGE, "token", client)
        form = dict(parse_qsl((body or b"").decode("utf-8", "replace"), keep_blank_values=True))
        visit = Visit(visitor, path, query, form)
        if path in self._answers:
            return await self._answers[path](visit)
        if head.method == "POST" and path in CHANGES:
            done = await CHANGES[path](visit, self._daemon)
            return Response(b"", 303, HTML, fields=(("Location", done.path),))
        entry = next((one for one in PAGES if one.path == path), None)
        if entry is None:
            raise RequestError(404, "not-found", "there is no such page")
        try:
            page = await entry.show(visit, self._daemon)
        except Unreachable as error:
            page = Page("fault.html", {"title": entry.title, "fault": str(error)}, 502)
        except Refusal as error:
            page = Page("fault.html", {"title": entry.title, "fault": str(error)}, error.status)
        return page if isinstance(page, Response) else self._rendered(visit, page, entry.title)

    def _rendered(self, visit: Visit, page: Page, title: str) -> Response:
        values = {"title": title, "path": visit.path, "pages": PAGES, "visitor": visit.visitor, "said": visit.said,
                  **page.values}
        return Response(self._renderer.html(page.template, values).encode(), page.status, HTML)
