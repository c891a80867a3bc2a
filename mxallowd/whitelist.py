"""The whitelist as the main loop has it: what sinks may ask of it and do with it.

Underneath is the table that the packet path reads and writes. Whoever keeps a copy of it elsewhere (a kernel table)
listens here to what sinks admit; what the packet path itself does comes as events.
Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form; times are microseconds of the packet path's clock.
"""
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us

# An entry as Table.entries gives it (_table.pxd): host, until_us, used. This is the only place that knows the layout; a
# field that nobody reads here is padding (x).
_RECORD = struct.Struct("=16sQQ")
RECORD_SIZE = _RECORD.size
READ_ENTRIES = 1 << 14  # entries looked at between two chances for other threads: less than a millisecond


class Listener(Protocol):
    """Somebody who keeps a copy of the whitelist."""

    def changed(self, host: bytes) -> None:
        """The host was entered, got another time, or was taken out."""


def unpack(records: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Host, until when, and whether it reached the real server (0 or 1), of each record. Raises struct.error."""
    return _RECORD.iter_unpack(records)


def pack(host: bytes, until_us: int, *, used: bool) -> bytes:
    """The record of one entry, as records() has it."""
    return _RECORD.pack(host, until_us, used)


class Whitelist:
    """The table with a clock and listeners. All calls come from the main thread, but for records()."""

    def __init__(self, table: Table, clock_us: Callable[[], int] = boottime_us, *, threads: int = 1) -> None:
        self._table = table
        self._threads = threads
        self._listeners: list[Listener] = []
        self.now_us = clock_us

    def listen(self, listener: Listener) -> None:
        """Tell this one of every change from now on."""
        self._listeners.append(listener)

    def admit(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Enter a host as a child. False: it is listed already, or there is no room."""
        if not self._table.admit(host, until_us, now_us):
            return False
        self._tell(host)
        if self._listeners and (displaced := self._table.displaced):
            self._tell(displaced)
        return True

    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let a listed host's entry end later. False: it is not listed, or ends later anyway."""
        if not self._table.renew(host, until_us, now_us):
            return False
        self._tell(host)
        return True

    def adopt(self, host: bytes, until_us: int, *, used: bool) -> bool:
        """Enter a host that was whitelisted before this start. Before any thread runs. False: there is no room."""
        now_us = self.now_us()
        first = host[15] % self._threads
        shards = [*range(first, self._threads), *range(first)]
        shard = next((shard for shard in shards if self._table.free(shard)), None)
        if shard is not None:
            self._table.add(host, until_us, now_us, shard=shard)
        elif not (self._table.shard_count > self._threads and self._table.free(self._threads)
                  and self._table.admit(host, until_us, now_us)):
            return False
        if used:
            self._table.mark_used(host, now_us)
        return True

    def room(self) -> int:
        """How many hosts could be adopted."""
        return sum(self._table.free(shard) for shard in range(self._table.shard_count))

    def find(self, host: bytes) -> tuple[int, bool] | None:
        """Until when a host is listed, and whether it reached the real server; None: it is not, or not any more."""
        found = self._table.find(host, self.now_us())
        return None if found is None else found[:2]

    def sample(self, count: int) -> dict[bytes, tuple[int, bool]]:
        """Some listed hosts, at most `count`, chosen at random: until when, whether they reached the real server."""
        return self._table.sample(self.now_us(), count)

    def records(self) -> Iterator[bytes]:
        """All listed hosts, some thousand a string, which unpack() reads. Any thread may ask.

        What changes meanwhile may be missed.
        """
        start = 0
        while True:
            records, start = self._table.entries(self.now_us(), start, READ_ENTRIES)
            yield records
            if start == 0:
                return

    def __len__(self) -> int:
        """Entries, those included that have expired and not been removed yet."""
        return len(self._table)

    def _tell(self, host: bytes) -> None:
        for listener in self._listeners:
            listener.changed(host)
