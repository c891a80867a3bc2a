"""Work beside the main loop."""
import asyncio

import pytest

from mxallowd.mirrors.jobs import Jobs
from tests.memory_target import run


def test_jobs_are_done_in_order_and_errors_come_back() -> None:
    async def story() -> None:
        jobs = Jobs(asyncio.get_running_loop(), "test")
        done: list[int] = []
        futures = [jobs.submit(lambda number=number: done.append(number)) for number in range(5)]  # type: ignore[misc]
        failing = jobs.submit(lambda: 1 // 0)
        await asyncio.gather(*futures)
        assert done == list(range(5))
        with pytest.raises(ZeroDivisionError):
            await failing
        assert jobs.finish(lambda: done.append(9), 2)
        assert done[-1] == 9

    run(story)
