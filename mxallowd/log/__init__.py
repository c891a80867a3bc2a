"""The log: its grammar, and the way to syslog or standard output that can never hold anybody up.

A line is a fixed first word, the address in brackets where there is one, then key=value pairs. Lines pass a bounded
queue to a thread that alone writes; a full syslog socket, a stopped terminal or a closed pipe
stops that thread and nothing else. What finds the queue full, or cannot be written, is counted, and the next line
that gets through is preceded by `left-out lines=N`.
"""
import logging
import logging.handlers
import os
import queue
import select
import socket
import sys
import threading
import time
from contextlib import suppress

from mxallowd.text import printable

# A few seconds of a busy log; some 300 bytes a line.
CAPACITY = 4096
SYSLOG_SOCKET = "/dev/log"
STDOUT = 1  # the descriptor: sys.stdout may be wrapped by then
_END = None


class Log:
    """Writes lines of the log's grammar. One object for the whole process; any thread may call it."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def info(self, word: str, address: str | None = None, **values: object) -> None:
        """What happened to a connection, and the daemon's own steps."""
        self._write(logging.INFO, word, address, values)

    def warning(self, word: str, address: str | None = None, **values: object) -> None:
        """What an operator should look at."""
        self._write(logging.WARNING, word, address, values)

    def error(self, word: str, address: str | None = None, **values: object) -> None:
        """What is broken; the only level that --quiet leaves."""
        self._write(logging.ERROR, word, address, values)

    def notice(self, word: str, address: str | None = None, **values: object) -> None:
        """What the operator asked for just now, and so gets although --quiet is set."""
        if self._logger.handlers:
            self._hand_over(logging.INFO, word, address, values)

    def _write(self, level: int, word: str, address: str | None, values: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._hand_over(level, word, address, values)

    def _hand_over(self, level: int, word: str, address: str | None, values: dict[str, object]) -> None:
        # Not by log(), which walks the stack to find its caller: half of what a line costs.
        line = format_line(word, address, values)
        self._logger.handle(self._logger.makeRecord(self._logger.name, level, "", 0, line, (), None))

    def takes_info(self) -> bool:
        """Whether lines of level info are written at all."""
        return self._logger.isEnabledFor(logging.INFO)

    def set_quiet(self, quiet: bool) -> None:
        """Log errors only, or all."""
        self._logger.setLevel(logging.ERROR if quiet else logging.INFO)


def format_line(word: str, address: str | None, values: dict[str, object]) -> str:
    """One line: word, [address], key=value with underscores of keys as hyphens; always printable."""
    parts = [word]
    if address is not None:
        parts.append(f"[{printable(address)}]")
    parts += [f"{key.replace('_', '-')}={format_value(str(value))}" for key, value in values.items()]
    return " ".join(parts)


def format_value(text: str) -> str:
    """A value: as it is where it is one plain word, else in quotes with its quotes escaped."""
    safe = printable(text)
    if safe and " " not in safe and '"' not in safe and "=" not in safe:
        return safe
    return '"' + safe.replace('"', '\\"') + '"'


class StreamHandler(logging.Handler):
    """Lines to a file descriptor, with the local time stamp `dd.mm.yyyy HH:MM:SS - `, unbuffered."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._rest = b""  # of a line that a full disk took a part of

    def emit(self, record: logging.LogRecord) -> None:
        """Write the whole line, waiting for room; raises OSError where nothing of it could be written."""
        stamp = time.strftime("%d.%m.%Y %H:%M:%S", time.localtime(record.created))
        line = f"{stamp} - {record.getMessage()}\n".encode("utf-8", "backslashreplace")
        self._write()
        self._rest = line
        try:
            self._write()
        except OSError:
            # What has begun is ended before the next line, so that no two of them become one.
            if len(self._rest) == len(line):
                self._rest = b""
                raise

    def _write(self) -> None:
        while self._rest:
            try:
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])


class SyslogHandler(logging.Handler):
    """Lines to the local syslog, facility daemon; the socket may come and go."""

    def __init__(self, socket_path: str = SYSLOG_SOCKET) -> None:
        super().__init__()
        self._socket_path = socket_path
        self._handler: logging.handlers.SysLogHandler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; raises OSError where nobody listens."""
        if self._handler is None:
            handler = logging.handlers.SysLogHandler(
                self._socket_path, facility=logging.handlers.SysLogHandler.LOG_DAEMON
            )
            handler.ident = f"mxallowd[{os.getpid()}]: "
            handler.handleError = _raise  # type: ignore[method-assign]  # the writer counts what is lost
            self._handler = handler
        self._handler.emit(record)

    def close(self) -> None:
        """Let the socket go."""
        if self._handler is not None:
            self._handler.close()
        super().close()


def syslog_listens(socket_path: str = SYSLOG_SOCKET) -> bool:
    """Whether somebody takes lines there now; a socket may be left of one that did."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as probe, suppress(OSError):
            probe.setblocking(False)
            probe.connect(socket_path)
            return True
    return False


def _raise(record: logging.LogRecord) -> None:
    """Stands for Handler.handleError, which would print to stderr."""
    error = sys.exc_info()[1]
    if error is not None:
        raise error


class Writer(logging.Handler):
    """The bounded queue and the thread behind it."""

    def __init__(self, target: logging.Handler, capacity: int = CAPACITY) -> None:
        super().__init__()
        self._target = target
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(capacity)
        self._count = threading.Lock()
        self._left_out = 0
        # A daemon thread: one that is stuck in a write does not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin to write. Until then lines wait: a thread keeps the privileges that it was started with."""
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the line to the thread; never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.leave_out(1)

    def leave_out(self, lines: int) -> None:
        """Count lines that were not written."""
        with self._count:
            self._left_out += lines

    def take_left_out(self) -> int:
        """The lines left out since the last call."""
        with self._count:
            lines, self._left_out = self._left_out, 0
        return lines

    def fill(self) -> float:
        """How full the queue is, 1.0 being its bound."""
        return self._queue.qsize() / self._queue.maxsize

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is waiting, for at most `timeout_s` seconds."""
        if self._thread.ident is None:
            # Never started: what waits is still written.
            self._thread.start()
        deadline = time.monotonic() + timeout_s
        try:
            self._queue.put(_END, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        super().close()

    def _run(self) -> None:
        while (record := self._queue.get()) is not _END:
            left_out = self.take_left_out()
            if left_out and not self._written(_left_out_record(record, left_out)):
                # Nor is the line tried: what stands behind a gap has to say so.
                self.leave_out(left_out + 1)
            elif not self._written(record):
                self.leave_out(1)
        left_out = self.take_left_out()
        if left_out:
            self._written(_left_out_record(None, left_out))

    def _written(self, record: logging.LogRecord) -> bool:
        try:
            self._target.emit(record)
        except OSError:
            # Nobody listens, or nobody listens any more: the line is lost, the next one tries again.
            return False
        return True


def _left_out_record(like: logging.LogRecord | None, lines: int) -> logging.LogRecord:
    name = like.name if like else "mxallowd"
    return logging.LogRecord(name, logging.WARNING, "", 0, format_line("left-out", None, {"lines": lines}), (), None)


def open_log(*, stdout: bool, quiet: bool) -> tuple[Log, Writer]:
    """The process's log, to standard output or to syslog, and the writer to close at the end."""
    logger = logging.getLogger("mxallowd")
    logger.propagate = False
    writer = Writer(StreamHandler(STDOUT) if stdout else SyslogHandler())
    logger.handlers[:] = [writer]
    log = Log(logger)
    log.set_quiet(quiet)
    return log, writer
