"""Where lines go: a file descriptor, or the local syslog.

A handler may block, and raises OSError if a line cannot be written. So only a Writer uses it: the thread of a Writer
may block, and a Writer counts lost lines.
"""
import logging
import os
import select
import socket
import time

from mxallowd.log.grammar import Form
from mxallowd.process import broker

SYSLOG_SOCKET = "/dev/log"
_FACILITY, _INFO = 3, 6  # LOG_DAEMON and LOG_INFO of syslog(3), and the severities of what is worse
_SEVERITIES = {logging.WARNING: 4, logging.ERROR: 3}
STDOUT = 1  # the descriptor: sys.stdout may be wrapped by then


class StreamHandler(logging.Handler):
    """Lines to a file descriptor, with the local time stamp `dd.mm.yyyy HH:MM:SS - `, unbuffered."""

    def __init__(self, descriptor: int, form: Form = Form.TEXT) -> None:
        """A line of JSON gets no stamp: it has its time."""
        super().__init__()
        self._descriptor = descriptor
        self._stamped = form is Form.TEXT
        self._rest = b""  # of a line that a full disk took a part of

    def emit(self, record: logging.LogRecord) -> None:
        """Write the whole line, waiting for room; raises OSError where nothing of it could be written."""
        stamp = time.strftime("%d.%m.%Y %H:%M:%S - ", time.localtime(record.created)) if self._stamped else ""
        line = f"{stamp}{record.getMessage()}\n".encode("utf-8", "backslashreplace")
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
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; raises OSError where nobody listens."""
        priority = _FACILITY << 3 | _SEVERITIES.get(record.levelno, _INFO)
        line = f"<{priority}>mxallowd[{os.getpid()}]: {record.getMessage()}\0".encode("utf-8", "backslashreplace")
        if self._socket is not None:
            try:
                self._socket.sendall(line)
            except OSError:
                # Of a syslog that has gone: another one may be there.
                self.close_socket()
            else:
                return
        made = broker.connect(self._socket_path)
        try:
            made.sendall(line)
        except OSError:
            made.close()
            raise
        self._socket = made

    def close_socket(self) -> None:
        """Let the socket go; the next line makes another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Let the socket go, for good."""
        self.close_socket()
        super().close()


def syslog_listens(socket_path: str = SYSLOG_SOCKET) -> bool:
    """Whether somebody takes lines there now; a socket may be left of one that did."""
    try:
        broker.connect(socket_path).close()
    except OSError:
        return False
    return True
