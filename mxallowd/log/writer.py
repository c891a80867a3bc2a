"""The bounded queue of lines, and the thread that writes them.

A full syslog socket, a stopped terminal or a closed pipe stops that thread and nothing else. Lines that find the queue
full, or cannot be written, are counted; `suppressed lines=N` comes before the next line that is written.
"""
import logging
import queue
import threading
import time

from mxallowd.errors import StartError
from mxallowd.log.grammar import Form, format_line, line_record, text_record
from mxallowd.log.recent import Recent
from mxallowd.process.threads import Thread

# A few seconds of a busy log; some 300 bytes a line.
CAPACITY = 4096
_END = None


class Writer(logging.Handler):
    """The bounded queue and the thread behind it."""

    def __init__(
        self, target: logging.Handler, capacity: int = CAPACITY, form: Form = Form.TEXT, recent: Recent | None = None,
    ) -> None:
        """`recent` gets what it writes itself."""
        super().__init__()
        self._target = target
        self._recent = recent
        self._form = form  # of what it writes itself
        # When, level and text. A record of logging takes five times as much, and a burst fills the queue with them.
        self._queue: queue.Queue[tuple[float, int, str] | None] = queue.Queue(capacity)
        self._count = threading.Lock()
        self._suppressed = 0
        self.lost = 0  # since the start: lines that were left out, in whichever way
        # One that is stuck in a write does not hold up the end of the process.
        self._thread = Thread(self._run, "log")

    def start(self) -> None:
        """Begin to write. Until then lines wait: a thread keeps the privileges that it was started with.

        Raises StartError.
        """
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the line to the thread; never waits."""
        try:
            self._queue.put_nowait((record.created, record.levelno, record.getMessage()))
        except queue.Full:
            self.count_suppressed(1)

    def count_suppressed(self, lines: int) -> None:
        """Count lines that were not written."""
        with self._count:
            self._suppressed += lines
            self.lost += lines

    def _count_again(self, lines: int) -> None:
        """The log could not say it: these are for the next time."""
        with self._count:
            self._suppressed += lines

    def take_suppressed(self) -> int:
        """The lines left out since the last call."""
        with self._count:
            lines, self._suppressed = self._suppressed, 0
        return lines

    def fill(self) -> float:
        """How full the queue is, 1.0 being its bound."""
        return self._queue.qsize() / self._queue.maxsize

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is waiting, for at most `timeout_s` seconds."""
        if not self._thread.started:
            # Never started: what waits is still written.
            try:
                self._thread.start()
            except StartError:
                # No thread can be started, which is what the lines are about: they are written here.
                self._queue.put_nowait(_END)
                self._run()
                return
        deadline = time.monotonic() + timeout_s
        try:
            self._queue.put(_END, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        super().close()

    def _run(self) -> None:
        while (line := self._queue.get()) is not _END:
            suppressed = self.take_suppressed()
            if suppressed and not self._gap_written(suppressed):
                # Nor is the line tried: what stands behind a gap has to say so.
                self._count_again(suppressed)
                self.count_suppressed(1)
            elif not self._written(text_record(*line)):
                self.count_suppressed(1)
        suppressed = self.take_suppressed()
        if suppressed:
            self._gap_written(suppressed)

    def _written(self, record: logging.LogRecord) -> bool:
        try:
            self._target.emit(record)
        except OSError:
            # Nobody listens, or nobody listens any more: the line is lost, the next one tries again.
            return False
        return True

    def _gap_written(self, lines: int) -> bool:
        record = line_record(logging.WARNING, "suppressed", None, {"lines": lines}, form=self._form)
        if not self._written(record):
            return False
        if self._recent is not None:
            self._recent.add(record.created, record.levelno, format_line("suppressed", None, {"lines": lines}))
        return True
