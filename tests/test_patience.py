"""Who was refused often enough: what counts, who makes room, and what a restart keeps, against a model."""
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._patience import HOST_BYTES, LEAST_HOSTS, MOST, TICK_US, Patience
from mxallowd.engine._table import Table
from tests.strategies import HOSTS, packed

SECOND_US = 1_000_000
MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3600 * SECOND_US, 86_400 * SECOND_US
WAITS, COMES_IN, IS_IN = 0, 1, 2
TEN = 10 * MINUTE_US
SENT_AGAIN = (0, 1, 3, 7, 15, 31, 63)  # seconds: tcp(7), tcp_syn_retries


def memory(hosts: int = 1000, shards: int = 1, *, collide: bool = False) -> Patience:
    return Patience(hosts, shards, Table(4, collide=collide))


def short(port: int) -> int:
    """A port as the memory keeps it."""
    return (port ^ port >> 8) & 0xFF


@dataclass
class Attempts:
    """All refusals of a host that began an attempt, and what is known of the last ones."""

    times: list[int] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    last: int = -DAY_US


class Model:
    """By its definition: N of all refusals, each at least TIME after the one before, none older than a day."""

    def __init__(self, times: int, wait_us: int) -> None:
        self.times, self.wait = times, wait_us // TICK_US
        self.hosts: dict[bytes, Attempts] = {}

    def _enough(self, attempts: list[int], now: int) -> bool:
        count, before = 0, -DAY_US
        for at in attempts:
            if now - at <= DAY_US // TICK_US and (count == 0 or at - before >= self.wait):
                count, before = count + 1, at
        return count >= self.times

    def note(self, host: bytes, port: int, now_us: int) -> int:
        known, now = self.hosts.setdefault(host, Attempts()), now_us // TICK_US
        if self._enough(known.times, now):
            return IS_IN
        again = now - known.last <= 8545 and short(port) in known.ports
        known.last = now
        if again:
            return WAITS
        known.ports = [*known.ports, short(port)][-3:]
        known.times.append(now)
        return COMES_IN if self._enough(known.times, now) else WAITS


steps = st.lists(st.tuples(
    st.sampled_from(HOSTS[:3]), st.sampled_from((1025, 40000, 40001, 65535)),
    st.one_of(st.integers(0, 90 * SECOND_US), st.integers(0, 2 * TEN), st.integers(0, 26 * HOUR_US))), max_size=40)


@settings(max_examples=400)
@given(steps, st.sampled_from((1, 2, 3)), st.sampled_from((SECOND_US, MINUTE_US, TEN, 5 * HOUR_US)))
def test_it_decides_as_the_model_does(found: list[tuple[bytes, int, int]], times: int, wait_us: int) -> None:
    """With three refusals at the most the memory knows each that matters."""
    made, model, now = memory(), Model(times, wait_us), 5 * DAY_US
    for host, port, later_us in found:
        now += later_us
        expected = model.note(host, port, now)
        got = made.note(host, port, now, times, wait_us)
        if times < 3:
            assert got == expected
        else:
            # At the edge of the day it may know one less: it asks for more, never for less.
            assert got <= expected


@settings(max_examples=200)
@given(steps, st.integers(4, MOST))
def test_of_many_refusals_it_never_asks_for_fewer(found: list[tuple[bytes, int, int]], times: int) -> None:
    made, model, now = memory(), Model(times, MINUTE_US), 5 * DAY_US
    for host, port, later_us in found:
        now += later_us // 16
        expected = model.note(host, port, now)
        if made.note(host, port, now, times, MINUTE_US) > WAITS:
            assert expected > WAITS


def test_syns_of_one_attempt_count_once() -> None:
    made = memory()
    for after in SENT_AGAIN:
        assert made.note(HOSTS[0], 40000, DAY_US + after * SECOND_US, 2, 2 * SECOND_US) == WAITS
    assert made.note(HOSTS[0], 40001, DAY_US + 64 * SECOND_US, 2, 2 * SECOND_US) == COMES_IN


def test_the_time_is_exact() -> None:
    for late_us, expected in ((-3 * TICK_US, WAITS), (0, COMES_IN)):
        made = memory()
        made.note(HOSTS[0], 1, DAY_US, 2, TEN)
        assert made.note(HOSTS[0], 2, DAY_US + TEN + late_us, 2, TEN) == expected
    made = memory()
    made.note(HOSTS[0], 1, DAY_US, 2, TEN)
    assert made.note(HOSTS[0], 2, 2 * DAY_US + 2 * TICK_US, 2, TEN) == WAITS
    assert made.note(HOSTS[0], 3, 2 * DAY_US + TEN + 2 * TICK_US, 2, TEN) == COMES_IN


def test_networks_wait_as_one() -> None:
    made = memory()
    for first, second, other in (("192.0.2.1", "192.0.2.200", "192.0.3.1"),
                                 ("2001:db8:0:1::1", "2001:db8:0:1:9::", "2001:db8:0:2::1")):
        assert made.note(packed(first), 1, DAY_US, 2, TEN, networks=True) == WAITS
        assert made.note(packed(second), 2, DAY_US + TEN, 2, TEN, networks=True) == COMES_IN
        assert made.note(packed(other), 2, DAY_US + TEN, 2, TEN, networks=True) == WAITS
        assert made.note(packed(first), 3, DAY_US + TEN, 2, TEN, networks=True) == IS_IN
        # What the network has done is not its first address's.
        assert made.find(packed("192.0.2.0")) is None


