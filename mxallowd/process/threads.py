"""Threads of Python whose start cannot hang, and which do not hold up each other.

threading.Thread.start() waits until the new thread runs, without a bound. A thread that the system has created but that
finds no memory for its first step never says so, and the start of the daemon would hang. Here it fails.
"""
import _thread
import ctypes
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from mxallowd.errors import StartError

START_S = 5.0
# So long a thread of Python keeps another one waiting that wants to run, the main loop above all. Python's own value is
# five times as much.
SWITCH_S = 0.001
# glibc loads it when the first thread ends (pthread_exit), and ends the process where it cannot, even for want of a
# descriptor. So it is loaded now.
with suppress(OSError):
    ctypes.CDLL("libgcc_s.so.1")


def take_short_turns() -> None:
    """Let no thread of Python hold up the main loop for longer than SWITCH_S, unless one call of it takes longer."""
    sys.setswitchinterval(SWITCH_S)


class Thread:
    """One that does not hold up the end of the process, as daemon threads of `threading`."""

    def __init__(self, body: Callable[[], None], name: str) -> None:
        """`name` is what an error calls it."""
        self._body = body
        self._name = name
        self._begun = threading.Event()
        self._ended = threading.Event()
        self.started = False

    def start(self) -> None:
        """Start it, and return once it runs. Raises StartError."""
        try:
            _thread.start_new_thread(self._run, ())
        except (RuntimeError, MemoryError):
            raise StartError(f"no new thread can be started for the {self._name} (ulimit -u, TasksMax, pids.max)"
                             ) from None
        if not self._begun.wait(START_S):
            raise StartError(f"the thread of the {self._name} does not run: there is not enough memory")
        self.started = True

    def join(self, timeout_s: float) -> bool:
        """Whether it ends within this time."""
        return self._ended.wait(timeout_s)

    def _run(self) -> None:
        self._begun.set()
        try:
            self._body()
        finally:
            self._ended.set()
