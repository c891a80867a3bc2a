"""Lines of the log about single hosts: a bound a second (`--log-hosts`) for all sinks together.

Whoever sends SYNs, or owns a DNS name, decides how many such lines there would be. Lines above the bound are left out
before their text is made. In stress mode all of them are left out. The log says how many lines these were.
"""
import time
from collections.abc import Callable

from mxallowd.engine.events import address_text
from mxallowd.log import Log
from mxallowd.sinks.bucket import Bucket
from mxallowd.sinks.stress import Stress

LINES_PER_S = 500  # the default
BURST_FACTOR = 4
LINES_BURST = BURST_FACTOR * LINES_PER_S


class HostLog:
    """One object for all sinks. `count_suppressed(lines)` counts what was not written; sinks ask `stress` as well."""

    def __init__(
        self, log: Log, count_suppressed: Callable[[int], None], stress: Stress,
        clock: Callable[[], float] = time.monotonic, lines_per_s: int = LINES_PER_S,
    ) -> None:
        self.log = log
        self._count_suppressed = count_suppressed
        self.stress = stress
        self._bucket = Bucket(lines_per_s, lines_per_s * BURST_FACTOR, clock)
        self._wanted = lines_per_s > 0

    def set_rate(self, lines_per_s: int) -> None:
        """From now on so many lines a second. 0: none; they are not counted, since the operator does not want them."""
        self._bucket.resize(lines_per_s, lines_per_s * BURST_FACTOR)
        self._wanted = lines_per_s > 0

    def _takes(self) -> bool:
        return self._wanted and self.log.takes_info()

    def info(self, word: str, host: bytes, **values: object) -> None:
        """A line about a host, where the bound allows it. Hosts and values of 16 bytes are addresses."""
        if not self._takes():
            return
        if self.stress.on or not self._bucket.take():
            self.suppress(1)
            return
        shown = {key: address_text(value) if isinstance(value, bytes) else value for key, value in values.items()}
        self.log.info(word, address_text(host), **shown)

    def suppress(self, lines: int) -> None:
        """Count lines of which there is not even an event."""
        if lines and self._takes():
            self._count_suppressed(lines)
