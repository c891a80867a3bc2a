"""Reading: from snapshot and journals to what was true when the last block was written.

The newest snapshot counts, and the journals from its number on, in their order; of each host the last record. A daemon
that was killed before its first snapshot was whole leaves a journal more, and those are read one after the other.

Times. A block tells by both clocks when it was written. In the same boot CLOCK_BOOTTIME says how long ago that is,
whatever was done to the wall clock; after another boot the wall clock says so, counted from the newest block of the
boot before. One that went back says that no time has passed. So nobody's life gets longer than it was when it was
written last, and in no case longer than `most_us` of its origin, or than the last of `most_us` where that is
longer and the host is proven.

Which way it fails: what is damaged is left out and said; nothing here ends a start.
"""
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._saved import ENDED_ORIGIN, gather, settle
from mxallowd.mirrors.disk.blocks import Block, Clock, Damage, Kind, Reader, read_notes
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.provenance import MAX_NOTES, Note
from mxallowd.whitelist import pack, unpack

REFUSED_SIZE = 32
MOST_SERVERS = 255
MOST_JOURNALS = 4096  # each start without a snapshot leaves one


class Refusals(NamedTuple):
    """Refused hosts of one boot."""

    records: bytes
    servers: tuple[bytes, ...]  # by their number in the records
    back_us: int  # so much earlier is the clock of today


class Saved(NamedTuple):
    """What the files say, by the clock of today."""

    records: bytes  # of the whitelist, as the table is to get them
    barred: dict[bytes, int]  # hosts that were ended, and until when no copy may bring them back
    notes: dict[bytes, Note]
    refused: list[Refusals]
    patience: list[tuple[bytes, int]]  # records, and by how much the clock of today is earlier
    number: int  # the highest of all files; 0: there are none
    bytes: int
    damage: list[tuple[str, Damage]]  # by the name of the file


def load(
    directory: Directory, now: Clock, most_us: Sequence[int], servers: Sequence[bytes], most_bytes: int,
) -> Saved:
    """Read all that counts. `servers` are our own, which are no entries.

    All files together are read up to `most_bytes`, and the newest MOST_JOURNALS; one that is too large is left out.
    """
    reading = _Reading(directory, most_bytes)
    snapshots, journals = directory.numbers("snapshot"), directory.numbers("journal")
    newest = 0
    for number in reversed(snapshots):
        # One that has not a single block is none: a directory, an empty file, or somebody else's.
        if reading.read(f"snapshot.{number}", complete=True):
            newest = number
            break
    following = [number for number in journals if number >= newest]
    for number in following[-MOST_JOURNALS:]:
        reading.read(f"journal.{number}", complete=False)
    if len(following) > MOST_JOURNALS:
        reading.leave_out(f"journal.{following[0]}", Damage(0, f"it is one of {len(following)}; those before "
                                                               f"journal.{following[-MOST_JOURNALS]} are left out"))
    highest = max([0, *snapshots, *journals])
    return reading.result(now, most_us, servers, highest)


