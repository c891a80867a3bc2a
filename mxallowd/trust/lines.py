"""The file of trusted senders: a line is a word, what it is about, and perhaps a flag.

    spf example.org                  # the networks that its SPF record lets send
    dnswl list.dnswl.org 1           # hosts that this list knows, with at least this score
    network 192.0.2.0/24             # as in a list
    domain mx.example.net            # hosts with a confirmed reverse name there or below
    spf example.com first-mx-only    # and its hosts never try a second mail exchanger

What stands behind a # is the line's note. A file is taken whole or not at all.
"""
import codecs
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mxallowd.dns.hostnames import normal_name
from mxallowd.dns.zones import is_public_suffix
from mxallowd.lists.composition import ALLOW
from mxallowd.lists.files import MAX_FAULTS, MAX_NOTE, PIECE, Fault, ListError, breathe, content_of, record_for
from mxallowd.text import printable, quoted

SPF, DNSWL, NETWORK, DOMAIN = "spf", "dnswl", "network", "domain"
FIRST_MX_ONLY = "first-mx-only"
# Of each word: SPF records and lists are asked for over and over again; many networks are better a list of their own.
MOST = {SPF: 512, DNSWL: 8, NETWORK: 8192, DOMAIN: 8192}
MAX_BYTES = 4 << 20
LEAST_SCORE, HIGHEST_SCORE = 0, 3  # dnswl.org: none, low, medium, high


class TrustLine(NamedTuple):
    """One line that holds."""

    file: str
    number: int
    word: str  # SPF, DNSWL, NETWORK or DOMAIN
    subject: str  # a domain in lower case without a final dot; a network as it was written
    score: int = LEAST_SCORE  # of DNSWL: what is below does not count
    record: bytes = b""  # of NETWORK: as the engine takes it
    first_mx_only: bool = False
    note: str | None = None

    @property
    def where(self) -> str:
        """FILE:LINE, for people."""
        return f"{printable(self.file)}:{self.number}"

    @property
    def text(self) -> str:
        """The line as `explain` names it, without flag and note."""
        return f"{self.word} {self.subject}" + (f" {self.score}" if self.word == DNSWL else "")


def read(path: Path, *, as_we_are: bool = False, gently: bool = False) -> list[TrustLine]:
    """The lines of a file; it may wait for a second, so not on the main loop.

    `as_we_are`: with the rights of this process, not those of the broker's user. `gently`: in a thread beside the main
    loop, which is to have the interpreter meanwhile. Raises ListError.
    """
    return parse(content_of(path, as_we_are=as_we_are, most_bytes=MAX_BYTES), str(path), breathe if gently else None)


def problems(path: Path) -> list[Fault]:
    """What is wrong with the file, for --check."""
    try:
        read(path)
    except ListError as error:
        return error.faults
    return []


def parse(content: bytes, file: str, pause: Callable[[], None] | None = None) -> list[TrustLine]:
    """The lines in the content of `file`. `pause` is called every PIECE lines.

    Raises ListError, which has up to MAX_FAULTS faults.
    """
    shown = printable(file)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ListError([Fault(f"{shown}:1", "is text in UTF-16; save the file in UTF-8")])
    lines: dict[tuple[str, str], TrustLine] = {}
    faults: list[Fault] = []
    counts = dict.fromkeys(MOST, 0)
    for number, raw in enumerate(io.BytesIO(content.removeprefix(codecs.BOM_UTF8)), 1):
        if pause is not None and number % PIECE == 0:
            pause()
        front, _, behind = raw.decode("utf-8", "surrogateescape").partition("#")
        if not front.strip():
            continue
        try:
            line = _line(front.split(), file, number)._replace(note=printable(behind.strip())[:MAX_NOTE] or None)
            # Two lines about the same would have to agree about the flag and the score.
            if before := lines.get((line.word, line.subject)):
                raise ValueError(f"{quoted(f'{line.word} {line.subject}')} stands in line {before.number} already")
            counts[line.word] += 1
            if counts[line.word] > MOST[line.word]:
                faults.append(Fault(f"{shown}:{number}", f"is one more than {MOST[line.word]} lines {line.word}"))
                break
        except ValueError as error:
            faults.append(Fault(f"{shown}:{number}", str(error)))
            if len(faults) == MAX_FAULTS:
                break
            continue
        lines[line.word, line.subject] = line
    if faults:
        raise ListError(faults)
    return list(lines.values())


def _line(words: list[str], file: str, number: int) -> TrustLine:
    """Raises ValueError with the whole text."""
    word, rest = words[0], words[1:]
    if word not in MOST:
        raise ValueError(f"{quoted(word)} is none of spf, dnswl, network, domain")
    if first_mx_only := rest[-1:] == [FIRST_MX_ONLY]:
        rest = rest[:-1]
    if not rest:
        wanted = {SPF: "a domain", DNSWL: "a zone", NETWORK: "a network or an address", DOMAIN: "a domain"}[word]
        raise ValueError(f"{quoted(' '.join(words))} lacks {wanted}")
    subject, *more = rest
    line = TrustLine(file, number, word, subject, first_mx_only=first_mx_only)
    if word == DNSWL and more:
        line = line._replace(score=_score(more.pop(0)))
    if more:
        raise ValueError(f"{quoted(' '.join(more))} is too much behind {quoted(f'{word} {subject}')}; "
                         f"only {FIRST_MX_ONLY} may stand there")
    if word == NETWORK:
        try:
            return line._replace(record=record_for(subject, ALLOW))
        except ValueError as error:
            raise ValueError(f"{quoted(subject)} {error}") from None
    return line._replace(subject=_domain(word, subject))


def _score(text: str) -> int:
    if len(text) == 1 and text in "0123":
        return int(text)
    raise ValueError(f"{quoted(text)} is no score from {LEAST_SCORE} to {HIGHEST_SCORE}")


def _domain(word: str, text: str) -> str:
    name = normal_name(text)
    if name is None:
        raise ValueError(f"{quoted(text)} is no domain name")
    # Whoever buys a name below it would be trusted.
    if word == DOMAIN and is_public_suffix(name):
        raise ValueError(f"{quoted(text)} is a public suffix: anybody can have a name below it")
    return name
