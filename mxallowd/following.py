"""Who follows the whitelist, and what they are told: the one stream of changes.

A follower gets one call for each change, whether the change came from the packet path, a sink, another copy or another
gateway. A mistake of one of them harms neither the others nor who made the change.
"""
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NoReturn, Protocol


class Change(Enum):
    """What happened to the entry of a host. That its time is over is no change: everybody knows when that is."""

    CONTACT = 1  # entered by the packet path: it met a fake server
    ADMITTED = 2  # entered by a sink, by another gateway, or by the packet path for its patience
    ADOPTED = 3  # entered at the start: another copy has it from before
    USED = 4  # it reached a real server for the first time
    RENEWED = 5  # it ends later than it would have
    ENDED = 6  # ended by the main thread, before its time
    EVICTED = 7  # taken out to make room for another
    PROVEN = 8  # it has completed a handshake with a real server for the first time
    FLUSHED = 9  # as ENDED, with all others


GONE = (Change.ENDED, Change.FLUSHED)


class Follower(Protocol):
    """Somebody who is told of every change, on the main thread, after it happened. Must not block."""

    def changed(self, host: bytes, change: Change) -> None:
        """This happened to the entry of the host; more may have happened to it since, so ask the whitelist."""

    def missed(self) -> None:
        """Changes have happened of which nobody can tell: look at the whole whitelist."""


class Copier(Follower, Protocol):
    """A follower that need not know what the packet path did, only to whom: 20,000 changes a second cost it little.

    The same holds for what other gateways tell.
    """

    def touched(self, hosts: list[bytes]) -> None:
        """Something happened to the entries of these hosts. It is not told of them by changed()."""


def raise_it(error: Exception) -> NoReturn:
    """Raise it."""
    raise error


class Followed:
    """What can be followed. All calls come from the main thread."""

    def __init__(self, defect: Callable[[Exception], object] = raise_it) -> None:
        """`defect` is told of errors of followers."""
        self._defect = defect
        self._followers: list[Follower] = []
        self._copiers: list[Copier] = []

    def follow(self, follower: Follower) -> None:
        """Tell this one of every change from now on."""
        self._followers.append(follower)

    def follow_as_copier(self, copier: Copier) -> None:
        """Tell this one of every change from now on, and of those of the packet path by their hosts."""
        self._copiers.append(copier)

    def missed(self, *, teller: Follower | None = None) -> None:
        """Changes have happened of which nobody can tell; the teller knows."""
        for follower in (*self._followers, *self._copiers):
            if follower is not teller:
                self._tell_missed(follower)

    def _tell(self, changes: Sequence[tuple[bytes, Change]], teller: Follower | None = None) -> None:
        self._tell_followers(changes, [*self._followers, *self._copiers], teller)

    def _tell_followers(
        self, changes: Sequence[tuple[bytes, Change]], followers: Sequence[Follower], teller: Follower | None = None,
    ) -> None:
        for follower in followers:
            if follower is teller:
                continue
            try:
                for host, change in changes:
                    follower.changed(host, change)
            except Exception as error:  # noqa: BLE001
                self._defect(error)
                # It does not know what it could not take, nor what came after it.
                self._tell_missed(follower)

    def _touch(self, hosts: list[bytes], teller: Follower | None = None) -> None:
        for copier in self._copiers if hosts else ():
            if copier is not teller:
                copier.touched(hosts)

    def _tell_missed(self, follower: Follower) -> None:
        try:
            follower.missed()
        except Exception as error:  # noqa: BLE001
            self._defect(error)
