"""What a request gets: a page, a change, a file, an answer for the script; and the header fields of all of them.

    head ── guard.py: form, host, site ── path and method ── who asks (door.py) ── page, change or answer
     └─ a fault before the body is read: a few lines of HTML     └─ a fault behind: a page, or JSON below /api

Every response has the fields of SECURITY, those of faults too: a page gets what it needs from here alone, and is shown
in no other page. An error of this program is said to its log, at most once a minute, and never to the browser.
"""
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from html import escape
from typing import NamedTuple
from urllib.parse import urlencode

from mxallowd.console import fields as forms
from mxallowd.console import openapi
from mxallowd.console.asking import Daemon, Refusal, Unreachable
from mxallowd.console.assets import Assets
from mxallowd.console.clicks import Clicks
from mxallowd.console.door import Denied, Door, Log
from mxallowd.console.forwarded import Client, Proxies
from mxallowd.console.guard import LOGIN, check_head, check_site, check_token, form_of, own_referer, own_target
from mxallowd.console.pages import CHANGES, PAGES, Entry
from mxallowd.console.rates import Rates
from mxallowd.console.render import Renderer
from mxallowd.console.saying import Said
from mxallowd.console.sessions import Session
from mxallowd.console.streams import EVENTS, event
from mxallowd.console.visit import Change, Done, Outcome, Page, Visit, Visitor
from mxallowd.control.exchange import RequestError, Response
from mxallowd.control.routes import WrongMethod, split
from mxallowd.control.wire import Asked, Head, as_document
from mxallowd.log.periodic import Pace
from mxallowd.text import quoted

HTML = "text/html; charset=utf-8"
# The Referer goes to this site alone. ("no-referrer" would make browsers send "Origin: null" with each form.)
SECURITY = (
    ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
     "object-src 'none'"),
    ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"), ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"))
ONLY_TLS = ("Strict-Transport-Security", "max-age=31536000")
LOGGED_OUT = ("You were logged out before this click, so nothing was changed. Log in: that leads back to the page, to "
              "do it again.")
