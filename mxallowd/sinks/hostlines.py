"""Lines of the log about single hosts: at most so many a second, all sinks together.

Whoever sends SYNs, or owns a name, decides how often there would be something to say. What is over the bound is left
out before any text is made of it, and so is every one of them in stress mode; the log says how many lines that were.
"""
import time
from collections.abc import Callable

from mxallowd.engine.events import address_text
from mxallowd.log import Log
from mxallowd.sinks.stress import Stress

LINES_PER_S = 500
LINES_BURST = 2000


class HostLines:
    """One object for all sinks. `leave_out` counts lines that were not written; `stress` is asked by sinks as well."""

    def __init__(
        self, log: Log, leave_out: Callable[[int], None], stress: Stress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._leave_out = leave_out
        self.stress = stress
        self._clock = clock
        self._left = float(LINES_BURST)
        self._filled = clock()

    def info(self, word: str, host: bytes, **values: object) -> None:
        """A line about a host, where the bound allows it. Hosts and values of 16 bytes are addresses."""
        if not self._log.takes_info():
            return
        now = self._clock()
        self._left = min(LINES_BURST, self._left + (now - self._filled) * LINES_PER_S)
        self._filled = now
        if self._left < 1 or self.stress.on:
            self._leave_out(1)
            return
        self._left -= 1
        shown = {key: address_text(value) if isinstance(value, bytes) else value for key, value in values.items()}
        self._log.info(word, address_text(host), **shown)
