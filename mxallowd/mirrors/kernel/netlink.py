"""Netlink: a socket, its messages and their attributes (linux/netlink.h, linux/netfilter/nfnetlink.h).

What nf_tables, ipset and rtnetlink have in common. The kernel's answers are read as if they came from the network: each
length is checked against the bytes that are there.
"""
import os
import socket
import struct
from collections.abc import Iterator

from mxallowd.mirrors import TargetError

REQUEST, ACK, CREATE, REPLACE, EXCLUSIVE, DUMP, DUMP_INTERRUPTED = 1, 4, 0x400, 0x100, 0x200, 0x300, 0x10  # NLM_F_
ERROR, DONE = 2, 3  # NLMSG_
NESTED, NETWORK_ORDER = 0x8000, 0x4000  # NLA_F_
_TYPE_MASK = 0x3FFF
_NETLINK_NETFILTER = 12
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10  # linux/netlink.h
_RECEIVE = 1 << 17
_TIMEOUT_S = 5.0
# What the kernel keeps of the send buffer for itself (netlink_sendmsg), and the most that a C int says, doubled.
_KEPT, _LARGEST = 32, (1 << 30) - 1

header = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
attribute = struct.Struct("=HH")  # length, type
_number = struct.Struct("=i")


def generic(family: int, resource: int = 0) -> bytes:
    """A struct nfgenmsg: the family (NFPROTO_, or AF_), and what is meant."""
    return struct.pack("!BBH", family, 0, resource)


def packed(kind: int, body: bytes) -> bytes:
    """An attribute, padded to the next multiple of 4."""
    return attribute.pack(attribute.size + len(body), kind) + body + bytes(-len(body) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds others."""
    return packed(kind | NESTED, b"".join(parts))


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type, without its flags, and body of each; what has an impossible length ends them."""
    at = 0
    while at + attribute.size <= len(data):
        length, kind = attribute.unpack_from(data, at)
        if not attribute.size <= length <= len(data) - at:
            return
        yield kind & _TYPE_MASK, data[at + attribute.size : at + length]
        at += (length + 3) & ~3


def error_number(body: memoryview) -> int:
    """What an answer of type ERROR says, as in errno; 0 is success."""
    return -_number.unpack_from(body)[0] if len(body) >= _number.size else 0


def error_text(number: int) -> str:
    """An error number in words."""
    # INT_MIN has no positive twin.
    return os.strerror(number) if number < 1 << 31 else "no error that there is"


class Netlink:
    """A socket. Its messages are numbered, so that a late answer is not taken for that of the next question."""

    def __init__(self, name: str, protocol: int = _NETLINK_NETFILTER) -> None:
        """`name` says in errors who was asked; `protocol` is a NETLINK_ of linux/netlink.h. Raises OSError."""
        self._name = name
        self._protocol = protocol
        self.sequence = 0
        self.open()

    def open(self) -> None:
        """A new socket. Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self._protocol)
        self._socket.settimeout(_TIMEOUT_S)
        # An error need not bring back the message that caused it.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.bind((0, 0))

    def open_again(self) -> None:
        """A new socket in place of this one, whose answers are nobody's business any more. Raises TargetError."""
        self._socket.close()
        try:
            self.open()
        except OSError as error:
            raise TargetError(f"{self._name}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def wait_at_most(self, seconds: float = _TIMEOUT_S) -> None:
        """For an answer, from now on."""
        self._socket.settimeout(seconds)

    def room(self, size: int) -> int:
        """Have the send buffer hold a message of `size` bytes, if that can be had; how long one may be now.

        In a user namespace nobody may go beyond /proc/sys/net/core/wmem_max (`SO_SNDBUFFORCE` needs the capability of
        the host's own namespace): the message must be sent in parts then. Raises TargetError.
        """
        wanted = min(max(size + _KEPT, 1 << 18), _LARGEST)
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, wanted)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wanted)
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _KEPT
        except OSError as error:
            raise TargetError(f"{self._name}: {error.strerror or error}") from None

    def number(self) -> int:
        """The number of the next message."""
        # 32 bits last for years of questions; the modulo is for the day they do not.
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return self.sequence

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        """A message, with the next number."""
        return header.pack(header.size + len(body), kind, flags, self.number(), 0) + body

    def send(self, data: bytes | bytearray) -> None:
        """One or more messages. Raises TargetError."""
        try:
            self._socket.send(data)
        except OSError as error:
            raise TargetError(f"{self._name}: {error.strerror or error}") from None

    def receive(self, asked_from: int) -> Iterator[tuple[int, int, memoryview]]:
        """The messages of one datagram that answer questions from this number on: type, flags and body.

        Raises TargetError.
        """
        try:
            data = memoryview(self._socket.recv(_RECEIVE))
        except OSError as error:
            raise TargetError(f"{self._name} does not answer: {error.strerror or error}") from None
        at = 0
        while at + header.size <= len(data):
            length, kind, flags, sequence, _ = header.unpack_from(data, at)
            if not header.size <= length <= len(data) - at:
                raise TargetError(f"{self._name} sent a message of impossible length")
            if sequence >= asked_from:
                yield kind, flags, data[at + header.size : at + length]
            at += (length + 3) & ~3
