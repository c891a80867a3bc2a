"""Hosts that are followed for a day: bounded, a fair sample, and a flood costs nobody else his place."""
import random
import sys

from mxallowd.history.followed import DAY_S, HOUR_S, HOURS, Followed, Trace

ROOM, OTHER = 0, 1


def host(number: int) -> bytes:
    return number.to_bytes(16, "big")


def seen(second: int, room: int = ROOM, times: int = 1) -> Trace:
    return Trace(second, second, 0, 0, times, room)


def total(followed: Followed) -> int:
    return sum(weight for _, _, weight in followed.entries())


def test_all_are_there_as_long_as_there_is_room() -> None:
    followed = Followed((100, 10))
    for number in range(100):
        assert followed.note(host(number), seen(50))
    assert (len(followed), total(followed)) == (100, 100)
    assert followed.find(host(7)) == seen(50)
    assert followed.find(host(100)) is None
    # What is noted again takes no further place.
    assert followed.note(host(7), seen(50, times=70_000))
    assert followed.find(host(7)) == seen(50, times=65_535)
    followed.drop(host(7))
    followed.drop(host(7))
    assert (len(followed), followed.find(host(7))) == (99, None)


def test_too_many_become_a_fair_sample() -> None:
    errors = []
    for _ in range(20):
        followed = Followed((500, 10))
        hosts = random.sample(range(2**62), 20_000)
        for number in hosts:
            followed.note(host(number), seen(50, times=1 + number % 2))
        assert len(followed) <= 500
        errors.append(total(followed) / 20_000 - 1)
        # Who was left out stays so, and who is in stays in.
        before = len(followed)
        for number in hosts[:1000]:
            assert followed.note(host(number), seen(60)) == (followed.find(host(number)) is not None)
        assert len(followed) == before
    # Some 300 of each stay: the error of one is some 6 %, that of 20 some 1.3 %.
    assert abs(sum(errors) / len(errors)) < 0.06


def test_a_flood_touches_neither_another_hour_nor_another_room() -> None:
    followed = Followed((100, 100))
    for number in range(100):
        followed.note(host(number), seen(50))
        followed.note(host(1000 + number), seen(HOUR_S + 50, OTHER))
    for number in range(50_000):
        followed.note(host(10_000 + number), seen(HOUR_S + 50))
    for number in range(100):
        found = followed.find(host(number))
        assert found == seen(50)
        assert followed.weight(found) == 1
        assert followed.find(host(1000 + number)) is not None
    assert len(followed) <= 300


def test_a_host_moves_to_another_room() -> None:
    # Of some hundred hosts in the sample none leaves by chance alone.
    followed = Followed((200, 200))
    for number in range(1000):
        followed.note(host(number), seen(50))
    moved = [one for one, _, _ in followed.entries()]
    assert moved
    for one in moved:
        assert followed.note(one, seen(50, OTHER))
    assert {trace.room for _, trace, _ in followed.entries()} == {OTHER}
    assert total(followed) == len(moved)


def test_a_day_is_closed_in_steps() -> None:
    followed = Followed((100, 10))
    for number in range(100):
        followed.note(host(number), seen(50))
    followed.note(host(1000), seen(HOUR_S * 3))
    assert followed.close(DAY_S + HOUR_S - 1, 10) == []
    closed = [one for _ in range(30) for one in followed.close(DAY_S + HOUR_S, 10)]
    assert sorted(one for one, _, _ in closed) == [host(number) for number in range(100)]
    assert [one for one, _, _ in followed.entries()] == [host(1000)]


def test_it_is_bounded_whatever_comes() -> None:
    """Two days, with four times as many new hosts each hour as there is room for."""
    followed = Followed((32, 16))
    assert followed.room == HOURS * 48
    choose = random.Random(1)
    for hour in range(60):
        for _ in range(200):
            followed.note(choose.randbytes(16), seen(hour * HOUR_S + 9, choose.randrange(2)))
        followed.close(hour * HOUR_S + 10, 1000)
        assert len(followed) <= followed.room
    # Time that leaps ahead, as a capture's may, opens no more hours than there are.
    for hour in range(100, 400):
        followed.note(choose.randbytes(16), seen(hour * HOUR_S))
        followed.close(0, 1000)
    assert len(followed) <= followed.room
    for hour in range(1000, 2000):
        followed.note(choose.randbytes(16), seen(hour * HOUR_S))
    assert len(followed) <= 2 * HOURS


def test_a_host_takes_some_300_bytes() -> None:
    followed = Followed((2048, 10))
    for number in range(2048):
        followed.note(host(number << 64), seen(1_000_000 + number))
    taken = sys.getsizeof(followed._hosts) + sum(
        sys.getsizeof(one) + sys.getsizeof(record) for one, record in followed._hosts.items())
    rooms = [room for hour in followed._hours.values() for room in hour]
    taken += sum(sys.getsizeof(hosts) for room in rooms for hosts in room.hosts.values())
    assert taken / 2048 < 330
