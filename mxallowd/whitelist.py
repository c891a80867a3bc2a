"""The whitelist as the main loop has it: what sinks may ask of it and do with it.

Underneath is the table that the packet path reads and writes. Whoever keeps a copy of it elsewhere (a kernel table)
listens here to what sinks admit; what the packet path itself does comes as events.
Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form; times are microseconds of the packet path's clock.
"""
from collections.abc import Callable
from typing import Protocol

from mxallowd._table import Table
from mxallowd.clock import boottime_us


class Listener(Protocol):
    """Somebody who keeps a copy of the whitelist."""

    def listed(self, host: bytes, until_us: int) -> None:
        """The host is in the whitelist until then."""

    def unlisted(self, host: bytes) -> None:
        """The host was taken out before its time."""


class Whitelist:
    """The table with a clock and listeners. All calls come from the main thread."""

    def __init__(self, table: Table, clock_us: Callable[[], int] = boottime_us) -> None:
        self._table = table
        self._listeners: list[Listener] = []
        self.now_us = clock_us

    def listen(self, listener: Listener) -> None:
        """Tell this one of every change from now on."""
        self._listeners.append(listener)

    def admit(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Enter a host as a child. False: it is listed already, or there is no room."""
        if not self._table.admit(host, until_us, now_us):
            return False
        self._tell(host, until_us)
        return True

    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let a listed host's entry end later. False: it is not listed, or ends later anyway."""
        if not self._table.renew(host, until_us, now_us):
            return False
        self._tell(host, until_us)
        return True

    def _tell(self, host: bytes, until_us: int) -> None:
        for listener in self._listeners:
            listener.listed(host, until_us)
