"""Zones: whose name servers a question is for, as well as it can be known from the name alone.

Of a host name this is the registered domain: the label below the public suffix, by the list at publicsuffix.org. Only
suffixes of registries count (the list's first section): all customers of a dynamic DNS service are one zone, since they
share its name servers, and a name below it costs nothing. Of a name in the reverse tree these are two zones: the
networks of 16 and 24 bits of IPv4, of 32 and 48 bits of IPv6.

A zone is a domain in lower case without a final dot, or the first bytes of the addresses of a network, 16 bytes each
and IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2).

The list is a file of the package publicsuffixlist and is read when this module is imported; nothing is fetched.
"""
from functools import cache

from publicsuffixlist import PublicSuffixList

from mxallowd.engine.events import MAPPED

Zone = str | bytes
_NIBBLES = frozenset("0123456789abcdef")
_PUBLIC_SUFFIXES = PublicSuffixList(only_icann=True)


def zones_of(name: str) -> tuple[Zone, ...]:
    """The zones that a question for this host name is counted in, the largest first: one or two."""
    if name.endswith(".in-addr.arpa"):
        octets = [int(label) for label in _labels(name) if label.isdigit() and len(label) < 4 and int(label) < 256]
        return _networks(MAPPED + bytes(octets[:3]), 14, 15) or (registered_domain(name),)
    if name.endswith(".ip6.arpa"):
        nibbles = "".join(label for label in _labels(name) if label in _NIBBLES)
        return _networks(bytes.fromhex(nibbles[: len(nibbles) & ~1])[:6], 4, 6) or (registered_domain(name),)
    return (registered_domain(name),)


def _labels(name: str) -> list[str]:
    return name.split(".")[-3::-1]


def _networks(prefix: bytes, larger: int, smaller: int) -> tuple[Zone, ...]:
    return tuple(prefix[:length] for length in (larger, smaller) if len(prefix) >= length)


def registered_domain(name: str) -> str:
    """The registered domain of a host name; the name itself where it is a public suffix."""
    return _PUBLIC_SUFFIXES.privatesuffix(name) or name


def networks(address: bytes) -> tuple[bytes, bytes, bytes]:
    """Networks that a host is in, each within the one before: of 8, 16 and 24 bits (IPv4) or of 16, 32 and 48 (IPv6).

    The last two are the zones of its name in the reverse tree. Whoever can send from one address can send from many of
    its network, so networks are what is treated alike.
    """
    if address.startswith(MAPPED):
        return address[:13], address[:14], address[:15]
    return address[:2], address[:4], address[:6]


def owned_domain(name: str) -> str | None:
    """The registered domain that one owner has, by both sections of the list; None: the name is a public suffix.

    So "x.github.io" is one, where registered_domain() has all of "github.io". Names of the reverse tree have none.
    """
    return None if name.endswith(".arpa") else _all_suffixes().privatesuffix(name)


def read_suffixes() -> None:
    """Read the second section now: where it is wanted first, the main loop would wait for 40 ms."""
    _all_suffixes()


def is_public_suffix(name: str) -> bool:
    """Whether names right below it belong to whoever wants one: a registry's suffix, or a service's for its users."""
    return bool(_all_suffixes().is_public(name))


@cache
def _all_suffixes() -> PublicSuffixList:
    """With the second section of the list. Read where it is wanted: that takes 40 ms and a megabyte."""
    return PublicSuffixList()
