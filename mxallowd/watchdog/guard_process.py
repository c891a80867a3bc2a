"""The guard (guard.py) from the daemon's side: started with it, checked while it runs, and ended with it.

The guard ends a daemon that is stopped as a whole. So if the guard has ended, or does not run any more, the daemon logs
that and starts it again. Which way it fails: without a guard the daemon goes on, and the log says so.
"""
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.process import broker
from mxallowd.process.child import command
from mxallowd.watchdog._watch import Heartbeats

# Between two starts; twice as long after each guard that did not last, up to the longest.
AGAIN_S, LONGEST_S, LASTED_S = 1.0, 60.0, 30.0
STILL_TICKS = 5  # seconds in which it gave no sign
END_S = 2.0
NO_WALLS = "open"


class GuardProcess:
    """The process, as far as there is one."""

    def __init__(self, heartbeats: Heartbeats, sink: str, user: str, log: Log, *, walls: bool = True) -> None:
        self._heartbeats = heartbeats
        self._sink = sink
        self._user = user
        self._walls = walls  # whether it enters the sandbox
        self._log = log
        self._queues: Sequence[str] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._beats_before = 0
        self._pause_s = AGAIN_S
        self._seen = (-1, 0)  # its last sign, and for how many ticks it is that
        self._left: list[subprocess.Popen[bytes]] = []  # that stood still, and may end later

    def start(self, queues: Sequence[str]) -> None:
        """Start it, before any privilege is given up: it is to end us. `queues` are its words. Raises StartError."""
        self._queues = queues
        self._beats_before = self._heartbeats.guard
        self._started_at = time.monotonic()
        try:
            daemon = os.pidfd_open(os.getpid())
            channel = broker.guards_channel()
            try:
                self._process = subprocess.Popen(
                    command("mxallowd.watchdog.guard", str(self._heartbeats.fd), str(daemon), self._sink, self._user,
                            str(channel) if self._walls else NO_WALLS, *queues),
                    stdin=subprocess.PIPE, stdout=None if self._sink.startswith("stdout") else subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, process_group=0,
                    pass_fds=(self._heartbeats.fd, daemon, *([channel] if channel >= 0 else [])))
            finally:
                os.close(daemon)
        except OSError as error:
            raise StartError(f"cannot start the guard: {error.strerror}") from None
        self._seen = (-1, 0)

    def tick(self) -> None:
        """See to it, once a second."""
        self._left = [process for process in self._left if process.poll() is None]
        reason = self._fault()
        lived_s = time.monotonic() - self._started_at
        if not reason or lived_s < self._pause_s:
            return
        # One that ended by itself and never watched was none: nobody would have ended this process.
        status = None if self._process is None else self._process.returncode
        watched = self._heartbeats.guard != self._beats_before or status is None or status < 0
        reason = reason if watched else f"{reason}, and never watched"
        self._let_go()
        self._pause_s = AGAIN_S if lived_s >= LASTED_S else min(LONGEST_S, 2 * self._pause_s)
        try:
            self.start(self._queues)
        except StartError as error:
            self._pause_s = LONGEST_S
            self._log.error("guard", reason=f"{reason}; {error}")
        else:
            say = self._log.warning if watched else self._log.error
            say("guard", reason=f"{reason}, and was started again")

    def _fault(self) -> str:
        if self._process is None:
            return "it is not there"
        if self._process.poll() is not None:
            return f"it has ended, status {self._process.returncode}"
        sign, ticks = self._seen
        # Ticks and not a clock: where both of us were stopped, it has not been still for long.
        self._seen = (self._heartbeats.guard, 0 if sign != self._heartbeats.guard else ticks + 1)
        return f"it stood still for {STILL_TICKS} s" if self._seen[1] >= STILL_TICKS else ""

    def close(self) -> None:
        """End it, by the end of its input, or for good."""
        if self._process is not None:
            if self._process.stdin:
                self._process.stdin.close()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._let_go()
        self._process = None
        for process in self._left:
            # Nobody waits for it any more.
            process.returncode = 0

    def _let_go(self) -> None:
        """Leave it: the sandbox lets us end no other process. One that runs ends with its input.

        One that stands still does so once it goes on, and at the latest when we have ended: the kernel lets a stopped
        process group go on that nobody is left to let go on.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        with suppress(OSError):
            # Outside of the sandbox it is ended at once.
            if process.poll() is None:
                process.kill()
                process.wait(END_S)
        if process.returncode is None:
            self._left.append(process)
