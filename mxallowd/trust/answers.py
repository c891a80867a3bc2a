"""What was learned of a domain of the file: its networks, when, and for how long; and what of it is not believed.

A record is written by somebody else. One that by mistake or by a thief shrinks to nothing would shut a sender out, and
one that grows beyond all measure would let everybody in: neither takes the place of what was learned before.
"""
from collections.abc import Iterable
from typing import NamedTuple

from mxallowd.engine._networks import RECORD_SIZE
from mxallowd.lists.composition import ALLOW, Network, prefixes_of, record

Chain = tuple[int, str]
"""So many networks, and the domains that led to the record which gave them; empty: the record of the domain itself."""

MAX_NETWORKS = 4096
# As many addresses as a /8 of IPv4 and a /16 of IPv6 have.
MAX_ADDRESSES = {4: 1 << 24, 6: 1 << 112}
_BITS = {4: 32, 6: 128}
LEAST_LIFE_S, LONGEST_LIFE_S = 3600, 86_400


class Answer(NamedTuple):
    """The last good one of a domain."""

    records: bytes  # of lists/composition.py
    learned_s: int  # seconds since 1970
    life_s: int  # after which it is asked for again; it holds until another one is believed
    chains: tuple[Chain, ...] = ()  # so many records, and by which domains they came; empty: not known

    def due_s(self, now_s: float) -> float:
        """When to ask again. A wall clock that was set back makes it now."""
        return self.learned_s + self.life_s if self.learned_s <= now_s else now_s


def life_s(ttl_s: int | None) -> int:
    """The life of an answer by the time to live of its records."""
    return min(max(ttl_s or 0, LEAST_LIFE_S), LONGEST_LIFE_S)


def records_of(networks: Iterable[Network]) -> bytes:
    """The networks as an answer has them."""
    return b"".join(record(network, ALLOW) for network in networks)


def disbelief(networks: list[Network]) -> str | None:
    """Why such networks are not believed; None: they are."""
    # Not num_addresses, which takes five times as long: this is on the main loop.
    return _disbelief(len(networks), ((network.version, network.prefixlen) for network in networks))


def disbelief_of(records: bytes) -> str | None:
    """The same of whole records. Raises ValueError where they are none of allowed networks."""
    return _disbelief(len(records) // RECORD_SIZE, prefixes_of(records))


def _disbelief(count: int, prefixes: Iterable[tuple[int, int]]) -> str | None:
    if not count:
        return "it names no network"
    if count > MAX_NETWORKS:
        return f"it has {count} networks, more than {MAX_NETWORKS}"
    addresses = {4: 0, 6: 0}
    for version, length in prefixes:
        addresses[version] += 1 << (_BITS[version] - length)
    for version, length in ((4, 8), (6, 16)):
        if addresses[version] > MAX_ADDRESSES[version]:
            return f"it has more addresses of IPv{version} than a /{length}"
    return None
