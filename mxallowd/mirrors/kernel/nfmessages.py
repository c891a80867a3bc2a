"""What messages of nf_tables hold: elements, sets, and one transaction of many (linux/netfilter/nf_tables.h).

A set is known by the numbers that the kernel keeps of it, whoever declared it and however (`type`, `typeof`). What a
newer nft has written beside them, for itself, is not looked at.
"""
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from mxallowd.mirrors.kernel.netlink import (
    ACK,
    CREATE,
    NESTED,
    REQUEST,
    Netlink,
    attribute,
    attributes,
    generic,
    header,
    nested,
    packed,
)

NEWTABLE, NEWSET, GETSET, NEWSETELEM, GETSETELEM, DELSETELEM = (10 << 8 | number for number in (0, 9, 10, 12, 13, 14))
# NFNL_SUBSYS_NFTABLES is 10
NEWGEN, GETGEN, NEWOBJ, GETOBJ, RESETOBJ = (10 << 8 | number for number in (15, 16, 18, 19, 21))
TABLE, NAME = 1, 2  # the same number in tables, sets, lists of elements and objects
GENERATION = 1
OBJECT_TYPE, OBJECT_DATA, COUNTER_PACKETS, OBJECT_COUNTER, OBJECT_QUOTA = 3, 4, 2, 1, 2
QUOTA_BYTES, QUOTA_CONSUMED = 1, 4
INTERVAL, MAP, TIMEOUT, CONSTANT, DYNAMIC, CONCATENATED = 4, 8, 16, 2, 32, 128  # NFT_SET_
_SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LENGTH, _SET_DESCRIPTION, _SET_ID, _SET_USERDATA = 3, 4, 5, 9, 10, 13
_DESCRIPTION_SIZE = 1
# What nft keeps of a set for itself: the byte order of its keys, which is the network's (2, of 4 bytes, as kind 0).
_KEYS_IN_NETWORK_ORDER = b"\0\4" + struct.pack("=I", 2)
# The numbers that nft gives to types of keys. A concatenation has six bits for each part.
KEY_TYPES = {7: "ipv4_addr", 8: "ipv6_addr", 9: "ether_addr", 12: "inet_proto", 13: "inet_service", 19: "mark"}
KEY_LENGTHS = {"ipv4_addr": 4, "ipv6_addr": 16}

LIST_ELEMENTS = 3
_LIST_ELEM, _DATA_VALUE = 1, 1
_ELEM_KEY, _ELEM_TIMEOUT, _ELEM_EXPIRATION = 1, 4, 5
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # linux/netfilter/nfnetlink.h
_SUBSYSTEM = generic(0, 10)
_BORDERS = 2 * (header.size + len(_SUBSYSTEM))
# A list of elements is an attribute, which has at most 65,535 bytes.
_LONGEST_LIST = 60_000
_LIST_NAMES = 256  # more than what names set and table in front of a list

Remaining = float | bytes
"""Seconds until an element ends; or what the kernel says of one that never does, to be entered again as it was."""
Element = tuple[bytes, int]
"""A key (4 or 16 bytes), and the seconds that it is to live."""


class SetFound(NamedTuple):
    """A set as the kernel has it."""

    flags: int  # NFT_SET_
    key_type: int
    key_length: int
    size: int | None  # how many elements it may have; None: any number

    @property
    def kind(self) -> str:
        """Its type, as nft calls it."""
        parts = []
        number = self.key_type
        while number:
            parts.append(KEY_TYPES.get(number & 63, f"number {number & 63}"))
            number >>= 6
        return " . ".join(reversed(parts)) or "unknown"


# ---- elements

def _head(size: int, *, timed: bool) -> bytes:
    """What stands before the key of an element."""
    return (attribute.pack(12 + size + 24 * timed, _LIST_ELEM | NESTED)
            + attribute.pack(8 + size, _ELEM_KEY | NESTED) + attribute.pack(4 + size, _DATA_VALUE))


_HEADS = {size: _head(size, timed=True) for size in (4, 16)}
_KEY_ALONE = {size: _head(size, timed=False) for size in (4, 16)}
_TIMEOUT_HEAD, _EXPIRATION_HEAD = attribute.pack(12, _ELEM_TIMEOUT), attribute.pack(12, _ELEM_EXPIRATION)


