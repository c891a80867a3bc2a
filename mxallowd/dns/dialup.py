"""Dial-up patterns: whether a rule made a reverse DNS name, for a line or a leased machine, or somebody for a server.

Whoever has such a line has a confirmed name below the provider's domain, as all other customers have. So the name says
nothing about who sends, and nobody may get in for it. carries_address() judges by the name and the address alone:

    whole address     in any order, joiner and base, or one number            but a label of mail servers is behind it
    a part of it      two or three octets beside each other, half of IPv6     but a word of mail servers is in the name
    a line's word     with a number in its label                              but a word of mail servers is in the label
    a line's word     with a number elsewhere in the name                     but a word of mail servers is in the name
    a shared word     with a number; or a number below a provider's domain    but a word of mail servers is in the name

Words stand in linewords.py. Numbers and words count below the registered domain; a word of mail servers counts in the
domain's own label as well ("m12-7.mailgun.net"). A name without any number ("mail.example.org") never counts.

A wrong guess: a server taken for a line waits as everybody does; a line taken for a server gets in if a host of its
provider's domain is whitelisted, and takes one of that domain's places.

    mail.192-0-2-7.example.net   a line: the customer called his host "mail", the address says that it is one of many
    192-0-2-7.mail.example.net   not: the provider's own mail servers are numbered so, as those of Facebook and QQ are
    static-7.example.net         not: "static" is no word of lines, and companies have their servers there
"""
import re
from collections import Counter
from collections.abc import Sequence

from mxallowd.dns.linewords import (
    LINE_AFFIXES,
    LINE_WORDS,
    MAIL_PARTS,
    MAIL_WORDS,
    NUMBERED_DOMAINS,
    SHARED_WORDS,
)
from mxallowd.dns.zones import registered_domain
from mxallowd.engine.events import MAPPED

LONGEST = 255  # characters that are looked at; no name has more (RFC 1035, 2.3.4)
LEAST_DIGITS = 7  # of octets written without a joiner and without zeros before them
LEAST_GROUPS = 3  # of an IPv6 address beside each other, those of zero left out
_NUMBER = re.compile("[0-9]+")
_LETTERS = re.compile("[a-z]+")
_GROUPS = re.compile("[0-9a-f]+")
_JOINERS = re.compile("[^0-9a-z]+")
# Four octets with one joiner: an address, if not this host's.
_QUAD = re.compile(r"(?<![0-9])([0-9]{1,3})([-._x])([0-9]{1,3})\2([0-9]{1,3})\2([0-9]{1,3})(?![0-9])")
_EMBEDDED = (b"\x20\x02", 2), (bytes.fromhex("0064ff9b0000000000000000"), 12)  # 6to4 (RFC 3056), NAT64 (RFC 6052)
_EUI = b"\xff\xfe"  # in the middle of an interface identifier made of a MAC address (RFC 4291, appendix A)


def carries_address(name: str, host: bytes) -> bool:
    """Whether this reverse DNS name of a host is one that a rule has made, by the patterns above.

    `name` in any spelling; `host` is 16 bytes, IPv4 in IPv4-mapped form. ValueError: it is not 16 bytes.
    """
    if len(host) != 16:
        raise ValueError(f"{len(host)} bytes are no host")
    name = name.strip().lower().rstrip(".")[:LONGEST]
    domain = registered_domain(name)
    below = name.removesuffix(domain).rstrip(".")
    address = _address4(host)
    whole = _has_quad(name) or (_whole4(name, address) if address else False)
    if whole or (not host.startswith(MAPPED) and _whole6(name, host)):
        return not _has_mail_label_behind(below)
    if not _NUMBER.search(below) and not _part6(below, host):
        return False
    mail = _has_mail_word(f"{below}.{domain.partition('.')[0]}")
    if not mail and (_part4(below, address) if address else _part6(below, host)):
        return True
    return _has_line_word(below, domain, mail=mail)


# ---- IPv4

def _address4(host: bytes) -> bytes:
    """The four octets that a name can carry: its own, or those of which an IPv6 address was made; else none."""
    if host.startswith(MAPPED):
        return host[12:]
    for prefix, start in _EMBEDDED:
        if host.startswith(prefix):
            return host[start:start + 4]
    return b""


def _has_quad(name: str) -> bool:
    """Four octets of whatever address, written as such."""
    return any(int(found[1]) in range(1, 224) and max(map(int, found.group(3, 4, 5))) < 256
               for found in _QUAD.finditer(name))


def _whole4(name: str, address: bytes) -> bool:
    octets, runs = list(address), _NUMBER.findall(name)
    if not Counter(octets) - Counter(_octets(runs)):
        return True
    plain = ("".join(map(str, octets)), "".join(map(str, octets[::-1])))
    if any(run in plain and len(run) >= LEAST_DIGITS for run in runs):
        return True
    if str(int.from_bytes(address, "big")) in runs:
        return True
    # "p50a1b2c3", "c0-a8-01-07": no other part of a name has eight such digits.
    joined = _JOINERS.sub("", name)
    return any(written in joined for written in (address.hex(), address[::-1].hex()))


