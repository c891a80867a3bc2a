"""Back ends: where the packets come from, and who carries out the verdict.

All have one interface. A module is imported only when it is chosen, since this system may lack what it needs: `nfqueue`
(the kernel's queue, which waits for our verdict), `capture` (copies of packets that the firewall has decided about) and
`rehearsal` (a capture file). The first two may run together: they share one whitelist, and each of their threads writes
a shard of its own.
"""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mxallowd._fastpath import Fastpath
from mxallowd.backends.memories import Memories
from mxallowd.engine._meetings import COUNTERS as NETWORK_COUNTERS
from mxallowd.engine._meetings import Meetings
from mxallowd.engine._networks import Networks
from mxallowd.engine._patience import COUNTERS as PATIENCE_COUNTERS
from mxallowd.engine._patience import Patience
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.settings import Settings

TIDIED = 8192  # places of the memory of networks that are looked at in a second: 0.1 ms


class Backend(Protocol):
    """What the daemon asks of a back end. All calls come from the main thread."""

    @property
    def rings(self) -> Sequence[Ring]:
        """The rings that it writes events into."""

    @property
    def fastpaths(self) -> Sequence[Fastpath]:
        """The decisions that it runs."""

    def readable(self) -> list[Path]:
        """What it reads after it was opened, besides what belongs to the system."""

    def open(self) -> None:
        """Get hold of the packets. Raises StartError with the reason."""

    def start(self) -> None:
        """Begin, inside the main loop; what the system does not offer is logged. Raises StartError."""

    def publish(self, rules: Rules) -> None:
        """Let these rules hold from now on."""

    def tick(self) -> None:
        """Called about once a second, for what is due by time."""

    def sweep(self) -> int:
        """Ask for expired entries to be removed; so many SWEPT events will tell that it is done."""

    def restore(self, shard: int, records: bytes) -> bool:
        """Ask the thread that writes this shard to enter records; False: it is none of this back end's own threads."""

    def restored(self, shard: int) -> tuple[int, int, int, int] | None:
        """What became of them: entered, known, left out, ended. None: they are being entered, or nobody was asked."""

    def stop(self) -> None:
        """Ask for an end, everything that waits being answered. What ended without being asked is logged by then."""

    def ended(self) -> bool:
        """Whether it has ended, for whatever reason."""

    def failed(self) -> bool:
        """Whether any of it has ended without being asked to."""

    def close(self) -> None:
        """Give everything back. Only after ended()."""

    def counters(self) -> dict[str, int]:
        """Its own counters since the start: some of Part.INPUT in metrics/counters.py."""