def element(key: bytes, seconds: int) -> bytes:
    """An element of a list that ends after so many seconds.

    It has its expiration as well: an element that is there already, with the same timeout as it had when it was
    entered, would not be renewed otherwise (Linux 6.12 and later; before, it is not renewed at all).
    """
    time = (1000 * seconds).to_bytes(8, "big")
    return b"".join((_HEADS[len(key)], key, _TIMEOUT_HEAD, time, _EXPIRATION_HEAD, time))


def key_alone(key: bytes) -> bytes:
    """An element of a list, for one that is to be found or taken out."""
    return _KEY_ALONE[len(key)] + key


# What nearly all elements of a set with timeouts look like: key, timeout and expiration, in this order. Reading them
# attribute by attribute takes five times as long, and a start waits for it.
_USUAL = {size: struct.Struct(f"=8s4s{size}s12s4s8s") for size in (4, 16)}


def elements(body: memoryview) -> dict[bytes, Remaining]:
    """The elements in a NEWSETELEM: behind 4 bytes of nfgenmsg, a list in attributes."""
    found: dict[bytes, Remaining] = {}
    for kind, listed in attributes(body[4:]):
        if kind != LIST_ELEMENTS or _read_usual(listed, found):
            continue
        for _, one in attributes(listed):
            key = b""
            remaining: Remaining = bytes(one)
            for what, value in attributes(one):
                if what == _ELEM_KEY:
                    key = next((bytes(data) for inner, data in attributes(value) if inner == _DATA_VALUE), b"")
                elif what == _ELEM_EXPIRATION and len(value) == 8:
                    remaining = int.from_bytes(value, "big") / 1000
            if key:
                found[key] = remaining
    return found


def _read_usual(listed: memoryview, found: dict[bytes, Remaining]) -> bool:
    """Read elements that all look as nearly all do; False: some do not, and nothing was read."""
    for size, usual in _USUAL.items():
        if not listed or len(listed) % usual.size:
            continue
        rows = list(usual.iter_unpack(listed))
        head = rows[0][0], rows[0][1], rows[0][4]
        shape = [attribute.unpack(one) for one in (head[0][:4], head[0][4:], *head[1:])]
        wanted = [(usual.size, _LIST_ELEM), (8 + size, _ELEM_KEY), (4 + size, _DATA_VALUE), (12, _ELEM_EXPIRATION)]
        if [(length, kind & ~NESTED) for length, kind in shape] == wanted and all(
                (row[0], row[1], row[4]) == head for row in rows):
            found.update((row[2], int.from_bytes(row[5], "big") / 1000) for row in rows)
            return True
    return False


# ---- sets