def _part4(below: str, address: bytes) -> bool:
    """Two or three octets beside each other, in order or in the reverse one; the first two alone are a network's."""
    numbers = _octets(_NUMBER.findall(below))
    octets = list(address)
    wanted = [octets[1:], octets[:3], octets[2:]]
    if any(_beside(part, numbers) or _beside(part[::-1], numbers) for part in wanted):
        return True
    return any(_stands_alone(part.hex(), below) for part in (address[1:], address[:3], address[2:]))


def _octets(runs: Sequence[str]) -> list[int]:
    """The numbers of a name that can be octets; those of three digits each may stand without a joiner."""
    found: list[int] = []
    for run in runs:
        parts = [run[start:start + 3] for start in range(0, len(run), 3)] if len(run) in (6, 9, 12) else [run]
        found += [int(part) if len(part) <= 3 and int(part) < 256 else -1 for part in parts]
    return found


# ---- IPv6

def _whole6(name: str, host: bytes) -> bool:
    text = host.hex()
    joined = _JOINERS.sub("", name)
    if text in joined or text[::-1] in joined:
        return True
    groups = [int.from_bytes(host[start:start + 2], "big") for start in range(0, 16, 2)]
    written = _written6(name)
    if _beside(groups, written) or _beside(groups[::-1], written):
        return True
    # Zeros may be written, shortened or left out.
    return _beside_in_part(_without_zeros(groups), _without_zeros(written))


def _part6(below: str, host: bytes) -> bool:
    """Its interface or its network, half of the digits, or three groups; the MAC address that it was made of."""
    if host.startswith(MAPPED):
        return False
    text = host.hex()
    joined = _JOINERS.sub("", below)
    halves = [half for half in (text[:16], text[16:]) if half.strip("0")]
    if any(half in joined or half[::-1] in joined for half in halves):
        return True
    if host[11:13] == _EUI and (bytes([host[8] ^ 2]) + host[9:11] + host[13:]).hex() in joined:
        return True
    written = _without_zeros(_written6(below))
    groups = [int.from_bytes(host[start:start + 2], "big") for start in range(0, 16, 2)]
    return any(_beside_in_part(_without_zeros(part), written) for part in (groups[:3], groups[:4], groups[4:]))


def _beside_in_part(part: Sequence[int], written: Sequence[int]) -> bool:
    return len(part) >= LEAST_GROUPS and (_beside(part, written) or _beside(part[::-1], written))


def _without_zeros(groups: Sequence[int]) -> list[int]:
    return [group for group in groups if group]


def _written6(name: str) -> list[int]:
    """Groups of 16 bits as far as a name has such; -1 is another part of it."""
    runs = (run for run in _JOINERS.split(name) if run)
    return [int(run, 16) if len(run) <= 4 and _GROUPS.fullmatch(run) else -1 for run in runs]


# ---- both

def _beside(part: Sequence[int], numbers: Sequence[int]) -> bool:
    part = list(part)
    return any(list(numbers[start:start + len(part)]) == part for start in range(len(numbers) - len(part) + 1))


def _stands_alone(digits: str, below: str) -> bool:
    """Hexadecimal digits with no other around them, perhaps behind a letter or two, as in "h02fe"."""
    return re.search(f"(?<![0-9a-f]){digits}(?![0-9a-z])", below) is not None


# ---- words

def _has_line_word(below: str, domain: str, *, mail: bool) -> bool:
    """Whether words say that it is a line; there is a number below the domain."""
    for label in below.split("."):
        if _is_line(label) and _NUMBER.search(label) and not _has_mail_word(label):
            return True
    if mail:
        return False
    return (_is_line(f"{below}.{domain.partition('.')[0]}") or domain in NUMBERED_DOMAINS
            or any(run in SHARED_WORDS for run in _LETTERS.findall(below)))


def _has_mail_label_behind(below: str) -> bool:
    """Whether labels behind all numbers say that mail servers are there, and nothing that lines are."""
    behind: list[str] = []
    for label in reversed(below.split(".")):
        if _NUMBER.search(label):
            break
        behind.append(label)
    return any(map(_has_mail_word, behind)) and not any(map(_is_line, behind))


def _is_line(text: str) -> bool:
    return any(run in LINE_WORDS or run.startswith(LINE_AFFIXES) or run.endswith(LINE_AFFIXES)
               for run in _LETTERS.findall(text))


def _has_mail_word(text: str) -> bool:
    return any(part in text for part in MAIL_PARTS) or any(run in MAIL_WORDS for run in _LETTERS.findall(text))
