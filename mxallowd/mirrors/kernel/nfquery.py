"""Elements of sets and named counters, read from the kernel and changed there directly (linux/netfilter/nf_tables.h).

libnftables reads and sorts all sets of a table to look up one element, or one counter: 1.9 s for a set of 200,000
elements. Before it adds an element, it reads all interval sets of the host, in every table: half a second if one of
them is a list of countries. The kernel itself answers within some microseconds. This module reads the kernel's answers
as if they came from the network: it checks each length against the bytes that are there.
"""
import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from mxallowd.mirrors import TargetError, TargetFull

FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "bridge": 7, "ip6": 10}  # NFPROTO_, linux/netfilter.h
_NETLINK_NETFILTER = 12
_GETSETELEM, _NEWSETELEM = 10 << 8 | 13, 10 << 8 | 12  # NFNL_SUBSYS_NFTABLES
_GETOBJ, _NEWOBJ = 10 << 8 | 19, 10 << 8 | 18
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA, _COUNTER_PACKETS = 1, 2, 3, 4, 2
_OBJECT_COUNTER = 1
_DELSETELEM = 10 << 8 | 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # linux/netfilter/nfnetlink.h
_SUBSYSTEM = struct.pack("!BBH", 0, 0, 10)
_NLM_F_ACK, _NLM_F_CREATE = 4, 0x400
_ELEM_TIMEOUT = 4
# Elements of one message: their list is an attribute, which has at most 65,535 bytes.
_ELEMENTS = 1000
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10  # linux/netlink.h
_BATCH_TIMEOUT_S = 30.0
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 1, 0x300, 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEM = 1, 2, 3, 1
_ELEM_KEY, _ELEM_EXPIRATION, _DATA_VALUE = 1, 5, 1
_ENOENT = 2
# Requests in flight: their answers fit into the smallest receive buffer.
_WINDOW = 64
_RECEIVE = 1 << 17
_TIMEOUT_S = 5.0
_DUMP_TRIES = 6

_header = struct.Struct("=IHHII")
_attribute = struct.Struct("=HH")
Remaining = float | None
"""Seconds until an element ends; None: it never does."""
Element = tuple[bytes, int | None]
"""A key, and the seconds that it is to live; None: for ever."""


# What nearly all elements of a set with timeouts look like: key, timeout and expiration, in this order. Reading them
# attribute by attribute takes five times as long, and a start waits for it.
_USUAL = {size: struct.Struct(f"=8s4s{size}s12s4s8s") for size in (4, 16)}


