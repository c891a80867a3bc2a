"""docs/reference/api.md, made from the document of the API (openapi.json), with a request for each operation.

The test of this module sends each of these requests to a running daemon, so the examples work.
"""
import json
from pathlib import Path
from typing import Any

from mxallowd.control.answers.document import FILE

PLACE = Path(__file__).parent.parent / "docs" / "reference" / "api.md"
SOCKET = "/run/mxallowd/control.sock"
# Answers that any operation may give; said once.
COMMON = ("400", "403", "500", "503")
# By operationId: a query, or what stands in the path, and the body.
PATHS = {"list": "?used=false&limit=10", "show": "203.0.113.7", "remove": "203.0.113.7", "list_add": "deny",
         "list_remove": "deny", "explain": "203.0.113.7", "forecast": "?limit=10", "firstMxOnly": "?limit=10"}
BODIES: dict[str, dict[str, object]] = {
    "doctorReport": {"findings": [{"check": "rule-present", "state": "ok", "what": "a rule feeds queue 23"}]},
    "add": {"address": "203.0.113.7", "seconds": 86400, "note": "bank"},
    "list_add": {"network": "198.51.100.0/24", "note": "ticket 4711"},
    "list_remove": {"network": "198.51.100.0/24"},
    "refreshTrust": {},
    "set_log_level": {"level": "info"},
    "import": {"entries": [{"address": "203.0.113.9", "seconds": 3600}],
               "networks": [{"network": "203.0.113.64/26", "verdict": "allow"}]},
}
_PLACES = {"path": " (in the path)", "header": " (header field)"}
HEAD = f"""# The API

    curl --unix-socket {SOCKET} http://localhost/v1/status

Every request and answer of the control socket. [control.md](../control.md) says who may ask, what is bounded, and what
stays within `/v1`; [mxallowctl.md](../mxallowctl.md) is the command that uses it. The daemon gives the same as OpenAPI
3.1 by `GET /v1/openapi.json`. Times are RFC 3339 in UTC, durations whole seconds. A stream has one JSON object a line.

An error is `{{"error": {{"code": "not-listed", "message": "…"}}}}`; `code` is for programs and stays. Any request may
end with one of these:

| status | meaning |
| --- | --- |
"""


