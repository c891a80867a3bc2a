"""What goes into the files: what is true now of some hosts, or of all of them.

Any thread may ask, and none holds up the others: the table is read without Python's lock, and of Python's own objects
only SLICE at a time are taken by one call.
"""
from collections.abc import Iterator, Mapping, Sequence

from mxallowd.backends import Backends
from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._saved import look_up
from mxallowd.mirrors.disk.blocks import Contents, Kind, note_blocks, pieces
from mxallowd.mirrors.disk.reading import ended_record
from mxallowd.mirrors.disk.rounds import all_patience, all_refused
from mxallowd.whitelist import Whitelist

SLICE = 1 << 12


def of_records(records: bytes) -> Contents:
    """Blocks of records of the whitelist."""
    return ((Kind.HOSTS, piece) for piece in pieces(records, RECORD_SIZE))


def of_ended(ended: Mapping[bytes, int]) -> Contents:
    """Blocks that say until when no copy may bring these hosts back."""
    return of_records(b"".join(ended_record(host, until_us) for host, until_us in ended.items()))


def _slices(hosts: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (hosts[at : at + SLICE] for at in range(0, len(hosts), SLICE))


class Source:
    """The memory of the daemon."""

    def __init__(self, whitelist: Whitelist, backends: Backends) -> None:
        self._whitelist = whitelist
        self._table = backends.table
        self._refused = backends.refused
        self._backends = backends

    def of_hosts(self, hosts: Sequence[bytes]) -> Contents:
        """Of these, whether they are listed or not, and their notes; one that is named twice is written once or twice.
        """
        for some in map(set, _slices(hosts)):
            yield from of_records(look_up(self._table, b"".join(some), self._whitelist.now_us()))
            notes = [(host, *note) for host, note in self._whitelist.provenance.noted(some)]
            yield from ((Kind.NOTES, content) for content in note_blocks(notes))

    def whole(self) -> Contents:
        """All listed hosts, all notes about them, all refused hosts, and who waits."""
        for records in self._whitelist.records():
            yield from of_records(records)
        notes = self._whitelist.provenance.copy()
        for some in _slices(list(notes)):
            found = look_up(self._table, b"".join(some), self._whitelist.now_us())
            # One whose host is not listed any more goes.
            listed = ((host, *notes[host]) for at, host in enumerate(some)
                      if any(found[at * RECORD_SIZE + 16 : at * RECORD_SIZE + 24]))
            yield from ((Kind.NOTES, content) for content in note_blocks(listed))
        yield from all_refused(self._refused)
        yield from all_patience(self._backends.patience)
