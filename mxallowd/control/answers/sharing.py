"""One result for all who ask the same within about a second: what reads a whole table is not done once for each client.

Those who come while it is being made wait for it. Where all of them have gone, it is ended. AT_ONCE are made at a time.
Who asks after a change gets nothing that was begun before it, so an operator sees what his click has done.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from mxallowd.control.exchange import Handler, Request, Response, Route

KEPT_S = 1.0
AT_ONCE, MOST_KEPT = 2, 16
_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


class Changes:
    """Counts what operators change, by requests and by reloads; not what hosts do, which is shown within a second."""

    def __init__(self) -> None:
        """There were none."""
        self.count = 0

    def note(self, _: object = None) -> None:
        """Something is another way now; what, is nobody's matter here."""
        self.count += 1

    def noted_by(self, routes: Iterable[Route]) -> list[Route]:
        """These routes, of which those that change something note it."""
        return [route._replace(handler=partial(self._noted, route.handler)) if route.changes else route
                for route in routes]

    async def _noted(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        finally:
            # Also one that has failed: a part of it may be done.
            self.note()


@dataclass
class _Result(Generic[_T]):
    task: "asyncio.Task[_T]"
    changes: int  # before it was begun
    waiting: int = 0
    made: float = float("inf")  # when; by the clock


class Shared(Generic[_K, _T]):
    """Results of `make`, by what it was asked for."""

    def __init__(
        self, make: Callable[[_K], Awaitable[_T]], changes: Changes, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._changes = changes
        self._clock = clock
        self._results: dict[_K, _Result[_T]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def get(self, key: _K) -> _T:
        """The result, at most KEPT_S old and begun after the last change.

        What `make` raises is raised to all who wait, and not kept.
        """
        found = self._results.get(key)
        if found is None or self._old(found):
            found = self._results[key] = _Result(
                asyncio.get_running_loop().create_task(self._run(key)), self._changes.count)
        found.waiting += 1
        try:
            # One who goes away does not end it for the others.
            return await asyncio.shield(found.task)
        finally:
            found.waiting -= 1
            if not found.waiting and not found.task.done():
                found.task.cancel()
            if found.task.done() and not found.task.cancelled() and found.task.exception() is None:
                found.made = min(found.made, self._clock())
            elif self._results.get(key) is found and (found.task.done() or not found.waiting):
                del self._results[key]
            self._forget()

    async def _run(self, key: _K) -> _T:
        async with self._room:
            return await self._make(key)

    def _old(self, one: _Result[_T]) -> bool:
        return one.changes != self._changes.count or self._clock() - one.made > KEPT_S

    def _forget(self) -> None:
        for key in [key for key, one in self._results.items() if self._old(one)]:
            del self._results[key]
        done = [key for key, one in self._results.items() if one.task.done()]
        for key in done[: max(0, len(done) - MOST_KEPT)]:
            del self._results[key]
