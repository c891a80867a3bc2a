"""Blocks: a file is a row of them, each with a header and a checksum over every byte of it.

A block says of itself what it holds, when it was written, and in which place of which file it stands. So damage costs
the block that has it and no other: reading goes on at the next mark. The mark and the number of the file, which is
random, keep text inside a block from being taken for one.

Header, 64 bytes in the byte order of the machine: mark (4), CRC-32 of all that follows (4), version, kind, two zeros,
length of what stands behind the header (4), place in the file (4), four zeros, number of the file (8), id of the boot
(16), CLOCK_BOOTTIME and CLOCK_REALTIME in microseconds (8 each).
"""
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

MARK = b"\xf1mx\xd5"
VERSION = 1
_HEADER = struct.Struct("=4sI BB2x II4x Q 16s qq".replace(" ", ""))
HEADER_SIZE = _HEADER.size
_CHECKED_FROM = 8
MOST_BYTES = 8192  # behind a header: 256 hosts
LATEST_S = 253_402_300_799  # the end of the year 9999: no clock is later, and no text has room for more


class Kind(IntEnum):
    """What a block holds."""

    BEGIN = 1  # nothing: the first block of a file
    HOSTS = 2  # records of the whitelist (engine/_records.pyi), times of CLOCK_BOOTTIME
    NOTES = 3  # of each host: address (16), since when (8, seconds since 1970), bytes of text (2), text
    REFUSED = 4  # number of servers (1), their addresses (16 each), records of engine/_refused.pyi
    PATIENCE = 7  # records of engine/_patience.pyi
    TRIAL = 6  # a piece of history/kept.py; in a file of its own
    TRUSTED = 8  # a piece of an answer (trusted.py); in a file of its own
    END = 5  # nothing: the last block of a snapshot; and in a journal that it was whole then


Contents = Iterator[tuple[Kind, bytes | memoryview]]  # of blocks, one after the other


class Clock(NamedTuple):
    """A moment by both clocks. Those of one boot can be compared whatever was done to the wall clock."""

    boot: bytes  # 16 bytes
    boot_us: int
    wall_us: int

    def since(self, earlier: "Clock") -> int:
        """Microseconds from an earlier moment to this one; 0 where neither clock can tell."""
        if self.boot == earlier.boot and self.boot_us >= earlier.boot_us:
            return self.boot_us - earlier.boot_us
        return max(0, self.wall_us - earlier.wall_us)


class Block(NamedTuple):
    """One that is whole."""

    kind: int
    clock: Clock
    content: memoryview


class Damage(NamedTuple):
    """What of a file is not as it was written."""

    bytes: int
    reason: str


def boot_id() -> bytes:
    """The kernel's name for this boot (random(4)); where it has none, one that is like no other."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return os.urandom(16)


class Writer:
    """Makes the blocks of one file, in their order."""

    def __init__(self) -> None:
        self._number = int.from_bytes(os.urandom(8))
        self.place = 0  # of the next block; to be set back where some were not written

    def block(self, kind: Kind, clock: Clock, content: bytes | memoryview = b"") -> bytes:
        """The next block, `content` of at most MOST_BYTES."""
        header = _HEADER.pack(MARK, 0, VERSION, kind, len(content), self.place, self._number, *clock)
        self.place += 1
        body = b"".join((memoryview(header)[_CHECKED_FROM:], content))
        return b"".join((MARK, zlib.crc32(body).to_bytes(4, "little"), body))


def pieces(content: bytes, size: int) -> Iterator[memoryview]:
    """Pieces of at most MOST_BYTES, of whole records of `size` bytes."""
    step = MOST_BYTES // size * size
    view = memoryview(content)
    return (view[at : at + step] for at in range(0, len(content), step))


# What looks like a block and is none counts as so many bytes at least.
LEAST_WORK = 1024


class Reader:
    """The blocks of one file; what was damaged, once all have been read.

    Bound: to look behind what is damaged costs twice the file, and 4 MiB, at the most. So a fifth of the smallest
    blocks may be damaged, and half of all large ones; what stands behind more than that is left out.
    """

    def __init__(self, data: bytes, *, complete: bool) -> None:
        """`complete`: the last block has to be END."""
        self._data = data
        self._complete = complete
        self._lost = 0
        self._work = 2 * len(data) + (4 << 20)
        self._missing = 0
        self.other_version = 0

    def __iter__(self) -> Iterator[Block]:
        data, at, place, number, kind = self._data, 0, 0, None, 0
        while at < len(data):
            found = self._at(at)
            if found is None or number not in (None, found[1]):
                following = data.find(MARK, at + 1) if self._work > 0 else -1
                following = len(data) if following < 0 else following
                self._lost += following - at
                at = following
                continue
            block, number, own = found
            kind = block.kind
            self._missing += max(0, own - place)
            place = own + 1
            at += HEADER_SIZE + len(block.content)
            self._work += max(len(block.content) + HEADER_SIZE - _CHECKED_FROM, LEAST_WORK)
            yield block
        if self._complete and kind != Kind.END:
            self._missing += 1

    def _at(self, at: int) -> tuple[Block, int, int] | None:
        if len(self._data) - at < HEADER_SIZE:
            return None
        mark, _, version, kind, length, place, number, *clock = _HEADER.unpack_from(self._data, at)
        if mark != MARK or length > MOST_BYTES or at + HEADER_SIZE + length > len(self._data):
            return None
        body = memoryview(self._data)[at + _CHECKED_FROM : at + HEADER_SIZE + length]
        self._work -= max(len(body), LEAST_WORK)
        if zlib.crc32(body) != int.from_bytes(self._data[at + 4 : at + 8], "little"):
            return None
        if version != VERSION:
            self.other_version = version
            return None
        return Block(kind, Clock(*clock), body[HEADER_SIZE - _CHECKED_FROM :]), number, place

    def damage(self) -> Damage | None:
        """What was left out; None: nothing."""
        if self.other_version:
            return Damage(self._lost, f"it was written by another version (its format is {self.other_version}, "
                                      f"this one reads {VERSION})")
        if self._missing:
            return Damage(self._lost, f"{self._missing} blocks are damaged or missing")
        if self._lost:
            return Damage(self._lost, "it ends in the middle of a block" if self._lost < MOST_BYTES + HEADER_SIZE
                          and not self._complete else "what stands there is no block")
        return None


def note_blocks(notes: Iterable[tuple[bytes, int, str]]) -> Iterator[bytes]:
    """Contents of NOTES blocks: host, since when, text."""
    parts: list[bytes] = []
    size = 0
    for host, since_s, text in notes:
        encoded = text.encode("utf-8", "replace")[:MOST_BYTES // 2]
        part = struct.pack("=16sqH", host, since_s, len(encoded)) + encoded
        if size + len(part) > MOST_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    if parts:
        yield b"".join(parts)


def read_notes(content: memoryview) -> Iterator[tuple[bytes, int, str]]:
    """What note_blocks() made. Raises ValueError where it is not whole."""
    at = 0
    while at < len(content):
        if len(content) - at < 26:
            raise ValueError("a note is not whole")
        host, since_s, length = struct.unpack_from("=16sqH", content, at)
        text = bytes(content[at + 26 : at + 26 + length])
        if len(text) != length:
            raise ValueError("a note is not whole")
        yield host, max(0, min(since_s, LATEST_S)), text.decode("utf-8", "replace")
        at += 26 + length
