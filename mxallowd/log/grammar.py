"""The grammar of a line: a fixed first word, the address in brackets where there is one, then key=value pairs.

Or the same as one JSON object (`--log-format json`), with the very same words and keys: `time` (RFC 3339, UTC),
`level`, `word`, `address` where there is one, then the keys of the line. No key of a line has one of these four names
(a test holds this). Numbers are numbers, all else is text as it came, with no escapes but those of JSON.
"""
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

from mxallowd.text import escape, printable

LOGGER = "mxallowd"


class Form(Enum):
    """How lines are written: what --log-format says."""

    TEXT = "text"
    JSON = "json"


def line_record(
    level: int, word: str, address: str | None, values: Mapping[str, object], *, form: Form = Form.TEXT
) -> logging.LogRecord:
    """A line as the handlers take it; `level` is one of logging's. Any values: what they hold is made printable."""
    # Not by Logger.log(), which walks the stack to find its caller: half of what a line costs.
    record = logging.LogRecord(LOGGER, level, "", 0, "", (), None)
    record.msg = (format_line(word, address, values) if form is Form.TEXT else
                  format_object(record.created, level, word, address, values))
    return record


def text_record(created: float, level: int, text: str) -> logging.LogRecord:
    """A line that was made before, at `created` (seconds since 1970)."""
    record = logging.LogRecord(LOGGER, level, "", 0, text, (), None)
    record.created = created
    return record


def format_line(word: str, address: str | None, values: Mapping[str, object]) -> str:
    """One line: word, [address], key=value with underscores of keys as hyphens; always printable."""
    parts = [word]
    if address is not None:
        parts.append(f"[{printable(address)}]")
    parts += [f"{key.replace('_', '-')}={format_value(str(value))}" for key, value in values.items()]
    return " ".join(parts)


def moment(created: float) -> str:
    """A time in seconds since 1970 as RFC 3339 has it, in UTC, with milliseconds."""
    return f"{datetime.fromtimestamp(created, UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def format_object(created: float, level: int, word: str, address: str | None, values: Mapping[str, object]) -> str:
    """One line as a JSON object (RFC 8259) of ASCII alone; `created` in seconds since 1970."""
    found: dict[str, object] = {"time": moment(created), "level": logging.getLevelName(level).lower(), "word": word}
    if address is not None:
        found["address"] = sound(address)
    for key, value in values.items():
        found[key.replace("_", "-")] = value if type(value) in (int, bool) else sound(str(value))
    return json.dumps(found)


def sound(text: str) -> str:
    """Text that every reader of JSON takes: half a pair of surrogates, which is a byte that was no text, as \\xNN."""
    if text.isascii():
        return text
    return "".join(escape(one) if "\ud800" <= one <= "\udfff" else one for one in text)


def format_value(text: str) -> str:
    """A value: as it is where it is one plain word, else in quotes with its quotes escaped."""
    safe = printable(text)
    if safe and " " not in safe and '"' not in safe and "=" not in safe:
        return safe
    return '"' + safe.replace('"', '\\"') + '"'
