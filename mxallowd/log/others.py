"""What others say by logging: asyncio and the rest of the standard library, at most a line a minute of a log of ours.

Without a handler they write to standard error, past all bounds: asyncio has a line for each write to a connection that
has broken, so whoever connects could fill a disk.
"""
import logging
from collections.abc import Callable

from mxallowd.log.periodic import Pace

LONGEST = 500  # characters of a line


class Others(logging.Handler):
    """Hands their lines of level error to `tell`, and drops the rest."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell
        self._pace = Pace()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of it, if it is due."""
        if self._pace.due():
            self._tell(said(record))


def said(record: logging.LogRecord) -> str:
    """One line, with the error that it is about but not where that was: the text of others has no bound."""
    error = record.exc_info[1] if record.exc_info else None
    text = record.getMessage() if error is None else f"{record.getMessage()}: {error!r}"
    return f"{record.name}: {text}"[:LONGEST]


def take(tell: Callable[[str], object]) -> Others:
    """From now on others say it so, wherever they have no handler of their own."""
    handler = Others(tell)
    logging.getLogger().handlers[:] = [handler]
    logging.raiseExceptions = False  # nor does a handler that fails write to standard error
    return handler
