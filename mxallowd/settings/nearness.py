"""What is nearly an option: a line or a word that its writer took for one, although it is none.

Passed over in silence, it leaves a server unprotected. So it is an error that gives the right spelling. What is like no
option stays what it was in mxallowd 1.9: of a file a warning, or nothing at all where the name has one or two letters.

Near is, in this order: the same letters and digits (`real_mailserver`, `real-mailserver:`, `--real-mailserver`, also
with characters that look like others or like nothing); the value without a blank before it; the letter of the command
line with a value that its option takes (`r 192.0.2.20`, `-r…`); a small mistake of typing; and a part of the name with
such a value (`real 192.0.2.20`). For the mail servers more is near, since of them a line that is passed over is a hole:
their letters with any value, and their names among the first words (`export real-mailserver …`).
"""
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from mxallowd.settings.options import OPTIONS, SWITCHED_OFF, SWITCHED_ON, Kind, Option
from mxallowd.settings.values import NFT_FAMILIES

# For these the line was meant as a comment of another program, and 1.9 passed over it.
_OTHER_COMMENTS = (";", "//", "!", "%", "'", "*", "<!--")
_AROUND_A_NAME = "'*"  # of these, those that may stand around a name
_MAIL_SERVER = "mailserver"  # in the names of the options that protect
_FIRST_WORDS = 3  # among which the whole name of such an option is taken for it
_BETWEEN_WORDS = re.compile(r"[\s,;|/()\[\]{}<>=\"'`*#]+")
_LETTER_AND_MORE = re.compile(r"""["'`]?(\w)["'`]?(?:[,;|(]|[./](?=\d)|(?=[\s=:\[>]))(.*)""", re.DOTALL)
_COMMAND = re.compile(r"(\S*/)?mxallowd\s+(?=-)", re.IGNORECASE)  # the command line, copied
_COMMENT = re.compile(r"\s*(#|;|//).*", re.DOTALL)
_LOOKS_LIKE_DASH = dict.fromkeys((0x2212, 0x30FC, 0x2500, 0x2501, 0x02D7, 0x2043), "-")
# Bytes that are no UTF-8 (PEP 383): no-break space, soft hyphen and dashes of Latin-1 and of Windows.
_LATIN = {0xDCA0: " ", 0xDCAD: "", 0xDC96: "-", 0xDC97: "-", 0xDCAF: "-"}
_LEAST_OF_A_PART = 3  # letters
_SHORT = 10
_MOST = 160  # characters of a line that are looked at: a name and an address fit

Found = tuple[tuple[Option, ...], str]


def plain(text: str) -> str:
    """`text` with look-alikes replaced: any blanks, dashes and full-width letters; what is invisible is gone."""
    text = unicodedata.normalize("NFKC", text.translate(_LATIN))
    characters = []
    for character in text.translate(_LOOKS_LIKE_DASH):
        category = unicodedata.category(character)
        if category in ("Zs", "Zl", "Zp") or character in "\t\v\f\r\x85":
            characters.append(" ")
        elif category == "Pd":
            characters.append("-")
        elif category not in ("Cf", "Cc", "Mn") and not 0xFE00 <= ord(character) <= 0xFE0F:
            characters.append(character)
    return "".join(characters)