class _Reading:
    def __init__(self, directory: Directory, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._newest: dict[bytes, Clock] = {}  # by boot
        # In the order of the files; the shift is known only when all have been read.
        self._hosts: list[tuple[bytes, memoryview]] = []
        self._refused: list[tuple[bytes, tuple[bytes, ...], bytes]] = []
        self._patience: list[tuple[bytes, bytes]] = []
        self._notes: dict[bytes, Note] = {}
        self._damage: list[tuple[str, Damage]] = []
        self._bytes = 0

    def read(self, name: str, *, complete: bool) -> bool:
        """Whether it has a block at all."""
        try:
            data = self._directory.read(name, self._most_bytes - self._bytes)
        except OSError as error:
            self._damage.append((name, Damage(0, error.strerror or str(error))))
            return False
        self._bytes += len(data)
        if not data and not complete:
            # Killed before the first byte: it never held anything.
            return False
        blocks = Reader(data, complete=complete)
        wrong = found = 0
        for block in blocks:
            found += 1
            try:
                self._take(block)
            except ValueError:
                wrong += len(block.content)
        if wrong:
            self._damage.append((name, Damage(wrong, "what stands there is not what such a block holds")))
        if damage := blocks.damage():
            self._damage.append((name, damage))
        return found > 0

    def leave_out(self, name: str, damage: Damage) -> None:
        """Say of a file that it, or what came before it, was not read."""
        self._damage.append((name, damage))

    def _take(self, block: Block) -> None:
        newest = self._newest.get(block.clock.boot)
        if newest is None or block.clock.boot_us > newest.boot_us:
            self._newest[block.clock.boot] = block.clock
        if block.kind == Kind.HOSTS:
            if len(block.content) % RECORD_SIZE:
                raise ValueError("no records")
            self._hosts.append((block.clock.boot, block.content))
            if self._notes:
                # A note follows the record of its host; where none does, there is none any more.
                content = bytes(block.content)
                for host in self._notes.keys() & {content[at : at + 16] for at in range(0, len(content), RECORD_SIZE)}:
                    del self._notes[host]
        elif block.kind == Kind.NOTES:
            for host, since_s, text in read_notes(block.content):
                self._notes.pop(host, None)
                self._notes[host] = Note(since_s, text)
            while len(self._notes) > MAX_NOTES:
                del self._notes[next(iter(self._notes))]
        elif block.kind == Kind.PATIENCE:
            if len(block.content) % REFUSED_SIZE:
                raise ValueError("no records")
            self._patience.append((block.clock.boot, bytes(block.content)))
        elif block.kind == Kind.REFUSED:
            records, servers = read_refused(block.content)
            self._refused.append((block.clock.boot, servers, records))

    def result(self, now: Clock, most_us: Sequence[int], servers: Sequence[bytes], highest: int) -> Saved:
        back = {boot: back_us(now, newest) for boot, newest in self._newest.items()}
        parts = [(content, back[boot]) for boot, content in self._hosts]
        # Our own servers, which may have been hosts when this was written: as if each had gone since.
        gone = b"".join(pack(server, 0, used=False) for server in servers)
        records, ended = settle(gather([*parts, (gone, 0)]), now.boot_us, most_us[:-1], most_us[-1])
        refused = [Refusals(b"".join(records for _, _, records in some), key[1], back[key[0]])
                   for key, some in groupby(self._refused, lambda one: one[:2])]
        return Saved(records, {host: until_us for host, until_us, _ in unpack(ended)}, self._notes, refused,
                     [(records, back[boot]) for boot, records in self._patience], highest, self._bytes, self._damage)


def back_us(now: Clock, newest: Clock) -> int:
    """What to take from a time of that boot to have one of today."""
    back = newest.boot_us + now.since(newest) - now.boot_us
    # A time of that boot that no machine has been up for makes no sense; it must not overflow either.
    return max(-(1 << 49), min(back, 1 << 49))


def refused_content(servers: Sequence[bytes], records: memoryview) -> bytes:
    """The content of a REFUSED block: it says by itself which servers its numbers mean."""
    known = servers[:MOST_SERVERS]
    return b"".join((bytes((len(known),)), *known, records))


def read_refused(content: memoryview) -> tuple[bytes, tuple[bytes, ...]]:
    """Records and servers of such a block. Raises ValueError where it is not whole."""
    count = content[0] if content else 0
    rest = content[1 + 16 * count :]
    if not content or len(content) < 1 + 16 * count or len(rest) % REFUSED_SIZE:
        raise ValueError("no refused hosts")
    return bytes(rest), tuple(bytes(content[1 + 16 * at : 17 + 16 * at]) for at in range(count))


def ended_record(host: bytes, until_us: int) -> bytes:
    """The record of a host that was ended: no copy may bring it back before that time."""
    return pack(host, until_us, used=False, origin=ENDED_ORIGIN)
