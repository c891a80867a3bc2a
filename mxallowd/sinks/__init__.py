"""Sinks: the main loop hands the events of the packet path to them.

There are two, the log and reverse DNS. A sink imports events, settings, the log and the whitelist, never a back end and
never another sink. It runs on the main loop, so it must not block. A copy of the whitelist is no sink: it follows the
whitelist's changes (mirrors/).
"""
from collections.abc import Sequence
from typing import Protocol

from mxallowd.engine.events import Event
from mxallowd.settings import Settings


class Sink(Protocol):
    """What the main loop asks of a sink."""

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events, in order. Must not block or raise."""

    def tick(self) -> None:
        """Called about once a second, for what is due by time."""

    def reload(self, settings: Settings) -> None:
        """The settings have changed."""

    def counters(self) -> dict[str, int]:
        """Its own counters, since the start."""

    def close(self) -> None:
        """The last call: say what has not been said."""
