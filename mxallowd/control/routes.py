"""From a request's target to its route: the path is split before it is decoded, so that no %2F makes a segment.

Strict: what is not quite a target, a parameter that stands twice, or bytes that are no UTF-8 are refused, since two
readers could take them for different things.
"""
import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from mxallowd.control.exchange import RequestError, Route
from mxallowd.text import quoted

_WHOLE = re.compile(r"(?:[!$&'()*+,;=:@A-Za-z0-9._~/-]|%[0-9A-Fa-f]{2})*")  # RFC 3986, pchar and /
_PARAMETERS = re.compile(r"(?:[!$&'()*+,;=:@A-Za-z0-9._~/?-]|%[0-9A-Fa-f]{2})*")
MOST_PARAMETERS = 16


def split(target: str) -> tuple[list[str], dict[str, str]]:
    """The decoded segments of the path, and the parameters of the query. Raises RequestError."""
    path, mark, query = target.partition("?")
    if not path.startswith("/") or not _WHOLE.fullmatch(path):
        raise RequestError(400, "bad-request", f"{quoted(target)} is not a path such as /v1/status")
    if mark and not _PARAMETERS.fullmatch(query):
        raise RequestError(400, "bad-request", f"the query {quoted(query)} has characters that must be encoded")
    parameters: dict[str, str] = {}
    pairs = [pair for pair in query.split("&") if pair]
    if len(pairs) > MOST_PARAMETERS:
        raise RequestError(400, "bad-request", f"the query has more than {MOST_PARAMETERS} parameters")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = _decoded(name.replace("+", " "))
        if not equals or name in parameters:
            fault = "stands twice" if equals else "has no value"
            raise RequestError(400, "bad-request", f"the parameter {quoted(name)} {fault}")
        parameters[name] = _decoded(value.replace("+", " "))
    return [_decoded(segment) for segment in path[1:].split("/")], parameters


def _decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise RequestError(400, "bad-request", f"{quoted(text)} does not encode UTF-8") from None
    if "\0" in decoded:
        raise RequestError(400, "bad-request", f"{quoted(text)} contains a zero byte")
    return decoded


def parameters_of(template: str, segments: Sequence[str]) -> dict[str, str] | None:
    """What a path gives the parameters of a route's template; None: it is another path."""
    parts = template[1:].split("/")
    found: dict[str, str] = {}
    for place, part in enumerate(parts):
        if part.endswith(":path}"):
            rest = "/".join(segments[place:])
            return {**found, part[1:-6]: rest} if rest else None
        if place >= len(segments):
            return None
        if part.startswith("{"):
            if not segments[place]:
                return None
            found[part[1:-1]] = segments[place]
        elif part != segments[place]:
            return None
    return found if len(parts) == len(segments) else None


def find(routes: Sequence[Route], method: str, segments: Sequence[str]) -> tuple[Route, dict[str, str]]:
    """The route of a request and its parameters; the first one that matches. HEAD is asked as GET is.

    Raises RequestError: 404 where there is no such path, 405 where there is and the method is another one.
    """
    methods = []
    wanted = "GET" if method == "HEAD" else method
    if "." in segments or ".." in segments:
        # Nobody resolves them here, and a path with them is not that of anything, not even of `{name:path}`.
        routes = ()
    for route in routes:
        parameters = parameters_of(route.template, segments)
        if parameters is None:
            continue
        if route.method == wanted:
            return route, parameters
        methods += ["GET", "HEAD"] if route.method == "GET" else [route.method]
    path = quoted("/" + "/".join(segments))
    if methods:
        raise WrongMethod(path, method, sorted(set(methods)))
    raise RequestError(404, "not-found", f"there is no {path}; GET /v1/openapi.json says what there is")


class WrongMethod(RequestError):
    """The path is there, and takes other methods."""

    def __init__(self, path: str, method: str, methods: Sequence[str]) -> None:
        super().__init__(405, "wrong-method", f"{path} does not take {quoted(method)} but {', '.join(methods)}")
        self.methods = methods
