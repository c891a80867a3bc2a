"""Who asks, where a proxy stands before the console: the address and the scheme that the proxy tells.

Anybody can send these fields, so only those of a proxy that has been named count (--proxy). Each proxy adds the address
that it sees behind those it was sent: the client is the last one in X-Forwarded-For that is no named proxy.

Which way it fails: where that cannot be read, the client is the proxy itself.
"""
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
MOST_HOPS = 16
_SHARED_BITS = 64  # of IPv6: one client has at least all addresses below


class Client(NamedTuple):
    """Who asks."""

    address: str
    secure: bool  # his way to the proxy is encrypted


class Proxies:
    """The proxies that have been named."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def named(self, peer: str) -> bool:
        """Whether this address is one of them."""
        found = _read(peer)
        return found is not None and self._has(found)

    def client(self, peer: str, fields: Mapping[str, str]) -> Client:
        """Who sent a request with these header fields, which came from the address `peer`."""
        if not self.named(peer):
            return Client(peer, secure=False)
        # What stands before the last one was in the request already, and is the client's own word.
        secure = fields.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() == "https"
        for text in reversed(fields.get("x-forwarded-for", "").split(",")[-MOST_HOPS:]):
            found = _read(text.strip(" \t"))
            if found is None:
                break
            if not self._has(found):
                return Client(str(found), secure)
        return Client(peer, secure)

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)


def client_key(address: str) -> str:
    """What the bounds of one client go by: an address; of IPv6 its /64, since whoever has one of it has all of it."""
    found = _read(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> _SHARED_BITS << _SHARED_BITS, 128 - _SHARED_BITS)))
    return address if found is None else str(found)


def plain(address: str) -> str:
    """The address without a zone; an IPv4 address that a socket for IPv6 tells as itself."""
    found = _read(address.partition("%")[0])
    return address if found is None else str(found)


def _read(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return None
        return found.ipv4_mapped or found
    return found
