"""The document of what the console answers to programs: OpenAPI 3.1, at GET /api/openapi.json, for who has logged in.

The pages are for people and are not in it. `DOCUMENT` is written here; tests compare it with what is served.
"""
from typing import Any

from mxallowd import __version__
from mxallowd.console.visit import Visit
from mxallowd.control.exchange import Response

PATH = "/api/openapi.json"
FORM = "application/x-www-form-urlencoded"
Node = dict[str, Any]


async def answer(_: Visit) -> Response:
    """The document."""
    return Response(DOCUMENT)


def _error(what: str, kind: str = "application/json") -> Node:
    schema: Node = {"type": "string"}
    if kind == "application/json":
        schema = {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}}}
    return {"description": what, "content": {kind: {"schema": schema}}}


_FAULTS: Node = {
    "400": _error("the query is not as it should be"), "401": _error("nobody has logged in"),
    "404": _error("there is no such thing"), "502": _error("the daemon does not answer"),
    "503": _error("there was no answer in time")}
_PAGE = "text/html; charset=utf-8"
_STREAM: Node = {
    "description": "events (WHATWG HTML, 9.2), whose data is JSON; the last one is `ended` where the session has ended",
    "content": {"text/event-stream": {"schema": {"type": "string"}}}}


def _query(name: str, what: str, schema: Node) -> Node:
    return {"name": name, "in": "query", "description": what, "schema": schema}


def _get(operation: str, what: str, good: Node, *parameters: Node) -> Node:
    return {"get": {"operationId": operation, "summary": what, "parameters": list(parameters),
                    "responses": {"200": good, **_FAULTS}}}


def _change(operation: str, summary: str, required: tuple[str, ...], **fields: str) -> Node:
    properties: Node = {name: {"type": "string", "maxLength": 1000, "description": text}
                        for name, text in fields.items()}
    properties["csrf"] = {"type": "string", "description": "the token that the forms of this session have"}
    seen = {"303": {"description": "done; the page at Location says what came of it",
                    "headers": {"Location": {"schema": {"type": "string"}}}}}
    faults = {status: _error(text, _PAGE) for status, text in (
        ("400", "a field is not as it should be"), ("403", "another site or session, or a user who may only look"),
        ("429", "too many changes of a user, or requests: try again in a moment"),
        ("404", "the daemon has no such thing"), ("411", "no Content-Length"), ("413", "a form that is too long"),
        ("415", "no form"), ("502", "the daemon does not answer"), ("503", "there was no answer in time"))}
    return {"post": {"operationId": operation, "summary": summary, "requestBody": {"required": True, "content": {
        FORM: {"schema": {"type": "object", "required": [*required, "csrf"], "properties": properties,
                          "additionalProperties": False}}}},
        "responses": {**seen, **faults}}}


DOCUMENT: Node = {
    "openapi": "3.1.0",
    "info": {"title": "mxallowd-console", "version": __version__,
             "description": "What the pages of the console ask by script, and the forms that change something."},
    "security": [{"session": []}],
    "components": {"securitySchemes": {"session": {
        "type": "apiKey", "in": "cookie", "name": "mxallowd-console",
        "description": "The cookie of a session, made by POST /login; __Host-mxallowd with TLS."}}},
    "paths": {
        PATH: _get("document", "This document", {"description": "OpenAPI 3.1", "content": {
            "application/json": {"schema": {"type": "object"}}}}),
        "/api/session": _get("session", "Who has logged in; 401 once the session has ended", {
            "description": "the user of this session", "content": {"application/json": {"schema": {
                "type": "object", "required": ["name", "role"], "additionalProperties": False, "properties": {
                    "name": {"type": "string"}, "role": {"type": "string", "enum": ["look", "change"]}}}}}}),
        "/api/stream": _get("stream", "What the overview shows, every two seconds", _STREAM),
        "/api/history": _get(
            "history", "Values for the plots", {"description": "values by plot; null: a gap", "content": {
                "application/json": {"schema": {"type": "object", "required": ["step", "times", "plots"]}}}},
            _query("range", "how far back", {"type": "string", "enum": ["10m", "day", "month"]})),
        "/api/log": _get(
            "log", "The lines of the log, as they come", _STREAM,
            _query("after", "the number of the last line that is known", {
                "type": "integer", "minimum": 0, "maximum": 9_999_999_999_999_999}),
            _query("epoch", "that of this number", {"type": "string", "maxLength": 100}),
            _query("level", "only lines of this level and above", {
                "type": "string", "enum": ["info", "warning", "error"]}),
            _query("word", "only lines whose first word begins so", {"type": "string", "maxLength": 100}),
            _query("q", "only lines with this text", {"type": "string", "maxLength": 200})),
        "/change/let-in": _change(
            "let-in", "Let addresses or networks in", ("what", "how"),
            what="addresses and networks, with blanks between", how="day or good", note="why", back="where to go"),
        "/change/remove": _change(
            "remove", "Take entries out of the whitelist", ("what",),
            what="addresses and networks, with blanks between", back="where to go"),
        "/change/list-add": _change(
            "list-add", "Add a line to a list", ("list", "network"), list="allow, deny or direct",
            network="address or network", seconds="for how long; nothing: for good", note="why", back="where to go"),
        "/change/list-remove": _change(
            "list-remove", "Take a line out of a list", ("list", "network"), list="allow, deny or direct",
            network="address or network", back="where to go"),
        "/change/trust-refresh": _change(
            "trust-refresh", "Have the records of trusted senders asked for now", (),
            domain="that of one line; nothing: all", back="where to go"),
    },
}
