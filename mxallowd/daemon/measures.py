"""What monitoring is told: the values of all series, and why the daemon is not healthy or not ready.

Everything is read where it lies; no thread is asked and nothing is waited for, so a scrape costs the queue threads
nothing. Expired entries are removed, and the counters of the ruleset are asked for, at most once in COLLECT_S, and only
while somebody scrapes: these numbers may be so old.
"""
import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mxallowd import __version__
from mxallowd.backends import Backends
from mxallowd.backends.procqueues import ProcQueues
from mxallowd.control.answers.fleet import Fleet
from mxallowd.daemon import trusted
from mxallowd.daemon.report import Report
from mxallowd.daemon.trusted import Trusting
from mxallowd.log.periodic import Pace
from mxallowd.log.writer import Writer
from mxallowd.metrics import fleet as of_fleet
from mxallowd.metrics.series import Histogram, Value, of_counters
from mxallowd.mirrors.mirror import Mirror
from mxallowd.settings import Settings
from mxallowd.sinks.stress import Stress

COLLECT_S = 60.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Measures:
    """Reads these parts of the daemon. What later parts offer is a callable, None as long as nobody does."""

    settings: Callable[[], Settings]  # those in force
    backend: Backends
    report: Report
    writer: Writer
    stress: Stress
    mirrors: Sequence[Mirror]
    lookups: Callable[[], float] | None  # how full their longest queue is; None: names are not looked up
    state_age: Callable[[], float | None] | None = None  # seconds; None: there is none
    fake_to_real: Callable[[], Histogram] | None = None
    refused_later_passed: Callable[[], int] | None = None
    restoring: Callable[[], bool] | None = None  # whether the state of the disk is still being entered
    broker: Callable[[], str] | None = None  # why the broker of the sandbox does not run; None: there is none
    trusted: Sequence[Trusting] = ()  # one, or none
    fleets: Sequence[Fleet] = ()  # one, or none
    serves: bool = False  # between the start and the end

    def __post_init__(self) -> None:
        """What is opened while that is allowed."""
        self._collect = Pace(period_s=COLLECT_S)
        self._collecting: asyncio.Task[dict[str, int]] | None = None
        self._queues = ProcQueues()
        self._started = time.time()

    def close(self) -> None:
        """Read no more."""
        self.serves = False
        self._queues.close()
        if self._collecting is not None:
            self._collecting.cancel()

    def queues(self) -> dict[int, tuple[int, int]]:
        """How many packets wait in each of our queues, and have room there; empty where the kernel does not say it."""
        settings = self.settings()
        return {row[0]: (row[2], settings.queue_length) for row in self._queues.rows()
                if len(row) >= 3 and row[0] in (settings.queue_num or ())}

    def values(self) -> dict[str, Value]:
        """By the names of metrics/series.py."""
        if self.serves and self._collect.due():
            self._collecting = asyncio.ensure_future(self.report.collect())
        settings = self.settings()
        waiting = self.queues()
        times = os.times()
        found = of_counters(self.report.counted()) | {
            "build_info": {__version__: 1},
            "start_time_seconds": self._started,
            "cpu_seconds": times.user + times.system,
            "resident_memory_bytes": _resident(),
            "dry_run": int(settings.dry_run),
            "stress_active": int(self.stress.on),
            "entries_room": self.backend.table.room,
            "refused_hosts_room": self.backend.refused.max_hosts,
            "event_ring_ratio": max((len(ring) / ring.capacity for ring in self.backend.rings), default=0.0),
            "log_queue_ratio": self.writer.fill(),
            "log_lines_lost": self.writer.lost,
        }
        if settings.queue_num:
            found["queue_room"] = settings.queue_length
            if waiting:
                found["queue_waiting"] = {str(number): packets for number, (packets, _) in waiting.items()}
        if self.lookups is not None:
            found["lookups_waiting_ratio"] = self.lookups()
        if self.mirrors:
            found["kernel_table_in_step"] = {mirror.name: int(mirror.in_step()) for mirror in self.mirrors}
            found["kernel_table_waiting_ratio"] = {mirror.name: mirror.fill() for mirror in self.mirrors}
        if self.state_age is not None and (age := self.state_age()) is not None:
            found["state_age_seconds"] = age
        if self.broker is not None:
            found["broker_runs"] = int(not self.broker())
        if self.refused_later_passed is not None:
            found["refused_later_passed"] = self.refused_later_passed()
        for one in self.trusted:
            found |= one.values()
        for fleet in self.fleets:
            found |= of_fleet.values(fleet.status())
        if self.fake_to_real is not None:
            found["fake_to_real_seconds"] = self.fake_to_real()
        return found

    def unhealthy(self) -> list[str]:
        """Why it is not healthy."""
        return ["a thread that gives verdicts or captures has failed"] if self.backend.failed() else []

    def warnings(self) -> list[str]:
        """What is wrong while mail is decided all the same."""
        ended = ["the broker of the sandbox has ended: neither reload nor a new syslog until mxallowd is restarted"
                 ] if self.broker is not None and self.broker() else []
        return [*ended, *trusted.warnings(self.trusted),
                *(text for fleet in self.fleets for text in of_fleet.faults(fleet.status()))]

    def unready(self) -> list[str]:
        """Why it is not ready, besides."""
        reasons = [] if self.serves else ["it is starting or stopping"]
        if self.restoring is not None and self.restoring():
            reasons.append("the whitelist of the state directory is being entered; nobody is refused meanwhile")
        for mirror in self.mirrors:
            if mirror.fault:
                reasons.append(f"the kernel table {mirror.name} takes no changes: {mirror.fault}")
            elif not mirror.in_step():
                reasons.append(f"the kernel table {mirror.name} is to be filled again")
        return reasons


def _resident() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # a tenth of what Path costs
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
