"""Back end rehearsal: a capture file in place of an interface (`-p file:PATH`), to see what the daemon would do.

Time is the capture's, begun now: entries expire as they would have. At the end of the file the daemon ends, its
counters written. What can be read of a damaged file is read.
"""
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from mxallowd._fastpath import Fastpath, Rules
from mxallowd.captures._replay import feed
from mxallowd.captures.files import CHUNK, CaptureError, Chunk, read
from mxallowd.captures.filters import install
from mxallowd.engine._ring import Ring
from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from mxallowd.settings import Settings
from mxallowd.text import quoted

RING_EVENTS = 8192
ROOM_AGAIN_S = 0.005


class Clock:
    """The clock of the packet path while a file is rehearsed: that of its last packet."""

    def __init__(self) -> None:
        self.last_us = boottime_us()

    def __call__(self) -> int:
        """Microseconds since the start of the machine, as if the capture had begun with this process."""
        return self.last_us


class RehearsalBackend:
    """One file, deciding in one shard of the whitelist on the main thread."""

    def __init__(self, settings: Settings, rules: Rules, wake: Wake, table: Table, *, clock: Clock) -> None:
        assert settings.pflog_interface is not None
        self._path = Path(settings.pflog_interface.removeprefix("file:"))
        self._filter = settings.pcap_filter
        self._table = table
        self._shard = 0  # it stands alone
        self._wake = wake
        self._clock = clock
        self._ring = Ring(RING_EVENTS, wake.write_fd)
        self._fastpath = Fastpath(table, self._ring, rules)
        self.rings = [self._ring]
        self.fastpaths = [self._fastpath]
        self._chunks: Iterator[Chunk] = iter(())
        self._first: Chunk | None = None
        self._offset_us: int | None = None
        self._failure = ""
        self._ended = True
        self._received = 0
        self._broken = 0

    def open(self) -> None:
        """Read the first records. Raises StartError with the reason."""
        self._chunks = read(self._path, lambda reader: install(reader, self._filter))
        try:
            self._first = next(self._chunks, None)
        except CaptureError as error:
            raise StartError(str(error)) from None
        except ValueError as error:
            raise StartError(f"pcap-filter: {quoted(self._filter)} {error}") from None

    def start(self) -> list[str]:
        """Begin, on the running loop."""
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._take, self._first)
        return []

    def _take(self, chunk: Chunk | None) -> None:
        if self._ended:
            return
        if chunk is None:
            self._end()
            return
        self._received += chunk.records
        self._broken += chunk.malformed
        if chunk.candidates:
            if self._offset_us is None:
                self._offset_us = self._clock.last_us - int.from_bytes(chunk.candidates[:8], sys.byteorder)
            self._clock.last_us = feed(
                self._fastpath, chunk.candidates, self._clock.last_us, offset_us=self._offset_us)
            self._wake.now()
        self._go_on()

    def _go_on(self) -> None:
        if len(self._ring) > RING_EVENTS - 2 * CHUNK:
            # The main loop empties the ring, so that a rehearsal loses no event.
            self._loop.call_later(ROOM_AGAIN_S, self._go_on)
            return
        try:
            self._loop.call_soon(self._take, next(self._chunks, None))
        except CaptureError as error:
            self._failure = str(error)
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._wake.signal()

    def publish(self, rules: Rules) -> None:
        """Let these rules hold from now on."""
        self._fastpath.publish(rules)

    def tick(self) -> list[tuple[str, str]]:
        """Nothing is due by any other time than the capture's."""
        return []

    def sweep(self) -> int:
        """Remove entries that have expired by the capture's clock; no event tells of it, since it is done."""
        self._table.sweep_shard(self._clock(), self._shard)
        return 0

    def stop(self) -> None:
        """End it here."""
        self._end()

    def ended(self) -> bool:
        """Whether the file is read to its end."""
        return self._ended

    def failures(self) -> list[tuple[str, str]]:
        """How the file is damaged, where it is."""
        return [("capture-failed", self._failure)] if self._failure else []

    def close(self) -> None:
        """Close the file."""
        self._chunks = iter(())

    def counters(self) -> dict[str, int]:
        """Records that were read, and those too short or inconsistent to tell."""
        return {"received": self._received, "broken": self._broken}
