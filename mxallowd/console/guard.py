"""What is looked at before a request is believed: where it comes from, its form, its cookie. No input or output.

A browser that another site's page makes send something says so by Origin or Sec-Fetch-Site, and sends no cookie of ours
(SameSite=Strict); and no other page knows the token that each form has. Each of the three is enough by itself.

Which way it fails: what is not as it should be is refused, and nothing of it is done.
"""
import re
from collections.abc import Mapping
from hmac import compare_digest
from urllib.parse import unquote_to_bytes, urlencode

from mxallowd.console import devices
from mxallowd.control.exchange import RequestError
from mxallowd.control.routes import split
from mxallowd.control.wire import Head
from mxallowd.text import quoted

FORM = "application/x-www-form-urlencoded"
MOST_BYTES, MOST_FIELDS = 65_536, 300  # as many boxes may be ticked as fields.py takes at once, and more
LONGEST_TARGET = 900  # characters; a field of the log-in form shows it whole
TOKEN = "csrf"  # noqa: S105  # the name of the field
SECURE_COOKIE, PLAIN_COOKIE = "__Host-mxallowd", "mxallowd-console"
SECURE_DEVICE, PLAIN_DEVICE = "__Secure-mxallowd-device", "mxallowd-device"
LOGIN = "/login"
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_PORTS = {"http://": ":80", "https://": ":443"}


def check_head(head: Head) -> None:
    """The parts of a head that nothing here needs, and others may be misled by. Raises RequestError."""
    host = head.fields.get("host", "")
    if host and not _HOST.fullmatch(host):
        raise RequestError(400, "bad-request", f"{quoted(host)} is not the name of a host")
    if head.method != "POST":
        if head.length > 0:
            raise RequestError(400, "bad-request", f"{head.method} takes no body here")
        return
    if head.length < 0:
        raise RequestError(411, "bad-request", "a form has a Content-Length")
    if head.length > MOST_BYTES:
        raise RequestError(413, "too-large", f"the form has more than {MOST_BYTES} bytes")
    kind = head.fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise RequestError(415, "bad-request", f"a form is {FORM}, and not {quoted(kind)}")


def check_site(fields: Mapping[str, str], *, secure: bool) -> None:
    """That no page of another site has made the browser send this. Raises RequestError.

    A program that is no browser sends neither field. Behind a proxy both Host and Origin are the browser's, if the
    proxy passes Host on as it came.
    """
    site = fields.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none"):
        raise RequestError(403, "other-site", f"a page of another site has sent this (Sec-Fetch-Site: {quoted(site)})")
    origin = fields.get("origin")
    if origin is None:
        return
    host = fields.get("host", "")
    schemes = ("https://",) if secure else ("http://", "https://")
    if not any(origin.startswith(scheme) and _same(origin.removeprefix(scheme), host, _PORTS[scheme])
               for scheme in schemes):
        raise RequestError(403, "other-site", f"a page of {quoted(origin)} has sent this, and the console is at "
                           f"{quoted(host)}; a proxy before it has to pass on the field Host as it came")


def check_token(token: str, form: dict[str, str]) -> None:
    """That the form is one of this session's pages; takes the token out. Raises RequestError."""
    given = form.pop(TOKEN, "")
    if not compare_digest(given.encode(), token.encode()):
        raise RequestError(403, "other-form", "the form is not of this session, so nothing was changed: go back, "
                           "reload the page, and send it again")


def form_of(body: bytes) -> dict[str, str]:
    """The fields of a form, each name once, in UTF-8. Raises RequestError."""
    pairs = [pair for pair in body.split(b"&") if pair]
    if len(pairs) > MOST_FIELDS:
        raise RequestError(400, "bad-request", f"the form has more than {MOST_FIELDS} fields")
    form: dict[str, str] = {}
    for pair in pairs:
        name, _, value = (_decoded(part) for part in pair.partition(b"="))
        if name in form:
            raise RequestError(400, "bad-request", f"the field {quoted(name)} stands twice")
        form[name] = value
    return form


def token_of(fields: Mapping[str, str], *, secure: bool) -> str:
    """The token of a session in the cookie; "": there is none."""
    return _cookie_in(fields, SECURE_COOKIE if secure else PLAIN_COOKIE, _COOKIE)


def device_of(fields: Mapping[str, str], *, secure: bool) -> str:
    """The cookie of a browser that was here before (devices.py); "": there is none."""
    return _cookie_in(fields, SECURE_DEVICE if secure else PLAIN_DEVICE, devices.COOKIE)


def device_cookie(value: str, *, secure: bool) -> tuple[str, str]:
    """The header field that sets it: for the log-in alone, and it outlives the browser's end."""
    name = SECURE_DEVICE if secure else PLAIN_DEVICE
    parts = [f"{name}={value}", f"Path={LOGIN}", "HttpOnly", "SameSite=Strict", f"Max-Age={devices.KEPT_S}"]
    return "Set-Cookie", "; ".join([*parts, *(["Secure"] if secure else [])])


def cookie(token: str, *, secure: bool) -> tuple[str, str]:
    """The header field that sets the cookie; without a token it takes the cookie away."""
    name = SECURE_COOKIE if secure else PLAIN_COOKIE
    # It ends with the browser: how long it is good for is known here alone.
    parts = [f"{name}={token}", "Path=/", "HttpOnly", "SameSite=Strict"]
    return "Set-Cookie", "; ".join([*parts, *(["Secure"] if secure else []), *([] if token else ["Max-Age=0"])])


def own_target(target: str, paths: frozenset[str]) -> str:
    """A path that may be followed: one of `paths`, with its query, written anew; of anything else the first page."""
    try:
        segments, query = split(target)
    except RequestError:
        return "/"
    path = "/" + "/".join(segments)
    if path not in paths:
        return "/"
    found = f"{path}?{urlencode(query)}" if query else path
    return found if len(found) <= LONGEST_TARGET else path


def own_referer(fields: Mapping[str, str], *, secure: bool) -> str:
    """The target of the page of this site that a request came from; "": it does not say, or it is another's."""
    scheme, _, rest = fields.get("referer", "").partition("://")
    authority, slash, target = rest.partition("/")
    port = _PORTS.get(f"{scheme}://")
    if port is None or (secure and scheme != "https") or not _same(authority, fields.get("host", ""), port):
        return ""
    return f"{slash}{target}".partition("#")[0]


def _cookie_in(fields: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    """The value of a cookie. One that stands twice is none: somebody else has set one of them."""
    pairs = [pair.strip(" \t").partition("=") for pair in fields.get("cookie", "").split(";")]
    found = [value for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 and form.fullmatch(found[0]) else ""


def _same(authority: str, host: str, port: str) -> bool:
    return authority.lower().removesuffix(port) == host.lower().removesuffix(port) != ""


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise RequestError(400, "bad-request", "the form is not in UTF-8") from None