class Backends:
    """The chosen back ends as one, with the memories that they share."""

    def __init__(
        self, memories: Memories, parts: Sequence[Backend], clock_us: Callable[[], int] = boottime_us
    ) -> None:
        self.table = memories.table
        self.refused = memories.refused
        self.listed = memories.listed
        self.contacts = memories.contacts
        self.clock_us = clock_us
        self.rings = [ring for part in parts for ring in part.rings]
        self.fastpaths = [fastpath for part in parts for fastpath in part.fastpaths]
        self._memories = memories
        self._parts = parts

    def readable(self) -> list[Path]:
        """What they read after they were opened, besides what belongs to the system."""
        return [path for part in self._parts for path in part.readable()]

    def open(self) -> None:
        """Open all or none. Raises StartError with the reason."""
        opened: list[Backend] = []
        try:
            for part in self._parts:
                part.open()
                opened.append(part)
        except BaseException:
            for part in opened:
                part.close()
            raise

    def start(self) -> None:
        """Start all. Raises StartError."""
        for part in self._parts:
            part.start()

    def publish(self, settings: Settings) -> None:
        """Let the servers and the lifetime of these settings hold from now on."""
        rules = self._memories.compile(settings)
        for part in self._parts:
            part.publish(rules)

    def list_networks(self, networks: Networks, settings: Settings) -> None:
        """Let these networks of the lists hold from now on, with those settings."""
        self._memories.networks = networks
        self.publish(settings)

    @property
    def patience(self) -> Patience | None:
        """Who waits to be let in; None: nobody ever could."""
        return self._memories.patience

    def forget_waiting(self, host: bytes) -> None:
        """It has not been refused yet, as far as --patience counts that."""
        if self.patience is not None:
            self.patience.forget(host)

    @property
    def meetings(self) -> Meetings | None:
        """Networks that contacts have let in; None: a contact lets in no other host."""
        return self._memories.meetings

    def tick(self) -> None:
        """Called about once a second."""
        if self.meetings is not None:
            self.meetings.tidy(self.clock_us(), TIDIED)
        for part in self._parts:
            part.tick()

    def sweep(self) -> int:
        """Ask for expired entries to be removed; so many SWEPT events will tell that it is done."""
        return sum(part.sweep() for part in self._parts)

    def restore(self, shard: int, records: bytes) -> bool:
        """Ask the thread that writes this shard of the whitelist to enter records; False: it is the main thread."""
        return any(part.restore(shard, records) for part in self._parts)

    def restored(self, shard: int) -> tuple[int, int, int, int] | None:
        """What became of them: entered, known, left out, ended. None: they are being entered, or nobody was asked."""
        found = (part.restored(shard) for part in self._parts)
        return next((result for result in found if result is not None), None)

    def stop(self) -> None:
        """Ask all for an end."""
        for part in self._parts:
            part.stop()

    def ended(self) -> bool:
        """Whether all have ended."""
        return all(part.ended() for part in self._parts)

    def failed(self) -> bool:
        """Whether any of them has ended without being asked to."""
        return any(part.failed() for part in self._parts)

    def close(self) -> None:
        """Give everything back. Only after ended()."""
        for part in self._parts:
            part.close()

    def counters(self) -> dict[str, int]:
        """The sums of their counters, and the events that did not fit into rings."""
        totals: dict[str, int] = {}
        for part in self._parts:
            for name, value in part.counters().items():
                totals[name] = totals.get(name, 0) + value
        totals |= self.patience.counters() if self.patience is not None else dict.fromkeys(PATIENCE_COUNTERS, 0)
        totals |= self.meetings.counters() if self.meetings is not None else dict.fromkeys(NETWORK_COUNTERS, 0)
        totals["lost-events"] = sum(ring.lost for ring in self.rings)
        return totals


def unsupported(settings: Settings) -> list[str]:
    """Why this system cannot run the back ends that the settings choose."""
    reasons = []
    if settings.queue_num:
        reasons.append(_why_no_queues())
    if settings.pflog_interface:
        from mxallowd.backends import capture  # noqa: PLC0415

        reasons.append(capture.is_supported())
    return [reason for reason in reasons if reason]


def _why_no_queues() -> str | None:
    """Not asked of the back end itself: its compiled half, too, is there on Linux alone."""
    try:
        import netfilterqueue  # noqa: F401, PLC0415
    except ImportError as error:
        return f"the NFQUEUE back end needs the package NetfilterQueue: {error}"
    return None


def create(settings: Settings, wake: Wake, log: Log) -> Backends:
    """The back ends that the settings choose; their rings wake `wake`. Raises StartError."""
    # Each module is imported only when chosen, and where it can be.
    if reasons := unsupported(settings):
        raise StartError(reasons[0])
    source = settings.pflog_interface
    queues = settings.queue_num or range(0)
    memories = Memories(settings, len(queues) + (source is not None))
    if source is not None and source.startswith("file:"):
        from mxallowd.backends import rehearsal  # noqa: PLC0415

        clock = rehearsal.Clock()
        decision = memories.decision(rehearsal.SHARD, wake.write_fd)
        return Backends(memories, [rehearsal.RehearsalBackend(settings, decision, wake, log, clock)], clock)
    parts: list[Backend] = []
    if queues:
        from mxallowd.backends import nfqueue  # noqa: PLC0415

        # The shards from the first one on are theirs.
        decisions = [memories.decision(shard, wake.write_fd, queue) for shard, queue in enumerate(queues)]
        parts.append(nfqueue.NfqueueBackend(settings, dict(zip(queues, decisions, strict=True)), log))
    if source is not None:
        from mxallowd.backends import capture  # noqa: PLC0415

        decision = memories.decision(len(queues), wake.write_fd)
        parts.append(capture.CaptureBackend(settings, decision, len(queues), wake, log))
    return Backends(memories, parts)
