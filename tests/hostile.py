"""Texts that others choose, at their worst, in every answer of a daemon; and what a page must not make of them."""
import html.parser
import ipaddress
import json
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from hypothesis import strategies as st

# Whatever becomes an element or an attribute by mistake is told by this word, and no template has it.
MARK = "zq7"
LONGEST = 65_536
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
PIECES = (
    f"<{MARK} {MARK}=1>", f"<script>window.{MARK}=1</script>", f"<img src=x onerror=window.{MARK}=1>",
    f'" onfocus="window.{MARK}=1" autofocus {MARK}="', f"' {MARK}='", f"--><{MARK}>", f"]]><{MARK}>",
    f"</title><{MARK}>", f"</textarea></select></pre></script></style><{MARK}>", f"javascript:window.{MARK}=1",
    f"&lt;{MARK}&gt;&#60;{MARK}&#62;", f"{{{{ {MARK} }}}}{{% {MARK} %}}", f"<svg><style><{MARK}>", "%3Cscript%3E",
    "&", "\\", "\\u202e", "\r\n\r\n", "\n", "\t", "\x00", "\x1b[2J\x1b]0;x\x07", "\x7f", "\x85", "\u2028", "\u2029",
    "\ufeff", "\u200b", "\ufffe", "\U000e0041", "\U000f0000", *BIDI, "\u05e9\u05dc", "\u0645\u0631",
    "e\u0301\u0301\u0301", "word", "192.0.2.1", "10.0.0.0/8", "..", "/../../etc/passwd", "//evil.example/",
    "?q=1&q=2", "#x")


class Long(str):
    """A text that is not shown as a whole where a test fails."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Its beginning and its length."""
        return f"<{self[:40]!r}, {len(self)} characters>"


TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.tuples(st.sampled_from(PIECES), st.integers(1, LONGEST)).map(
        lambda drawn: Long((drawn[0] * drawn[1])[:LONGEST])))
# By which pages choose what they show, beside the words that the API's document has.
CHOOSES = frozenset(("kind",))
# What is a text by its name, and nothing in most answers.
OFTEN_NOTHING = frozenset(("note", "name", "fault", "remedy", "gateway", "comment", "passed_over", "subject"))


@cache
def words() -> frozenset[str]:
    """The words that the API promises, by which programs decide something."""
    document = json.loads((resources.files("mxallowd.control") / "openapi.json").read_text(encoding="utf-8"))
    found: set[str] = set()

    def look(part: object) -> None:
        if isinstance(part, dict):
            found.update(one for one in [*part.get("enum", ()), part.get("const")] if isinstance(one, str))
            for one in part.values():
                look(one)
        elif isinstance(part, list):
            for one in part:
                look(one)
    look(document)
    return frozenset(found)


def _formal(text: str) -> bool:
    """Whether it is an address, a network, a time or a word of the API."""
    for form in (ipaddress.ip_network, datetime.fromisoformat):
        try:
            form(text)
        except ValueError:
            continue
        return True
    return text in words()


def spoiled(answer: object, text: Callable[[], str], *, everything: bool = False, key: str = "") -> Any:
    """The answer with another text in place of each of its texts; `everything`: also of those that have a form."""
    if isinstance(answer, dict):
        return {name: spoiled(one, text, everything=everything, key=name) for name, one in answer.items()}
    if isinstance(answer, list):
        return [spoiled(one, text, everything=everything, key=key) for one in answer]
    if isinstance(answer, str):
        return text() if everything or not (key in CHOOSES or _formal(answer)) else answer
    return text() if answer is None and key in OFTEN_NOTHING else answer


def raw(text: str) -> str:
    """The characters that no page may show as they are: controls, what turns the direction, what nobody sees."""
    return "".join(sorted({one for one in text if one not in "\n\t" and unicodedata.category(one) in (
        "Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp")}))


class Document(html.parser.HTMLParser):
    """What a reader of HTML makes of a page: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.elements.append(("!--", {"text": data}))

    def faults(self) -> list[str]:
        """What has become of texts and is none."""
        found = [f"element {tag} {fields}" for tag, fields in self.elements
                 if MARK in tag or tag in ("iframe", "object", "base", "style", "!--")
                 or any(MARK in name or name == "style" or name.startswith("on") for name in fields)]
        found += [f"script {fields}" for tag, fields in self.elements
                  if tag == "script" and not fields.get("src", "").startswith("/files/")]
        found += [f"link {tag} {value[:80]!r}" for tag, fields in self.elements for name, value in fields.items()
                  if name in ("href", "src", "action", "formaction") and not _own(value)]
        shown = [self.text, *(value for _, fields in self.elements for value in fields.values())]
        return found + [f"raw {characters!r} in {one[:80]!r}" for one in shown if (characters := raw(one))]


def _own(link: str) -> bool:
    """Whether it leads to a place of the console itself."""
    return link.startswith(("/", "?", "#")) and not link.startswith(("//", "/\\"))


# The same, asked of the browser: what it has made of a page.
IN_BROWSER = f"""() => {{
    const found = [];
    for (const one of document.querySelectorAll('*')) {{
        const names = one.getAttributeNames();
        if (one.localName.includes('{MARK}') || ['iframe', 'object', 'base'].includes(one.localName)
            || names.some(name => name.includes('{MARK}') || name.startsWith('on')))
            found.push('element ' + one.outerHTML.slice(0, 200));
        if (one.localName === 'script' && !one.src.startsWith(location.origin + '/files/'))
            found.push('script ' + one.outerHTML.slice(0, 200));
        for (const name of ['href', 'src', 'action', 'formAction'])
            if (typeof one[name] === 'string' && one[name] && !one[name].startsWith(location.origin + '/'))
                found.push('link ' + one[name].slice(0, 200));
    }}
    if (window.{MARK}) found.push('a script has run');
    return found;
}}"""
SHOWN = """() => [document.title, document.documentElement.innerText, ...[...document.querySelectorAll('*')].flatMap(
    one => ['title', 'alt', 'placeholder', 'aria-label', 'value'].map(name => one.getAttribute(name) || ''))]"""
