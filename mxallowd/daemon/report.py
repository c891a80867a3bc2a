"""The report: all counters, after expired entries are removed; for SIGUSR1 and for the end of a rehearsal."""
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from mxallowd.backends import Backends
from mxallowd.engine.events import Event, Kind
from mxallowd.log import Log
from mxallowd.metrics import counters
from mxallowd.sinks.stress import Stress

# How long a sweep may take before we go on without it.
SWEEP_TIMEOUT_S = 2.0
RECENT_S = 1.0


class Report:
    """Asks back ends, sinks and mirrors. Events pass by here, since threads tell of the end of a sweep by one."""

    def __init__(
        self, backend: Backends, counting: Sequence[Callable[[], dict[str, int]]],
        refreshing: Sequence[Callable[[], Awaitable[None]]], stress: Stress, log: Log,
    ) -> None:
        """`counting` give the counters of sinks and mirrors; `refreshing` ask first for what is counted elsewhere."""
        self._backend = backend
        self._counting = counting
        self._refreshing = refreshing
        self._stress = stress
        self._log = log
        self._collected_at = float("-inf")
        self._sweeps_left = 0
        self._swept = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.dry_run = False
        """Whether what is counted as refused was accepted."""

    def ask(self) -> None:
        """Write the counters soon."""
        task = asyncio.create_task(self.write())
        # The loop keeps only a weak reference.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def write(self) -> None:
        """Write the counters to the log."""
        # Asked for, so it is written even where --quiet leaves errors only.
        self._log.notice("counters", None, **await self.collect())

    async def collect(self) -> dict[str, int]:
        """All counters by name, once expired entries are gone and mirrors have asked for what is counted elsewhere."""
        self._collected_at = time.monotonic()
        self._swept.clear()
        self._sweeps_left = self._backend.sweep()
        if self._sweeps_left:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._swept.wait(), SWEEP_TIMEOUT_S)
        self._backend.table.sweep_main(self._backend.clock_us())
        await asyncio.gather(*(refresh() for refresh in self._refreshing))
        return self.counted()

    async def recent(self) -> dict[str, int]:
        """The same, but expired entries and what is counted elsewhere are looked at once a second at most.

        For who may ask as often as he likes: to remove expired entries takes time from threads that decide.
        """
        if time.monotonic() - self._collected_at >= RECENT_S:
            return await self.collect()
        return self.counted()

    async def refreshed(self) -> dict[str, int]:
        """The same, expired entries included: for what is asked all the time, and at the end."""
        await asyncio.gather(*(refresh() for refresh in self._refreshing))
        return self.counted()

    def counted(self) -> dict[str, int]:
        """All counters by name, as they are: expired entries count among the others until somebody collects."""
        return counters.collect([
            *(fastpath.counters() for fastpath in self._backend.fastpaths), self._backend.table.counters(),
            self._backend.refused.counters(), self._backend.counters(),
            *(count() for count in self._counting), {"stress": self._stress.times}], dry_run=self.dry_run)

    def handle(self, events: Sequence[Event]) -> None:
        """Look for the end of sweeps."""
        for event in events:
            if event.kind == Kind.SWEPT:
                self._sweeps_left -= 1
                if self._sweeps_left <= 0:
                    self._swept.set()
