"""Days of mail from a mix of senders through one gateway, whose daemon is restarted each week, and which boots once."""
import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.situations import DAY_S, HOUR_S, Outcome, settle
from lab.mailgate import Setting
from lab.mailworld import MailWorld, Sender


@dataclass(frozen=True)
class Habit:
    """A sender, and between which numbers of seconds its next message comes."""

    sender: Sender
    least_s: int
    most_s: int


def mix() -> list[Habit]:
    """Both agents have the same habits."""
    habits = []
    for number, agent in enumerate(("postfix", "exim")):
        def address(last: int, number: int = number) -> str:
            return f"192.0.2.{100 + 50 * number + last}"

        pool = [address(10 + one) for one in range(4)]
        habits += [
            Habit(Sender(f"{agent}-steady", agent, [address(1)]), HOUR_S // 2, 3 * HOUR_S // 2),
            Habit(Sender(f"{agent}-rare", agent, [address(2)]), DAY_S, 5 * DAY_S),
            Habit(Sender(f"{agent}-pool", agent, pool, own_names=True), HOUR_S, 6 * HOUR_S),
            Habit(Sender(f"{agent}-dual", agent, [address(3), f"2001:db8::{number}:3"], domain="both.test"),
                  HOUR_S, 6 * HOUR_S),
        ]
    return habits


def run(days: int, way: str, setting: Setting, seed: int) -> dict[str, Outcome]:
    """What became of each sender's mail, and under `all` of all mail. The seed repeats when messages are sent."""
    habits = mix()
    with MailWorld(way, setting, [habit.sender for habit in habits]) as world:
        for number, habit in enumerate(habits):
            for at_s in _times(random.Random(seed * 100 + number), habit, days * DAY_S):
                world.at(at_s, lambda name=habit.sender.name: world.send(name))  # type: ignore[misc]
        for at_s in range(7 * DAY_S, days * DAY_S, 7 * DAY_S):
            world.at(at_s - HOUR_S, world.gate.restart)
        world.at(days * DAY_S // 2 + HOUR_S, world.gate.reboot)
        world.run(days * DAY_S)
        settle(world)
        bounced = {habit.sender.name: world.bounced(habit.sender.name) for habit in habits}
        mails = list(world.mails.values())
    found = {name: Outcome.of([mail for mail in mails if mail.sender == name], count)
             for name, count in bounced.items()}
    return {**found, "all": Outcome.of(mails, sum(bounced.values()))}


def _times(chance: random.Random, habit: Habit, end_s: int) -> Iterator[int]:
    at_s = chance.randrange(habit.least_s)
    while at_s < end_s:
        yield at_s
        at_s += chance.randint(habit.least_s, habit.most_s)
