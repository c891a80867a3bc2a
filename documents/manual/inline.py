"""A text's inline markup, as words for a macro line of mdoc(7) and as lines.

`code` becomes the macro of what it names (an option, a path, a command, else a literal), *words to be replaced* become
arguments, name(section) a reference. Nothing of a text is taken for a macro, an escape or a delimiter: every
word is escaped here.
"""
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from mxallowd.ctl import registry
from mxallowd.settings.options import BY_NAME

WIDTH = 78
CLOSING = ".,:;)]?!"
PROGRAMS = ("mxallowd", "mxallowctl", "mxallowd-console", "systemctl", "journalctl")
# Options and commands, which stand bold without quotes.
KEYWORDS = frozenset((*BY_NAME, *registry.names()))
_MARK = re.compile(r"`(?P<code>[^`]+)`|\*(?P<arg>[^*\s](?:[^*]*[^*\s])?)\*|(?P<page>[a-z][\w.-]*)\((?P<section>\d)\)")
# What mdoc parses in the arguments of a macro, and what it takes for punctuation there.
_MACRO = re.compile(r"[A-Z%][a-z0-9A-Z]{1,2}")
_PUNCTUATION = (*"([])|.,:;?!",)
_PATH = re.compile(r"/[\w./-]+|(docs|rulesets|packaging)/[\w./-]+|FILE\.lock|SOCKET\.lock|[\w.-]+\.(conf|list|sh|nft)")
# Behind it a sentence begins, unless it is a short form such as "e.g.".
_SENTENCE = re.compile(r"(?:(?<=[a-z0-9)\]\"'`][.?!])|(?<=[A-Z]{2}[.?!])|(?<=[.?!]\))) +(?=[^a-z]|mxallowd)")


@dataclass(frozen=True)
class Piece:
    """A part of a word: text, or a macro with its arguments."""

    macro: str  # "" of text
    text: tuple[str, ...]


def escaped(text: str, *, code: bool = False) -> str:
    """Text that means itself anywhere in a line; of code, dashes and quotes that can be copied."""
    text = text.replace("\\", "\\e").replace("…", "...").replace("~", "\\(ti").replace("^", "\\(ha")
    if code:
        text = text.replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)


def argument(text: str, *, code: bool = False) -> str:
    """Text as one argument of a macro."""
    done = escaped(text, code=code).replace('"', "\\(dq")
    if _MACRO.fullmatch(text) or text in _PUNCTUATION:
        done = f"\\&{done}"
    return f'"{done}"' if " " in done or not done else done


def _macros(code: str, *, term: bool) -> tuple[Piece, ...]:
    """The macros of a code span."""
    words = code.split(" ")
    if re.fullmatch(r"--?[A-Za-z][a-z-]*", words[0]):
        rest = tuple(argument(word, code=True) for word in words[1:])
        flag = Piece("Fl", (argument(words[0][1:], code=True),))
        return (flag, Piece("Cm", rest)) if rest else (flag,)
    if _PATH.fullmatch(code):
        return (Piece("Pa", (argument(code, code=True),)),)
    macro = "Cm" if term or words[0] in KEYWORDS else "Ic" if words[0] in PROGRAMS else "Ql"
    parts = (code,) if macro == "Ql" else tuple(words)
    return (Piece(macro, tuple(argument(part, code=True) for part in parts)),)


def words(text: str, *, term: bool = False) -> Iterator[tuple[Piece, ...]]:
    """The words of a text, each with its pieces; what stands between blanks is a word, and a code span is no two."""
    word: list[Piece] = []
    at = 0
    marks = [(found.start(), found.end(), found) for found in _MARK.finditer(text)]
    for start, end, found in [*marks, (len(text), len(text), None)]:
        for number, part in enumerate(re.split(r" +", text[at:start])):
            if number and word:
                yield tuple(word)
                word = []
            if part:
                word.append(Piece("", (part,)))
        if found and found["code"]:
            first, *others = _macros(found["code"], term=term)
            word.append(first)
            if others:
                yield tuple(word)
                word = others
        elif found and found["arg"]:
            word.append(Piece("Ar", (argument(found["arg"]),)))
        elif found:
            word.append(Piece("Xr", (found["page"], found["section"])))
        at = end
    if word:
        yield tuple(word)


def macro_line(text: str, *, term: bool = True, brackets: bool = True) -> str:
    """A text as arguments of a macro such as It; brackets become those of mdoc, which nest."""
    return " ".join(_arguments(word, brackets=brackets) for word in words(text, term=term))


def _arguments(word: tuple[Piece, ...], *, brackets: bool) -> str:
    done: list[str] = []
    glue = False  # whether the next piece follows without a blank
    for piece in word:
        if piece.macro:
            done += [*(["Ns"] if glue else []), piece.macro, *piece.text]
            glue = True
            continue
        text, behind = piece.text[0], ""
        while brackets and text.startswith("["):
            done.append("Oo")
            text, glue = text[1:], False
        while brackets and text.endswith("]") and "[" not in text:
            text, behind = text[:-1], f"{behind} Oc"
        if text and set(text) <= set(CLOSING) and done:
            done += list(text)
        elif text:
            done += [*(["Ns"] if glue else []), "No", _plain(text)]
        if behind:
            done.append(behind.strip())
        glue = bool(text) and not behind
    return " ".join(done)


def _plain(text: str) -> str:
    """Text among macros; what ends with a delimiter is none."""
    done = argument(text)
    return f"{done}\\&" if text[-1] in CLOSING and not done.endswith('"') else done


def lines(text: str) -> list[str]:
    """A text as lines of mdoc: a sentence begins a line, and a macro has its own."""
    found: list[str] = []
    for sentence in _SENTENCE.split(text):
        plain: list[str] = []
        for word in words(sentence):
            if all(not piece.macro for piece in word):
                plain.append("".join(escaped(piece.text[0]) for piece in word))
                continue
            found += _filled(plain)
            plain = []
            found.append(_macro_word(word))
        found += _filled(plain)
    return found


def _macro_word(word: tuple[Piece, ...]) -> str:
    if not word[0].macro:
        return f".Pf {argument(word[0].text[0])} {_arguments(word[1:], brackets=False)}"
    return f".{_arguments(word, brackets=False)}"


def _filled(plain: list[str]) -> list[str]:
    if not plain:
        return []
    filled = textwrap.wrap(" ".join(plain), WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in filled]
