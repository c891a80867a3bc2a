"""Where lines go: a file descriptor, or the local syslog.

A handler may block, and raises OSError if a line cannot be written. So only a Writer uses it: the thread of a Writer
may block, and a Writer counts lost lines.
"""
import logging
import logging.handlers
import os
import select
import socket
import sys
import time
from contextlib import suppress

SYSLOG_SOCKET = "/dev/log"
STDOUT = 1  # the descriptor: sys.stdout may be wrapped by then


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
