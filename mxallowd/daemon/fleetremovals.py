"""What other gateways have ended here: a line of the log for each host, and who it was, for explain.

Of hosts there are as many lines as `--log-hosts` allows for all of them, of flushes one a minute. The last MOST
removals are remembered, some 300 bytes each.
"""
import time
from collections.abc import Callable

from mxallowd.log.periodic import Summed
from mxallowd.sinks.hostlog import HostLog

MOST = 4096


class Removals:
    """Of one gateway. All calls come from the main thread."""

    def __init__(self, hostlog: HostLog, clock: Callable[[], float] = time.time) -> None:
        self._hostlog, self._log = hostlog, hostlog.log
        self._clock = clock
        self._by: dict[bytes, tuple[str, float]] = {}
        self._flushes: Summed[str] = Summed()
        self._flushed = 0  # entries, since the last line

    def removed(self, host: bytes, gateway: str) -> None:
        """This gateway has removed the host, and so its entry was ended here."""
        self._by.pop(host, None)
        self._by[host] = gateway, self._clock()
        if len(self._by) > MOST:
            del self._by[next(iter(self._by))]
        self._hostlog.info("fleet-removed", host, by=gateway)

    def flushed(self, gateway: str, count: int) -> None:
        """It has ended all that it told; that were so many here."""
        self._flushes.add(gateway)
        self._flushed += count
        self.tick()

    def tick(self) -> None:
        """Called about once a second."""
        if due := self._flushes.due():
            flushes, gateway = due
            self._log.info("fleet-flushed", None, by=gateway, flushes=flushes, count=self._flushed)
            self._flushed = 0

    def find(self, host: bytes) -> tuple[str, float] | None:
        """Which gateway removed it last, and when, in seconds since 1970; None: that is not known."""
        return self._by.get(host)