class _Batch:
    """The messages of one transaction, put together as they come: there may be a million elements."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self._data = bytearray(_border(_BATCH_BEGIN))
        self._last = 0

    def append(self, kind: int, flags: int, body: bytes) -> None:
        """One more message."""
        self.sequence = _next(self.sequence)
        self._last = len(self._data)
        self._data += _header.pack(_header.size + len(body), kind, _NLM_F_REQUEST | flags, self.sequence, 0)
        self._data += body

    def whole(self) -> bytearray:
        """All of it, its end included. Called once.

        An error comes back for any message, a success for the last one alone: some hundred answers would not fit
        into the socket.
        """
        length, kind, flags, sequence, port = _header.unpack_from(self._data, self._last)
        _header.pack_into(self._data, self._last, length, kind, flags | _NLM_F_ACK, sequence, port)
        self._data += _border(_BATCH_END)
        return self._data


class NfQuery:
    """A netlink socket that asks about one table."""

    def __init__(self, family: str, table: str) -> None:
        self._generic = struct.pack("!BBH", FAMILIES[family], 0, 0)
        # NFTA_SET_ELEM_LIST_TABLE and NFTA_OBJ_TABLE have the same number.
        self._table = _packed(_LIST_TABLE, table.encode() + b"\0")
        self._sequence = 0
        self._open()

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)
        # An error need not bring back the message that caused it.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def get(self, name: str, keys: Sequence[bytes]) -> dict[bytes, Remaining]:
        """Those of the keys (4 or 16 bytes) that the set holds. Raises TargetError."""
        found: dict[bytes, Remaining] = {}
        for first in range(0, len(keys), _WINDOW):
            some = keys[first : first + _WINDOW]
            asked_from = self._sequence + 1
            requests = b"".join(self._request(name, key) for key in some)
            self._send(requests)
            answered = 0
            while answered < len(some):
                for kind, _, body in self._receive(asked_from):
                    answered += 1
                    if kind == _NEWSETELEM:
                        found.update(_elements(body))
                    elif kind == _NLMSG_ERROR:
                        _check_error(body, f"set {name}")
        return found

    def change(self, removed: Mapping[str, Sequence[bytes]], added: Mapping[str, Iterable[Element]],
               emptied: Iterable[str] = ()) -> None:
        """One transaction: empty sets, take keys out of sets, enter others with the seconds that are left to them.

        None: for ever. Raises TargetError, TargetFull; nothing has changed then.
        """
        batch = _Batch(self._sequence)
        for name in emptied:
            batch.append(_DELSETELEM, 0, self._set_of(name))
        for name, keys in removed.items():
            self._append(batch, (_DELSETELEM, 0), name, ((key, None) for key in keys))
        for name, elements in added.items():
            self._append(batch, (_NEWSETELEM, _NLM_F_CREATE), name, elements)
        if batch.sequence != self._sequence:
            self._transact(batch)

    def _append(self, batch: "_Batch", what: tuple[int, int], name: str, elements: Iterable[Element]) -> None:
        rest = iter(elements)
        while some := b"".join(_element(key, seconds) for key, seconds in islice(rest, _ELEMENTS)):
            batch.append(*what, self._set_of(name) + _packed(_LIST_ELEMENTS | _NESTED, some))

    def _transact(self, batch: "_Batch") -> None:
        first, self._sequence = self._sequence + 1, batch.sequence
        data = batch.whole()
        # The whole of it is one message to the socket.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, max(len(data) * 2, 1 << 18))
        self._socket.settimeout(_BATCH_TIMEOUT_S)
        try:
            self._send(data)
            while True:
                for kind, _, body in self._receive(first):
                    if kind == _NLMSG_ERROR:
                        _check_batch(body)
                        return
        finally:
            self._socket.settimeout(_TIMEOUT_S)

    def _set_of(self, name: str) -> bytes:
        return self._generic + self._table + _packed(_LIST_SET, name.encode() + b"\0")

    def packets(self, counter: str) -> int | None:
        """The packets of a named counter; None where there is none of that name. Raises TargetError."""
        body = self._generic + self._table + _packed(_OBJ_NAME, counter.encode() + b"\0") + _packed(
            _OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
        self._send(self._message(_GETOBJ, _NLM_F_REQUEST, body))
        while True:
            for kind, _, answer in self._receive(self._sequence):
                if kind == _NLMSG_ERROR:
                    _check_error(answer, f"counter {counter}")
                    return None
                if kind == _NEWOBJ:
                    data = next((inner for what, inner in _attributes(answer[4:]) if what == _OBJ_DATA), None)
                    values = dict(_attributes(data)) if data is not None else {}
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
                self._socket.close()
                self._open()
                break
        return found, False

    def _dump(self, name: str, deadline: float) -> tuple[dict[bytes, Remaining], bool]:
        self._send(self._request(name, None))
        found: dict[bytes, Remaining] = {}
        complete = True
        while time.monotonic() < deadline:
            for kind, flags, body in self._receive(self._sequence):
                # The ruleset changed in the middle: what came before and after may not belong together.
                complete = complete and not flags & _NLM_F_DUMP_INTR
                if kind == _NLMSG_DONE:
                    return found, complete
                if kind == _NLMSG_ERROR:
                    _check_error(body, f"set {name}", missing_is_error=True)
                elif kind == _NEWSETELEM:
                    found.update(_elements(body))
        return found, False

    def _request(self, name: str, key: bytes | None) -> bytes:
        body = self._set_of(name)
        if key is None:
            return self._message(_GETSETELEM, _NLM_F_REQUEST | _NLM_F_DUMP, body)
        value = _packed(_ELEM_KEY | _NESTED, _packed(_DATA_VALUE, key))
        body += _packed(_LIST_ELEMENTS | _NESTED, _packed(_LIST_ELEM | _NESTED, value))
        return self._message(_GETSETELEM, _NLM_F_REQUEST, body)

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence = _next(self._sequence)
        return _header.pack(_header.size + len(body), kind, flags, self._sequence, 0) + body

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise TargetError(f"nf_tables: {error.strerror or error}") from None

    def _receive(self, asked_from: int) -> Iterator[tuple[int, int, memoryview]]:
        """The messages of one datagram that answer questions from this number on: type, flags and body."""
        try:
            data = memoryview(self._socket.recv(_RECEIVE))
        except OSError as error:
            raise TargetError(f"nf_tables does not answer: {error.strerror or error}") from None
        at = 0
        while at + _header.size <= len(data):
            length, kind, flags, sequence, _ = _header.unpack_from(data, at)
            if not _header.size <= length <= len(data) - at:
                raise TargetError("nf_tables sent a message of impossible length")
            # A late answer must not be taken for another question's.
            if sequence >= asked_from:
                yield kind, flags, data[at + _header.size : at + length]
            at += (length + 3) & ~3


def _next(sequence: int) -> int:
    # 32 bits last for years of questions; the modulo is for the day they do not.
    return (sequence + 1) & 0xFFFFFFFF


def _border(kind: int) -> bytes:
    return _header.pack(_header.size + len(_SUBSYSTEM), kind, _NLM_F_REQUEST, 0, 0) + _SUBSYSTEM


def _element(key: bytes, seconds: int | None) -> bytes:
    """An element of a list: its key, and the milliseconds that it lives."""
    value = _attribute.pack(8 + len(key), _ELEM_KEY | _NESTED) + _attribute.pack(4 + len(key), _DATA_VALUE) + key
    if seconds is not None:
        value += _attribute.pack(12, _ELEM_TIMEOUT) + (1000 * seconds).to_bytes(8, "big")
    return _attribute.pack(4 + len(value), _LIST_ELEM | _NESTED) + value


def _check_batch(body: memoryview) -> None:
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if number == errno.ENFILE:
        raise TargetFull("the set is full")
    if number:
        raise TargetError(os.strerror(number))


def _packed(kind: int, body: bytes) -> bytes:
    return _attribute.pack(_attribute.size + len(body), kind) + body + bytes(-len(body) % 4)


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = _attribute.unpack_from(data, at)
        if not 4 <= length <= len(data) - at:
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _elements(body: memoryview) -> Mapping[bytes, Remaining]:
    """The elements in a NFT_MSG_NEWSETELEM: behind 4 bytes of nfgenmsg, a list in attributes."""
    found: dict[bytes, Remaining] = {}
    for kind, elements in _attributes(body[4:]):
        if kind != _LIST_ELEMENTS:
            continue
        if _read_usual(elements, found):
            continue
        for _, element in _attributes(elements):
            key = b""
            remaining: Remaining = None
            for what, value in _attributes(element):
                if what == _ELEM_KEY:
                    key = next((bytes(data) for inner, data in _attributes(value) if inner == _DATA_VALUE), b"")
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
        shape = [_attribute.unpack(one) for one in (head[0][:4], head[0][4:], *head[1:])]
        wanted = [(usual.size, _LIST_ELEM), (8 + size, _ELEM_KEY), (4 + size, _DATA_VALUE), (12, _ELEM_EXPIRATION)]
        if [(length, kind & _TYPE_MASK) for length, kind in shape] == wanted and all(
                (row[0], row[1], row[4]) == head for row in rows):
            found.update((row[2], int.from_bytes(row[5], "big") / 1000) for row in rows)
            return True
    return False


def _check_error(body: memoryview, name: str, *, missing_is_error: bool = False) -> None:
    """Raise TargetError, but where the answer only says that there is no such element."""
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if number and (missing_is_error or number != _ENOENT):
        # INT_MIN has no positive twin.
        raise TargetError(f"{name}: {os.strerror(number) if number < 1 << 31 else 'no error that there is'}")