def test_who_has_waited_stays_in_any_flood() -> None:
    """Five times the room, from as many addresses: who came before it comes in at his second try."""
    made, chance = memory(4096), random.Random(7)
    waiting = [chance.randbytes(16) for _ in range(500)]
    for host in waiting:
        made.note(host, 1, DAY_US, 2, TEN)
    kept = sum(made.find(host) is not None for host in waiting)
    for number in range(20_000):
        made.note(chance.randbytes(16), 1, DAY_US + TEN + number * 10_000, 2, TEN)
    now = DAY_US + TEN + 20_000 * 10_000
    came = sum(made.note(host, 2, now, 2, TEN) == COMES_IN for host in waiting)
    assert kept >= 495
    assert came == kept
    assert len(made) == made.max_hosts
    assert made.counters()["patience-pushed-out"] > 10_000


def test_who_makes_room() -> None:
    """In a set of four: first who is over, then the youngest that has not waited, then who is in, then the idle."""
    made = memory(4, collide=True)
    for number in range(4):
        made.note(HOSTS[number], 1, DAY_US + number * MINUTE_US, 2, TEN)
    made.note(HOSTS[4], 1, DAY_US + 5 * MINUTE_US, 2, TEN)
    assert [made.find(host) is not None for host in HOSTS[:5]] == [True, True, True, False, True]
    # All have waited now: the new one is left out.
    now = DAY_US + 2 * TEN
    assert made.note(HOSTS[5], 1, now, 2, TEN) == WAITS
    assert made.find(HOSTS[5]) is None
    assert made.counters()["patience-left-out"] == 1
    # One of them is in.
    assert made.note(HOSTS[1], 9, now, 2, TEN) == COMES_IN
    made.note(HOSTS[5], 1, now, 2, TEN)
    assert [made.find(host) is not None for host in HOSTS[:6]] == [True, False, True, False, True, True]
    # Six hours later who was not seen since makes room.
    made.note(HOSTS[6], 1, now + 6 * HOUR_US + SECOND_US, 2, TEN)
    assert made.find(HOSTS[0]) is None
    made.note(HOSTS[7], 1, now + 2 * DAY_US, 2, TEN)
    assert made.find(HOSTS[7]) is not None


def test_threads_know_of_each_other() -> None:
    made = memory(64, 3)
    assert made.note(HOSTS[0], 1, DAY_US, 2, TEN, shard=0) == WAITS
    assert made.note(HOSTS[0], 2, DAY_US + MINUTE_US, 2, TEN, shard=2) == WAITS
    assert made.note(HOSTS[0], 3, DAY_US + TEN, 2, TEN, shard=1) == COMES_IN
    assert made.note(HOSTS[0], 4, DAY_US + TEN, 2, TEN, shard=0) == IS_IN


@pytest.mark.parametrize("back_us", [0, 3 * HOUR_US, -HOUR_US])
def test_a_restart_keeps_who_waits(back_us: int) -> None:
    made, again = memory(), memory(500, 2)
    now = 4 * HOUR_US
    made.note(HOSTS[0], 1, now, 2, TEN)
    made.note(HOSTS[1], 1, now - TEN, 2, TEN)
    made.note(HOSTS[1], 2, now, 2, TEN)
    records, following = made.entries(0, made.max_hosts)
    assert (following, len(records)) == (0, 2 * HOST_BYTES)
    assert made.entries(0, made.max_hosts, now + SECOND_US) == (b"", 0)
    assert again.restore(records, now + MINUTE_US - back_us, back_us) == 2
    assert again.note(HOSTS[1], 3, now + MINUTE_US - back_us, 2, TEN) == IS_IN
    if back_us >= 0:
        assert again.note(HOSTS[0], 3, now + TEN - 3 * TICK_US - back_us, 2, TEN) == WAITS
        assert again.note(HOSTS[0], 4, now + TEN + TICK_US - back_us, 2, TEN) == COMES_IN
    late = memory()
    assert late.restore(records, now + DAY_US + SECOND_US, 0) == 0
    assert len(late) == 0


def test_an_earlier_boot_was_before_time_began() -> None:
    made, again = memory(), memory()
    made.note(HOSTS[0], 1, 10 * DAY_US, 2, TEN)
    assert again.restore(made.entries(0, made.max_hosts)[0], MINUTE_US, 10 * DAY_US + HOUR_US) == 1
    found = again.find(HOSTS[0])
    assert found
    assert -HOUR_US - TICK_US <= found.first_us <= -HOUR_US + TICK_US
    assert again.note(HOSTS[0], 2, MINUTE_US, 2, TEN) == COMES_IN


def test_its_bound() -> None:
    assert HOST_BYTES == 32
    assert memory(1003, 2).max_hosts == 1000
    for hosts, shards in ((LEAST_HOSTS - 1, 1), (LEAST_HOSTS * 3 - 1, 3), (100, 0)):
        with pytest.raises(ValueError, match="waiting hosts cannot be shared"):
            memory(hosts, shards)
    made = memory()
    for times, wait_us in ((0, TEN), (MOST + 1, TEN), (2, 0), (2, DAY_US + 1)):
        with pytest.raises(ValueError, match="cannot be counted"):
            made.note(HOSTS[0], 1, DAY_US, times, wait_us)
    with pytest.raises(ValueError, match="16 bytes"):
        made.note(b"", 1, DAY_US, 2, TEN)
    with pytest.raises(ValueError, match="no records"):
        made.restore(b"x", 0, 0)
    with pytest.raises(IndexError):
        made.note(HOSTS[0], 1, DAY_US, 2, TEN, shard=1)
    assert made.find(HOSTS[0]) is None
