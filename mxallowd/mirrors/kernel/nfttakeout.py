"""Taking out of sets of nft what ends, and never what does not: by keys that were read, not by emptying a set.

The kernel's listing of a set may lack elements although it says nothing of that: while rules enter hosts, or elements
end, the set is rearranged between the parts of the answer (nft_rhash_walk passes over -EAGAIN). A set that was emptied
and got back what was read would lose the operator's own elements that were not seen. So each key that goes is named,
and was asked for by itself just before. Which way it fails: what was not seen stays, until its time is over.
"""
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from mxallowd.mirrors.kernel.nfmessages import Batch
from mxallowd.mirrors.kernel.nfquery import NfQuery, TargetEnded
from mxallowd.mirrors.kernel.nftset import MET_S, Filling, NftSet, Role

# Reading a set takes the kernel a time that grows with the square of its size: 400,000 elements in this one.
READ_S = 5.0
# Of all sets together, when they are flushed: a daemon that ends waits for so long, and somewhat longer. And of each.
FLUSH_S, SHORTEST_S = 4.0, 0.5
# Readings of a set until one finds nothing to take out, and tries of a transaction of which an element has ended.
ROUNDS = 4
# Elements of one transaction: between the question and it lie some 20 ms.
AT_ONCE = 4096
# After an element has ended under a transaction, what has less left is let end by itself.
ENDING_S = 1.0


class Writing(NamedTuple):
    """How a table is asked, and how it is changed: a transaction as the table's owner commits it."""

    query: NfQuery
    commit: Callable[[Batch], None]


def _least(one: NftSet, tries: int) -> float:
    """Elements with less left end by themselves: none at first; then the kernel's newcomers, and what is ending."""
    return 0.0 if not tries else MET_S if one.dynamic else ENDING_S


def _timed(query: NfQuery, one: NftSet, keys: Sequence[bytes], least: float) -> list[bytes]:
    """Which of these are there, with at least so many seconds left."""
    return sorted(key for key, left in query.get(one.name, keys).items()
                  if not isinstance(left, bytes) and left >= least)


def _chunks(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[first : first + AT_ONCE] for first in range(0, len(keys), AT_ONCE))


def take_out(
    writing: Writing, one: NftSet, deadline: float, stay: Container[bytes] = (), known: Sequence[bytes] = (),
) -> set[bytes]:
    """Take out what ends and is not to stay, in rounds until a reading finds no more of it, or until the deadline.

    `deadline` as of time.monotonic(), for the readings; `known`: keys that may be there, whether they are read or not.
    The keys that were read. Raises TargetError.
    """
    query, commit = writing
    seen: set[bytes] = set()
    for tries in range(ROUNDS):
        limit_s = deadline - time.monotonic()
        if tries and limit_s <= 0:
            break
        held, _ = query.dump(one.name, max(SHORTEST_S, limit_s))
        seen |= held.keys()
        least = _least(one, tries)
        gone = [key for key, left in held.items()
                if not isinstance(left, bytes) and left >= least and key not in stay]
        found = False
        # Apart from each other: of those that were read, many may be about to end.
        for some in chain(_chunks(known), _chunks(gone)):
            keys = _timed(query, one, some, least)
            found = found or bool(keys)
            batch = query.batch()
            batch.remove(one.name, keys)
            # One of these may end in between: the next round has the others.
            with suppress(TargetEnded):
                commit(batch)
        if not found:
            break
    return seen


def exchange(writing: Writing, filling: Filling, present: Sequence[NftSet]) -> None:
    """Enter the filling and take out what is not of it, in one transaction where that has room.

    Where it has not, who is not to stay goes first. Who stays is there all the time. Raises TargetError, TargetFull.
    """
    query, commit = writing
    stay: dict[str, set[bytes]] = {one.name: set() for one in present}
    for one, key, _ in filling.places():
        stay[one.name].add(key)
    for tries in range(ROUNDS):
        batch = query.batch()
        for one in present:
            held, _ = query.dump(one.name, READ_S)
            gone = [key for key, left in held.items()
                    if not isinstance(left, bytes) and (one.role is Role.FRESH or key not in stay[one.name])]
            batch.remove(one.name, _timed(query, one, gone, ENDING_S if tries else 0.0))
        enter(batch, filling)
        size = batch.finish()
        if size > query.room(size):
            for one in present:
                take_out(writing, one, time.monotonic() + READ_S,
                         () if one.role is Role.FRESH else stay[one.name])
            batch = query.batch()
            enter(batch, filling)
        try:
            commit(batch)
            return
        except TargetEnded:
            if tries == ROUNDS - 1:
                raise


def enter(batch: Batch, filling: Filling) -> None:
    """All of it."""
    for one, key, seconds in filling.places():
        batch.enter(one.name, key, seconds)
