"""What is looked at once a second: each look by itself, so that a mistake in one of them leaves the others alone."""
import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from mxallowd.backends import Backends
from mxallowd.backends.handshakes import Handshakes
from mxallowd.daemon.absence import Absence, Bypass
from mxallowd.daemon.losses import Losses, safely
from mxallowd.log import Log
from mxallowd.process.broker import Broker
from mxallowd.process.supervisor import Supervisor

TICK_S = 1.0


class Ticking(Protocol):
    """A part that looks at its affairs once a second."""

    def tick(self) -> None:
        """Called about once a second."""


class Ticks:
    """Calls all parts, and looks itself for what defeats nolisting in silence."""

    def __init__(
        self, backend: Backends, losses: Losses, supervisor: Supervisor, broker: Broker | None, log: Log,
    ) -> None:
        self._backend = backend
        self._losses = losses
        self._supervisor = supervisor
        self._broker = broker
        self._log = log
        self._absence, self._bypass = Absence(backend, log), Bypass(log)

    async def run(
        self, parts: Iterable[Ticking], handshakes: Sequence[Handshakes], looks: Sequence[Callable[[], object]],
    ) -> None:
        """Go on until it is cancelled. `handshakes` tell who has connected; `looks` are called after the parts."""
        parts = list(parts)
        while True:
            await asyncio.sleep(TICK_S)
            safely(self._tick_backend)
            for part in parts:
                safely(part.tick)
            for look in looks:
                safely(look)
            self._losses.look()
            safely(self._absence.look)
            safely(lambda: self._look_for_bypass(handshakes))

    def _look_for_bypass(self, handshakes: Sequence[Handshakes]) -> None:
        came = [host for one in handshakes for host in one.take_unlisted()]
        self._bypass.look(self._backend.counters().get("received", 0), came)

    def _tick_backend(self) -> None:
        self._backend.tick()
        if self._broker is not None and (fault := self._broker.fault()):
            self._log.error("broker", reason=fault)
        if not self._backend.failed():
            self._supervisor.alive()
