"""Steps of the answers: all that connections of a server do on its loop, one step in each of its turns.

A step is what a connection does between two waits. However many connections have something to do, one of them has its
step in a turn, so that requests together hold the loop as long as one of them. Users take turns, so one with many
connections is not served more than one with a single one. What takes more than SHORT steps in a row is long: LONG such
answers of a user are made at a time, so their memory is bounded, and short answers need not wait for them.

Where it matters who asks (the console), those who come first have three of four steps while there are such ones.

An answer that changes nothing ends with its client: before each step the kernel is asked whether the peer has hung up.
"""
import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Hashable
from functools import partial
from types import coroutine
from typing import Any, TypeVar
from weakref import WeakValueDictionary

SHORT = 8  # steps in a row
OF_FIRST = 4  # of so many steps in a row one is of the others
LONG = 2  # long answers of a user that are made at a time
Result = TypeVar("Result")


class Steps:
    """Whose step is next. Bounded by the connections there are: each waits for one step at most."""

    def __init__(self) -> None:
        # By whether they come first, and by user, who is next first.
        self._waiting: dict[bool, dict[Hashable, deque[asyncio.Future[None]]]] = {True: {}, False: {}}
        self._row = 0  # steps of those who come first
        self._due = False
        self._long: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    def next(self, user: Hashable, *, first: bool = False) -> "asyncio.Future[None]":
        """Done when a step of this user may begin."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting[first].setdefault(user, deque()).append(future)
        if not self._due:
            self._due = True
            loop.call_soon(self._begin)
        return future

    def long(self, user: Hashable) -> asyncio.Semaphore:
        """What a long answer of this user must hold."""
        found = self._long.get(user)
        if found is None:
            found = self._long[user] = asyncio.Semaphore(LONG)
        return found

    def _begin(self) -> None:
        while ring := self._ring():
            user, futures = next(iter(ring.items()))
            del ring[user]
            future = futures.popleft()
            if futures:
                ring[user] = futures  # behind all others
            if not future.done():
                future.set_result(None)
                break
        self._due = any(self._waiting.values())
        if self._due:
            asyncio.get_running_loop().call_soon(self._begin)

    def _ring(self) -> "dict[Hashable, deque[asyncio.Future[None]]]":
        """Of whom the next step is; empty: nobody waits."""
        first, others = self._waiting[True], self._waiting[False]
        self._row = (self._row + 1) % OF_FIRST
        return first if first and (self._row or not others) else others


@coroutine
def in_steps(
    steps: Steps, user: Hashable, abandoned: Callable[[], bool], work: Coroutine[Any, None, Result],
    first: Callable[[], bool] = lambda: False,
) -> Generator[Any, None, Result]:
    """The result of `work`, made in steps of this user. Cancelled before a step where `abandoned` says so.

    `first` says before each step whether this user comes first.
    """
    slot = steps.long(user)
    holds, row, wait = False, 0, None
    try:
        while True:
            go_on: Callable[[], Any] = partial(work.send, None)
            try:
                if wait is not None:
                    # It waits for something else than its turn, and holds nobody up meanwhile.
                    row = 0
                    if holds:
                        holds = False
                        slot.release()
                    yield wait
                row += 1
                if row > SHORT and not holds:
                    yield from slot.acquire().__await__()
                    holds = True
                yield from steps.next(user, first=first())
                if abandoned():
                    raise asyncio.CancelledError
            except BaseException as error:  # noqa: BLE001  # what it waits for has failed, or it is cancelled: its own matter
                go_on = partial(work.throw, error)
            try:
                wait = go_on()
            except StopIteration as end:
                result: Result = end.value
                return result
    finally:
        work.close()
        if holds:
            slot.release()


def hang_up(connection: socket.socket) -> Callable[[], bool]:
    """What says whether the peer of a UNIX socket has closed it: both ways, so not one that only sends no more."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return lambda: bool(poll.poll(0))
