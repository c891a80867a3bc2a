"""Hosts that were learned to try the first MX alone: networks of one address beside those by hand, with a time each.

Bounds: MAX_LEARNED hosts, of which MAX_OF_A_NETWORK of one /24 (IPv6: /48), since who has a network can have names for
all of it. Who is one too many is left out.
"""
from collections.abc import Iterable, Mapping

from mxallowd.engine.events import MAPPED
from mxallowd.lists.beside import beside
from mxallowd.lists.composition import ALLOW, IPV4_BITS, LEARNED, Network, network_of, record_of
from mxallowd.lists.files import breathe
from mxallowd.lists.lists import Lists
from mxallowd.lists.own import Key, Own

MAX_LEARNED, MAX_OF_A_NETWORK = 4096, 64
SLICE = 2000  # networks by hand between two pauses


class Learned:
    """Those of the lists. All calls come from the main thread; hosts are 16 bytes."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    async def add(self, host: bytes, note: str, seconds: int) -> bool:
        """Let it be direct from now on, for so long; False: there is no room."""
        near, every = await beside(lambda: _count(self._lists.own.networks.copy(), _near(host)))
        if near >= MAX_OF_A_NETWORK or every >= MAX_LEARNED:
            return False
        return not (await self._lists.add_network(LEARNED, _network(host), note, seconds)).left_out

    async def prolong(self, hosts: Iterable[bytes], seconds: int, least_s: int) -> None:
        """Restart the time of those that are learned and have at most `least_s` left."""
        again = []
        for host in hosts:
            own = self._lists.get(LEARNED, _network(host))
            if own is not None and self._lists.own.seconds_left(own) <= least_s:
                again.append((LEARNED, _network(host), None, seconds))
        if again:
            await self._lists.add(again)


def _network(host: bytes) -> Network:
    four = host.startswith(MAPPED)
    return network_of(record_of(host[12:] if four else host, 32 if four else 128, ALLOW))


def _near(host: bytes) -> bytes:
    """The first bytes of the addresses of its network."""
    return host[: (IPV4_BITS + 24) // 8 if host.startswith(MAPPED) else 48 // 8]


def _count(networks: Mapping[Key, Own], near: bytes) -> tuple[int, int]:
    """How many are learned: of this network, and in all."""
    of_network = every = 0
    for number, ((word, _), own) in enumerate(networks.items(), 1):
        if word == LEARNED:
            every += 1
            of_network += own.record.startswith(near)
        if number % SLICE == 0:
            breathe()
    return of_network, every
