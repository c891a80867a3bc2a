"""Logs for tests: one whose lines are a list of texts, one that writes to any handler."""
import logging

from mxallowd.log import Log


class Appends(logging.Handler):
    """A handler that appends the text of each line to a list."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def log_through(handler: logging.Handler) -> Log:
    """A log of all levels that hands its records to `handler`."""
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(handler)
    return Log(logger)


def log_to(lines: list[str]) -> Log:
    """A log of all levels that appends to `lines`, without time stamps."""
    return log_through(Appends(lines))
