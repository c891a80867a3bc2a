"""The grammar of a line: a fixed first word, the address in brackets where there is one, then key=value pairs."""
import logging
from collections.abc import Mapping

from mxallowd.text import printable

LOGGER = "mxallowd"


def line_record(level: int, word: str, address: str | None, values: Mapping[str, object]) -> logging.LogRecord:
    """A line as the handlers take it; `level` is one of logging's. Any values: what they hold is made printable."""
    # Not by Logger.log(), which walks the stack to find its caller: half of what a line costs.
    return logging.LogRecord(LOGGER, level, "", 0, format_line(word, address, values), (), None)


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


def format_value(text: str) -> str:
    """A value: as it is where it is one plain word, else in quotes with its quotes escaped."""
    safe = printable(text)
    if safe and " " not in safe and '"' not in safe and "=" not in safe:
        return safe
    return '"' + safe.replace('"', '\\"') + '"'
