"""Work in a thread of its own, beside the main loop, which waits for it without being held."""
import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from mxallowd.process.threads import Thread

Result = TypeVar("Result")


async def beside(work: Callable[[], Result]) -> Result:
    """Do this in a thread of its own. Raises what it raises, and StartError where there can be no thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # it has one where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001  # who waits gets it
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    Thread(run, "lists").start()
    return await future
