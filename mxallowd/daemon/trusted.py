"""Trusted senders in the daemon, where `--trust` names a file of them."""
from collections.abc import Callable, Sequence
from typing import Protocol

from mxallowd.lists.lists import Lists, Reread
from mxallowd.log import Log
from mxallowd.mirrors.disk.state import State
from mxallowd.process import signals
from mxallowd.settings import Settings
from mxallowd.sinks import Sink

LIBRARY_START_S = 5.0


class Trusting(Sink, Protocol):
    """What the daemon asks of it, besides what it asks of a sink."""

    def open(self) -> None:
        """Read the file and what is kept, before the lists are laid out. Raises StartError."""

    def start(self) -> None:
        """Ask from now on, on the running loop."""

    def document(self) -> dict[str, object]:
        """All that an operator may want to know (GET /v1/trust)."""

    def summary(self) -> dict[str, object]:
        """The same in few words, for the status."""

    def faults(self) -> list[str]:
        """What is wrong now, each with file and line."""

    def values(self) -> dict[str, dict[str, float]]:
        """Of metrics, by line."""

    def refresh(self, domain: str | None) -> int | None:
        """Ask for this domain now, or for all: how many were asked for; None: no line has that domain."""

    def rest_s(self, domain: str | None) -> int | None:
        """Seconds until one may be asked for again that refresh() left out, having asked just now; None: none was."""

    def share(self, shared: Callable[[bytes, str], object]) -> None:
        """Tell this one of each host whose confirmed name lets it in, and of the name."""

    async def settled(self) -> Reread | None:
        """What became of the file, once the reload that was asked for last has ended."""


def warnings(trusted: Sequence[Trusting]) -> list[str]:
    """That lines have no good answer, without their names and content: strangers may ask for metrics."""
    count = sum(len(one.faults()) for one in trusted)
    return [f"{count} faults of trusted senders, and what was learned before holds; mxallowctl status names them"
            ] if count else []


def create_trusted(
    settings: Settings, lists: Lists, state: Callable[[], State | None], sinks: list[Sink], log: Log,
) -> list[Trusting]:
    """One where it is wanted; none in a rehearsal. Raises StartError. It is put behind `sinks`."""
    if settings.trust is None or (settings.pflog_interface or "").startswith("file:"):
        return []
    # Imported where it is wanted: without it no query leaves the host, and c-ares is not even there.
    from mxallowd.daemon import trusting  # noqa: PLC0415
    from mxallowd.dns import resolver  # noqa: PLC0415

    resolver.check()
    with signals.within(LIBRARY_START_S, "the resolver"):
        made: list[Trusting] = [trusting.Trusted(settings, lists, state, sinks, log)]
    sinks += made
    return made
