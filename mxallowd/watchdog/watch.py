"""The watch over queue threads, from their back end's side: heartbeats, the watching thread, and the guard.

With --no-watchdog the threads still write heartbeats, but nothing checks them. Which way it fails: if the watching
thread cannot be started, the log says so, and the daemon serves; if the guard cannot be started, the start fails.
"""
from collections.abc import Iterable, Sequence

from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.watchdog._watch import Heartbeats, Watchdog
from mxallowd.watchdog.guard_process import GuardProcess


class Watch:
    """Who ends this process when verdicts stop. The calls, in order: open, start, tick each second, stop, close."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.heartbeats = Heartbeats()
        self._log = log
        self._guard: GuardProcess | None = None
        self._watchdog: Watchdog | None = None
        if not settings.no_watchdog:
            sink = "stdout" if settings.stdout else "syslog"
            self._guard = GuardProcess(
                self.heartbeats, sink, settings.user or "", log, walls=not settings.no_sandbox)

    def open(self, queues: Iterable[tuple[int, int]]) -> None:
        """Start the guard, before any privilege is given up. `queues`: numbers, netlink ports. Raises StartError."""
        if self._guard is not None:
            self._guard.start([f"{number}:{port_id}" for number, port_id in queues])

    def start(self, fds: Sequence[int]) -> None:
        """Begin to watch, once the queue threads run. `fds` are the sockets of the queues; open until stop()."""
        if self._guard is None:
            self._log.warning("degraded", reason="no watchdog: a daemon that hangs holds up all new mail")
            return
        self._watchdog = Watchdog(self.heartbeats, fds)
        try:
            self._watchdog.start()
        except OSError as error:
            self._log.warning("degraded", reason=f"no watchdog: {error.strerror}")

    def tick(self) -> None:
        """Show that the main loop runs, and see to the guard; once a second."""
        self.heartbeats.beat()
        if self._guard is not None:
            self._guard.tick()

    def stop(self) -> None:
        """End the thread: what follows may take its time. The guard watches on."""
        if self._watchdog is not None:
            self._watchdog.stop()

    def close(self) -> None:
        """End both."""
        self.stop()
        if self._guard is not None:
            self._guard.close()
