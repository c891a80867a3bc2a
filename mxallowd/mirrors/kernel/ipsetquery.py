"""The messages of ipset: sets of type hash:ip, read and changed by netlink (linux/netfilter/ipset/ip_set.h).

Requests about single entries go out many at a time, and each gets an error of its own: one entry that a set does not
take costs no other its change. ipset has no question for the time of one entry: who wants to know it reads the set.
"""
import errno
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mxallowd.mirrors import TargetError
from mxallowd.mirrors.kernel.netlink import (
    ACK,
    DONE,
    DUMP,
    ERROR,
    EXCLUSIVE,
    NESTED,
    NETWORK_ORDER,
    REQUEST,
    Netlink,
    attribute,
    attributes,
    error_number,
    generic,
    header,
    nested,
    packed,
)

_SUBSYSTEM = 6 << 8  # NFNL_SUBSYS_IPSET
CREATE, DESTROY, SWAP, LIST, ADD, DELETE, TEST = 2, 3, 6, 7, 9, 10, 11  # IPSET_CMD_
_PROTOCOL_6 = packed(1, b"\6")  # spoken by every kernel since 2.6.39
_SETNAME, _TYPENAME, _REVISION, _FAMILY, _FLAGS, _DATA, _ADT, _LINENO = 2, 3, 4, 5, 6, 7, 8, 9
_LIST_HEADER = packed(_FLAGS | NETWORK_ORDER, (4).to_bytes(4, "big"))
_IP, _CIDR, _TIMEOUT, _BITMASK, _PAD = 1, 3, 6, 12, 29
_HASHSIZE, _MAXELEM, _NETMASK, _ELEMENTS, _REFERENCES, _MEMSIZE = 18, 19, 20, 24, 25, 26
# As the kernel numbers them; EXIST is its word for "is not there" as well, where an entry is tested.
EXIST, REFERENCED, FULL = 4103, 4108, 4352
_WORDS = {
    4097: "the kernel speaks another protocol", 4098: "the kernel does not have this type of set",
    4099: "there are too many sets", 4100: "the set is in use", EXIST: "it is there already",
    4107: "the set has no timeouts", REFERENCED: "a rule refers to the set", FULL: "the set is full",
    4353: "the set does not take this address"}
# Single requests whose answers fit into the smallest receive buffer: each takes some 800 bytes of it.
_WINDOW = 128
# Entries of one request that is filling a set: their list is an attribute, which has at most 65,535 bytes.
FILLING = 1400
INET = {4: 2, 6: 10}  # AF_
_ADDRESS = {4: 1, 16: 2}  # IPSET_ATTR_IPADDR_, by the size of an address
_for_ever = attribute.pack(8, _TIMEOUT | NETWORK_ORDER) + bytes(4)


class Header(NamedTuple):
    """What a set is."""

    kind: str
    family: int  # AF_
    timeouts: bool
    mask: str  # "" or why an entry is not one host
    maxelem: int | None
    elements: int | None  # how many it holds; None: the kernel does not say
    create: bytes  # the attributes that create another set like it


class Command(NamedTuple):
    """A request; `flags` beside NLM_F_REQUEST."""

    kind: int
    flags: int
    body: bytes


class _Shape:
    """What entries of a family look like that have no more than a time: nearly all have."""

    def __init__(self, size: int) -> None:
        self._value = struct.Struct(f"=12s{size}s4s4s")
        length = self._value.size
        self.size = length
        # In a request the address must be marked as in network order; in an answer it is not.
        self._asked, self.told = (
            struct.pack("=HHHHHH", length, _DATA | NESTED, size + 8, _IP | NESTED, size + 4, _ADDRESS[size] | order)
            for order in (NETWORK_ORDER, 0))
        self.time = attribute.pack(8, _TIMEOUT | NETWORK_ORDER)
        self.rows = self._value.iter_unpack

    def pack(self, key: bytes, seconds: int) -> bytes:
        """An entry of a list."""
        return self._value.pack(self._asked, key, self.time, seconds.to_bytes(4, "big"))