def page() -> str:
    """The whole page."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    found = [(method.upper(), path, operation) for path, methods in document["paths"].items()
             for method, operation in methods.items()]
    schemas = document["components"]["schemas"]
    common = found[0][2]["responses"]
    parts = [HEAD + "".join(f"| {status} | {common[status]['description']} |\n" for status in COMMON)]
    parts.append("Who may: `root` is root, the daemon's user and members of the group of `--control-change-group`; "
                 "`group` these and members of the socket's group.\n")
    parts.append("| request | what it does | who may |\n| --- | --- | --- |\n" + "".join(
        f"| [`{method} {path}`](#{_anchor(method, path)}) | {operation['summary']} "
        f"| {'group' if method == 'GET' else 'root'} |\n"
        for method, path, operation in found))
    parts += [_section(method, path, operation) for method, path, operation in found]
    parts.append("## Objects\n\nWhat several answers have in common.\n")
    parts += [f"### {name}\n\n{_table(schema)}" for name, schema in schemas.items() if name != "error"]
    return "\n".join(parts)


def example(method: str, path: str, operation: dict[str, Any], socket: str = SOCKET) -> str:
    """A command line that makes the request."""
    name = operation["operationId"]
    filled = path.partition("{")[0] + PATHS.get(name, "")
    words = ["curl", "--unix-socket", socket]
    if method != "GET" and (name not in BODIES or method != "POST"):
        words += ["-X", method]
    if name in BODIES:
        words += ["-d", f"'{json.dumps(BODIES[name])}'"]
    target = f"http://localhost{filled}"
    return " ".join([*words, f"'{target}'" if "?" in target else target])


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    """One request: what it does, what it takes, what it answers, an example."""
    parts = [f"## {method} {path}\n", f"{operation['summary']}. {_who(method)}.\n",
             f"    {example(method, path, operation)}\n"]
    more = operation["description"]
    if "socket's group" not in more and "Root" not in more:
        parts.append(f"{more}\n")
    if given := operation.get("parameters"):
        parts.append("| parameter | values | meaning |\n| --- | --- | --- |\n" + "".join(
            f"| `{one['name']}`{_PLACES.get(one['in'], '')} | {_kind(one['schema'])} "
            f"| {_cell(one.get('description', ''))} |\n" for one in given))
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        parts.append("The body, JSON" + ("" if body["required"] else " (it may be left out)") + ":\n")
        parts.append("or:\n\n".join(_table(one) + "\n" for one in schema.get("oneOf", [schema])))
    answer = operation["responses"]["200"]
    kinds = answer.get("content", {})
    schema = kinds.get("application/json", kinds.get("application/x-ndjson", {})).get("schema", {})
    parts.append("Status 200: " + _answer(answer["description"], kinds, schema))
    others = {status: one for status, one in operation["responses"].items() if status not in ("200", *COMMON)}
    if others:
        parts.append("| status | meaning |\n| --- | --- |\n" + "".join(
            f"| {status} | {_cell(one['description'])} |\n" for status, one in sorted(others.items())))
    return "\n".join(parts)


def _answer(said: str, kinds: dict[str, Any], schema: dict[str, Any]) -> str:
    """What an answer is, with its keys where the document has them."""
    kind = " or ".join(f"`{one}`" for one in kinds) or "no content"
    text = f"{said} ({kind})"
    refs = [schema] if "$ref" in schema else schema.get("oneOf", [])
    if refs and all("$ref" in one for one in refs):
        return f"{text}: " + ", or ".join(_reference(one) for one in refs) + ".\n"
    return f"{text}.\n" + (f"\n{_table(schema)}" if schema.get("properties") else "")


def _table(schema: dict[str, Any]) -> str:
    """The keys of an object; those of an object in it behind a dot."""
    rows = "".join(f"| `{name}` | {_kind(one)} | {_cell(one.get('description', ''))} |\n"
                   for name, one in _keys(schema))
    return f"| key | value | meaning |\n| --- | --- | --- |\n{rows}"


def _keys(schema: dict[str, Any], before: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All keys of an object. One that is written once more as an object of its own is not followed."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, one in schema.get("properties", {}).items():
        found.append((before + name, one))
        inner, place = one, before + name
        while inner.get("type") == "array":
            inner, place = inner["items"], f"{place}[]"
        for choice in [inner, *inner.get("oneOf", [])]:
            found += _keys(choice, f"{place}.")
    return found


def _kind(schema: dict[str, Any]) -> str:
    """The values that a schema lets through, in words."""
    if "$ref" in schema:
        return _reference(schema)
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        kinds = [one["format"] if one.get("format", "printable-line") != "printable-line" else _kind(one)
                 for one in choices]
        return "address" if kinds == ["ipv4", "ipv6"] else " or ".join(dict.fromkeys(kinds))
    kinds = schema.get("type", "any")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(_plain(kind, schema) for kind in kinds)


def _plain(kind: str, schema: dict[str, Any]) -> str:
    """One type, with its bounds."""
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "string":
        longest = f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""
        return {"date-time": "time", "network": "network"}.get(schema.get("format", ""), f"text{longest}")
    if kind in ("integer", "number") and schema.get("maximum") is not None:
        return f"{kind}, {schema.get('minimum', 0)} to {schema['maximum']}"
    return {"boolean": "true or false"}.get(kind, kind)


def _reference(schema: dict[str, Any]) -> str:
    name = schema["$ref"].rpartition("/")[2]
    return f"[{name}](#{name})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _who(method: str) -> str:
    return "Members of the socket's group may ask" if method == "GET" else (
        "Root, the daemon's user and members of the group of `--control-change-group` only")


def _anchor(method: str, path: str) -> str:
    """What a forge and MkDocs make of the heading."""
    return f"{method} {path}".lower().translate({ord(sign): None for sign in "/{}."}).replace(" ", "-")


def write() -> None:
    """Writes it anew."""
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(page(), encoding="utf-8")
