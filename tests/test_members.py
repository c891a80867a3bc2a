"""Refused hosts by their names: for a while, and bounded."""
from mxallowd.sinks import members
from mxallowd.sinks.members import KEPT_S, MAX_HOSTS, MAX_HOSTS_OF_A_NAME, Members
from tests.strategies import HOSTS

A, B, C = HOSTS[:3]


class Clock:
    """A clock to turn."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_hosts_of_a_name_are_given_once() -> None:
    made = Members()
    for name, host in (("a.example", A), ("a.example", B), ("b.example", C), ("a.example", A)):
        made.note(name, host)
    assert made.take("a.example") == [B, A]
    assert made.take("a.example") == []
    assert made.take("b.example") == [C]
    assert made.take("c.example") == []


def test_they_are_kept_for_a_while() -> None:
    clock = Clock()
    made = Members(clock)
    made.note("a.example", A)
    clock.now += KEPT_S
    made.note("a.example", B)
    assert made.take("a.example") == [A, B]
    made.note("a.example", A)
    clock.now += KEPT_S + 1
    made.note("a.example", B)
    assert made.take("a.example") == [B]
    assert members.KEPT_S > 60  # an event comes once a minute


def test_what_is_kept_too_long_goes_by_itself() -> None:
    clock = Clock()
    made = Members(clock)
    made.note("a.example", A)
    made.note("b.example", B)
    clock.now += KEPT_S
    made.note("a.example", C)
    made.tick()
    assert len(made) == 3
    clock.now += 1
    made.tick()
    assert len(made) == 2
    assert made.take("b.example") == []
    assert made.take("a.example") == [C]
    assert len(made) == 0
    made.tick()


def test_hosts_are_bounded_of_a_name_and_of_all() -> None:
    made = Members()
    made.note("first.example", A)
    for number in range(MAX_HOSTS):
        made.note(f"{number}.example", B)
    assert len(made) == MAX_HOSTS
    assert made.take("first.example") == []
    assert made.take("0.example") == [B]
    for number in range(MAX_HOSTS_OF_A_NAME + 5):
        made.note("large.example", number.to_bytes(16, "big"))
    made.note("large.example", (7).to_bytes(16, "big"))
    assert len(made) == MAX_HOSTS
    assert made.take("large.example") == [
        number.to_bytes(16, "big") for number in (*range(5, 7), *range(8, MAX_HOSTS_OF_A_NAME + 5), 7)]
    assert len(made) == MAX_HOSTS - MAX_HOSTS_OF_A_NAME
