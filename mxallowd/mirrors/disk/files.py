"""Writing: a journal, to which blocks are appended, and the snapshot that takes its place.

    start                     journal.4 is opened; what changes goes there
    snapshot of number 5      journal.5 is opened and takes the changes from now on; the whole whitelist is written to
                              snapshot.5.new, which becomes snapshot.5; then everything of a lower number is removed

In whatever moment this ends, what is there can be read (reading.py). What is written twice, in the snapshot and in the
journal beside it, comes out right: of a host that changes meanwhile the journal gets another record afterwards.
"""
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from mxallowd.mirrors.disk.blocks import Clock, Contents, Kind, Writer
from mxallowd.mirrors.disk.directory import Directory

# Bytes between two points at which the disk is asked to have them: so that it never has very much to write at once.
SYNC_BYTES = 4 << 20
WRITE_BYTES = 256 << 10


class Journal:
    """The journal of one number. Calls of one thread, but for sync()."""

    def __init__(self, directory: Directory, number: int, clock: Clock) -> None:
        """Raises OSError."""
        self.number = number
        self.size = 0
        self._writer = Writer()
        self._descriptor = directory.create(f"journal.{number}")
        try:
            self.append([(Kind.BEGIN, b"")], clock)
            directory.sync()
        except OSError:
            self.close()
            raise

    def append(self, contents: Iterable[tuple[Kind, bytes | memoryview]], clock: Clock) -> None:
        """Write blocks by one call. What did not fit as a whole is cut off again. Raises OSError."""
        place = self._writer.place
        data = b"".join(self._writer.block(kind, clock, content) for kind, content in contents)
        try:
            write_all(self._descriptor, data)
        except OSError:
            self._writer.place = place
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Return when the disk has it. Raises OSError."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Write no more."""
        os.close(self._descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    view = memoryview(data)
    while view:
        # A disk that is nearly full takes a part, and says why at the next call.
        view = view[os.write(descriptor, view) :]


def write_snapshot(directory: Directory, number: int, clock: Callable[[], Clock], contents: Contents) -> int:
    """Write snapshot.`number` and remove what it replaces; its size. Raises OSError, and leaves nothing behind then."""
    size = write_whole(directory, f"snapshot.{number}", clock, contents)
    directory.remove_before(number)
    return size


def write_whole(directory: Directory, name: str, clock: Callable[[], Clock], contents: Contents) -> int:
    """Write a file that takes the place of another in one step; its size. Raises OSError, and leaves nothing then."""
    writer = Writer()
    size = 0
    descriptor = directory.create(f"{name}.new")
    try:
        try:
            for data in _joined(writer, clock, contents):
                write_all(descriptor, data)
                if size // SYNC_BYTES != (size + len(data)) // SYNC_BYTES:
                    os.fdatasync(descriptor)
                size += len(data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        directory.rename(f"{name}.new", name)
    except BaseException:
        # It may have its name already; and if it stays, the next one takes its place.
        with suppress(OSError):
            directory.remove(f"{name}.new")
        raise
    return size


def _joined(writer: Writer, clock: Callable[[], Clock], contents: Contents) -> Iterator[bytes]:
    waiting = [writer.block(Kind.BEGIN, clock())]
    size = 0
    for kind, content in contents:
        waiting.append(writer.block(kind, clock(), content))
        size += len(waiting[-1])
        if size >= WRITE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    waiting.append(writer.block(Kind.END, clock()))
    yield b"".join(waiting)
