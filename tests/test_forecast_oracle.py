"""The forecast against a plain one that keeps all that happened, over random days with restarts between."""
import random
from collections import defaultdict
from pathlib import Path

import pytest

from mxallowd.engine.events import Kind, packed
from mxallowd.history.followed import DAY_S
from mxallowd.history.forecast import WITHIN_S, Sums
from tests.strategies import FAKE, REAL
from tests.test_trial_file import Gateway


class Period:
    """A day of a host, from its first refusal on."""

    def __init__(self, first_s: int, attempts: int) -> None:
        self.first_s, self.attempts = first_s, attempts
        self.met_s: int | None = None
        self.let_in = False


class Plain:
    """Everything, in lists."""

    def __init__(self) -> None:
        self.periods: dict[bytes, list[Period]] = defaultdict(list)
        self.refusals: dict[bytes, list[int]] = defaultdict(list)
        self.passed_s: dict[bytes, int] = {}
        self.passed = 0

    def current(self, host: bytes, now_s: int) -> Period | None:
        days = self.periods[host]
        return days[-1] if days and now_s - days[-1].first_s <= DAY_S else None

    def open(self, host: bytes, now_s: int) -> Period | None:
        """Its day; a new one where it was refused within a day and has not passed since."""
        if found := self.current(host, now_s):
            return found
        refusals = self.refusals[host]
        if not refusals or now_s - refusals[-1] >= DAY_S or refusals[-1] <= self.passed_s.get(host, 0):
            return None
        first_s = refusals[0] if now_s - refusals[0] < DAY_S else refusals[-1]
        self.periods[host].append(Period(first_s, len(refusals)))
        return self.periods[host][-1]

    def refused(self, host: bytes, now_s: int) -> None:
        self.refusals[host].append(now_s)
        if found := self.current(host, now_s):
            found.attempts = len(self.refusals[host])
        else:
            self.periods[host].append(Period(now_s, len(self.refusals[host])))

    def contact(self, host: bytes, now_s: int) -> None:
        if (found := self.open(host, now_s)) and found.met_s is None:
            found.met_s = now_s

    def accepted(self, host: bytes, now_s: int) -> None:
        if (found := self.open(host, now_s)) and self.refusals[host][-1] > self.passed_s.get(host, 0):
            self.passed += 1
            self.passed_s[host] = now_s
            # Its contact was in the day before.
            found.let_in |= found.met_s is None
            found.met_s = found.met_s or now_s

    def sums(self, now_s: int) -> Sums:
        days = [one for some in self.periods.values() for one in some]
        waiting = [one for one in days if one.met_s is None]
        return Sums(
            len(days),
            tuple(sum(one.met_s is not None and one.met_s - one.first_s <= within for one in days)
                  for within in WITHIN_S),
            tuple(sum(now_s - one.first_s < within for one in waiting) for within in WITHIN_S),
            sum(one.let_in for one in days),
            sum(one.attempts == 1 for one in waiting), sum(one.attempts > 1 for one in waiting))


@pytest.mark.parametrize("seed", range(6))
def test_random_days_come_out_as_in_the_plain_one(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    gateway, plain = Gateway(tmp_path / "state"), Plain()
    hosts = [packed(f"198.51.100.{number}") for number in range(1, 40)]
    longest = choose.choice((20, 300))
    for _ in range(400):
        # Steps after which a SYN is an attempt of its own, and an event is due; none of the bounds is a multiple.
        gateway.wait(70 * choose.choice((1, 1, 2, choose.randrange(1, longest))))
        if choose.random() < 0.05:
            gateway.end()
            gateway.begin()
        for host in choose.sample(hosts, choose.randrange(1, 4)):
            kinds = gateway.meet(choose.choice((REAL[0], REAL[0], FAKE[0])), [host])
            if Kind.REFUSED in kinds:
                plain.refused(host, gateway.now_s)
            elif Kind.WHITELISTED in kinds:
                plain.contact(host, gateway.now_s)
            elif Kind.ACCEPTED in kinds:
                plain.accepted(host, gateway.now_s)
        if gateway.now_s % 7 == 0 or choose.random() < 0.1:
            if gateway.now_s - 1_000_000 > 7 * DAY_S:
                break
            assert gateway.sums() == plain.sums(gateway.now_s)
            assert gateway.trial.forecast.passed.sums() == [plain.passed]
    assert plain.passed > 5