def letters(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return "".join(character for character in text.lower() if character.isalnum())


_CANONICAL = {letters(option.name): option for option in OPTIONS}


def near(line: str, options: Iterable[Option]) -> Found:
    """The options that a line with a name and perhaps a value nearly gives, and the value; no options: it is like none.

    More than one where each is as near as the other. The line is one that does not give an option as it should.
    """
    return _near(line[:_MOST], frozenset(option.name for option in options))


@lru_cache(1024)
def _near(line: str, wanted: frozenset[str]) -> Found:
    text = plain(line).strip()
    among = {name: option for name, option in _CANONICAL.items() if option.name in wanted}
    if not text or text.startswith(("#", *_OTHER_COMMENTS)):
        # A blank behind the sign makes it a comment.
        if text and text[0] in _AROUND_A_NAME and text[1:2].isalnum():
            return _unclean(text, among) or _mail_server(text, among) or ((), "")
        return (), ""
    text = _COMMAND.sub("", text, count=1) if _COMMAND.match(text) else text
    dashed = text.startswith("-")
    text = text.lstrip("-+ ").strip()
    name, value = _split(text)
    readings = [(letters(name), value), *_joined(text)]
    return (_same(readings, among) or _glued(text, among) or _letter(text, value, among, dashed=dashed)
            or _unclean(text, among) or _mail_server(text, among) or _nft_table(name, value, among)
            or _typed(readings, among) or _part(name, value, among) or ((), ""))


def described(found: Found, prefix: str = "") -> str:
    """What should be written in place of it: `real-mailserver 192.0.2.20`."""
    options, value = found
    return " or ".join(f"{prefix}{option.name}" + _shown(option, value) for option in options)


def fits(option: Option, value: str) -> bool:
    """Whether the option takes this value; a flag takes none."""
    if option.kind in (Kind.FLAG, Kind.ACTION):
        return not value
    try:
        option.convert(value)
    except ValueError:
        return False
    return bool(value)


def distance(one: str, other: str, most: int = 1000) -> int:
    """How many letters are missing, too many, wrong or exchanged with their neighbour (optimal string alignment).

    Above `most` any larger number will do.
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        row = [at]
        for to, wanted in enumerate(other, 1):
            cost = min(last[to] + 1, row[to - 1] + 1, last[to - 1] + (letter != wanted))
            if at > 1 and to > 1 and letter == other[to - 2] and one[at - 2] == wanted:
                cost = min(cost, before[to - 2] + 1)
            row.append(cost)
        if min(row) > most and min(last) > most:
            # No way leads back from two such rows.
            return most + 1
        before, last = last, row
    return last[-1]


def allowed(name: str) -> int:
    """How many such mistakes leave a canonical name recognizable."""
    return 1 if len(name) <= 5 else 2 if len(name) <= 10 else 3


def _shown(option: Option, value: str) -> str:
    if option.kind in (Kind.FLAG, Kind.ACTION):
        return " (or no line at all)" if value.lower() in SWITCHED_OFF else ""
    clean = _COMMENT.sub("", value).strip(" ,;[]()")
    return f" {clean}" if fits(option, clean) else f" {option.metavar}"


def _split(text: str) -> tuple[str, str]:
    match = re.match(r"[\"'`]?([^\s=:\"'`]*)[\"'`]?(.*)", text, re.DOTALL)
    assert match
    return match[1], _value(match[2])


def _value(rest: str) -> str:
    """The value in what follows a name: without signs before it and quotes around it. An address begins with ::."""
    return re.sub(r"^[\s=>-]*(:(?!:))?[\s=>-]*", "", rest).strip().strip("\"'`")


def _joined(text: str) -> Iterable[tuple[str, str]]:
    """The line read as a name of two, three or four words, and the value behind it."""
    words = re.split(r"([\s=:]+)", text)
    for count in (3, 5, 7):
        if count <= len(words):
            yield letters("".join(words[:count])), _value("".join(words[count:]))


def _same(readings: Iterable[tuple[str, str]], among: dict[str, Option]) -> Found | None:
    """The same letters."""
    return next((((among[written],), value) for written, value in readings if written in among), None)


def _glued(text: str, among: dict[str, Option]) -> Found | None:
    """The value follows without a blank: `real-mailserver192.0.2.20`."""
    for name, option in among.items():
        rest = _behind(text, name)
        if rest and option.kind not in (Kind.FLAG, Kind.ACTION) and fits(option, rest) and rest[0] in "0123456789:/":
            return (option,), rest
    return None


def _behind(text: str, name: str) -> str:
    """What stands behind the letters of a name with whatever is between them; nothing where it does not begin so."""
    missing = name
    for at, character in enumerate(text):
        if not missing:
            return _value(text[at:])
        if character.isalnum():
            if character.lower() != missing[0]:
                return ""
            missing = missing[1:]
    return ""


def _letter(text: str, value: str, among: dict[str, Option], *, dashed: bool) -> Found | None:
    """The letter of the command line. Upper and lower case are the same in a file, so either may be meant."""
    if dashed and text.isalpha() and len(text) <= _SHORT:
        flags = tuple(option for option in among.values() if option.kind is Kind.FLAG and set(option.short) & set(text))
        if set(text) <= {short for option in flags for short in option.short}:
            return flags[:1] if len(text) == 1 else flags, ""
    for option in among.values():
        for short in option.short:
            if text[:1].lower() != short.lower():
                continue
            rest = text[1:]
            alone = not rest or not rest[0].isalnum()
            given = value if alone else rest.strip()
            # Without a dash a letter with more behind it is a word, unless that is an address.
            if fits(option, given) and (alone or dashed or ("mailserver" in option.name and not fits(option, text))):
                return (option,), given
            if dashed and alone and (given or option.kind is not Kind.FLAG) and text[0] == short:
                return (option,), given
    return None


def _unclean(text: str, among: dict[str, Option]) -> Found | None:
    """A letter with a value that its option would not take as it stands: `r 192.0.2.20 # second`, `t 1h`, `q yes`.

    Of an option that protects any value counts, of others one that begins as it should.
    """
    match = _LETTER_AND_MORE.match(text)
    given = _value(match[2]) if match else ""
    if not match or not given:
        return None
    # Where the case decides, it does: -f and -F are two.
    for letter in (match[1], match[1].swapcase()):
        for option in among.values():
            if letter in option.short and (_MAIL_SERVER in option.name or _begins(option, given)):
                return (option,), given
    return None


def _begins(option: Option, value: str) -> bool:
    """Whether a value begins like one of this option; behind a flag, whether it is a comment or switches it."""
    if option.kind in (Kind.FLAG, Kind.ACTION):
        first = _BETWEEN_WORDS.split(value.lower(), maxsplit=1)[0]
        return bool(_COMMENT.match(value)) or first.rstrip(".!") in (*SWITCHED_ON, *SWITCHED_OFF)
    return value[0].isdigit() or any(fits(option, value[:length]) for length in range(len(value), 0, -1))


def _mail_server(text: str, among: dict[str, Option]) -> Found | None:
    """The name of a mail server's option among the first words, or a word like it beside an address."""
    protecting = {name: option for name, option in among.items() if _MAIL_SERVER in name}
    words = [word for word in _BETWEEN_WORDS.split(text) if word]
    addresses = [next((end for end in (word, word.strip(".:"), word.partition(".")[2], word.partition(":")[2])
                       if any(fits(option, end) for option in protecting.values())), "") for word in words]
    found = [address for address in addresses if address]
    value = found[0] if len(found) == 1 else ""
    for word in words[:_FIRST_WORDS]:
        for piece in re.split(r"[.:]", word):
            if letters(piece) in protecting:
                return (protecting[letters(piece)],), value
    for at, word in enumerate(words):
        written = letters(word)
        if _MAIL_SERVER in written and any(addresses[max(at - 1, 0):at + 2]):
            meant = tuple(option for option in protecting.values() if option.name.partition("-")[0] in written)
            return meant or tuple(protecting.values()), value
    return None


def _nft_table(name: str, value: str, among: dict[str, Option]) -> Found | None:
    """A table of nft with its family, as nft writes it: `table inet mxallowd`, `nft-set inet mxallowd`."""
    option = among.get("nfttable")
    words = value.split()
    if option and len(words) > 1 and words[0] in NFT_FAMILIES and re.search("nft|table|set", name.lower()):
        return (option,), value
    return None


def _typed(readings: Iterable[tuple[str, str]], among: dict[str, Option]) -> Found | None:
    """Small mistakes; of several names the nearest."""
    for number, (written, value) in enumerate(readings):
        steps = {name: distance(written, name, allowed(name)) for name in among
                 if abs(len(written) - len(name)) <= allowed(name) and len(written) >= _LEAST_OF_A_PART
                 # A short name with its value behind it is soon like another one.
                 and (number == 0 or len(name) > _SHORT)}
        near_enough = {name: step for name, step in steps.items() if step <= allowed(name)}
        if near_enough:
            least = min(near_enough.values())
            return tuple(among[name] for name, step in near_enough.items() if step == least), value
    return None


def _part(name: str, value: str, among: dict[str, Option]) -> Found | None:
    """The beginning of a name, or most of it, and a value that the option takes."""
    written = letters(name)
    if len(written) < _LEAST_OF_A_PART:
        return None
    parts = [part for part in re.split(r"[-_.]", name.lower()) if part]
    found = []
    for canonical, option in among.items():
        most = len(written) * 3 > len(canonical) * 2 and all(part in option.name for part in parts)
        if (canonical.startswith(written) or most) and fits(option, value):
            found.append(option)
    return (tuple(found), value) if found else None
