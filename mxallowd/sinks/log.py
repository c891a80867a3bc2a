"""The log sink: one line for what happens to a host, few lines for what happens often.

refusals.py writes the lines about refused hosts. Malformed packets cause at most one line a minute. hostlog.py bounds
the lines of a flood of different hosts.
"""
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mxallowd.engine.events import Event, Kind
from mxallowd.lists.composition import Match
from mxallowd.log import Log
from mxallowd.log.periodic import Summed
from mxallowd.settings import Settings
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.refusals import Memory, RefusalLines

HEAD_SHOWN = 32


class Memories(NamedTuple):
    """What is asked about hosts."""

    refused: Memory
    listed: Memory | None = None  # of hosts that lists deny or allow
    find: Callable[[bytes], Match | None] = lambda host: None  # the network of the lists that holds for a host

    def named(self, host: bytes) -> str:
        """The line of the list that allows a host, and whether it is one of trusted senders."""
        match = self.find(host)
        # None: the lists were changed just now.
        return "list" if match is None else f"trusted {match.where}" if match.trusted else match.where


class LogSink:
    """Writes events as lines of the log."""

    def __init__(
        self, log: Log, hostlog: HostLog, memories: Memories, clock: Callable[[], float] = time.monotonic, *,
        dry_run: bool = False,
    ) -> None:
        self._log = log
        self._hostlog = hostlog
        self._refusals = RefusalLines(hostlog, memories.refused, clock, dry_run=dry_run)
        self._listed = None if memories.listed is None else RefusalLines(
            hostlog, memories.listed, clock, dry_run=dry_run, by=memories.named)
        self._malformed: Summed[Event] = Summed(clock)

    def handle(self, events: Sequence[Event]) -> None:
        """Write, or sum up, each event."""
        for event in events:
            if event.kind == Kind.REFUSED:
                self._refusals.take(event)
            elif event.kind == Kind.WHITELISTED:
                self._hostlog.info("whitelisted", event.source, fake=event.destination,
                                   seconds=(event.until_us - event.time_us) // 1_000_000)
            elif event.kind == Kind.PATIENT:
                self._hostlog.info("patient", event.source, real=event.destination,
                                   seconds=(event.until_us - event.time_us) // 1_000_000)
            elif event.kind == Kind.ACCEPTED:
                self._hostlog.info("accepted", event.source, real=event.destination)
            elif event.kind in (Kind.LIST_DENIED, Kind.LIST_ALLOWED, Kind.BY_NETWORK):
                if self._listed:
                    self._listed.take(event)
            elif event.kind == Kind.MALFORMED:
                self._malformed.add(event)
        self._write_periodic()

    def tick(self) -> None:
        """Write the sums whose minute is over."""
        self._write_periodic()
        self._refusals.tick()
        if self._listed:
            self._listed.tick()

    def reload(self, settings: Settings) -> None:
        """The bound of lines about hosts, which holds for all who write them."""
        self._hostlog.set_rate(settings.log_hosts)

    def counters(self) -> dict[str, int]:
        """None of its own: what is left out is said in the log itself."""
        return {}

    def close(self) -> None:
        """Write every sum that is open."""
        self._refusals.close()
        if self._listed:
            self._listed.close()

    def _write_periodic(self) -> None:
        if found := self._malformed.due():
            count, event = found
            self._log.warning("malformed", count=count, reason=event.reason_name, length=event.length,
                              head=event.head[:HEAD_SHOWN].hex())
