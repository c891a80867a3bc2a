"""The log to syslog or standard output. Writing a line never blocks the caller.

`grammar` makes a line, `recent` keeps it for a while, the bounded queue of `writer` takes it, and its thread writes it
by one of `handlers`.
"""
import logging

from mxallowd.log.grammar import LOGGER, Form, format_line, line_record
from mxallowd.log.handlers import STDOUT, StreamHandler, SyslogHandler
from mxallowd.log.recent import Recent
from mxallowd.log.writer import Writer


class Log:
    """Writes lines of the log's grammar. One object for the whole process; any thread may call it."""

    def __init__(self, logger: logging.Logger, form: Form = Form.TEXT, recent: Recent | None = None) -> None:
        """`recent` keeps the last lines; without it, one of its own."""
        self._logger = logger
        self._form = form
        self.recent = recent or Recent()

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
        record = line_record(level, word, address, values, form=self._form)
        self.recent.add(record.created, level,
                        record.msg if self._form is Form.TEXT else format_line(word, address, values))
        self._logger.handle(record)

    def takes_info(self) -> bool:
        """Whether lines of level info are written at all."""
        return self._logger.isEnabledFor(logging.INFO)

    def set_quiet(self, quiet: bool) -> None:
        """Log errors only, or all."""
        self._logger.setLevel(logging.ERROR if quiet else logging.INFO)


def open_log(*, stdout: bool, quiet: bool, form: str = "text") -> tuple[Log, Writer]:
    """The process's log, to standard output or to syslog, and the writer to close at the end.

    `form` is what --log-format says.
    """
    written = Form(form)
    logger = logging.getLogger(LOGGER)
    logger.propagate = False
    recent = Recent()
    writer = Writer(StreamHandler(STDOUT, written) if stdout else SyslogHandler(), form=written, recent=recent)
    logger.handlers[:] = [writer]
    log = Log(logger, written, recent)
    log.set_quiet(quiet)
    return log, writer
