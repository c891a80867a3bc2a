"""Rounds through the memories of refused hosts and of who waits, for those refused since the round before began.

An event tells of a refused host once a minute only, so what changes is found by its time, in one compiled call: a
millisecond of a thread for SLOTS hosts. A turn looks at SLOTS and takes MOST of them, whatever the memory's size; what
is more comes in the next turns.
"""
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

from mxallowd.backends import Backends
from mxallowd.engine._patience import Patience
from mxallowd.engine._refused import Refused
from mxallowd.engine._saved import refused_since
from mxallowd.engine.clock import boottime_us
from mxallowd.mirrors.disk.blocks import MOST_BYTES, Contents, Kind, pieces
from mxallowd.mirrors.disk.reading import REFUSED_SIZE, refused_content

SLOTS = 1 << 19
MOST = 1 << 13
# So much older a packet's time may be than the moment at which it is entered.
LATE_US = 50_000
# So long after an attempt its SYN may come again, which is no new one, and moves the last time (engine/_refused.pxd).
RESENT_S = 130.0


def refused_blocks(refused: Refused, records: bytes) -> Contents:
    """Blocks of records of refused hosts."""
    step = (MOST_BYTES - 1 - 16 * len(refused.servers)) // REFUSED_SIZE * REFUSED_SIZE
    return ((Kind.REFUSED, refused_content(refused.servers, memoryview(records)[at : at + step]))
            for at in range(0, len(records), step))


def all_refused(refused: Refused) -> Contents:
    """Blocks of all of them."""
    at = 0
    while True:
        records, at = refused_since(refused, 0, at, SLOTS, MOST)
        yield from refused_blocks(refused, records)
        if at == 0:
            return


def patience_since(patience: Patience | None, since_us: int, at: int) -> tuple[bytes, int]:
    """Who waits and was refused since then, and the next place; 0: there are no more."""
    found = []
    for _ in range(0, SLOTS, MOST):
        if patience is None:
            return b"", 0
        records, at = patience.entries(at, MOST, since_us)
        found.append(records)
        if at == 0 or sum(map(len, found)) >= MOST * REFUSED_SIZE:
            break
    return b"".join(found), at


def patience_blocks(records: bytes) -> Contents:
    """Blocks of records of who waits."""
    return ((Kind.PATIENCE, piece) for piece in pieces(records, REFUSED_SIZE))


def all_patience(patience: Patience | None) -> Contents:
    """Blocks of all of them."""
    at = 0
    while True:
        records, at = patience_since(patience, 0, at)
        yield from patience_blocks(records)
        if at == 0:
            return


class _Turn(NamedTuple):
    since_us: int
    began_us: int
    at: int  # the next slot; 0: the round is over


class _Round:
    """A round through one memory: `look` gives records since a time from a slot on, and the next slot."""

    def __init__(self, look: Callable[[int, int], tuple[bytes, int]], blocks: Callable[[bytes], Contents]) -> None:
        self._look, self._blocks = look, blocks
        now_us = boottime_us()  # what is older has been read
        self._turn = self._following = _Turn(now_us, now_us, 0)

    def take(self) -> Contents:
        """The next ones; the same again as long as written() does not follow."""
        turn = self._turn
        if turn.at == 0:
            turn = _Turn(turn.began_us, max(0, boottime_us() - LATE_US), 0)
        records, at = self._look(turn.since_us, turn.at)
        self._following = turn._replace(at=at)
        return self._blocks(records)

    def written(self) -> None:
        """What was taken is in the file."""
        self._turn = self._following

    @property
    def over(self) -> bool:
        """Whether there are no further ones of this round."""
        return self._turn.at == 0


class Rounds:
    """Where the rounds are. due() is the main loop's, the rest the journal's thread's."""

    def __init__(self, backends: Backends) -> None:
        self._refused = backends.refused
        self._rounds = (
            _Round(lambda since_us, at: refused_since(backends.refused, since_us, at, SLOTS, MOST),
                   lambda records: refused_blocks(backends.refused, records)),
            # It may be there after a reload only.
            _Round(lambda since_us, at: patience_since(backends.patience, since_us, at), patience_blocks))
        self._attempts = 0
        self._changed_s = float("-inf")

    def due(self, now_s: float) -> bool:
        """Whether there may be something to be found."""
        attempts = self._refused.counters()["refused-attempts"]
        if attempts != self._attempts:
            self._attempts, self._changed_s = attempts, now_s
        return now_s - self._changed_s < RESENT_S

    def take(self) -> Contents:
        """The next ones of each memory; the same again as long as written() does not follow."""
        return chain.from_iterable([one.take() for one in self._rounds])

    def written(self) -> None:
        """What was taken is in the file."""
        for one in self._rounds:
            one.written()

    @property
    def over(self) -> bool:
        """Whether there are no further ones of these rounds."""
        return all(one.over for one in self._rounds)
