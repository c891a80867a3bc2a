"""The signals that the daemon handles, and who holds them back until it does.

They are blocked before the program imports anything: one that comes during the start waits, and the daemon handles it
when it serves. Without this, a SIGHUP would end a start that is half done.
"""
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mxallowd.errors import StartError

SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


def block() -> None:
    """Let them wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock() -> None:
    """Let them come, those that have waited as well."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end_at_once() -> None:
    """For what only prints something: let each of them end the process without a word, as is usual, if they wait."""
    if not signal.pthread_sigmask(signal.SIG_BLOCK, ()).issuperset(SIGNALS):
        return
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    unblock()


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raise StartError where the block waits for longer, in a call that a signal can interrupt; for the main thread.

    For libraries that start threads by threading.Thread.start(), which has no bound (threads.py).
    """
    def expired(_number: int, _frame: FrameType | None) -> None:
        raise StartError(f"{what} did not start within {seconds:.0f} s: there may not be enough memory for a thread")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
