"""What this gateway said before its last start, as the stream has it: a gateway that lost its disk gets it back.

It is collected while the stream is loaded, and given away at the end, as records that a start restores
(daemon/restoring.py), since queue threads alone write the places of contacts. Entries keep how they came in. What was
told here by another gateway is none of them: that one says it.
"""
import asyncio
from collections.abc import Callable, Collection, Mapping

from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._saved import ENDED_ORIGIN, settle
from mxallowd.engine._table import BY_HAND, ORIGINS, PEER
from mxallowd.fleet import batch
from mxallowd.fleet.batch import PROVEN, USED
from mxallowd.fleet.rounds import FOUND
from mxallowd.provenance import MAX_NOTES, MAX_TEXT
from mxallowd.provenance import Note as Provenance

MOST_PENDING = 32 << 20  # bytes, until equal hosts are merged
SLICE = 4096 * RECORD_SIZE  # a millisecond of the main loop
MOST_SHOWN = 1 << 20  # hosts; some 100 MB, for the time of the load
LONGEST_US = 315_360_000 * 1_000_000  # as --whitelist-time


class Returned:
    """What is collected. `servers` are the own servers, `is_barred` as of Whitelist."""

    def __init__(
        self, longest_us: int, servers: Collection[bytes] = (),
        is_barred: Callable[[bytes, int], bool] = lambda host, until_us: False,
    ) -> None:
        self._most_us = [LONGEST_US if origin == BY_HAND else longest_us for origin in range(len(ORIGINS))]
        self._servers = servers
        self._is_barred = is_barred
        self._records = bytearray()
        self._next_merge = MOST_PENDING
        self._notes: dict[bytes, Provenance] = {}

    def take(self, records: bytes, age_us: int, now_us: int) -> None:
        """Records of a batch, whose message is so old."""
        append = self._records.extend
        for host, left_s, flags, origin, left_ms in batch.RECORD.iter_unpack(records):
            until_us = now_us + 1_000_000 * left_s + 1000 * left_ms - age_us
            if until_us > now_us and origin != PEER and host not in self._servers and not self._is_barred(
                    host, until_us):
                append(FOUND.pack(host, until_us, origin, flags & USED, (flags & PROVEN) > 0))

    def note(self, host: bytes, text: str, since_s: int) -> None:
        """What is noted of a host; a text that can be printed."""
        if len(self._notes) < MAX_NOTES or host in self._notes:
            self._notes[host] = Provenance(since_s, text[:MAX_TEXT])

    def end(self, host: bytes) -> None:
        """Somebody has ended it."""
        self._records += FOUND.pack(host, 0, ENDED_ORIGIN, 0, 0)
        self._notes.pop(host, None)

    def flush(self) -> None:
        """This gateway has ended all."""
        self._records.clear()
        self._notes.clear()

    @property
    def is_full(self) -> bool:
        """Whether to call merge() before more comes."""
        return len(self._records) > self._next_merge

    async def merge(self, now_us: int) -> bytes:
        """All that is still listed, once each, as records of the whitelist in the order of restoring.

        Much is done in a thread, which holds no lock of Python for most of the time. Nothing may come in meanwhile.
        """
        records = bytes(self._records)
        listed, _ = (settle(records, now_us, self._most_us) if len(records) <= SLICE
                     else await asyncio.to_thread(settle, records, now_us, self._most_us))
        self._records = bytearray(listed)
        self._next_merge = len(listed) + MOST_PENDING
        return listed

    def notes(self) -> Mapping[bytes, Provenance]:
        """What was noted of these hosts, for Provenance.recall()."""
        return self._notes

    async def shown(self) -> set[bytes] | None:
        """The hosts of what merge() gave, for Saying.loaded(); None: there are too many. Once: it forgets all."""
        records = bytes(self._records)
        self.flush()
        if len(records) > MOST_SHOWN * RECORD_SIZE:
            return None
        hosts: set[bytes] = set()
        for first in range(0, len(records), SLICE):
            hosts.update(records[at:at + 16] for at in range(first, min(first + SLICE, len(records)), RECORD_SIZE))
            await asyncio.sleep(0)
        return hosts
