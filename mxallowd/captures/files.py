"""Capture files as a stream of candidates: the connection attempts that the firewall would have sent to mxallowd.

A capture may be larger than memory, and it may be damaged anywhere: everything before the damage is read.
"""
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pcapy

from mxallowd.captures._capture import LINK_TYPES, select
from mxallowd.errors import MxallowdError
from mxallowd.text import quoted

# Records at a time: their events fit into the ring of the daemon without loss.
CHUNK = 1024
RECORD_HEADER = 16  # bytes of a record's header in a pcap file and in pcapy's batches


class CaptureError(MxallowdError):
    """A capture that cannot be read, or not to its end; the text is for the user."""


class CaptureDamage(CaptureError):
    """A capture that ends in damage; everything before it was read."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a capture: candidates as _capture.select gives them, and counts of records and file bytes."""

    candidates: bytes
    records: int
    malformed: int
    file_bytes: int


def read(path: Path, program_of: Callable[[Any], bytes]) -> Iterator[Chunk]:
    """The candidates of a capture that pass the program which `program_of` has for its reader (filters.py).

    Raises what that raises; CaptureError; CaptureDamage after everything before the damage was given.
    """
    whole = 0
    try:
        with closing(_open(path)) as reader:
            program = program_of(reader)
            while chunk := _next(reader, program, CHUNK):
                whole += 1
                yield chunk
        return
    except pcapy.PcapError as error:
        damage = str(error)
    # The reader throws away the batch in which the damage lies: go there again and take its records one by one.
    with closing(_open(path)) as reader:
        program = program_of(reader)
        for _ in range(whole):
            reader.next_batch(CHUNK)
        single: list[Chunk] = []
        try:
            while chunk := _next(reader, program, 1):
                single.append(chunk)
        except pcapy.PcapError:
            pass
    if single:
        yield Chunk(
            b"".join(chunk.candidates for chunk in single), len(single), sum(chunk.malformed for chunk in single),
            sum(chunk.file_bytes for chunk in single))
    if "first interface" in damage:
        raise CaptureDamage(f"{quoted(str(path))} has interfaces that libpcap does not read together: {damage}")
    raise CaptureDamage(f"{quoted(str(path))} is damaged: {damage}")


def _open(path: Path) -> Any:
    if not path.is_file():
        raise CaptureError(f"{quoted(str(path))} is {'not a file' if path.exists() else 'not there'}")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise CaptureError(f"{quoted(str(path))} is empty")
            # By descriptor: the library takes names in UTF-8 only.
            reader = pcapy.open_offline(f"/dev/fd/{file.fileno()}")
    except (OSError, pcapy.PcapError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CaptureError(f"{quoted(str(path))} cannot be read as a capture: {reason}") from None
    link_type = reader.datalink()
    if link_type not in LINK_TYPES:
        known = ", ".join(sorted(set(LINK_TYPES.values())))
        reader.close()
        raise CaptureError(f"{quoted(str(path))} has link type {link_type}; known are {known}")
    return reader


def _next(reader: Any, program: bytes, most: int) -> Chunk | None:
    data, records = reader.next_batch(most)
    if not records:
        return None
    candidates, malformed = select(data, records, reader.datalink(), program)
    return Chunk(candidates, len(records) // RECORD_HEADER, malformed, len(data) + len(records))
