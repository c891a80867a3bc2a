"""Back end rehearsal: a capture file in place of an interface (`-p file:PATH`), to see what the daemon would do.

It uses the time of the capture, as if the capture began now, so entries expire as they would have. At the end of the
file the daemon writes its counters and ends. Of a damaged file it reads what can be read.
"""
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from mxallowd._fastpath import Fastpath
from mxallowd.backends.main_thread import MainThreadBackend
from mxallowd.captures._replay import feed
from mxallowd.captures.files import CHUNK, CaptureError, Chunk, read
from mxallowd.captures.filters import install
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.text import quoted

ROOM_AGAIN_S = 0.005
SHARD = 0  # it stands alone


class Clock:
    """The clock of the packet path while a file is rehearsed: that of its last packet."""

    def __init__(self) -> None:
        self.last_us = boottime_us()

    def __call__(self) -> int:
        """Microseconds since the start of the machine, as if the capture had begun with this process."""
        return self.last_us


class RehearsalBackend(MainThreadBackend):
    """One file, deciding in one shard of the whitelist on the main thread."""

    def __init__(self, settings: Settings, fastpath: Fastpath, wake: Wake, log: Log, clock: Clock) -> None:
        super().__init__(fastpath, SHARD, wake, log, clock)
        assert settings.pflog_interface is not None
        self._path = Path(settings.pflog_interface.removeprefix("file:"))
        self._filter = settings.pcap_filter
        self._clock = clock
        self._chunks: Iterator[Chunk] = iter(())
        self._first: Chunk | None = None
        self._offset_us: int | None = None

    def readable(self) -> list[Path]:
        """The captured file."""
        return [self._path]

    def open(self) -> None:
        """Read the first records. Raises StartError with the reason."""
        self._chunks = read(self._path, lambda reader: install(reader, self._filter))
        try:
            self._first = next(self._chunks, None)
        except CaptureError as error:
            raise StartError(str(error)) from None
        except ValueError as error:
            raise StartError(f"pcap-filter: {quoted(self._filter)} {error}") from None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._take, self._first)

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
        if self._ended:
            return
        if not self._has_room(CHUNK):
            # The main loop empties the ring, so that a rehearsal loses no event.
            self._loop.call_later(ROOM_AGAIN_S, self._go_on)
            return
        try:
            self._loop.call_soon(self._take, next(self._chunks, None))
        except CaptureError as error:
            self._fail(str(error))

    def tick(self) -> None:
        """Nothing is due by any other time than the capture's."""

    def close(self) -> None:
        """Close the file."""
        self._chunks = iter(())

    def counters(self) -> dict[str, int]:
        """Records that were read, and those too short or inconsistent to tell."""
        return {"received": self._received, "broken": self._broken}
