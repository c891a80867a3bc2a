"""Days of mail from many senders through one gateway, whose daemon is restarted each week, and which boots once."""
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.situations import DAY_S, HOUR_S, MINUTE_S, Outcome, networks, settle
from lab.mailgate import Setting
from lab.mailworld import MailWorld, Sender

WEEK_S = 7 * DAY_S
# A message comes at one of these times, so that senders wait for dropped SYNs side by side.
STEP_S = 5 * MINUTE_S


@dataclass(frozen=True)
class Habit:
    """A sender, and between which numbers of seconds its next message comes."""

    sender: Sender
    least_s: int
    most_s: int


def mix(agents: Sequence[str]) -> list[Habit]:
    """All agents have the same habits."""
    habits = []
    for number, agent in enumerate(agents):
        def address(last: int, number: int = number) -> str:
            return f"192.0.2.{100 + 50 * number + last}"

        pool = [address(10 + one) for one in range(4)]
        habits += [
            Habit(Sender(f"{agent} steady", agent, [address(1)]), HOUR_S // 2, 3 * HOUR_S // 2),
            Habit(Sender(f"{agent} rare", agent, [address(2)]), DAY_S, 5 * DAY_S),
            Habit(Sender(f"{agent} pool in a 24", agent, pool, "own"), HOUR_S, 6 * HOUR_S),
            Habit(Sender(f"{agent} pool of a domain", agent, networks(4, 100 * number + 1), "own"), HOUR_S, 6 * HOUR_S),
            Habit(Sender(f"{agent} pool apart", agent, networks(4, 100 * number + 11), "apart"), HOUR_S, 6 * HOUR_S),
            Habit(Sender(f"{agent} dual", agent, [address(3), f"2001:db8::{number}:3"], domain="both.test"),
                  HOUR_S, 6 * HOUR_S),
        ]
    return habits


def regular(agents: Sequence[str]) -> list[Habit]:
    """Those that send each 30 min, 50 min, hour and 2 h to the minute: what fell in step with an entry's end in 1.9."""
    return [Habit(Sender(f"{agent} each {minutes} min", agent, [f"192.0.2.{101 + 10 * number + place}"]), *(
        minutes * MINUTE_S,) * 2) for number, agent in enumerate(agents)
            for place, minutes in enumerate((30, 50, 60, 120))]


def run(days: int, way: str, setting: Setting, seed: int, habits: Sequence[Habit]) -> dict[str, Outcome]:
    """What became of each sender's mail, and under `all` of all mail. The seed repeats when messages are sent."""
    with MailWorld(way, setting, [habit.sender for habit in habits]) as world:
        for number, habit in enumerate(habits):
            for at_s in _times(random.Random(seed * 100 + number), habit, days * DAY_S):
                world.at(at_s, habit.sender.name)
        for at_s in range(WEEK_S, days * DAY_S, WEEK_S):
            world.at(at_s - HOUR_S - MINUTE_S, world.gate.restart)
        world.at(days * DAY_S // 2 + HOUR_S + MINUTE_S, world.gate.reboot)
        world.run(days * DAY_S)
        settle(world)
        counts = {habit.sender.name: (world.bounced(habit.sender.name), world.sent_again(habit.sender.name))
                  for habit in habits}
        mails = list(world.mails.values())
    found = {name: Outcome.of([mail for mail in mails if mail.sender == name], *both) for name, both in counts.items()}
    return {**found, "all": Outcome.of(mails, *map(sum, zip(*counts.values(), strict=True)))}


MIXES = {"days": mix, "regular": regular}


def _times(chance: random.Random, habit: Habit, end_s: int) -> Iterator[int]:
    if habit.least_s == habit.most_s:
        yield from range(0, end_s, habit.least_s)
        return
    at_s = chance.randrange(habit.least_s)
    while at_s < end_s:
        yield at_s // STEP_S * STEP_S
        at_s += chance.randint(habit.least_s, habit.most_s)
