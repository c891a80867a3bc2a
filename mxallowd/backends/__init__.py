"""Back ends: where the packets come from and who carries out the verdict.

One module each with one interface; it is imported only when chosen, since what it needs may not be on
this system. NFQUEUE is the first; capture (pf, NFLOG) is to come.
"""
from collections.abc import Iterable
from typing import Protocol

from mxallowd._fastpath import Fastpath, Rules
from mxallowd._ring import Ring
from mxallowd._table import Table
from mxallowd.settings import Settings


class Backend(Protocol):
    """What the daemon asks of a back end. All calls come from the main thread."""

    @property
    def rings(self) -> Iterable[Ring]:
        """The rings that its threads write events into."""

    @property
    def table(self) -> Table:
        """The whitelist."""

    @property
    def fastpaths(self) -> Iterable[Fastpath]:
        """The decisions that it runs."""

    def open(self) -> None:
        """Get hold of the packets. Raises StartError with the reason."""

    def start(self) -> list[str]:
        """Begin to give verdicts; warnings about what the system does not offer. Raises StartError."""

    def publish(self, rules: Rules) -> None:
        """Let these rules hold from now on."""

    def sweep(self) -> int:
        """Ask for expired entries to be removed; so many SWEPT events will tell that it is done."""

    def stop(self) -> None:
        """Ask the threads to settle what waits and to end."""

    def ended(self) -> bool:
        """Whether every thread has ended."""

    def failures(self) -> list[str]:
        """What ended threads that were not asked to."""

    def close(self) -> None:
        """Give everything back. Only after ended()."""

    def counters(self) -> dict[str, int]:
        """Its own counters, since the start."""


def is_supported() -> str | None:
    """None, or the reason why this system cannot run the NFQUEUE back end."""
    from mxallowd.backends import nfqueue  # noqa: PLC0415  # only when chosen

    return nfqueue.is_supported()


def create(settings: Settings, rules: Rules, wake_fd: int) -> Backend:
    """The back end that the settings choose; its rings wake `wake_fd`. Raises StartError."""
    from mxallowd.backends import nfqueue  # noqa: PLC0415

    return nfqueue.NfqueueBackend(settings, rules, wake_fd)