ANSWER_S = 30.0  # until an answer begins
_SHORT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{status} · mxallowd</title>
<p>{text}</p>
</html>
"""
LOGOUT, API, FILES = "/logout", "/api/", "/files/"
SESSION = "/api/session"
Answer = Callable[[Visit], Awaitable[Response]]


async def _who(visit: Visit) -> Response:
    return Response({"name": visit.visitor.name, "role": str(visit.visitor.role)})


# For the script, and of no page: the document, and whether the session still holds, which an EventSource does not tell.
OWN: Mapping[str, Answer] = {openapi.PATH: openapi.answer, SESSION: _who}


class Site:
    """Answers requests; server.py has their connections."""

    def __init__(  # noqa: PLR0913  # what a site is made of
        self, daemon: Daemon, renderer: Renderer, door: Door, answers: Mapping[str, Answer], log: Log, *,
        proxies: Proxies | None = None, tls: bool = False, pages: Sequence[Entry] = PAGES,
        changes: Mapping[str, Change] = CHANGES, clock: Callable[[], float] = time.monotonic,
        rates: Rates | None = None,
    ) -> None:
        """`answers` are those for the script, by path below /api/: streams and JSON. `tls`: it is the server's own."""
        self._daemon = daemon
        self._renderer = renderer
        self._assets = Assets()
        self._door = door
        self._answers = {**answers, **OWN}
        self._log = log
        self._proxies = proxies or Proxies()
        self._tls = tls
        self._pages = {page.path: page for page in pages}
        self._shown = frozenset(self._pages)
        self._changes = changes
        self._defects = Pace(clock)
        self._rates = rates or Rates()
        self._clicks = Clicks(clock)
        self._fields = (*SECURITY, ONLY_TLS) if tls else SECURITY

    def caller(self, peer: str) -> "Caller":
        """What answers the requests of a connection from this address."""
        return Caller(self, peer)

    # ---- before the body is read

    def begin(self, peer: str, head: Head) -> "Asking":
        """A request with this head. Raises RequestError."""
        client = self._proxies.client(peer, head.fields)
        client = client._replace(secure=client.secure or self._tls)
        session = self._door.session(client, head.fields)
        self._rates.check(client.address, session, "" if session else self._door.browser(client, head.fields))
        segments, query = split(head.target)
        path = "/" + "/".join(segments)
        if any("/" in segment for segment in segments):
            raise _unknown(path)
        methods = self._methods(path)
        if methods and head.method not in methods:
            raise WrongMethod(quoted(path), head.method, methods)
        check_head(head)
        if head.method == "POST":
            check_site(head.fields, secure=client.secure)
        elif head.method not in ("GET", "HEAD"):
            raise WrongMethod(quoted(path), head.method, ("GET", "HEAD"))
        return Asking(head, path, query, client, session)

    def _methods(self, path: str) -> tuple[str, ...]:
        """Those that a path takes; (): there is no such path."""
        if path in self._changes or path == LOGOUT:
            return ("POST",)
        if path == LOGIN:
            return "GET", "HEAD", "POST"
        known = path in self._pages or path in self._answers or path.startswith(FILES)
        return ("GET", "HEAD") if known else ()

    # ---- the answer

    async def answer(self, asking: "Asking", body: bytes | None) -> Response:
        """The answer to a request whose body is here."""
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self._found(asking, body or b"")
        except TimeoutError:
            response = self._fault(asking, RequestError(
                503, "too-slow", f"there was no answer within {ANSWER_S:.0f} seconds"))
        except Unreachable as error:
            response = self._fault(asking, RequestError(502, "unreachable", str(error)))
        except Refusal as error:
            response = self._fault(asking, RequestError(error.status, error.code, str(error)))
        except RequestError as error:
            response = self._fault(asking, error)
        except Exception as error:  # noqa: BLE001
            self.defect(error, asking.path)
            response = self._fault(asking, RequestError(
                500, "defect", "This is an error of the console itself; its log has it."))
        return self.secured(response, files=asking.path.startswith(FILES))

    async def _found(self, asking: "Asking", body: bytes) -> Response:
        path, session = asking.path, asking.session
        if path.startswith(FILES):
            found = self._assets.get(path.removeprefix(FILES), asking.head.fields.get("if-none-match", ""))
            if found is None:
                raise RequestError(404, "not-found", f"there is no file {quoted(path)}")
            return found
        if path == LOGIN:
            return await self._login(asking, body)
        if session is not None:
            return await self._for_user(asking, session, body)
        if path.startswith(API):
            raise RequestError(401, "not-logged-in", "log in first, at /login")
        if asking.head.method == "POST" and path != LOGOUT:
            return self._too_late(asking, body)
        target = self._target(asking)
        return _sent_to(LOGIN if target == "/" else f"{LOGIN}?{urlencode({'next': target})}")

    async def _for_user(self, asking: "Asking", session: Session, body: bytes) -> Response:
        path = asking.path
        visit = Visit(_visitor(asking.client, session), path, asking.query)
        if asking.head.method == "POST":
            form = form_of(body)
            check_token(session.csrf, form)
            if path == LOGOUT:
                return _sent_to(LOGIN, self._door.log_out(asking.client, session))
            return await self._changed(replace(visit, form=form), session)
        if path in self._answers:
            return self._while_logged_in(await self._answers[path](visit), session)
        if path not in self._pages:
            raise _unknown(path)
        return await self._page(self._visit(asking, session), self._pages[path], asking)

    async def _login(self, asking: "Asking", body: bytes) -> Response:
        form = form_of(body)
        wanted = form.get("next", "/") if asking.head.method == "POST" else asking.query.get("next", "/")
        target = own_target(wanted, self._shown)
        if asking.head.method != "POST":
            if asking.session is not None:
                return _sent_to(target)
            why = self._door.closed()
            return self._form(target, denied=Denied(503, "shut", why) if why else None)
        try:
            return _sent_to(target, *await self._door.log_in(asking.client, asking.head.fields, form))
        except Denied as denied:
            return self._form(target, form.get("name", ""), denied)

    def _too_late(self, asking: "Asking", body: bytes) -> Response:
        """The log-in page for a form whose session has ended: it says so, and leads back to where the form stood."""
        try:
            wanted = form_of(body).get("back", "")
        except RequestError:
            wanted = ""
        fields = asking.head.fields
        target = own_target(wanted or own_referer(fields, secure=asking.client.secure), self._shown)
        return self._form(target, denied=Denied(403, "not-logged-in", LOGGED_OUT))

    def _form(self, target: str, name: str = "", denied: Denied | None = None) -> Response:
        values = {"next": target, "name": name, "fault": str(denied or "")}
        again = (("Retry-After", f"{denied.again_s:.0f}"),) if denied and denied.again_s else ()
        return Response(self._renderer.html("login.html", values).encode(), denied.status if denied else 200, HTML,
                        fields=again)

    async def _changed(self, visit: Visit, session: Session) -> Response:
        if not visit.visitor.may_change:
            raise RequestError(403, "forbidden", f"the user {visit.visitor.name} may look, and change nothing")
        try:
            self._clicks.take(visit.visitor.name)
        except RequestError:
            if why := self._clicks.refused():
                self._say_change(visit, Done("", why, Outcome.REFUSED))
            raise
        try:
            done = await self._changes[visit.path](visit, self._daemon)
        except RequestError as error:
            self._say_change(visit, Done("", str(error), Outcome.REFUSED))
            raise
        except BaseException:
            # An error of this program, or its end: the daemon may have done it.
            self._say_change(visit, Done("", "the console has not waited for the answer", Outcome.UNKNOWN))
            raise
        self._say_change(visit, done)
        target = own_target(done.path, self._shown)
        session.sayings.add(target, done.said, ok=done.ok)
        return _sent_to(target)

    def _say_change(self, visit: Visit, done: Done) -> None:
        """Tell the log what became of it."""
        asked = {"client": visit.visitor.client, "user": visit.visitor.name, "change": visit.path,
                 "what": forms.everything(visit.form)}
        if done.outcome is Outcome.DONE:
            self._log.write("changed", **asked, said=done.said)
        elif done.outcome is Outcome.NOTHING:
            self._log.write("unchanged", **asked, said=done.said)
        elif done.outcome is Outcome.REFUSED:
            self._log.write("not-changed", **asked, reason=done.said)
        else:
            self._log.write("change-unknown", **asked, reason=done.said)

    def _visit(self, asking: "Asking", session: Session) -> Visit:
        """The visit of a page, or of the fault in its place, with what is to be said there."""
        said = session.sayings.at(self._target(asking)) if asking.path in self._shown else Said()
        return Visit(_visitor(asking.client, session), asking.path, asking.query, said=said.text, ok=said.ok)

    def _target(self, asking: "Asking") -> str:
        return own_target(asking.head.target, self._shown)

    async def _page(self, visit: Visit, entry: Entry, asking: "Asking") -> Response:
        page = await entry.show(visit, self._daemon)
        return page if isinstance(page, Response) else self._rendered(visit, page, entry.title, asking)

    def _rendered(self, visit: Visit, page: Page, title: str, asking: "Asking") -> Response:
        values = {"title": title, "path": visit.path, "pages": list(self._pages.values()), "visitor": visit.visitor,
                  "said": visit.said, "said_ok": visit.ok, **page.values}
        response = Response(self._renderer.html(page.template, values).encode(), page.status, HTML)
        if visit.said and asking.session is not None and asking.head.method != "HEAD":
            asking.session.sayings.shown(self._target(asking), visit.said)
        return response

    def _while_logged_in(self, response: Response, session: Session) -> Response:
        """A stream ends with its session, and says so: the browser would ask for it again for ever."""
        pieces = response.pieces
        if pieces is None:
            return response

        async def some() -> AsyncIterator[bytes]:
            async with aclosing(pieces) as source:  # type: ignore[type-var]  # the streams here are generators
                async for piece in source:
                    if not self._door.streams(session):
                        if response.content_type == EVENTS:
                            yield event("ended", {})
                        return
                    yield piece
        return replace(response, pieces=some())

    # ---- faults

    def _fault(self, asking: "Asking", error: RequestError) -> Response:
        if asking.path.startswith(API):
            return as_document(error)
        if asking.session is None:
            return short(error)
        entry = self._pages.get(asking.path)
        titles = {403: "Refused", 404: "Not found", 502: "No answer"}
        title = entry.title if entry else titles.get(error.status, "Not done")
        page = Page("fault.html", {"fault": _sentence(str(error))}, error.status)
        return self._rendered(self._visit(asking, asking.session), page, title, asking)

    def secured(self, response: Response, *, files: bool = False) -> Response:
        """With the fields that each response has."""
        # What a page says depends on who asks, and nobody keeps it (wire.py adds no-store).
        return replace(response, fields=(*response.fields, *self._fields, *(() if files else (("Vary", "Cookie"),))))

    def defect(self, error: Exception, path: str) -> None:
        """Say an error of this program, with the lines where it happened."""
        if self._defects.due():
            self._log.write("defect", path=path, error=repr(error), trace=_trace(error))


