"""What is printed: text for people, or the answer of the daemon as it is with --json.

Names and notes come from strangers, so everything is made printable here: no answer controls a terminal.
"""
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mxallowd.ctl.command import Answer, Context
from mxallowd.text import escape

BAD_REQUEST = 400  # the daemon's word for what is wrong in itself, whatever is in its tables


class Mistake(Exception):
    """A mistake in the command line that the daemon has found, and that has been printed (exit status USAGE)."""


def safe(text: str) -> str:
    """`text` as one line that controls no terminal; what has been quoted already stays as it is."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else escape(letter) for letter in text)


def failed(context: Context, answer: Answer) -> bool:
    """Whether the daemon did not do what was asked (exit status NO); its reason has been printed then.

    With --json the answer itself is printed too. Raises Mistake where it was asked for what is none.
    """
    if answer.status < 400:
        return False
    if context.arguments.json:
        show_json(context, answer.body)
    context.err.write(f"mxallowctl: {safe(reason(answer))}\n")
    if answer.status == BAD_REQUEST:
        raise Mistake
    return True


def reason(answer: Answer) -> str:
    """Why the daemon did not do it."""
    message = value(answer.body, "error", "message")
    return str(message) if message else f"the daemon answered with status {answer.status}"


def show_json(context: Context, document: object) -> None:
    """Print one document in one line, in ASCII."""
    context.out.write(json.dumps(document) + "\n")


def show(context: Context, line: str = "") -> None:
    """Print one line of text; what is not printable in it is escaped."""
    context.out.write(f"{safe(line)}\n")


def warn(context: Context, line: str) -> None:
    """Print one line about what is not as it should be."""
    context.err.write(f"mxallowctl: {safe(line)}\n")


def refuse(context: Context, code: str, line: str) -> None:
    """Say what this program itself does not do; with --json as the daemon says such things, too."""
    if context.arguments.json:
        show_json(context, error(code, line))
    warn(context, line)


def error(code: str, message: str) -> dict[str, object]:
    """The document of what was not done."""
    return {"error": {"code": code, "message": message}}


def overruled(context: Context, what: str, document: object) -> bool:
    """Say which networks of a list decide otherwise than what was asked for; whether there is any."""
    found = False
    for key, verdict, stays in (
            ("denied_by", "deny", "stays refused"), ("allowed_by", "allow", "gets in all the same")):
        networks = value(document, key)
        for one in networks if isinstance(networks, list) else ():
            found = True
            warn(context, f"{f'a part of {what}' if '/' in what else what} {stays}: {held(one)}")
        if value(document, f"{key}_more"):
            warn(context, f"a part of {what} {stays} by further networks; mxallowctl {verdict} list "
                          "says where they stand")
    return found


def held(one: object) -> str:
    """A network of a list that holds, and how it is undone."""
    network, verdict, source = (str(value(one, key)) for key in ("network", "verdict", "source"))
    how = {"allow": "allowed", "deny": "denied"}.get(verdict, verdict)
    if source == "by hand":
        return f"{network} is {how} by hand; mxallowctl {verdict} remove {network} undoes it"
    return f"{network} is {how} in {source}"


def columns(context: Context, rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; numbers stand to the right."""
    cells = [[safe(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(isinstance(row[number], int) for row in rows) for number in range(len(widths))]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True))
        context.out.write(line.rstrip() + "\n")


def duration(seconds: object) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `7 h 59 min`, `3 d 4 h`."""
    if not isinstance(seconds, int | float):
        return "?"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def value(document: object, *keys: str) -> object:
    """What stands in a document below these keys; None where it does not."""
    for key in keys:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def hits(found: Mapping[str, Any], before: str) -> str:
    """How often a network of the lists was hit, behind `before`; empty where it was not, or nobody can know."""
    return f"{before}{found['hits']} hits, last {found['last_hit']}" if found.get("hits") else ""


def unkept(context: Context, document: object) -> None:
    """Say where what was added is lost at a restart."""
    if value(document, "kept") is False:
        warn(context, f"it holds now, and is lost at the next restart: {value(document, 'reason')}")
