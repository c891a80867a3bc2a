"""Turns of the main loop: long work on it gives others their turn once it has held the loop for HOLD_S.

By time and not by a count, since what a step costs depends on what it is given.
"""
import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

HOLD_S = 0.001
Item = TypeVar("Item")
Made = TypeVar("Made")


class Turns:
    """To be asked between the steps of one piece of work."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    async def give(self) -> None:
        """Let the loop do what else is due, if this work has held it for long enough."""
        if time.perf_counter() - self._begun >= HOLD_S:
            await self.pass_on()

    async def pass_on(self) -> None:
        """Let it do so in any case."""
        await asyncio.sleep(0)
        self._begun = time.perf_counter()


async def in_turns(items: Iterable[Item], make: Callable[[Item], Made]) -> list[Made]:
    """What `make` makes of each."""
    turns = Turns()
    made = []
    for item in items:
        made.append(make(item))
        await turns.give()
    return made