def text(kind: int, value: str) -> bytes:
    """An attribute of text."""
    return packed(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute of 32 bits."""
    return packed(kind, value.to_bytes(4, "big"))


def set_found(body: memoryview) -> SetFound:
    """The set in a NEWSET."""
    values = dict(attributes(body[4:]))

    def word(kind: int) -> int:
        return int.from_bytes(values.get(kind, b""), "big")

    sizes = dict(attributes(values.get(_SET_DESCRIPTION, memoryview(b""))))
    size = int.from_bytes(sizes.get(_DESCRIPTION_SIZE, b""), "big")
    return SetFound(word(_SET_FLAGS), word(_SET_KEY_TYPE), word(_SET_KEY_LENGTH), size or None)


def set_declared(kind: str, size: int | None, place: int, *, dynamic: bool = False) -> bytes:
    """The attributes of a new set, behind its table and name; `place` in its transaction.

    One of a size has timeouts; one of any size (None) has intervals. `dynamic`: rules enter hosts as well.
    """
    key_type = next(value for value, name in KEY_TYPES.items() if name == kind)
    return b"".join((
        number(_SET_FLAGS, INTERVAL if size is None else TIMEOUT | DYNAMIC * dynamic), number(_SET_KEY_TYPE, key_type),
        number(_SET_KEY_LENGTH, KEY_LENGTHS[kind]), number(_SET_ID, place),
        nested(_SET_DESCRIPTION, *(() if size is None else (number(_DESCRIPTION_SIZE, size),))),
        packed(_SET_USERDATA, _KEYS_IN_NETWORK_ORDER)))


# ---- transactions

class Batch:
    """The messages of one transaction, put together as they come: there may be a million elements.

    What is taken out of a set must be named before what is entered into it.
    """

    def __init__(self, netlink: Netlink, family: int, table: str, longest: int) -> None:
        """`longest` is how long a message to the kernel may be at least."""
        self._netlink = netlink
        self._generic = generic(family)
        self._table = text(TABLE, table)
        self._most = min(_LONGEST_LIST, longest - _BORDERS - _LIST_NAMES - header.size)
        self._data = bytearray()
        self._starts: list[int] = []
        self._entered: dict[str, bytearray] = {}

    def append(self, kind: int, flags: int, *parts: bytes) -> None:
        """One more message; its parts stand behind the name of the table."""
        self._starts.append(len(self._data))
        self._data += self._netlink.message(kind, REQUEST | flags, b"".join((self._generic, self._table, *parts)))

    def empty(self, name: str) -> None:
        """Take all elements out of a set."""
        self.append(DELSETELEM, 0, text(NAME, name))

    def remove(self, name: str, keys: Iterable[bytes]) -> None:
        """Take keys out of a set; all of them must be there."""
        rest = iter(keys)
        while some := b"".join(map(key_alone, islice(rest, self._most // 28))):
            self._append_elements(DELSETELEM, 0, name, some)

    def enter(self, name: str, key: bytes, seconds: int) -> None:
        """Enter a key into a set."""
        self._enter(name, element(key, seconds))

    def listed(self, kind: int, name: str, some: Iterable[bytes]) -> None:
        """Elements that are packed already, to be entered (NEWSETELEM) or taken out (DELSETELEM)."""
        waiting = bytearray()
        for one in some:
            if len(waiting) + len(one) > self._most:
                self._append_elements(kind, CREATE if kind == NEWSETELEM else 0, name, waiting)
                waiting.clear()
            waiting += one
        if waiting:
            self._append_elements(kind, CREATE if kind == NEWSETELEM else 0, name, waiting)

    def restore(self, name: str, raw: bytes) -> None:
        """Enter an element that never ends as it was read (Remaining)."""
        self._enter(name, nested(_LIST_ELEM, raw))

    def _enter(self, name: str, one: bytes) -> None:
        waiting = self._entered.setdefault(name, bytearray())
        if len(waiting) + len(one) > self._most:
            self._append_elements(NEWSETELEM, CREATE, name, waiting)
            waiting.clear()
        waiting += one

    def _append_elements(self, kind: int, flags: int, name: str, some: bytes | bytearray) -> None:
        self.append(kind, flags, text(NAME, name), nested(LIST_ELEMENTS, bytes(some)))

    def finish(self) -> int:
        """Nothing more comes; the length of all of it, 0 where there is nothing."""
        for name, waiting in self._entered.items():
            if waiting:
                self._append_elements(NEWSETELEM, CREATE, name, waiting)
        self._entered.clear()
        return len(self._data) + _BORDERS if self._data else 0

    def parts(self, longest: int) -> Iterator[tuple[int, bytes | bytearray]]:
        """What to send, each part a transaction of at most this length: one of them, if that is enough.

        The number before it is that of its first message.
        """
        at = 0
        while at < len(self._starts):
            first = at
            limit = self._starts[at] + longest - _BORDERS
            # At least one: no message is longer.
            at += 1
            while at < len(self._starts) and self._end(at) <= limit:
                at += 1
            yield self._part(self._starts[first], self._starts[at - 1], self._end(at - 1))

    def _end(self, at: int) -> int:
        return self._starts[at + 1] if at + 1 < len(self._starts) else len(self._data)

    def _part(self, start: int, last: int, end: int) -> tuple[int, bytearray]:
        # An error comes back for any message, a success for the last one alone: some hundred answers would not fit
        # into the socket. What is wrong with all of it comes back for the beginning, which is numbered for that.
        length, kind, flags, sequence, port = header.unpack_from(self._data, last)
        header.pack_into(self._data, last, length, kind, flags | ACK, sequence, port)
        number_of_first = header.unpack_from(self._data, start)[3]
        part = bytearray(_border(_BATCH_BEGIN, number_of_first))
        part += memoryview(self._data)[start:end]
        part += _border(_BATCH_END, sequence)
        return number_of_first, part


def _border(kind: int, sequence: int) -> bytes:
    return header.pack(header.size + len(_SUBSYSTEM), kind, REQUEST, sequence, 0) + _SUBSYSTEM
