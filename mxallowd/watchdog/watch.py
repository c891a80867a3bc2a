"""The watch over queue threads, from their back end's side: heartbeats, the watching thread, and the guard.

With --no-watchdog the threads still write heartbeats, but nothing checks them. Which way it fails: where the system
refuses for good what one of the two needs, the log says so, and the daemon serves with the other one; the same for a
thread that cannot be started. If there is no room for the process of the guard, the start fails.
"""
import os
from collections.abc import Iterable, Sequence

from mxallowd.log import Log
from mxallowd.settings import Settings
from mxallowd.watchdog import procnetlink
from mxallowd.watchdog._watch import Heartbeats, Watchdog, check_socket
from mxallowd.watchdog.guard_process import GuardProcess


class Watch:
    """Who ends this process when verdicts stop. The calls, in order: open, start, tick each second, stop, close."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.heartbeats = Heartbeats()
        self._log = log
        self._guard: GuardProcess | None = None
        self._watchdog: Watchdog | None = None
        self._wanted = not settings.no_watchdog
        self._no_guard = self._why_no_guard() if self._wanted else ""
        if self._wanted and not self._no_guard:
            sink = f"{'stdout' if settings.stdout else 'syslog'}:{settings.log_format}"
            self._guard = GuardProcess(
                self.heartbeats, sink, settings.user or "", log, walls=not settings.no_sandbox)

    def _why_no_guard(self) -> str:
        """What the guard needs and this system does not have, with the system's reason; "": it has all."""
        if self.heartbeats.fd < 0:
            return f"memory to share: {os.strerror(self.heartbeats.why_unshared)}"
        what = "pidfd_open"
        try:
            os.close(os.pidfd_open(os.getpid()))
            what = str(procnetlink.PROC_NETLINK)
            procnetlink.read_text()
        except OSError as error:
            return f"{what}: {error.strerror}"
        return ""

    def open(self, queues: Iterable[tuple[int, int]]) -> None:
        """Start the guard, before any privilege is given up. `queues`: numbers, netlink ports. Raises StartError."""
        if self._guard is not None:
            self._guard.start([f"{number}:{port_id}" for number, port_id in queues])

    def start(self, fds: Sequence[int]) -> None:
        """Begin to watch, once the queue threads run. `fds` are the sockets of the queues; open until stop()."""
        if not self._wanted:
            self._log.warning("degraded", reason="no watchdog: a daemon that hangs holds up all new mail")
            return
        if self._no_guard:
            self._log.warning(
                "degraded", reason=f"no guard, so a stopped daemon holds up all new mail: {self._no_guard}")
        self._watchdog = Watchdog(self.heartbeats, fds)
        try:
            for descriptor in fds:
                check_socket(descriptor)
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