_SHAPES = {size: _Shape(size) for size in _ADDRESS}


def entry(key: bytes, seconds: int) -> bytes:
    """An entry (4 or 16 bytes of address) and its time, which 0 makes endless, as Commands and fillings have it."""
    return _SHAPES[len(key)].pack(key, seconds)


def network(key: bytes, length: int) -> bytes:
    """A network of a set of networks: its first address, and how many bits its prefix has."""
    address = nested(_IP, packed(_ADDRESS[len(key)] | NETWORK_ORDER, key))
    return nested(_DATA, address, packed(_CIDR, bytes((length,))))


def about(kind: int, name: str, data: bytes, *, exclusive: bool = False) -> Command:
    """ADD, DELETE or TEST of one entry; `exclusive` refuses to change one that is there."""
    return Command(kind, EXCLUSIVE if exclusive else 0, _PROTOCOL_6 + _text(_SETNAME, name) + data)


def create(name: str, like: Header) -> Command:
    """A new set."""
    return Command(CREATE, EXCLUSIVE, _PROTOCOL_6 + _text(_SETNAME, name) + like.create)


def destroy(name: str) -> Command:
    """Remove a set."""
    return Command(DESTROY, 0, _PROTOCOL_6 + _text(_SETNAME, name))


def swap(name: str, other: str) -> Command:
    """Exchange two sets: whatever refers to one refers to the other from then on."""
    return Command(SWAP, 0, _PROTOCOL_6 + _text(_SETNAME, name) + _text(_TYPENAME, other))


def filling(name: str, entries: bytes) -> Command:
    """Enter many at once, at most FILLING; an error leaves those before it entered."""
    return Command(ADD, 0, b"".join((
        _PROTOCOL_6, _text(_SETNAME, name), packed(_LINENO, bytes(4)), packed(_ADT | NESTED, entries))))


def said(number: int) -> str:
    """An error of ipset in words."""
    return _WORDS.get(number) or (os.strerror(number) if number < EXIST - 7 else f"error {number} of ipset")


