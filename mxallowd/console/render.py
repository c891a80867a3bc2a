"""From a page to HTML: Jinja templates of the package, and the one rule that what they show is text.

Each value is escaped by Jinja (autoescape). Before that, characters that are not printable become visible escapes,
those that turn the direction of text among them, and a long text is shortened: no host name, note or line of the log
can hide or move what stands beside it.
"""
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from mxallowd.console.assets import build
from mxallowd.ctl.output import safe

LONGEST = 1000  # characters of one value
_STAMP = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z)\b", re.ASCII)
NOTHING = "\N{EN DASH}"


class Renderer:
    """The templates; all of them are compiled at the start, before the sandbox."""

    def __init__(self) -> None:
        folder = resources.files("mxallowd.console") / "templates"
        sources = {one.name: one.read_text("utf-8") for one in folder.iterdir() if one.name.endswith(".html")}
        self._environment = Environment(
            loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, finalize=shown, auto_reload=False,
            trim_blocks=True, lstrip_blocks=True)
        self._environment.globals["build"] = build()
        self._environment.filters.update(
            counted=counted, duration=duration, number=number, moment=moment, plain=plain, timed=timed)
        self._templates = {name: self._environment.get_template(name) for name in sources}

    def html(self, template: str, values: Mapping[str, object]) -> str:
        """The whole document."""
        return self._templates[template].render(values)


def shown(value: object) -> object:
    """What a template shows for a value."""
    if value is None:
        return NOTHING
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    more = f"\N{HORIZONTAL ELLIPSIS} ({len(value)} characters)" if len(value) > LONGEST else ""
    # A backslash stays: what the daemon has quoted is as it should be, and what was typed goes back into its field.
    return safe(value[:LONGEST]) + more


def number(value: float | None) -> str:
    """A number with blanks between thousands, which no reader takes for a decimal mark."""
    if value is None:
        return NOTHING
    # No text of others, and the blank is none that shown() lets stand.
    return Markup("{}").format(f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"))


def counted(count: int, one: str, many: str = "") -> str:
    """So many of these: `1 host`, `2 hosts`; `many` where it is not `one` with an s."""
    return Markup("{} {}").format(number(count), one if count == 1 else many or f"{one}s")


def timed(text: str) -> Any:
    """A sentence of the daemon, in which each time of the API is shown as moment() does."""
    parts = _STAMP.split(text)
    return Markup("").join(moment(part) if index % 2 else Markup("{}").format(shown(part))
                           for index, part in enumerate(parts))


def plain(network: str) -> str:
    """A network as people call it: one of a single host by its address."""
    return network.removesuffix("/128" if ":" in network else "/32")


def duration(seconds: float | None) -> str:
    """Seconds for people: `59 s`, `5 min`, `7 h`, `3 d`; the largest unit of which there are two or more."""
    if seconds is None:
        return NOTHING
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def moment(text: str | None) -> Any:
    """A time of the API as a `time` element, with its zone; the script adds how long ago that is, and the own zone."""
    if text is None:
        return NOTHING
    try:
        when = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return text
    return Markup('<time datetime="{}">{}</time>').format(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M:%S UTC"))
