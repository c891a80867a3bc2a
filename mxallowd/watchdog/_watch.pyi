from collections.abc import Sequence
from typing import Final, final

PAGE_BYTES: Final[int]
"""Bytes of the page of heartbeats."""
SILENCE_MS: Final[int]
"""A queue thread may be silent for so many milliseconds while packets wait in its queue."""
STARVATION_MS: Final[int]
"""The same for one that could run and gets no processor."""
SILENT_STATUS: Final[int]
"""Exit status of a process that ended itself because of that (EX_SOFTWARE of sysexits.h)."""
NICENESS: Final[int]
"""Of the watching thread, as setpriority(2) has it."""

def check_socket(fd: int) -> None:
    """Ask a socket what waits in it, as the watching thread does. Raises OSError where that is refused."""

@final
class Heartbeats:
    """A page of counters that the main loop and the queue threads raise, and that other processes can map."""

    def __new__(cls, fd: int | None = None) -> Heartbeats:
        """A new page, or the one behind a descriptor, which then belongs to this object. Raises OSError."""
    fd: int
    """What other processes map it by; -1 where the system refuses that, and `why_unshared` is the errno."""
    why_unshared: int
    def beat(self) -> None:
        """The main loop has made a turn."""
    @property
    def main_loop(self) -> int:
        """The beats of the main loop so far."""
    def beat_guard(self) -> None:
        """Show that the guard runs: called by it alone."""
    @property
    def guard(self) -> int:
        """The beats of the guard so far."""
    @property
    def silent(self) -> int | None:
        """The index of the queue whose silence ended the process."""
    def queue(self, index: int) -> int:
        """The beats of a queue thread so far, by its index among the queues. Raises IndexError."""
    def thread(self, index: int) -> int:
        """The number of a queue thread in /proc, 0 before it runs. Raises IndexError."""

@final
class Watchdog:
    """A thread that ends the process with SILENT_STATUS when a queue thread is silent while packets wait for it.

    One that could run, and for want of a processor has not (proc(5), state R), has STARVATION_MS instead.
    """

    def __new__(cls, heartbeats: Heartbeats, fds: Sequence[int]) -> Watchdog:
        """`fds` are the sockets that bound the queues, in the order of their indexes.

        They must stay open until stop(). Raises ValueError on none or more than 64.
        """
    def start(self) -> None:
        """Begin to watch. Raises OSError."""
    def stop(self) -> None:
        """End the thread, and wait for it: at most 50 ms."""
