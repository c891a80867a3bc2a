"""A batch: what a gateway says at once, as one message of the stream, sealed with a key of the site.

    header   version 1 | key id 4 | length of the origin's name 1 | records 2 | notes 2 | epoch 8 | sequence 8 |
             wall clock in ms 8 | whitelist-time in s 4                                    (big-endian)
    name     of the origin
    records  24 bytes each: host 16 | left 4 | flags 1 | origin 1 | more 2
    notes    record 1 | kind 1 | length 1 | UTF-8
    seal     16 bytes: BLAKE2b, keyed, of all that; the site's name is part of its parameters

`left` is the seconds that an entry has left, and `more` milliseconds: by that, others know when it was entered, and so
whether that was before a removal. Of a removal or a flush, `left` is how many milliseconds ago it was.
Who has no key can make no batch, and a batch of another site is none of this one. The seal does not hide anything.
"""
import re
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple

from mxallowd.fleet.keys import ID_SIZE, SEAL_SIZE, Keys

VERSION = 1
MOST_BYTES = 8192
MOST_RECORDS = 256
RECORD_SIZE = 24
MOST_NOTES = 5  # for each record, on the average

USED, PROVEN, REMOVE, FLUSH = 0x01, 0x02, 0x40, 0x80
WAY, NAME = 0, 1  # kinds of notes: how a child came in, or an operator's note; a confirmed reverse name of a contact

NAMES = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Names of gateways."""
RECORD = struct.Struct(">16sIBBH")
_HEADER = struct.Struct(f">B{ID_SIZE}sBHHQQQI")
_NOTE = struct.Struct(">BBB")
_NO_HOST = bytes(16)
LONGEST_LEFT = (1 << 32) - 1
LONGEST_NOTE = 255  # bytes


class BadBatch(Exception):
    """It is no batch of this site; nothing in it is true."""

    def __init__(self, reason: str, claimed: str = "") -> None:
        """`reason` is a word of peers.REASONS; `claimed` the origin that it names, which nobody has proven."""
        super().__init__(reason)
        self.reason = reason
        self.claimed = claimed


class Note(NamedTuple):
    """Text about a record."""

    record: int  # its number in the batch
    kind: int
    text: str


class Batch(NamedTuple):
    """What a gateway has said."""

    origin: str
    epoch: int
    sequence: int
    wall_ms: int
    time_s: int  # the gateway's whitelist-time
    records: bytes
    notes: Sequence[Note]


def entry(host: bytes, left_ms: int, flags: int, origin: int) -> bytes:
    """The record of an entry; `left_ms` at least 0, `origin` a number of the table's ORIGINS."""
    return RECORD.pack(host, min(left_ms // 1000, LONGEST_LEFT), flags, origin, left_ms % 1000)


def removal(host: bytes, ago_ms: int) -> bytes:
    """The record that says that somebody has ended the entry of a host, so many milliseconds ago."""
    return RECORD.pack(host, min(max(ago_ms, 0), LONGEST_LEFT), REMOVE, 0, 0)


def flush(ago_ms: int) -> bytes:
    """The record that says that a gateway has ended all its entries."""
    return RECORD.pack(_NO_HOST, min(max(ago_ms, 0), LONGEST_LEFT), FLUSH, 0, 0)


def size_of(origin: str, records: int) -> int:
    """Bytes of a batch of so many records, without notes."""
    return _HEADER.size + len(origin) + RECORD_SIZE * records + SEAL_SIZE


def notes_size(notes: Iterable[Note]) -> int:
    """Bytes that these notes add."""
    return sum(_NOTE.size + len(_text_of(note.text)) for note in notes)


def seal(batch: Batch, keys: Keys) -> bytes:
    """The batch as a message, sealed with the first key. Raises ValueError where it is none that unseal() takes."""
    count = len(batch.records) // RECORD_SIZE
    name = batch.origin.encode("ascii")
    if (len(batch.records) % RECORD_SIZE or count > MOST_RECORDS or len(batch.notes) > MOST_NOTES * count
            or not NAMES.fullmatch(batch.origin)):
        raise ValueError("this is no batch")
    key = keys.first
    parts = [_HEADER.pack(VERSION, key.number, len(name), count, len(batch.notes), batch.epoch, batch.sequence,
                          batch.wall_ms, min(batch.time_s, LONGEST_LEFT)), name, batch.records]
    for note in batch.notes:
        text = _text_of(note.text)
        if note.record >= count:
            raise ValueError("a note is of no record")
        parts += (_NOTE.pack(note.record, note.kind, len(text)), text)
    content = b"".join(parts)
    if len(content) + SEAL_SIZE > MOST_BYTES:
        raise ValueError("a batch has no room for so much")
    return content + key.seal_of(content)


def unseal(data: bytes, keys: Keys) -> Batch:
    """What a message says. Any bytes; raises BadBatch and nothing else.

    The records are not looked at, but for their number.
    """
    size = len(data)
    if not _HEADER.size + SEAL_SIZE <= size <= MOST_BYTES:
        raise BadBatch("broken")
    version, number, length, count, noted, epoch, sequence, wall_ms, time_s = _HEADER.unpack_from(data)
    if version != VERSION:
        raise BadBatch("version")
    start = _HEADER.size + length
    end = start + RECORD_SIZE * count
    name = data[_HEADER.size:start]
    if count > MOST_RECORDS or noted > MOST_NOTES * count or end + SEAL_SIZE > size:
        raise BadBatch("broken")
    key = keys.by_number.get(number)
    if key is None:
        raise BadBatch("key", _origin_of(name))
    if not compare_digest(key.seal_of(data[:-SEAL_SIZE]), data[-SEAL_SIZE:]):
        raise BadBatch("forged", _origin_of(name))
    origin = _origin_of(name)
    if not origin:
        raise BadBatch("broken")
    if noted:
        notes: Sequence[Note] = _notes_of(data[end:-SEAL_SIZE], noted, count, origin)
    elif end + SEAL_SIZE == size:
        notes = ()
    else:
        raise BadBatch("broken", origin)
    return Batch(origin, epoch, sequence, wall_ms, time_s, data[start:end], notes)


def key_of(data: bytes) -> bytes:
    """The number of the key that has sealed a message which unseal() took."""
    return data[1:1 + ID_SIZE]


@lru_cache(2048)
def _origin_of(name: bytes) -> str:
    """The name of a gateway; empty: it is none."""
    text = name.decode("ascii", "replace")
    return text if NAMES.fullmatch(text) else ""


def _text_of(text: str) -> bytes:
    """As much of it as a note has room for, in whole characters."""
    return text.encode("utf-8", "replace")[:LONGEST_NOTE].decode("utf-8", "ignore").encode("utf-8")


def _notes_of(data: bytes, noted: int, records: int, origin: str) -> list[Note]:
    notes, at = [], 0
    for _ in range(noted):
        text = at + _NOTE.size
        if text > len(data):
            raise BadBatch("broken", origin)
        record, kind, length = _NOTE.unpack_from(data, at)
        at = text + length
        if at > len(data) or record >= records:
            raise BadBatch("broken", origin)
        try:
            notes.append(Note(record, kind, data[text:at].decode("utf-8")))
        except UnicodeDecodeError:
            raise BadBatch("broken", origin) from None
    if at != len(data):
        raise BadBatch("broken", origin)
    return notes
