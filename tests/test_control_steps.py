"""Steps of connections: one in a turn of the loop, users by turns, and few long answers of a user at a time."""
import asyncio
from collections import Counter

from mxallowd.control.steps import LONG, SHORT, Steps, in_steps

ONE, OTHER = 1001, 1002


class Turns:
    """Counts the turns of the loop, and notes who had a step in which."""

    def __init__(self) -> None:
        self.number = 0
        self.steps: list[tuple[int, int]] = []
        self._count()

    def _count(self) -> None:
        self.number += 1
        asyncio.get_running_loop().call_soon(self._count)

    async def work(self, user: int, steps: int) -> int:
        """Some steps."""
        for _ in range(steps):
            self.steps.append((self.number, user))
            await asyncio.sleep(0)
        return user


def never() -> bool:
    return False


def test_one_step_in_a_turn_and_users_by_turns() -> None:
    async def story() -> None:
        steps, turns = Steps(), Turns()
        many = [asyncio.ensure_future(in_steps(steps, ONE, never, turns.work(ONE, 1000))) for _ in range(30)]
        await asyncio.sleep(0)
        assert await in_steps(steps, OTHER, never, turns.work(OTHER, 100)) == OTHER
        for task in many:
            task.cancel()
        assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(
            *many, return_exceptions=True))
        assert max(Counter(turn for turn, _ in turns.steps).values()) == 1
        assert sum(user == ONE for _, user in turns.steps) < 130

    asyncio.run(story())


def test_who_comes_first_has_three_of_four_steps() -> None:
    async def story() -> None:
        steps, turns = Steps(), Turns()
        others = [asyncio.ensure_future(in_steps(steps, user, never, turns.work(ONE, 1000))) for user in range(50)]
        await asyncio.sleep(0)
        await in_steps(steps, OTHER, never, turns.work(OTHER, 90), lambda: True)
        found = Counter(user for _, user in turns.steps)
        assert max(Counter(turn for turn, _ in turns.steps).values()) == 1
        assert found[OTHER] == 90 and 20 <= found[ONE] <= 200
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(story())


def test_few_long_answers_of_a_user_at_a_time() -> None:
    under_way: set[int] = set()
    most = 0

    async def long(number: int) -> None:
        nonlocal most
        for _ in range(SHORT):
            await asyncio.sleep(0)
        under_way.add(number)
        most = max(most, len(under_way))
        for _ in range(20):
            await asyncio.sleep(0)
        # Who waits for something else lets others go on meanwhile.
        under_way.discard(number)
        await asyncio.sleep(0.01)

    async def story() -> None:
        steps = Steps()
        await asyncio.wait_for(asyncio.gather(*(in_steps(steps, ONE, never, long(one)) for one in range(12))), 10)
        assert most == LONG

    asyncio.run(story())


def test_faults_and_results_pass_through() -> None:
    async def late(future: "asyncio.Future[int]") -> int:
        try:
            return await asyncio.wait_for(future, 0.02)
        except TimeoutError:
            await asyncio.sleep(0)
            raise KeyError from None

    async def story() -> None:
        steps, future = Steps(), asyncio.get_running_loop().create_future()
        for result in (await asyncio.gather(in_steps(steps, ONE, never, late(future)), return_exceptions=True)):
            assert isinstance(result, KeyError)
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, done.set_result, 7)
        assert await in_steps(steps, ONE, never, late(done)) == 7
        gone = asyncio.ensure_future(in_steps(steps, ONE, lambda: True, late(done)))
        assert isinstance((await asyncio.gather(gone, return_exceptions=True))[0], asyncio.CancelledError)

    asyncio.run(story())
