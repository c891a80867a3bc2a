"""Elements of nft sets, asked of the kernel directly (linux/netfilter/nf_tables.h, NFT_MSG_GETSETELEM).

libnftables reads and sorts a whole set to answer for one element: 1.9 s where the set has 200,000. The kernel
itself has the element in some microseconds. What comes back is read as if it came from the network: no length is
believed before it was held against what is there.
"""
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence

from mxallowd.kerneltables import TableError

FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "bridge": 7, "ip6": 10}  # NFPROTO_, linux/netfilter.h
_NETLINK_NETFILTER = 12
_GETSETELEM, _NEWSETELEM = 10 << 8 | 13, 10 << 8 | 12  # NFNL_SUBSYS_NFTABLES
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
_DUMP_TRIES = 5

_header = struct.Struct("=IHHII")
_attribute = struct.Struct("=HH")
Remaining = float | None
"""Seconds until an element ends; None: it never does."""


class SetElements:
    """A netlink socket that asks about the sets of one table."""

    def __init__(self, family: str, table: str) -> None:
        self._generic = struct.pack("!BBH", FAMILIES[family], 0, 0)
        self._table = _packed(_LIST_TABLE, table.encode() + b"\0")
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def get(self, name: str, keys: Sequence[bytes]) -> dict[bytes, Remaining]:
        """Those of the keys (4 or 16 bytes) that the set holds. Raises TableError."""
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
                        _check_error(body, name)
        return found

    def dump(self, name: str) -> dict[bytes, Remaining]:
        """All that the set holds. Raises TableError."""
        for _ in range(_DUMP_TRIES):
            found = self._dump(name)
            if found is not None:
                return found
        raise TableError(f"set {name} changes too fast to be read")

    def _dump(self, name: str) -> dict[bytes, Remaining] | None:
        self._send(self._request(name, None))
        found: dict[bytes, Remaining] = {}
        whole = True
        while True:
            for kind, flags, body in self._receive(self._sequence):
                # The ruleset changed in the middle: what came before and after may not belong together.
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if kind == _NLMSG_DONE:
                    return found if whole else None
                if kind == _NLMSG_ERROR:
                    _check_error(body, name, missing_is_error=True)
                elif kind == _NEWSETELEM:
                    found.update(_elements(body))

    def _request(self, name: str, key: bytes | None) -> bytes:
        # 32 bits last for years of questions; the modulo is for the day they do not.
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        body = self._generic + self._table + _packed(_LIST_SET, name.encode() + b"\0")
        flags = _NLM_F_REQUEST
        if key is None:
            flags |= _NLM_F_DUMP
        else:
            value = _packed(_ELEM_KEY | _NESTED, _packed(_DATA_VALUE, key))
            body += _packed(_LIST_ELEMENTS | _NESTED, _packed(_LIST_ELEM | _NESTED, value))
        return _header.pack(_header.size + len(body), _GETSETELEM, flags, self._sequence, 0) + body

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise TableError(f"nf_tables: {error.strerror or error}") from None

    def _receive(self, asked_from: int) -> Iterator[tuple[int, int, memoryview]]:
        """The messages of one datagram that answer questions from this number on: type, flags and body."""
        try:
            data = memoryview(self._socket.recv(_RECEIVE))
        except OSError as error:
            raise TableError(f"nf_tables does not answer: {error.strerror or error}") from None
        at = 0
        while at + _header.size <= len(data):
            length, kind, flags, sequence, _ = _header.unpack_from(data, at)
            if not _header.size <= length <= len(data) - at:
                raise TableError("nf_tables sent a message of impossible length")
            # A late answer must not be taken for another question's.
            if sequence >= asked_from:
                yield kind, flags, data[at + _header.size : at + length]
            at += (length + 3) & ~3


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


def _check_error(body: memoryview, name: str, *, missing_is_error: bool = False) -> None:
    """Raise TableError, but where the answer only says that there is no such element."""
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if number and (missing_is_error or number != _ENOENT):
        raise TableError(f"set {name}: {os.strerror(number)}")
