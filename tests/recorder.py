"""A log whose lines a test can look at."""
import logging

from mxallowd.log import Log


class Recorder:
    """Lines as they would be written, without their time stamps."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        logger = logging.Logger("test", logging.INFO)
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        self.log = Log(logger)

    def take(self) -> list[str]:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return lines
