"""Elements of sets and named counters, read from the kernel and changed there directly (linux/netfilter/nf_tables.h).

libnftables reads and sorts all sets of a table to look up one element, or one counter: 1.9 s for a set of 200,000
elements. Before it adds an element, it reads all interval sets of the host, in every table: half a second if one of
them is a list of countries. The kernel itself answers within some microseconds. This module reads the kernel's answers
as if they came from the network.
"""
import errno
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from mxallowd.mirrors import TargetError, TargetFull
from mxallowd.mirrors.kernel.netlink import (
    ACK,
    CREATE,
    DONE,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR,
    NESTED,
    REQUEST,
    Netlink,
    attribute,
    attributes,
    error_number,
    error_text,
    generic,
    header,
    nested,
    packed,
)

FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "bridge": 7, "ip6": 10}  # NFPROTO_, linux/netfilter.h
_GETSETELEM, _NEWSETELEM = 10 << 8 | 13, 10 << 8 | 12  # NFNL_SUBSYS_NFTABLES
_GETOBJ, _NEWOBJ = 10 << 8 | 19, 10 << 8 | 18
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA, _COUNTER_PACKETS = 1, 2, 3, 4, 2
_OBJECT_COUNTER = 1
_DELSETELEM = 10 << 8 | 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # linux/netfilter/nfnetlink.h
_SUBSYSTEM = generic(0, 10)
_ELEM_TIMEOUT = 4
# Elements of one message: their list is an attribute, which has at most 65,535 bytes.
_ELEMENTS = 1000
_BATCH_TIMEOUT_S = 30.0
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEM = 1, 2, 3, 1
_ELEM_KEY, _ELEM_EXPIRATION, _DATA_VALUE = 1, 5, 1
# Requests in flight: their answers fit into the smallest receive buffer.
_WINDOW = 64
_DUMP_TRIES = 6

Remaining = float | None
"""Seconds until an element ends; None: it never does."""
Element = tuple[bytes, int | None]
"""A key, and the seconds that it is to live; None: for ever."""


# What nearly all elements of a set with timeouts look like: key, timeout and expiration, in this order. Reading them
# attribute by attribute takes five times as long, and a start waits for it.
_USUAL = {size: struct.Struct(f"=8s4s{size}s12s4s8s") for size in (4, 16)}


