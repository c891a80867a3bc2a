"""Capture files in bytes: pcap and pcapng, read as they come in, from a stream that cannot be read twice.

The reader takes bytes (feed) and gives records of one link type at a time (take). It keeps no more than a record that
is not whole yet. libpcap has no part in it: it reads no compressed file and no interfaces of different link types.
Formats: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html and …-pcapng-02.html.
"""
import struct
from dataclasses import dataclass

RECORD = struct.Struct("=IIII")  # seconds, microseconds, offset, length: as _capture.select takes them
MOST_BYTES = 262_144  # of a record: libpcap's bound, above which a length is damage
_LEAST = 24  # bytes by which a file can be told
_MAGIC_US, _MAGIC_NS, _MAGIC_MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_MOST_BLOCK = 16 << 20


class FormatError(ValueError):
    """Bytes that are no capture, or none any more; the text says why."""


@dataclass(frozen=True)
class Records:
    """Some records of one link type: their bytes, and the table of 16 bytes a record that _capture.select takes."""

    link_type: int
    data: bytes
    table: bytes


@dataclass
class _Interface:
    link_type: int
    per_s: int  # units of a time stamp
    offset_s: int


class Reader:
    """One capture, whatever its format."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0
        self._format: _Pcap | _Pcapng | None = None

    def feed(self, more: bytes) -> None:
        """Take further bytes of the file."""
        self._bytes = self._bytes[self._at:] + more
        self._at = 0

    def known(self) -> bool:
        """Whether it is a capture, as its first bytes say."""
        return self._format is not None

    def whole(self) -> bool:
        """Whether what was fed ends with a record."""
        return self._at == len(self._bytes)

    def take(self, most: int) -> Records | None:
        """The next records, at most so many; None: there is no whole one. Raises FormatError."""
        if self._format is None:
            if len(self._bytes) < _LEAST:
                return None
            self._format, self._at = _format_of(self._bytes)
        found, self._at = self._format.take(self._bytes, self._at, most)
        return found


def _format_of(data: bytes) -> "tuple[_Pcap | _Pcapng, int]":
    for order in "<>":
        [magic] = struct.unpack_from(f"{order}I", data)
        if magic in (_MAGIC_US, _MAGIC_NS, _MAGIC_MODIFIED):
            major, link_type = struct.unpack_from(f"{order}4xH14xI", data)
            if major != 2:
                raise FormatError(f"version {major} of pcap is not known")
            # The upper bits tell of a checksum.
            return _Pcap(order, magic, link_type & 0x03FFFFFF), 24
    if struct.unpack_from("<I", data)[0] == _SECTION:
        return _Pcapng(), 0
    raise FormatError("unknown file format")


class _Pcap:
    """A header, and records with a header each."""

    def __init__(self, order: str, magic: int, link_type: int) -> None:
        # The modified format of old Linux systems has 8 bytes more.
        self._header = struct.Struct(f"{order}IIII" + ("8x" if magic == _MAGIC_MODIFIED else ""))
        self._per_us = 1000 if magic == _MAGIC_NS else 1
        self._link_type = link_type

    def take(self, data: bytes, at: int, most: int) -> tuple[Records | None, int]:
        """Records from there on, and where they end."""
        table = bytearray()
        start, size, header = at, self._header.size, self._header
        last, pack = len(data) - size, RECORD.pack
        while at <= last and most:
            seconds, fraction, length, _ = header.unpack_from(data, at)
            if length > MOST_BYTES:
                if table:
                    # What stands before it first.
                    break
                raise FormatError(f"a record of {length} bytes, which is more than {MOST_BYTES}")
            end = at + size + length
            if end > len(data):
                break
            table += pack(seconds, fraction // self._per_us & 0xFFFFFFFF, at + size - start, length)
            at = end
            most -= 1
        return (Records(self._link_type, data[start:at], bytes(table)) if table else None), at


class _Pcapng:
    """Blocks: sections in either byte order, interfaces, and packets of these."""

    def __init__(self) -> None:
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def take(self, data: bytes, at: int, most: int) -> tuple[Records | None, int]:
        """Records from there on, as long as their link type is the same, and where they end."""
        table = bytearray()
        start, link_type = at, -1
        while most and len(data) - at >= 12:
            try:
                kind, length = self._block(data, at)
                if at + length > len(data):
                    break
                found = self._packet(kind, data, at, length)
            except FormatError:
                if table:
                    break
                raise
            if found:
                interface, units, offset, size = found
                if table and interface.link_type != link_type:
                    break
                link_type = interface.link_type
                whole, fraction = divmod(units, interface.per_s)
                table += RECORD.pack((whole + interface.offset_s) & 0xFFFFFFFF,
                                     fraction * 1_000_000 // interface.per_s, offset - start, size)
                most -= 1
            at += length
        return (Records(link_type, data[start:at], bytes(table)) if table else None), at

    def _block(self, data: bytes, at: int) -> tuple[int, int]:
        """Kind and length of the block; a section's first words say in which order all of it is."""
        [kind] = struct.unpack_from(f"{self._order}I", data, at)
        if kind == _SECTION:
            self._order = next((order for order in "<>"
                                if struct.unpack_from(f"{order}I", data, at + 8)[0] == _BYTE_ORDER), "")
            if not self._order:
                self._order = "<"
                raise FormatError("a section without its byte order")
        [length] = struct.unpack_from(f"{self._order}I", data, at + 4)
        if length < 12 or length % 4 or length > _MOST_BLOCK:
            raise FormatError(f"a block of {length} bytes")
        return kind, length

    def _packet(self, kind: int, data: bytes, at: int, length: int) -> tuple[_Interface, int, int, int] | None:
        """Interface, time stamp, and where its bytes are; None where the block is none of a packet."""
        if data[at + length - 4 : at + length] != data[at + 4 : at + 8]:
            raise FormatError("a block whose two lengths differ")
        body, end = at + 8, at + length - 4
        if kind == _SECTION:
            self._interfaces = []
        elif kind == _INTERFACE:
            self._interfaces.append(self._interface(data[body:end]))
        elif kind in (_PACKET, _OLD_PACKET) and end - body >= 20:
            number, high, low, size = struct.unpack_from(
                f"{self._order}{'I' if kind == _PACKET else 'H2x'}III", data, body)
            return self._checked(number, high << 32 | low, body + 20, size, end)
        elif kind == _SIMPLE_PACKET and end - body >= 4:
            # It has no time, and all of the packet that the interface's bound lets through.
            [size] = struct.unpack_from(f"{self._order}I", data, body)
            return self._checked(0, 0, body + 4, min(size, end - body - 4), end)
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            raise FormatError("a packet that is too short")
        return None

    def _checked(self, number: int, units: int, offset: int, size: int, end: int) -> tuple[_Interface, int, int, int]:
        if number >= len(self._interfaces):
            raise FormatError(f"a packet of interface {number}, which there is not")
        if offset + size > end:
            raise FormatError("a packet that is longer than its block")
        return self._interfaces[number], units, offset, size

    def _interface(self, body: bytes) -> _Interface:
        if len(body) < 8:
            raise FormatError("an interface that is too short")
        [link_type] = struct.unpack_from(f"{self._order}H", body)
        per_s, offset_s, at = 1_000_000, 0, 8
        while len(body) - at >= 4:
            option, size = struct.unpack_from(f"{self._order}HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if option == 0:
                break
            if option == _OPTION_RESOLUTION and value:
                per_s = 1 << (value[0] & 127) if value[0] & 128 else 10 ** min(value[0], 30)
            elif option == _OPTION_OFFSET and len(value) == 8:
                [offset_s] = struct.unpack(f"{self._order}q", value)
            at += 4 + size + -size % 4
        return _Interface(link_type, per_s, offset_s)


