"""The ring of events: order, bound, what is counted as lost, and when the reader is woken."""
import os
import random
import select
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from mxallowd.engine._ring import EVENT_SIZE, Ring

EVENT = struct.Struct("=BBHIQ16s16sQQ")


def event(number: int) -> bytes:
    return EVENT.pack(1, 0, 0, 0, number, bytes(16), bytes(16), 0, 0)


def numbers(records: bytes) -> list[int]:
    return [fields[4] for fields in EVENT.iter_unpack(records)]


@pytest.fixture
def wake_fd() -> Iterator[int]:
    descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield descriptor
    os.close(descriptor)


def wakes(wake_fd: int) -> int:
    """Wake-ups since the last look."""
    try:
        return os.eventfd_read(wake_fd)
    except BlockingIOError:
        return 0


# ---- order and bound


def test_the_size_of_an_event() -> None:
    assert EVENT_SIZE == EVENT.size == 64


def test_events_come_out_as_they_went_in(wake_fd: int) -> None:
    ring = Ring(4, wake_fd)
    records = [bytes(range(64)), bytes(range(64, 128)), b"\xff" * 64]
    assert all(ring.push(record) for record in records)
    assert ring.drain(10) == b"".join(records)
    assert ring.drain(10) == b""


def test_order_and_wrap_around(wake_fd: int) -> None:
    ring = Ring(8, wake_fd)
    written = read = 0
    chance = random.Random(1)
    for _ in range(2000):
        for _ in range(chance.randrange(9 - len(ring))):
            assert ring.push(event(written))
            written += 1
        most = chance.randrange(10)
        waiting = len(ring)
        assert waiting == written - read
        taken = numbers(ring.drain(most))
        assert taken == list(range(read, read + min(most, waiting)))
        read += len(taken)
    assert ring.lost == 0


def test_what_does_not_fit_is_counted_and_gone(wake_fd: int) -> None:
    ring = Ring(4, wake_fd)
    assert [ring.push(event(number)) for number in range(6)] == [True] * 4 + [False] * 2
    assert (len(ring), ring.lost) == (4, 2)
    assert numbers(ring.drain(1)) == [0]
    assert ring.push(event(6))
    assert not ring.push(event(7))
    assert numbers(ring.drain(100)) == [1, 2, 3, 6]
    assert ring.lost == 3


def test_half_is_kept_for_pressing_events(wake_fd: int) -> None:
    ring = Ring(8, wake_fd)
    assert [ring.push(event(number), pressing=False) for number in range(6)] == [True] * 4 + [False] * 2
    assert [ring.push(event(number)) for number in range(10, 16)] == [True] * 4 + [False] * 2
    assert ring.lost == 4
    assert numbers(ring.drain(4)) == [0, 1, 2, 3]
    assert not ring.push(event(20), pressing=False)
    assert numbers(ring.drain(1)) == [10]
    assert ring.push(event(21), pressing=False)
    assert not ring.push(event(22), pressing=False)
    assert numbers(ring.drain(8)) == [11, 12, 13, 21]
    assert ring.lost == 6


# ---- waking


def test_nobody_is_woken_who_does_not_sleep(wake_fd: int) -> None:
    ring = Ring(4, wake_fd)
    ring.push(event(0))
    ring.drain(4)
    ring.push(event(1))
    assert wakes(wake_fd) == 0


def test_a_sleeper_is_woken_once(wake_fd: int) -> None:
    ring = Ring(8, wake_fd)
    assert ring.sleep()
    assert wakes(wake_fd) == 0
    for number in range(3):
        ring.push(event(number))
    assert wakes(wake_fd) == 1
    ring.drain(8)
    ring.push(event(3))
    assert wakes(wake_fd) == 0
    ring.drain(8)
    assert ring.sleep()
    ring.push(event(4))
    assert wakes(wake_fd) == 1


def test_who_still_has_events_does_not_go_to_sleep(wake_fd: int) -> None:
    ring = Ring(4, wake_fd)
    ring.push(event(0))
    assert not ring.sleep()
    ring.push(event(1))
    assert wakes(wake_fd) == 0
    ring.drain(1)
    assert not ring.sleep()
    ring.drain(1)
    assert ring.sleep()


def test_two_threads_lose_nothing_but_what_is_counted(wake_fd: int) -> None:
    """The reader sleeps whenever it may: a wake-up that is missing shows as a timeout."""
    ring = Ring(64, wake_fd)
    total, last = 40_000, 2**63 - 1
    accepted: list[int] = []
    refused: list[int] = []

    def produce() -> None:
        chance = random.Random(2)
        number = 0
        while number < total:
            for _ in range(min(chance.randrange(1, 100), total - number)):
                fits = ring.push(event(number), pressing=chance.random() < 0.5)
                (accepted if fits else refused).append(number)
                number += 1
            time.sleep(0)
        while not ring.push(event(last)):
            refused.append(last)

    producer = threading.Thread(target=produce, daemon=True)
    chance = random.Random(3)
    received: list[int] = []
    producer.start()
    while received[-1:] != [last]:
        received += numbers(ring.drain(chance.randrange(1, 90)))
        if ring.sleep() and received[-1:] != [last]:
            assert select.select([wake_fd], [], [], 10)[0], "not woken"
            os.eventfd_read(wake_fd)
    producer.join()
    assert received == [*accepted, last]
    assert ring.lost == len(refused)
    assert len(accepted) > 1000
    assert len(refused) > 100
    assert len(ring) == 0


# ---- the border to Python


@pytest.mark.parametrize("capacity", [-4, 0, 1, 2, 3, 5, 6, 100, 2**24 + 1, 2**25])
def test_capacities_out_of_range(capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Ring(capacity, 0)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_events_of_another_size(wake_fd: int, size: int) -> None:
    ring = Ring(4, wake_fd)
    with pytest.raises(ValueError, match="64 bytes"):
        ring.push(bytes(size))
    assert (len(ring), ring.lost) == (0, 0)


def test_a_negative_number_of_events(wake_fd: int) -> None:
    ring = Ring(4, wake_fd)
    ring.push(event(0))
    with pytest.raises(OverflowError):
        ring.drain(-1)
    assert ring.drain(0) == b""
    assert numbers(ring.drain(2**60)) == [0]