class Asking(NamedTuple):
    """A request whose head is here."""

    head: Head
    path: str
    query: Mapping[str, str]
    client: Client
    session: Session | None


class Caller:
    """The requests of one connection."""

    def __init__(self, site: Site, peer: str) -> None:
        self._site = site
        self._peer = peer
        self._path = ""
        self.asked = False  # something
        self.known = False  # its last request was of somebody who has logged in

    def begin(self, head: Head) -> Asked:
        """What answers a request. Raises RequestError."""
        self._path = head.target
        self.asked, self.known = True, False
        asking = self._site.begin(self._peer, head)
        self.known = asking.session is not None
        return partial(self._site.answer, asking)

    def refusal(self, error: RequestError) -> Response:
        """The answer to what is no request of ours."""
        api = self._path.startswith(API)
        self._path = ""
        return self._site.secured(as_document(error) if api else short(error))

    def defect(self, error: Exception) -> None:
        """An error of this program that ended the connection."""
        self._site.defect(error, self._path)


def short(error: RequestError) -> Response:
    """A fault for somebody who has not logged in, or on a connection that ends."""
    return Response(_SHORT.format(status=error.status, text=escape(str(error))).encode(), error.status, HTML)


def _visitor(client: Client, session: Session) -> Visitor:
    return Visitor(session.user.name, session.user.role, session.csrf, client.address)


def _sentence(text: str) -> str:
    """It begins with a capital, unless it begins with a name."""
    first = text.partition(" ")[0]
    return text if first == "mxallowd" or not first.isalpha() else f"{text[:1].upper()}{text[1:]}"


def _sent_to(path: str, *fields: tuple[str, str]) -> Response:
    return Response(b"", 303, HTML, fields=(("Location", path), *fields))


def _unknown(path: str) -> RequestError:
    return RequestError(404, "not-found", f"there is no page {quoted(path)}")


def _trace(error: Exception) -> str:
    lines, step = [], error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"{code.co_filename.rpartition('/')[2]}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return " < ".join(reversed(lines))
