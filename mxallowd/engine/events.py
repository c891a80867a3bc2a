"""Events: what happened on the packet path, as the sinks see it.

An event is a record of fixed size that a queue thread wrote into a ring (_ring.pxd has the layout). Sinks get events
decoded, in batches, in the order of each queue.
"""
import socket
import struct
from enum import IntEnum
from typing import NamedTuple

from mxallowd.engine._headers import REASONS
from mxallowd.engine._ring import EVENT_SIZE

_RECORD = struct.Struct("=BBHIQ16s16sQ8x")
MAPPED = b"\0" * 10 + b"\xff\xff"

if _RECORD.size != EVENT_SIZE:
    raise ImportError("the layout of events differs between _ring.pxd and events.py")


class Kind(IntEnum):
    """What happened. The numbers are those of _ring.pxd."""

    WHITELISTED = 1  # source met a fake server and is listed until until_us; length is its port
    ACCEPTED = 2  # source, listed, reached a real server for the first time
    REFUSED = 3  # source, not listed, tried a real server: once a minute a host; length is its attempts so far
    MALFORMED = 4  # a packet whose header cannot be parsed; it was accepted
    RENEWED = 5  # source, listed, met a fake server or reached a real one again: the entry ends at until_us now
    SWEPT = 6  # the queue's thread has removed all expired entries
    EVICTED = 8  # source was listed and made room for another before its time
    LIST_DENIED = 9  # source is denied by a list and tried a server; as REFUSED
    LIST_ALLOWED = 10  # source is allowed by a list, not listed itself, and reached a real server; as REFUSED
    # source, listed and never at a real server, met a fake one again: once a minute; length is how often, until_us its
    # port
    MET = 11
    PATIENT = 12  # source was refused at a real server, for the last time: it is listed until until_us
    AGAIN = 14  # as MET, of one that has connected to a real server, where that renews nothing; with a fleet alone
    BY_NETWORK = 13  # source, not listed, reached a real server: a contact has let its network in; as REFUSED
    STOPPED = 7  # the queue's thread has ended; length is the errno, 0 after a stop


class Event(NamedTuple):
    """One event. Addresses are 16 bytes in network order, IPv4 in IPv4-mapped form."""

    kind: int
    reason: int
    queue: int
    length: int
    time_us: int  # CLOCK_BOOTTIME
    source: bytes
    destination: bytes
    until_us: int

    @property
    def head(self) -> bytes:
        """MALFORMED: the first bytes of the packet, at most 32."""
        return (self.source + self.destination)[: self.length]

    @property
    def reason_name(self) -> str:
        """MALFORMED: why the header cannot be parsed."""
        return REASONS[self.reason]


def decode(records: bytes) -> list[Event]:
    """The events of records as Ring.drain gives them. Raises struct.error where one is not whole."""
    return [Event(*fields) for fields in _RECORD.iter_unpack(records)]


def packed(text: str) -> bytes:
    """An address as events carry it. Raises OSError where `text` is none."""
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return MAPPED + socket.inet_pton(socket.AF_INET, text)


def address_text(address: bytes) -> str:
    """The usual text of an address of 16 bytes (RFC 5952 for IPv6)."""
    if address.startswith(MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[12:])
    return socket.inet_ntop(socket.AF_INET6, address)
