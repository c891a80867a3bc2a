"""The text of an SPF record, taken apart by the grammar of RFC 7208 (section 12). Pure functions."""
import ipaddress
import re
from collections.abc import Generator, Iterable
from typing import NamedTuple

from mxallowd.errors import MxallowdError
from mxallowd.lists.composition import Network
from mxallowd.text import quoted

VERSION = "v=spf1"
TURN = 64  # terms between two pauses: some 0.5 ms
TURN_LENGTH = 2048  # characters between two pauses, likewise
LONGEST_TERM = 1024  # ours: a name has 255 characters (RFC 1035, 2.3.4), and is cut to them where it has macros (7.3)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)\Z", re.IGNORECASE | re.DOTALL)
_DIRECTIVE = re.compile(r"([-+?~]?)([a-z0-9]+)(.*)\Z", re.IGNORECASE | re.DOTALL)
_LENGTH = "(0|[1-9][0-9]{0,2})"
_LENGTHS = re.compile(rf"(.*?)(?:/{_LENGTH})?(?://{_LENGTH})?\Z", re.DOTALL)
# The letters c, r and t are for explanations alone (7.2).
_MACRO = re.compile(r"%(?:[%_-]|\{([a-z])([0-9]*)r?[.+,/_=-]*\})", re.IGNORECASE)
_LETTERS, _LETTERS_OF_EXP = frozenset("slodiphv"), frozenset("slodiphvcrt")
_VISIBLE = re.compile("[!-~]*")
# Of the last label (7.1), which is as long as one may be (RFC 1035, 2.3.4): the record is as long as its author likes.
_TOP_LABEL = re.compile("(?![0-9]+\\Z)[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?", re.IGNORECASE)
_BITS = {4: 32, 6: 128}


class RecordError(MxallowdError):
    """The record is wrong: whoever reads it has to take it as an error for good (4.6, 2.6.7)."""


class Term(NamedTuple):
    """A directive."""

    text: str
    qualifier: str  # + - ? ~
    mechanism: str  # all include a mx ptr ip4 ip6 exists
    domain: str | None = None  # None: that of the record
    has_macro: bool = False  # in the domain: it depends on who asks
    network: Network | None = None  # of ip4 and ip6
    lengths: tuple[int, int] = (32, 128)  # of a and mx: for IPv4, for IPv6


class Record(NamedTuple):
    """A record without errors."""

    terms: list[Term]
    redirect: str | None
    redirect_has_macro: bool


def select(texts: Iterable[str]) -> str | None:
    """The SPF record among the TXT records of a domain (4.5); None: there is none. Raises RecordError."""
    found = [text for text in texts if text.partition(" ")[0].lower() == VERSION]
    if len(found) > 1:
        raise RecordError(f"has {len(found)} SPF records")
    return found[0] if found else None


def parse(text: str) -> Generator[None, None, Record]:
    """The directives in their order; pauses every TURN terms, or every TURN_LENGTH characters. Raises RecordError."""
    if not text.isascii():
        raise RecordError("has an SPF record that is not in ASCII")
    terms: list[Term] = []
    once: dict[str, str] = {}
    length = 0  # since the last pause
    for number, word in enumerate(text[len(VERSION) :].split(" "), 1):
        length += len(word)
        if number % TURN == 0 or length > TURN_LENGTH:
            length = 0
            yield
        if not word:
            continue
        if len(word) > LONGEST_TERM:
            raise RecordError(f"has a term that is too long: {quoted(word)}")
        if modifier := _MODIFIER.match(word):
            name, value = modifier[1].lower(), modifier[2]
            if name in ("redirect", "exp"):
                if name in once:
                    raise RecordError(f"has {name}= twice")
                once[name] = value
                _check_domain(value, word)
            else:
                _has_macro(value, word, _LETTERS_OF_EXP)
        else:
            terms.append(_term(word))
    redirect = once.get("redirect")
    return Record(terms, redirect, redirect is not None and "%" in redirect)


def _term(word: str) -> Term:
    match = _DIRECTIVE.match(word)
    if match is None:
        raise RecordError(f"has a term that is none: {quoted(word)}")
    qualifier, mechanism, rest = match[1] or "+", match[2].lower(), match[3]
    term = Term(word, qualifier, mechanism)
    if mechanism in ("ip4", "ip6"):
        return term._replace(network=_network(rest, 4 if mechanism == "ip4" else 6, word))
    if mechanism in ("a", "mx"):
        split = _LENGTHS.match(rest)
        assert split is not None
        rest, lengths = split[1], (int(split[2] or 32), int(split[3] or 128))
        if lengths[0] > _BITS[4] or lengths[1] > _BITS[6]:
            raise RecordError(f"has a prefix that is too long: {quoted(word)}")
        term = term._replace(lengths=lengths)
    elif mechanism not in ("all", "include", "exists", "ptr"):
        raise RecordError(f"has a term that is none: {quoted(word)}")
    if not rest and mechanism not in ("include", "exists"):
        return term
    if not rest.startswith(":") or mechanism == "all":
        raise RecordError(f"has a term that is wrong: {quoted(word)}")
    domain = rest[1:]
    return term._replace(domain=domain.removesuffix("."), has_macro=_check_domain(domain, word))


def _network(rest: str, version: int, word: str) -> Network:
    address, slash, length = rest[1:].partition("/")
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    try:
        packed = int(kind(address))
        # ipaddress takes more than RFC 7208 (12): zones, and lengths with leading zeros.
        if not rest.startswith(":") or "%" in address or (slash and not re.fullmatch(_LENGTH, length)):
            raise ValueError
        bits = int(length) if slash else _BITS[version]
        if bits > _BITS[version]:
            raise ValueError
    except ValueError:
        raise RecordError(f"has a network that is none: {quoted(word)}") from None
    host_bits = _BITS[version] - bits
    first = packed >> host_bits << host_bits
    return ipaddress.IPv4Network((first, bits)) if version == 4 else ipaddress.IPv6Network((first, bits))


def _check_domain(text: str, word: str) -> bool:
    """Whether a domain-spec (7.1) has a macro. Raises RecordError where it is none."""
    has_macro = _has_macro(text, word, _LETTERS)
    end = max((match.end() for match in _MACRO.finditer(text)), default=0)
    _, dot, label = text[end:].removesuffix(".").rpartition(".")
    if not (has_macro and end == len(text)) and not (dot and _TOP_LABEL.fullmatch(label)):
        raise RecordError(f"has a domain that is none: {quoted(word)}")
    return has_macro


def _has_macro(text: str, word: str, letters: frozenset[str]) -> bool:
    if not _VISIBLE.fullmatch(text):
        raise RecordError(f"has characters that may not be there: {quoted(word)}")
    found = list(_MACRO.finditer(text))
    wrong = "%" in _MACRO.sub("", text)
    for match in found:
        letter, digits = match[1], match[2]
        # There may be thousands of digits, more than int() takes.
        is_zero = bool(digits) and not digits.strip("0")
        wrong = wrong or (letter is not None and (letter.lower() not in letters or is_zero))
    if wrong:
        raise RecordError(f"has a macro that is none: {quoted(word)}")
    return bool(found)
