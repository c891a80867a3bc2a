"""A thread for work that may wait for the kernel or another process. It does one job at a time, beside the main
loop."""
import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mxallowd.mirrors import TargetError
from mxallowd.process.threads import Thread

Result = TypeVar("Result")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any] | None", threading.Event]


class Jobs:
    """The thread. One that is stuck in a call does not hold up the end of the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        """Raises StartError."""
        self._loop = loop
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = Thread(self._run, name)
        self._thread.start()

    def submit(self, work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Do it after what was submitted before; the future has its result or what it raised."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put((work, future, threading.Event()))
        return future

    def finish(self, work: Callable[[], None], timeout_s: float) -> bool:
        """The last job, without the loop: wait for it and for all before it. False: the time is over."""
        done = threading.Event()
        self._queue.put((work, None, done))
        self._queue.put(None)
        return done.wait(timeout_s)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            work, future, done = job
            result, error = None, None
            try:
                result = work()
            except Exception as raised:  # noqa: BLE001  # whoever waits for the future gets it
                error = raised
            done.set()
            if future is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(_settle, future, result, error)


def guarded(work: Callable[[], Result]) -> Result:
    """Do it; what the system refuses is a fault of the target. Raises TargetError."""
    try:
        return work()
    except OSError as error:
        raise TargetError(error.strerror or str(error) or type(error).__name__) from error
    except MemoryError:
        raise TargetError("no memory for it") from None


def _settle(future: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
