"""Back end rehearsal: a capture file in place of an interface (`-p file:PATH`), to see what the daemon would do.

It uses the time of the capture, as if the capture began now, so entries expire as they would have. At the end of the
file the daemon says which records it passed over and why, writes its counters and ends. Of a damaged file it counts
what stands before the damage, which it names on standard error, too. Files are read as benchmarks/replay.py reads them
(captures/files.py).
"""
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from mxallowd._fastpath import Fastpath
from mxallowd.backends.main_thread import MainThreadBackend
from mxallowd.captures._capture import CANDIDATE_SIZE
from mxallowd.captures._replay import feed
from mxallowd.captures.files import CHUNK, STANDARD_INPUT, WAITING, CaptureError, Chunk, read
from mxallowd.captures.filters import for_file
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.process import streams
from mxallowd.settings import Settings
from mxallowd.text import quoted

ROOM_AGAIN_S = 0.005
WAITING_AGAIN_S = 0.05  # for more of standard input
REASONS = 5  # lines about records without IP
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
        self._accepts: Callable[[bytes], bool] | None = None
        self._attempts = self._candidates = 0
        self._without_ip: Counter[str] = Counter()

    def readable(self) -> list[Path]:
        """The captured file."""
        return [self._path] if self._path != STANDARD_INPUT else []

    def open(self) -> None:
        """Read the first records. Raises StartError with the reason."""
        try:
            program, self._accepts = for_file(self._filter)
            self._chunks = read(self._path, lambda _: program, patient=False)
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
            self._say_passed_over()
            self._end()
            return
        if chunk is WAITING:
            self._loop.call_later(WAITING_AGAIN_S, self._go_on)
            return
        candidates = self._accepted(chunk.candidates)
        self._received += chunk.records
        self._broken += chunk.malformed
        self._attempts += chunk.attempts
        self._candidates += len(candidates) // CANDIDATE_SIZE
        self._without_ip.update(chunk.without_ip)
        if candidates:
            if self._offset_us is None:
                self._offset_us = self._clock.last_us - int.from_bytes(candidates[:8], sys.byteorder)
            self._clock.last_us = feed(self._fastpath, candidates, self._clock.last_us, offset_us=self._offset_us)
            self._wake.now()
        self._go_on()

    def _accepted(self, candidates: bytes) -> bytes:
        if self._accepts is None:
            return candidates
        each = (candidates[at : at + CANDIDATE_SIZE] for at in range(0, len(candidates), CANDIDATE_SIZE))
        return b"".join(one for one in each
                        if self._accepts(one[12 : 12 + int.from_bytes(one[8:12], sys.byteorder)]))

    def _say_passed_over(self) -> None:
        """Which records counted for nothing, and why; where none counted for anything, that is a warning."""
        say = self._log.info if self._candidates else self._log.warning
        for reason, records in self._without_ip.most_common(REASONS):
            say("passed-over", None, records=records, reason=reason)
        if filtered := self._attempts - self._candidates:
            say("passed-over", None, records=filtered, reason=f"the filter {quoted(self._filter)} does not let them in")
        others = self._received - self._broken - self._without_ip.total()
        if others > 0 and not self._attempts:
            say("passed-over", None, records=others,
                reason="no connection attempts: TCP with SYN, without ACK, RST and FIN")
        if not self._received:
            self._log.warning("capture-empty", reason="the capture holds no record")

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
            self._say_passed_over()
            # Who rehearses looks there, and the log may go elsewhere.
            streams.write(sys.stderr, f"mxallowd: {error}\n")
            self._fail(str(error))

    def tick(self) -> None:
        """Nothing is due by any other time than the capture's."""

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._chunks, Generator):
            self._chunks.close()
        self._chunks = iter(())

    def counters(self) -> dict[str, int]:
        """Records that were read, and those too short or inconsistent to tell."""
        return {"received": self._received, "broken": self._broken}
