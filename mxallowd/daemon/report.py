"""The report: all counters, without entries whose time is over, as SIGUSR1 and the end of a rehearsal ask for it."""
import asyncio
from collections.abc import Sequence
from contextlib import suppress

from mxallowd.backends import Backends
from mxallowd.engine.events import Event, Kind
from mxallowd.log import Log
from mxallowd.metrics import counters
from mxallowd.sinks import Sink
from mxallowd.sinks.stress import Stress

# How long a sweep may take before we go on without it.
SWEEP_TIMEOUT_S = 2.0


class Report:
    """Asks back ends and sinks. Events have to pass by here, since threads tell of the end of a sweep by one."""

    def __init__(self, backend: Backends, sinks: Sequence[Sink], stress: Stress, log: Log) -> None:
        self._backend = backend
        self._sinks = sinks
        self._stress = stress
        self._log = log
        self._sweeps_left = 0
        self._swept = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

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
        """All counters by name, once expired entries are removed and sinks have asked for what is counted elsewhere."""
        self._swept.clear()
        self._sweeps_left = self._backend.sweep()
        if self._sweeps_left:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._swept.wait(), SWEEP_TIMEOUT_S)
        self._backend.table.sweep_main(self._backend.clock_us())
        await asyncio.gather(*(sink.refresh() for sink in self._sinks))
        return counters.collect([
            *(fastpath.counters() for fastpath in self._backend.fastpaths), self._backend.table.counters(),
            self._backend.refused.counters(), self._backend.counters(), *(sink.counters() for sink in self._sinks),
            {"stress": self._stress.times}])

    def handle(self, events: Sequence[Event]) -> None:
        """Look for the end of sweeps."""
        for event in events:
            if event.kind == Kind.SWEPT:
                self._sweeps_left -= 1
                if self._sweeps_left <= 0:
                    self._swept.set()
