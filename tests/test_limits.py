"""What may be asked of a zone: rate, places, failures, and names that are not there."""
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.dns import limits
from mxallowd.dns.limits import FAILURES, LONGEST_PAUSE_S, MAX_ZONES, NOTHING_S, NOTHINGS, SLOWER, Limits, Outcome


class Scene:
    """Limits with a clock to turn."""

    def __init__(self, per_s: int = 20) -> None:
        self.now = 100.0
        self.limits = Limits(per_s, lambda: self.now)

    def ask(self, zone: str, outcome: Outcome | None = Outcome.DATA, queries: int = 1, slots: int = 8) -> bool:
        """A question, if it may be asked; None: it stays under way."""
        if self.limits.pause(zone, slots, queries) > 0:
            return False
        self.limits.start([zone], queries)
        if outcome:
            self.limits.end([zone], outcome)
        return True

    def count(self, zone: str, seconds: float, outcome: Outcome = Outcome.DATA, queries: int = 1) -> int:
        """How many queries there are in that time if somebody always wants to ask."""
        asked, end = 0, self.now + seconds
        while self.now < end:
            while self.ask(zone, outcome, queries):
                asked += queries
            self.now += 0.01
        return asked


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 100), st.integers(1, 2))
def test_the_rate_of_a_zone(per_s: int, queries: int) -> None:
    scene = Scene(per_s)
    asked = scene.count("a.example", 5, queries=queries)
    assert 5 * per_s - queries <= asked <= 6 * per_s + queries


def test_places() -> None:
    scene = Scene(1000)
    assert [scene.ask("a.example", None, slots=3) for _ in range(5)] == [True] * 3 + [False] * 2
    assert scene.ask("b.example", None, slots=3)
    scene.limits.end(["a.example"], Outcome.UNKNOWN)
    assert scene.ask("a.example", None, slots=3)


def test_a_zone_that_fails_is_set_aside_and_tried_again() -> None:
    scene = Scene()
    assert scene.count("a.example", 60, Outcome.FAILED) < FAILURES + 60 / LONGEST_PAUSE_S + 5
    assert scene.limits.set_aside == 1
    assert scene.limits.is_set_aside("a.example")
    scene.now += LONGEST_PAUSE_S
    assert scene.ask("a.example", None)
    assert not scene.ask("a.example", None), "one at a time"
    scene.limits.end(["a.example"], Outcome.DATA)
    assert scene.ask("a.example")
    assert not scene.limits.is_set_aside("a.example")


def test_a_zone_that_says_no_is_asked_more_slowly() -> None:
    scene = Scene(20)
    scene.count("a.example", 5, Outcome.NOTHING)
    assert scene.count("a.example", 8, Outcome.NOTHING) <= 8 * 20 / SLOWER + 1
    scene.count("a.example", 1)
    assert scene.count("a.example", 2) >= 2 * 20 - 1
    assert NOTHINGS > 1


def test_an_alias_counts_where_it_leads() -> None:
    scene = Scene(20)
    asked = 0
    for _ in range(500):
        for attacker in ("a.example", "b.example", "c.example"):
            if scene.ask(attacker):
                scene.limits.charge(["victim.example"], [attacker])
                asked += 1
        scene.now += 0.01
    assert asked <= 20 * 6 + 3


def test_names_that_are_not_there() -> None:
    scene = Scene()
    scene.limits.note_nothing("x.a.example")
    assert scene.limits.is_nothing("x.a.example")
    assert not scene.limits.is_nothing("y.a.example")
    scene.now += NOTHING_S
    assert not scene.limits.is_nothing("x.a.example")
    for number in range(limits.MAX_NOTHING + 1):
        scene.limits.note_nothing(f"{number}.example")
    assert not scene.limits.is_nothing("0.example")
    assert scene.limits.is_nothing("1.example")


def test_the_table_is_bounded_and_keeps_who_is_under_way() -> None:
    scene = Scene(1)
    assert scene.ask("busy.example", None, slots=1)
    for number in range(MAX_ZONES + 100):
        assert scene.ask(f"{number}.example")
    assert len(scene.limits) == MAX_ZONES
    assert not scene.ask("busy.example", None, slots=1)


def test_other_servers_may_know_more() -> None:
    scene = Scene()
    for _ in range(FAILURES):
        scene.ask("a.example", Outcome.FAILED)
    scene.limits.note_nothing("x.a.example")
    assert not scene.ask("a.example")
    scene.limits.forget()
    assert scene.ask("a.example")
    assert not scene.limits.is_nothing("x.a.example")
