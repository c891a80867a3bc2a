"""Hosts that a target does not take, although it takes others: they are found, left out, and remembered.

A target says only that a change was rejected, not because of which host. The change is made in halves, and those in
halves again, until the host stands alone: some 2 log2(n) further changes for each such host among n. Whoever can get a
host into the whitelist that some target cannot hold must not keep others out of it, nor make much work.
"""
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import islice, takewhile
from typing import NamedTuple

from mxallowd.engine.events import address_text
from mxallowd.log import Log
from mxallowd.log.periodic import Summed
from mxallowd.mirrors import Listed, Target, TargetRejects

# Changes that one rejected change may lead to: for five hosts among 4096. What is not settled then has its turn again.
MOST_CHANGES = 128
MOST_REMEMBERED = 1 << 14
# The target may have been replaced by one that takes it.
AGAIN_S = 600.0


class Found(NamedTuple):
    """What came of a change."""

    rejected: dict[bytes, str]  # hosts, and what the target said of them
    unsettled: list[bytes]  # hosts that may not be changed yet


def change(target: Target, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> Found:
    """Change what can be changed. Raises TargetError, TargetFull."""
    found = Found({}, [])
    try:
        target.change(listed, unlisted)
        return found
    except TargetRejects:
        # Where nothing is as it must be, this says more, and no half of it would do.
        target.inspect()
    parts = _halves(listed, unlisted)
    changes = 0
    while parts:
        listed, unlisted = parts.pop()
        if changes >= MOST_CHANGES:
            found.unsettled.extend([*(one.host for one in listed), *unlisted])
            continue
        changes += 1
        try:
            target.change(listed, unlisted)
        except TargetRejects as error:
            if len(listed) + len(unlisted) > 1:
                parts += _halves(listed, unlisted)
            else:
                found.rejected.update(dict.fromkeys([*(one.host for one in listed), *unlisted], str(error)))
    return found


def _halves(listed: Sequence[Listed], unlisted: Sequence[bytes]) -> list[tuple[Sequence[Listed], Sequence[bytes]]]:
    if len(listed) + len(unlisted) <= 1:
        return [(listed, unlisted)]
    return [(listed[: len(listed) // 2], unlisted[len(unlisted) // 2 :]),
            (listed[len(listed) // 2 :], unlisted[: len(unlisted) // 2])]


def search(target: Target, entries: Iterable[Listed], at_once: int) -> Found:
    """The same for a filling that was rejected: enter all its hosts by changes. Raises TargetError, TargetFull."""
    every = Found({}, [])
    rest = iter(entries)
    while some := list(islice(rest, at_once)):
        found = change(target, some, [])
        every.rejected.update(found.rejected)
        every.unsettled.extend(found.unsettled)
    return every


class Rejected(Container[bytes]):
    """The hosts that a target has rejected: no change and no filling has them, until it is time to try again.

    Of very many the oldest are forgotten; they are rejected again.
    """

    def __init__(self, log: Log, table: str, clock: Callable[[], float]) -> None:
        """`table` is the target's name."""
        self._log = log
        self._table = table
        self._clock = clock
        self._until: dict[bytes, float] = {}
        self._unsaid: Summed[tuple[bytes, str]] = Summed(clock)
        self.count = 0

    def add(self, rejected: Mapping[bytes, str]) -> None:
        """Remember hosts, and say so at most once a minute."""
        for host, reason in rejected.items():
            self._until.pop(host, None)
            self._until[host] = self._clock() + AGAIN_S
            if len(self._until) > MOST_REMEMBERED:
                del self._until[next(iter(self._until))]
            self._unsaid.add((host, reason))
            self.count += 1
        self._say()

    def take(self) -> list[bytes]:
        """Forget those that may be tried again."""
        self._say()
        now = self._clock()
        due = list(takewhile(lambda host: self._until[host] <= now, self._until))
        for host in due:
            del self._until[host]
        return due

    def hosts(self) -> frozenset[bytes]:
        """All of them now, for another thread."""
        return frozenset(self._until)

    def _say(self) -> None:
        if due := self._unsaid.due():
            count, (host, reason) = due
            self._log.warning("kernel-table-rejected", address_text(host), table=self._table, count=count,
                              reason=reason)

    def __contains__(self, host: object) -> bool:
        return host in self._until
