"""Capture files as a stream of candidates: the connection attempts that the firewall would have sent to mxallowd.

A capture may be larger than memory, compressed with gzip, or come in by standard input (`-`), and it may be damaged
anywhere: everything before the damage is read. What is no candidate is counted with the reason.
"""
import os
import select
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mxallowd.captures import _capture
from mxallowd.captures._capture import LINK_TYPES
from mxallowd.captures.formats import RECORD, FormatError, Reader, Records
from mxallowd.errors import MxallowdError
from mxallowd.text import quoted

# Records at a time: their events fit into the ring of the daemon without loss.
CHUNK = 1024
STANDARD_INPUT = Path("-")
BLOCK = 1 << 18  # bytes at a time
_GZIP = b"\x1f\x8b"
_OTHER_COMPRESSION = {
    b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip"}
_LONGEST_MAGIC = 6


class CaptureError(MxallowdError):
    """A capture that cannot be read, or not to its end; the text is for the user."""


class CaptureDamage(CaptureError):
    """A capture that ends in damage; everything before it was read."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a capture: candidates as _capture.select gives them, and counts of records and file bytes.

    `attempts` are the connection attempts among them, for any filter; `without_ip` are records that carry no IP, by the
    words that say why.
    """

    candidates: bytes
    records: int
    malformed: int
    file_bytes: int
    attempts: int = 0
    without_ip: dict[str, int] = field(default_factory=dict)


WAITING = Chunk(b"", 0, 0, 0)
"""There is nothing yet; ask again."""


def read(path: Path, program_of: Callable[[Any], bytes], *, patient: bool = True) -> Iterator[Chunk]:
    """The candidates of a capture that pass the program which `program_of` gives (filters.py); it is called with None.

    Waits for what comes in later, or, where not `patient`, gives WAITING. Raises what `program_of` raises;
    CaptureError; CaptureDamage after everything before the damage was given.
    """
    name = "standard input" if path == STANDARD_INPUT else quoted(str(path))
    with closing(_Stream(path, name)) as stream:
        program = program_of(None)
        reader = Reader()
        known = False
        while (block := stream.block(patient=patient)) != b"":
            if block is None:
                yield WAITING
                continue
            reader.feed(block)
            while records := _take(reader, name):
                if not known and records.link_type not in LINK_TYPES:
                    shown = ", ".join(sorted(set(LINK_TYPES.values())))
                    raise CaptureError(f"{name} has link type {records.link_type}; known are {shown}")
                known = True
                yield _chunk(records, program, stream.taken())
        if not reader.known() and not stream.damage:
            raise CaptureError(f"{name} cannot be read as a capture: unknown file format")
        if stream.damage or not reader.whole():
            raise CaptureDamage(f"{name} is damaged: {stream.damage or 'it ends inside a record'}")


def _take(reader: Reader, name: str) -> Records | None:
    try:
        return reader.take(CHUNK)
    except FormatError as error:
        if not reader.known():
            raise CaptureError(f"{name} cannot be read as a capture: {error}") from None
        raise CaptureDamage(f"{name} is damaged: {error}") from None


def _chunk(records: Records, program: bytes, file_bytes: int) -> Chunk:
    count = len(records.table) // RECORD.size
    if records.link_type not in LINK_TYPES:
        return Chunk(b"", count, 0, file_bytes, 0, {f"link type {records.link_type} is not known": count})
    candidates, malformed = _capture.select(records.data, records.table, records.link_type, program)
    attempts, without_ip = _capture.survey(records.data, records.table, records.link_type)
    where = f"behind {LINK_TYPES[records.link_type]}"
    return Chunk(candidates, count, malformed, file_bytes, attempts, {
        f"no IP {where}" + (f", type 0x{kind:04x}" if kind >= 0 else ""): found for kind, found in without_ip.items()})


class _Stream:
    """The bytes of a file, decompressed where they are gzip's."""

    def __init__(self, path: Path, name: str) -> None:
        self.damage = ""
        self._name = name
        self._gzip: Any = None
        self._members = 0  # that have ended
        self._taken = 0
        self._head: bytes | None = b""  # until it can be told what they are
        if path != STANDARD_INPUT and not path.is_file():
            raise CaptureError(f"{name} is {'not a file' if path.exists() else 'not there'}")
        try:
            self._descriptor = os.dup(0) if path == STANDARD_INPUT else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CaptureError(f"{name} cannot be read as a capture: {error.strerror}") from None

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def taken(self) -> int:
        """Bytes of the file that were read since the last call."""
        taken, self._taken = self._taken, 0
        return taken

    def block(self, *, patient: bool) -> bytes | None:
        """The next bytes, none at the end, and None where more may come later."""
        if self.damage:
            return b""
        if self._gzip is not None:
            return self._unpacked(patient)
        raw = self._raw(patient)
        if raw is None or self._head is None:
            return raw
        head = self._head + raw
        if raw and len(head) < _LONGEST_MAGIC:
            self._head = head
            return None if not patient else self.block(patient=True)
        if not head:
            raise CaptureError(f"{self._name} is empty")
        self._head = None
        for magic, program in _OTHER_COMPRESSION.items():
            if head.startswith(magic):
                raise CaptureError(f"{self._name} is compressed with {program}; unpack it, or use gzip")
        if head.startswith(_GZIP):
            self._gzip = zlib.decompressobj(31)
            return self._unpack(head, patient)
        return head

    def _raw(self, patient: bool) -> bytes | None:
        try:
            if not patient and not select.select([self._descriptor], [], [], 0)[0]:
                return None
            raw = os.read(self._descriptor, BLOCK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise CaptureDamage(f"{self._name} cannot be read: {error.strerror}") from None
        self._taken += len(raw)
        return raw

    def _unpacked(self, patient: bool) -> bytes | None:
        if self._gzip.unconsumed_tail:
            return self._unpack(self._gzip.unconsumed_tail, patient)
        # Another member may follow the end of one (RFC 1952, 2.2).
        rest = self._gzip.unused_data if self._gzip.eof else b""
        raw = rest or self._raw(patient)
        if raw is None:
            return None
        if not raw:
            if not self._gzip.eof:
                self.damage = "its compressed data ends too early"
            return b""
        if self._gzip.eof:
            self._gzip = zlib.decompressobj(31)
            self._members += 1
        return self._unpack(raw, patient)

    def _unpack(self, raw: bytes, patient: bool) -> bytes | None:
        before = self._gzip.copy()
        try:
            plain = self._gzip.decompress(raw, BLOCK)
        except zlib.error as error:
            junk = self._members and "header" in str(error)
            self.damage = "what follows its compressed data is none" if junk else str(error)
            return _before_damage(before, raw)
        # None yet is not the end.
        return bytes(plain) or self._unpacked(patient)


def _before_damage(unpacker: Any, raw: bytes) -> bytes:
    """What can be unpacked of bytes that hold an error. A call that meets it gives nothing, so ever fewer are tried."""
    plain = b""
    size = len(raw)
    while size:
        attempt = unpacker.copy()
        try:
            more = attempt.decompress(raw[:size], BLOCK)
        except zlib.error:
            size >>= 1
            continue
        taken = size - len(attempt.unconsumed_tail)
        if not more and not taken:
            break
        plain += more
        unpacker, raw = attempt, raw[taken:]
        size = min(size, len(raw))
    return plain