class IpsetQuery:
    """A netlink socket that talks to ipset."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._netlink = Netlink("ipset")

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def run(self, commands: Sequence[Command]) -> list[int]:
        """Carry out all of them, in this order; the error of each, 0 for success. Raises TargetError."""
        errors: list[int] = []
        for first in range(0, len(commands), _WINDOW):
            errors += self._run(commands[first : first + _WINDOW])
        return errors

    def _run(self, commands: Sequence[Command]) -> list[int]:
        asked_from = (self._netlink.sequence + 1) & 0xFFFFFFFF
        last = len(commands) - 1
        self._netlink.send(b"".join(
            self._netlink.message(_SUBSYSTEM | one.kind, REQUEST | one.flags | (ACK if number == last else 0),
                                  generic(INET[4]) + one.body)
            for number, one in enumerate(commands)))
        errors = [0] * len(commands)
        while True:
            for kind, _, body in self._netlink.receive(asked_from):
                if kind != ERROR or len(body) < 4 + header.size:
                    continue
                place = (header.unpack_from(body, 4)[3] - asked_from) & 0xFFFFFFFF
                if place <= last:
                    errors[place] = error_number(body)
                if place == last:
                    return errors

    def header(self, name: str) -> Header | None:
        """What the set is; None: there is none of this name. Raises TargetError."""
        for values in self._dump(name, _LIST_HEADER):
            return _header_of(values)
        return None

    def entries(self, name: str) -> Iterator[memoryview]:
        """What the set holds, in parts that entries_in() and own_in() read; nothing where there is none.

        All parts are to be taken: as long as a set is being read, it cannot be exchanged. Raises TargetError.
        """
        for values in self._dump(name, b""):
            if _ADT in values:
                yield values[_ADT]

    def _dump(self, name: str, more: bytes) -> Iterator[dict[int, memoryview]]:
        netlink = self._netlink
        netlink.send(netlink.message(
            _SUBSYSTEM | LIST, REQUEST | DUMP, generic(INET[4]) + _PROTOCOL_6 + _text(_SETNAME, name) + more))
        sequence, ended = netlink.sequence, False
        try:
            while not ended:
                for kind, _, body in netlink.receive(sequence):
                    if kind == ERROR:
                        ended = True
                        _check(error_number(body), name)
                    elif kind == DONE:
                        ended = True
                    elif kind == _SUBSYSTEM | LIST:
                        yield dict(attributes(body[4:]))
        finally:
            if not ended:
                # The kernel is in the middle of its answer, and would take no other question on this socket.
                netlink.open_again()


def _check(number: int, name: str) -> None:
    if number == errno.EINVAL:
        raise TargetError("the kernel has no ipset: load the module ip_set")
    if number not in (0, errno.ENOENT):
        raise TargetError(f"set {name}: {said(number)}")


def _header_of(values: dict[int, memoryview]) -> Header:
    data = values.get(_DATA, memoryview(b""))
    found = dict(attributes(data))
    mask = ""
    if _NETMASK in found:
        mask = f"netmask {int.from_bytes(found[_NETMASK], 'big')}"
    elif _BITMASK in found:
        mask = "a bitmask"
    kept = b"".join(packed(kind, body) for kind, body in _raw(data)
                    if kind & ~(NETWORK_ORDER | NESTED) not in (_ELEMENTS, _REFERENCES, _MEMSIZE))
    same = b"".join(packed(kind, bytes(values.get(kind, b""))) for kind in (_TYPENAME, _REVISION, _FAMILY))
    return Header(
        bytes(values.get(_TYPENAME, b"")).rstrip(b"\0").decode("ascii", "replace"),
        int.from_bytes(values.get(_FAMILY, b""), "big"), _TIMEOUT in found, mask,
        int.from_bytes(found[_MAXELEM], "big") if _MAXELEM in found else None,
        int.from_bytes(found[_ELEMENTS], "big") if _ELEMENTS in found else None,
        same + nested(_DATA, kept))


def entries_in(part: memoryview, size: int) -> Iterable[tuple[bytes, int]]:
    """Address of `size` bytes and seconds (0: for ever) of each entry."""
    shape = _SHAPES[size]
    if len(part) % shape.size == 0:
        rows = list(shape.rows(part))
        if all(row[0] == shape.told and row[2] == shape.time for row in rows):
            return [(row[1], int.from_bytes(row[3], "big")) for row in rows]
    return [(key, seconds) for key, seconds, _ in _entries(part) if len(key) == size]


def own_in(part: memoryview) -> dict[bytes, bytes]:
    """The entries without an end: address, and the whole entry, with its comment or counters, as it is entered."""
    # Most parts have none, and a set is read before changes that wait.
    if bytes(part).find(_for_ever) < 0:
        return {}
    return {key: _entry_again(key, data) for key, seconds, data in _entries(part) if seconds == 0}


def _entries(part: memoryview) -> Iterator[tuple[bytes, int, memoryview]]:
    for kind, data in attributes(part):
        values = dict(attributes(data))
        if kind != _DATA or _IP not in values or _TIMEOUT not in values:
            continue
        key = next((bytes(body) for _, body in attributes(values[_IP])), b"")
        if len(key) in _ADDRESS:
            yield key, int.from_bytes(values[_TIMEOUT], "big"), data


def _entry_again(key: bytes, data: memoryview) -> bytes:
    address = nested(_IP, packed(_ADDRESS[len(key)] | NETWORK_ORDER, key))
    return nested(_DATA, address, *(
        packed(kind, body) for kind, body in _raw(data) if kind & ~(NETWORK_ORDER | NESTED) not in (_IP, _PAD)))


def _raw(data: memoryview) -> Iterator[tuple[int, bytes]]:
    """Attributes with the flags of their types, as they are sent back."""
    at = 0
    for _, body in attributes(data):
        length, kind = attribute.unpack_from(data, at)
        yield kind, bytes(body)
        at += (length + 3) & ~3


def _text(kind: int, value: str) -> bytes:
    return packed(kind, value.encode() + b"\0")
