"""By which interfaces mail may come in, read by rtnetlink: where the servers' addresses are, and the default routes.

From linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h. The routes are not listed, of which a router may have a
million: the kernel is asked which one it takes to an address of the internet.
"""
import errno
import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mxallowd.mirrors import TargetError
from mxallowd.mirrors.kernel.netlink import (
    DONE,
    DUMP,
    ERROR,
    REQUEST,
    Netlink,
    attributes,
    error_number,
    error_text,
    packed,
)
from mxallowd.settings.values import Address

_NETLINK_ROUTE = 0
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 16, 18, 20, 22, 24, 26
_NAME, _LINK, _MASTER, _LINK_NETNSID = 3, 5, 10, 37  # IFLA_
_ADDRESS, _LOCAL = 1, 2  # IFA_
_DESTINATION, _OUT, _MULTIPATH = 1, 4, 9  # RTA_
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the answer is the route, and not what it gives for the address
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.EAFNOSUPPORT)
_LOOPBACK, _POINT_TO_POINT, _NO_ARP = 0x8, 0x10, 0x80  # IFF_
_ORDER = sys.byteorder
_LIMIT_S = 1.0
# Of two root name servers (a.root-servers.net); nothing is sent there.
_INTERNET = tuple(map(ipaddress.ip_address, ("198.41.0.4", "2001:503:ba3e::2:30")))

_link = struct.Struct("=BxHiII")  # family, type, index, flags, changed ones
_address = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_route = struct.Struct("=8BI")  # family, lengths of destination and source, ..., flags
_hop = struct.Struct("=HBBi")  # length, flags, weight, index


class Link(NamedTuple):
    """An interface; `above` and `below` are indexes: its bridge or bond, and what a VLAN is on; 0 for none."""

    name: str
    flags: int
    above: int
    below: int


class Links:
    """The interfaces of this network namespace, at this moment."""

    def __init__(self, servers: Iterable[Address]) -> None:
        """Ask the kernel. Raises TargetError."""
        try:
            self._netlink = Netlink("rtnetlink", _NETLINK_ROUTE)
        except OSError as error:
            raise TargetError(f"rtnetlink: {error.strerror or error}") from None
        try:
            self._until = time.monotonic() + _LIMIT_S
            self._links = dict(map(_link_of, self._ask(_GETLINK, REQUEST | DUMP, _link.pack(0, 0, 0, 0, 0), _NEWLINK)))
            # Of each interface by which mail may come in, why; the more telling reason comes last.
            self._why: dict[int, str] = {}
            wanted = {one.packed: one for one in servers}
            for body in self._ask(_GETADDR, REQUEST | DUMP, _address.pack(0, 0, 0, 0, 0), _NEWADDR):
                values = dict(attributes(body[_address.size :]))
                found = wanted.get(bytes(values.get(_LOCAL, values.get(_ADDRESS, b""))))
                if found is not None:
                    self._why[_address.unpack_from(body)[4]] = f"{found} is there"
            versions = {one.version for one in wanted.values()}
            for one in _INTERNET:
                if one.version in versions:
                    self._why.update(dict.fromkeys(self._default(one), "the default route goes by it"))
        finally:
            self._netlink.close()

    def _default(self, to: Address) -> Iterator[int]:
        """The interfaces of the default route, where it is the one to this address."""
        family = socket.AF_INET if to.version == 4 else socket.AF_INET6
        header = _route.pack(family, len(to.packed) * 8, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
        for body in self._ask(_GETROUTE, REQUEST, header + packed(_DESTINATION, to.packed), _NEWROUTE):
            values = dict(attributes(body[_route.size :]))
            if _route.unpack_from(body)[1]:
                continue
            if _OUT in values:
                yield int.from_bytes(values[_OUT], _ORDER)
            hops = values.get(_MULTIPATH, memoryview(b""))
            while len(hops) >= _hop.size:
                length, _, _, index = _hop.unpack_from(hops)
                yield index
                hops = hops[max(_hop.size, (length + 3) & ~3) :]

    def _ask(self, kind: int, flags: int, body: bytes, wanted: int) -> Iterator[memoryview]:
        """The messages of the answer. Nothing where there is no such route."""
        self._netlink.send(self._netlink.message(kind, flags, body))
        least = {_NEWLINK: _link, _NEWADDR: _address, _NEWROUTE: _route}[wanted].size
        while time.monotonic() < self._until:
            for found, _, answer in self._netlink.receive(self._netlink.sequence):
                if found == ERROR:
                    number = error_number(answer)
                    if number in _NO_ROUTE:
                        return
                    raise TargetError(f"rtnetlink: {error_text(number)}")
                if found == wanted and len(answer) >= least:
                    yield answer
                if found == DONE or (found == wanted and flags == REQUEST):
                    return
        raise TargetError(f"rtnetlink: the interfaces are not told within {_LIMIT_S:.0f} s")

    def beside(self, doors: Iterable[str]) -> dict[str, str]:
        """By which interfaces mail may come in that does not come by one of these, and why.

        `name*` is a prefix, as nfhooks has it. What is above or below a door (its bridge, its bond, a VLAN on it) has
        it, too. Nothing comes in by lo and by interfaces that only hold addresses (dummy).
        """
        found = set(doors)
        # The chain may have all of them, by a prefix.
        guarded = {index for index, link in self._links.items()
                   if link.name in found or any(one.endswith("*") and link.name.startswith(one[:-1]) for one in found)}
        above: dict[int, set[int]] = {}
        for index, link in self._links.items():
            above.setdefault(index, set()).add(link.above)
            # The ends of a veth name each other, and neither is on the other.
            if self._links.get(link.below, link).below != index:
                above.setdefault(link.below, set()).add(index)
        missing = {}
        for index, why in self._why.items():
            link = self._links.get(index, Link("lo", _LOOPBACK, 0, 0))
            idle = link.flags & _LOOPBACK or (link.flags & _NO_ARP and not link.flags & _POINT_TO_POINT)
            if not idle and not _reached(index, above) & guarded and not any(
                    index in _reached(one, above) for one in guarded):
                missing[link.name] = why
        return missing


def _reached(index: int, above: dict[int, set[int]]) -> set[int]:
    """This interface, and all to which it hands on what comes in."""
    found, new = {0}, {index}
    while new:
        found |= new
        new = set().union(*(above.get(one, set()) for one in new)) - found
    return found - {0}


def _link_of(body: memoryview) -> tuple[int, Link]:
    _, _, index, flags, _ = _link.unpack_from(body)
    values = {kind: bytes(value) for kind, value in attributes(body[_link.size :])}
    # The other end may be in another namespace, where its index means something else.
    below = 0 if _LINK_NETNSID in values else int.from_bytes(values.get(_LINK, b""), _ORDER)
    name = values.get(_NAME, b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
    return index, Link(name, flags, int.from_bytes(values.get(_MASTER, b""), _ORDER), below)