class _Batch:
    """The messages of one transaction, put together as they come: there may be a million elements."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self.first = netlink.sequence + 1
        self._data = bytearray(_border(_BATCH_BEGIN))
        self._last = 0

    def append(self, kind: int, flags: int, body: bytes) -> None:
        """One more message."""
        self._last = len(self._data)
        self._data += self._netlink.message(kind, REQUEST | flags, body)

    def whole(self) -> bytearray:
        """All of it, its end included; nothing where there is no message. Called once.

        An error comes back for any message, a success for the last one alone: some hundred answers would not fit
        into the socket.
        """
        if not self._last:
            return bytearray()
        length, kind, flags, sequence, port = header.unpack_from(self._data, self._last)
        header.pack_into(self._data, self._last, length, kind, flags | ACK, sequence, port)
        self._data += _border(_BATCH_END)
        return self._data


class NfQuery:
    """A netlink socket that asks about one table."""

    def __init__(self, family: str, table: str) -> None:
        self._generic = generic(FAMILIES[family])
        # NFTA_SET_ELEM_LIST_TABLE and NFTA_OBJ_TABLE have the same number.
        self._table = packed(_LIST_TABLE, table.encode() + b"\0")
        self._netlink = Netlink("nf_tables")

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def get(self, name: str, keys: Sequence[bytes]) -> dict[bytes, Remaining]:
        """Those of the keys (4 or 16 bytes) that the set holds. Raises TargetError."""
        found: dict[bytes, Remaining] = {}
        for first in range(0, len(keys), _WINDOW):
            some = keys[first : first + _WINDOW]
            asked_from = self._netlink.sequence + 1
            requests = b"".join(self._request(name, key) for key in some)
            self._netlink.send(requests)
            answered = 0
            while answered < len(some):
                for kind, _, body in self._netlink.receive(asked_from):
                    answered += 1
                    if kind == _NEWSETELEM:
                        found.update(_elements(body))
                    elif kind == ERROR:
                        _check_error(body, f"set {name}")
        return found

    def change(self, removed: Mapping[str, Sequence[bytes]], added: Mapping[str, Iterable[Element]],
               emptied: Iterable[str] = ()) -> None:
        """One transaction: empty sets, take keys out of sets, enter others with the seconds that are left to them.

        None: for ever. Raises TargetError, TargetFull; nothing has changed then.
        """
        batch = _Batch(self._netlink)
        for name in emptied:
            batch.append(_DELSETELEM, 0, self._set_of(name))
        for name, keys in removed.items():
            self._append(batch, (_DELSETELEM, 0), name, ((key, None) for key in keys))
        for name, elements in added.items():
            self._append(batch, (_NEWSETELEM, CREATE), name, elements)
        data = batch.whole()
        if data:
            self._transact(batch.first, data)

    def _append(self, batch: "_Batch", what: tuple[int, int], name: str, elements: Iterable[Element]) -> None:
        rest = iter(elements)
        while some := b"".join(_element(key, seconds) for key, seconds in islice(rest, _ELEMENTS)):
            batch.append(*what, self._set_of(name) + nested(_LIST_ELEMENTS, some))

    def _transact(self, first: int, data: bytearray) -> None:
        # The whole of it is one message to the socket.
        self._netlink.room(len(data))
        self._netlink.wait_at_most(_BATCH_TIMEOUT_S)
        try:
            self._netlink.send(data)
            while True:
                for kind, _, body in self._netlink.receive(first):
                    if kind == ERROR:
                        _check_batch(body)
                        return
        finally:
            self._netlink.wait_at_most()

    def _set_of(self, name: str) -> bytes:
        return self._generic + self._table + packed(_LIST_SET, name.encode() + b"\0")

    def packets(self, counter: str) -> int | None:
        """The packets of a named counter; None where there is none of that name. Raises TargetError."""
        body = self._generic + self._table + packed(_OBJ_NAME, counter.encode() + b"\0") + packed(
            _OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
        self._netlink.send(self._netlink.message(_GETOBJ, REQUEST, body))
        while True:
            for kind, _, answer in self._netlink.receive(self._netlink.sequence):
                if kind == ERROR:
                    _check_error(answer, f"counter {counter}")
                    return None
                if kind == _NEWOBJ:
                    data = next((inner for what, inner in attributes(answer[4:]) if what == _OBJ_DATA), None)
                    values = dict(attributes(data)) if data is not None else {}
                    return int.from_bytes(values.get(_COUNTER_PACKETS, b""), "big")

    def dump(self, name: str, limit_s: float) -> tuple[dict[bytes, Remaining], bool]:
        """What the set holds, and whether that is complete: the time is limited. Raises TargetError.

        For each part of its answer the kernel walks through the set from its beginning: 0.3 s for 100,000 elements,
        1.3 s for 200,000, half a minute for a million.
        """
        deadline = time.monotonic() + limit_s
        found: dict[bytes, Remaining] = {}
        for _ in range(_DUMP_TRIES):
            found, complete = self._dump(name, deadline)
            if complete:
                return found, True
            if time.monotonic() >= deadline:
                # The kernel is in the middle of its answer, and would take no other question on this socket.
                self._netlink.close()
                self._netlink.open()
                break
        return found, False

    def _dump(self, name: str, deadline: float) -> tuple[dict[bytes, Remaining], bool]:
        self._netlink.send(self._request(name, None))
        found: dict[bytes, Remaining] = {}
        complete = True
        while time.monotonic() < deadline:
            for kind, flags, body in self._netlink.receive(self._netlink.sequence):
                # The ruleset changed in the middle: what came before and after may not belong together.
                complete = complete and not flags & DUMP_INTERRUPTED
                if kind == DONE:
                    return found, complete
                if kind == ERROR:
                    _check_error(body, f"set {name}", missing_is_error=True)
                elif kind == _NEWSETELEM:
                    found.update(_elements(body))
        return found, False

    def _request(self, name: str, key: bytes | None) -> bytes:
        body = self._set_of(name)
        if key is None:
            return self._netlink.message(_GETSETELEM, REQUEST | DUMP, body)
        value = nested(_ELEM_KEY, packed(_DATA_VALUE, key))
        body += nested(_LIST_ELEMENTS, nested(_LIST_ELEM, value))
        return self._netlink.message(_GETSETELEM, REQUEST, body)


def _border(kind: int) -> bytes:
    return header.pack(header.size + len(_SUBSYSTEM), kind, REQUEST, 0, 0) + _SUBSYSTEM


def _element(key: bytes, seconds: int | None) -> bytes:
    """An element of a list: its key, and the milliseconds that it lives."""
    value = attribute.pack(8 + len(key), _ELEM_KEY | NESTED) + attribute.pack(4 + len(key), _DATA_VALUE) + key
    if seconds is not None:
        value += attribute.pack(12, _ELEM_TIMEOUT) + (1000 * seconds).to_bytes(8, "big")
    return attribute.pack(4 + len(value), _LIST_ELEM | NESTED) + value


def _check_batch(body: memoryview) -> None:
    number = error_number(body)
    if number == errno.ENFILE:
        raise TargetFull("the set is full")
    if number:
        raise TargetError(error_text(number))


def _elements(body: memoryview) -> Mapping[bytes, Remaining]:
    """The elements in a NFT_MSG_NEWSETELEM: behind 4 bytes of nfgenmsg, a list in attributes."""
    found: dict[bytes, Remaining] = {}
    for kind, elements in attributes(body[4:]):
        if kind != _LIST_ELEMENTS:
            continue
        if _read_usual(elements, found):
            continue
        for _, element in attributes(elements):
            key = b""
            remaining: Remaining = None
            for what, value in attributes(element):
                if what == _ELEM_KEY:
                    key = next((bytes(data) for inner, data in attributes(value) if inner == _DATA_VALUE), b"")
                elif what == _ELEM_EXPIRATION and len(value) == 8:
                    remaining = int.from_bytes(value, "big") / 1000
            if key:
                found[key] = remaining
    return found


def _read_usual(elements: memoryview, found: dict[bytes, Remaining]) -> bool:
    """Read elements that all look as nearly all do; False: some do not, and nothing was read."""
    for size, usual in _USUAL.items():
        if not elements or len(elements) % usual.size:
            continue
        rows = list(usual.iter_unpack(elements))
        head = rows[0][0], rows[0][1], rows[0][4]
        shape = [attribute.unpack(one) for one in (head[0][:4], head[0][4:], *head[1:])]
        wanted = [(usual.size, _LIST_ELEM), (8 + size, _ELEM_KEY), (4 + size, _DATA_VALUE), (12, _ELEM_EXPIRATION)]
        if [(length, kind & ~NESTED) for length, kind in shape] == wanted and all(
                (row[0], row[1], row[4]) == head for row in rows):
            found.update((row[2], int.from_bytes(row[5], "big") / 1000) for row in rows)
            return True
    return False


def _check_error(body: memoryview, name: str, *, missing_is_error: bool = False) -> None:
    """Raise TargetError, but where the answer only says that there is no such element."""
    number = error_number(body)
    if number and (missing_is_error or number != errno.ENOENT):
        raise TargetError(f"{name}: {error_text(number)}")
