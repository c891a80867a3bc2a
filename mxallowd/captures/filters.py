"""Capture filters for sources that libpcap cannot filter: NFLOG, PFLOG on some systems, and files.

In a file VLAN tags, PPPoE or IPv6 extension headers may stand before TCP, where a filter of libpcap finds no port.

A filter in the usual words (pcap-filter(7)) becomes a short program that the compiled code runs on each packet. The
common forms alone are understood: `port N`, `src port N` and `dst port N`, each with `tcp` before it or without, `tcp`
alone, and `and`, `or` and parentheses between them. As in libpcap `and` and `or` have the same precedence, from left to
right, and `port 25 or 587` means `port 25 or port 587`. N is a number or the name of a service.
"""
import re
import socket
from collections.abc import Callable
from typing import Any

from mxallowd.captures._capture import FILTER_AND, FILTER_ANY, FILTER_OR, FILTER_PORT, MAX_FILTER
from mxallowd.text import quoted

NFLOG, PFLOG = 239, 117  # https://www.tcpdump.org/linktypes.html
SOURCE, DESTINATION = 1, 2  # ends of a connection, as bits
_WORD = re.compile(r"\s*(\(|\)|&&|\|\||[A-Za-z0-9_.:/-]+|\S)")
_SYNONYMS = {"&&": "and", "||": "or"}
_JOINING = {"and": FILTER_AND, "or": FILTER_OR}


def compile_filter(text: str) -> bytes:
    """The program of a filter, instructions of 4 bytes each. Raises ValueError with what is not understood."""
    words = [_SYNONYMS.get(word, word) for word in _WORD.findall(text)]
    program = _Parser(words).whole()
    if len(program) > MAX_FILTER:
        raise ValueError(f"has more than {MAX_FILTER // 4} parts")
    return program


def install(handle: Any, text: str) -> bytes:
    """Let libpcap filter a handle of pcapy, where it can; the program for what it hands over. Raises ValueError."""
    import pcapy  # noqa: PLC0415  # it made the handle; who only checks a filter does without

    if handle.datalink() in (NFLOG, PFLOG):
        return compile_filter(text)
    try:
        handle.setfilter(text)
    except pcapy.PcapError as error:
        raise ValueError(f"is refused by libpcap: {error}") from None
    return _instruction(FILTER_ANY)


def for_file(text: str) -> tuple[bytes, Callable[[bytes], bool] | None]:
    """The program of a filter for a file, and what is to be asked about each IP packet besides.

    What we do not compile ourselves libpcap is asked about, with the link header taken off. Raises ValueError.
    """
    try:
        return compile_filter(text), None
    except ValueError as error:
        import pcapy  # noqa: PLC0415  # only these filters need it

        try:
            program = pcapy.compile(pcapy.DLT_RAW, 65535, text, 1, 0xFFFFFFFF)
        except (pcapy.PcapError, pcapy.BPFError, UnicodeError, TypeError, ValueError) as refused:
            raise ValueError(f"is refused by libpcap: {refused}; of a file it sees no link headers, and of our own "
                             f"words it {error}") from None
        return _instruction(FILTER_ANY), lambda packet: bool(program.filter(packet))


def destination_port(port: int) -> bytes:
    """The program of `dst port N`."""
    return _instruction(FILTER_PORT, DESTINATION, port)


def _instruction(operation: int, ends: int = 0, port: int = 0) -> bytes:
    return bytes([operation, ends]) + port.to_bytes(2, "big")


class _Parser:
    """Recursive descent over the words; the program comes out in postfix order."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0
        self._port_of: Callable[[int], bytes] | None = None  # what a bare number after and/or means
        self._depth = 0

    def whole(self) -> bytes:
        if not self._words:
            return _instruction(FILTER_ANY)
        program = self._expression()
        if self._at < len(self._words):
            raise ValueError(f"has {quoted(self._words[self._at])} where its end, and, or or was expected")
        return program

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1] if self._at <= len(self._words) else ""

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _expression(self) -> bytes:
        program = self._term()
        while self._peek() in _JOINING:
            joining = _JOINING[self._next()]
            program += self._term() + _instruction(joining)
        return program

    def _term(self) -> bytes:
        word = self._peek()
        if word == "(":
            self._next()
            self._depth += 1
            if self._depth > 16:
                raise ValueError("has too many parentheses inside each other")
            program = self._expression()
            if self._next() != ")":
                raise ValueError("has a parenthesis that is not closed")
            self._depth -= 1
            return program
        if self._port_of and word.isdigit():
            return self._port_of(_port(self._next()))
        return self._primitive()

    def _primitive(self) -> bytes:
        ends = SOURCE | DESTINATION
        tcp = self._peek() == "tcp"
        if tcp:
            self._next()
        if self._peek() in ("src", "dst"):
            ends = SOURCE if self._next() == "src" else DESTINATION
        elif tcp and self._peek() != "port":
            # All that is looked at is TCP: the word alone is always true.
            return _instruction(FILTER_ANY)
        word = self._next()
        if word != "port":
            raise ValueError(
                f"has {quoted(word)}, and here only port, tcp, src port, dst port, and, or and parentheses can be used"
                if word else "ends where port or tcp was expected")
        word = self._next()
        if not word:
            raise ValueError("has no port after port")
        self._port_of = lambda port: _instruction(FILTER_PORT, ends, port)
        return self._port_of(_port(word))


def _port(word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= 65535:
        return int(word)
    try:
        return socket.getservbyname(word, "tcp")
    except (OSError, ValueError):
        # ValueError: it cannot even be asked for, with a zero byte or what is no text.
        raise ValueError(f"has {quoted(word)}, which is neither a port from 0 to 65535 nor a service") from None
