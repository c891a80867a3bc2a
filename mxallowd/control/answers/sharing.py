"""One result for all who ask the same within about a second: what reads a whole table is not done once for each client.

Those who come while it is being made wait for it. Where all of them have gone, it is ended. AT_ONCE are made at a time.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

KEPT_S = 1.0
AT_ONCE, MOST_KEPT = 2, 16
_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


@dataclass
class _Result(Generic[_T]):
    task: "asyncio.Task[_T]"
    waiting: int = 0
    made: float = float("inf")  # when; by the clock


class Shared(Generic[_K, _T]):
    """Results of `make`, by what it was asked for."""

    def __init__(self, make: Callable[[_K], Awaitable[_T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._results: dict[_K, _Result[_T]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def get(self, key: _K) -> _T:
        """The result, at most KEPT_S old. What `make` raises is raised to all who wait, and not kept."""
        found = self._results.get(key)
        if found is None or self._clock() - found.made > KEPT_S:
            found = self._results[key] = _Result(asyncio.get_running_loop().create_task(self._run(key)))
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

    def _forget(self) -> None:
        for key in [key for key, one in self._results.items() if self._clock() - one.made > KEPT_S]:
            del self._results[key]
        done = [key for key, one in self._results.items() if one.task.done()]
        for key in done[: max(0, len(done) - MOST_KEPT)]:
            del self._results[key]
