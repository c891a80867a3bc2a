"""The whitelist against a model of plain dicts, step by step; expiry, eviction, counters, shards."""
import random
from collections import Counter
from itertools import count
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mxallowd.engine._table import CHILD, MAX_ENTRIES_LIMIT, ORIGINS, Table
from tests.oracle import Whitelist
from tests.strategies import RECORD, record

KEY = bytes(range(16))
LIFETIME = 100


def host(number: int) -> bytes:
    return number.to_bytes(16, "big")


def seen(model: Whitelist, address: bytes, now_us: int) -> tuple[int, bool, int] | None:
    """What Table.find should answer."""
    entry = model.find(address, now_us)
    return (entry.until_us, entry.used, entry.origin) if entry else None


def counters(table: Table, *names: str) -> tuple[int, ...]:
    values = table.counters()
    return tuple(values[name] for name in names)


# ---- random operations


class TableMachine(RuleBasedStateMachine):
    """The same operations on both, and after each step the same answers, the same counters and the same list."""

    collide: ClassVar = False
    KNOWN = 48
    strangers = count(1000)

    @initialize(max_entries=st.integers(1, 40), shards=st.integers(1, 3), main=st.integers(1, 12))
    def start(self, max_entries: int, shards: int, main: int) -> None:
        shards = min(shards, max_entries)
        self.table = Table(max_entries + main, shards, KEY, main=main, collide=self.collide)
        self.model = Whitelist(max_entries + main, shards, main)
        self.shards = shards
        self.now = 0
        self.lifetime = LIFETIME

    def add(self, address: bytes, origin: int, shard: int) -> None:
        arguments = (address, self.now + self.lifetime, self.now)
        self.table.add(*arguments, origin=origin, shard=shard)
        self.model.add(*arguments, origin=origin, shard=shard)

    @rule(number=st.integers(0, KNOWN - 1), origin=st.integers(0, len(ORIGINS) - 1), shard=st.integers(0, 2))
    def add_known(self, number: int, origin: int, shard: int) -> None:
        self.add(host(number), origin, shard % self.shards)

    @rule(number=st.integers(0, KNOWN - 1), origin=st.integers(0, len(ORIGINS) - 1))
    def admit(self, number: int, origin: int) -> None:
        arguments = (host(number), self.now + self.lifetime, self.now, origin)
        assert self.table.admit(*arguments) == self.model.admit(*arguments)

    @rule(number=st.integers(0, KNOWN - 1))
    def prove(self, number: int) -> None:
        assert self.table.prove(host(number), self.now) == self.model.prove(host(number), self.now)

    @rule(number=st.integers(0, KNOWN - 1), step=st.integers(1, 2 * LIFETIME))
    def renew(self, number: int, step: int) -> None:
        arguments = (host(number), self.now + step, self.now)
        assert self.table.renew(*arguments) == self.model.renew(*arguments)

    @rule(number=st.integers(0, KNOWN - 1))
    def end(self, number: int) -> None:
        assert self.table.end(host(number), self.now) == self.model.end(host(number), self.now)

    @rule(records=st.lists(st.tuples(
        st.integers(0, KNOWN - 1), st.integers(-5, LIFETIME), st.integers(0, len(ORIGINS) - 1), st.booleans(),
        st.booleans()), max_size=30), shard=st.integers(0, 3))
    def restore(self, records: list[tuple[int, int, int, bool, bool]], shard: int) -> None:
        shard %= self.shards + 1
        came = Counter(
            self.model.restore(host(number), max(0, self.now + left), origin, used, proven, self.now, shard)
            for number, left, origin, used, proven in records)
        packed = b"".join(record(host(number), max(0, self.now + left), origin, used, proven)
                          for number, left, origin, used, proven in records)
        assert self.table.restore(packed, self.now, shard=shard) == tuple(
            came[word] for word in ("entered", "known", "left-out", "ended"))

    @rule(hosts=st.integers(1, 40), proven=st.booleans(), shard=st.integers(0, 2))
    def add_strangers(self, hosts: int, proven: bool, shard: int) -> None:
        for number in range(hosts):
            address = host(next(self.strangers))
            self.add(address, 0, shard % self.shards)
            if proven and number % 2:
                assert self.table.prove(address, self.now) == self.model.prove(address, self.now)

    @rule(number=st.integers(0, KNOWN - 1))
    def use(self, number: int) -> None:
        assert self.table.mark_used(host(number), self.now) == self.model.mark_used(host(number), self.now)

    @rule(step=st.integers(1, LIFETIME // 3) | st.just(LIFETIME))
    def wait(self, step: int) -> None:
        self.now += step

    @rule(step=st.integers(0, LIFETIME))
    def lengthen(self, step: int) -> None:
        self.lifetime += step

    @rule(budget=st.integers(0, 20), shard=st.integers(0, 2))
    def expire(self, budget: int, shard: int) -> None:
        self.table.expire(self.now, budget, shard=shard % self.shards)
        self.model.expire(self.now, budget, shard=shard % self.shards)

    @rule()
    def sweep(self) -> None:
        self.table.sweep(self.now)
        self.model.sweep(self.now)
        assert self.table.counters() == self.model.counters()

    @invariant()
    def agree(self) -> None:
        for number in range(self.KNOWN):
            assert self.table.find(host(number), self.now) == seen(self.model, host(number), self.now)
            entry = self.model.find(host(number), self.now)
            assert self.table.is_proven(host(number), self.now) == (entry is not None and entry.proven)
        assert self.table.counters() == self.model.counters()
        assert len(self.table) <= self.table.max_entries

    @invariant()
    def list_all(self) -> None:
        """Once each, but where two threads have entered a host at the same time."""
        found, following = self.table.entries(self.now, 0, 1000)
        assert following == 0
        assert sorted(RECORD.iter_unpack(found)) == sorted(
            (address, entry.until_us, entry.origin, entry.used, entry.proven)
            for shard in self.model.shards for address, entry in [*shard.unproven.items(), *shard.proven.items()]
            if entry.until_us > self.now)

    def teardown(self) -> None:
        """In the end every entry is somewhere."""
        if not hasattr(self, "table"):
            return
        self.now += 3 * self.lifetime
        self.sweep()
        assert len(self.table) == 0


class CollidingMachine(TableMachine):
    """Every host in one line of the index, and on into the next."""

    collide = True


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestColliding = CollidingMachine.TestCase
TestColliding.settings = TestTable.settings


@pytest.mark.parametrize("collide", [False, True])
def test_a_long_run(collide: bool) -> None:
    """As above, with enough hosts that lines of the index run over with any hash."""
    chance = random.Random(7)
    capacity, hosts = (60, 90) if collide else (200, 300)
    table, model, now = Table(capacity, key=KEY, collide=collide), Whitelist(capacity), 0
    for step in range(24_000):
        # Quiet times, in which entries expire unused, and busy ones, in which every entry is used.
        busy = step // 6000 % 2
        now += chance.random() < 0.05 if busy else 10
        address = host(chance.randrange(hosts))
        if chance.random() < (0.7 if busy else 0.02):
            assert table.mark_used(address, now) == model.mark_used(address, now)
            assert table.prove(address, now) == model.prove(address, now)
        else:
            arguments = (address, now + 600, now)
            table.add(*arguments)
            model.add(*arguments)
        other = host(chance.randrange(hosts))
        assert table.find(other, now) == seen(model, other, now)
    for number in range(hosts):
        assert table.find(host(number), now) == seen(model, host(number), now)
    table.sweep(now)
    model.sweep(now)
    assert table.counters() == model.counters()
    assert all(value for name, value in model.counters().items() if name != "ended")


# ---- expiry


def test_expiry_at_the_edges() -> None:
    table = Table(4)
    table.add(host(1), 100, 0)
    assert table.find(host(1), 99) == (100, False, False)
    assert table.find(host(1), 100) is None
    assert table.mark_used(host(1), 99)
    assert not table.mark_used(host(1), 99)
    assert not table.mark_used(host(1), 100)
    table.expire(99, 10)
    assert len(table) == 1
    table.expire(100, 10)
    assert len(table) == 0
    assert counters(table, "successful", "direct-to-fake") == (1, 0)


def test_use_and_a_second_contact_do_not_renew() -> None:
    table = Table(4)
    table.add(host(1), 100, 0)
    table.mark_used(host(1), 50)
    table.add(host(1), 190, 90)
    assert table.find(host(1), 99) == (100, True, False)
    assert table.find(host(1), 100) is None
    assert counters(table, "added") == (1,)


def test_an_expired_host_comes_back_as_new() -> None:
    table = Table(4)
    table.add(host(1), 100, 0)
    table.mark_used(host(1), 1)
    table.add(host(1), 200, 100, origin=CHILD)
    assert table.find(host(1), 100) == (200, False, True)
    assert counters(table, "entries", "added", "successful", "direct-to-fake", "evicted") == (1, 2, 1, 0, 0)


@pytest.mark.parametrize(("used", "child", "expected"), [
    (True, False, (1, 0)), (False, False, (0, 1)), (True, True, (0, 0)), (False, True, (0, 0)),
])
def test_children_are_in_no_counter(used: bool, child: bool, expected: tuple[int, int]) -> None:
    table = Table(4)
    table.add(host(1), 10, 0, origin=CHILD if child else 0)
    if used:
        table.mark_used(host(1), 0)
    table.sweep(10)
    assert counters(table, "entries", "successful", "direct-to-fake", "evicted") == (0, *expected, 0)


def test_expire_keeps_to_its_budget() -> None:
    table = Table(10)
    for number in range(10):
        table.add(host(number), 10, 0)
    table.expire(10, 0)
    assert len(table) == 10
    table.expire(10, 3)
    assert len(table) == 7
    table.expire(9, 100)
    assert len(table) == 7
    table.expire(10, 100)
    assert len(table) == 0


def test_expire_reaches_used_hosts() -> None:
    table = Table(10)
    for number in range(6):
        table.add(host(number), 10, 0)
        table.mark_used(host(number), 0)
    table.add(host(99), 20, 0)
    table.expire(5, 100)
    assert len(table) == 7
    table.expire(10, 100)
    assert len(table) == 1
    assert counters(table, "successful", "direct-to-fake") == (6, 0)


def test_a_sweep_finds_what_expired_behind_a_living_one() -> None:
    """After the lifetime shrank the list is not in the order of expiry."""
    table = Table(10)
    table.add(host(1), 1000, 0)
    table.add(host(2), 10, 0)
    table.add(host(3), 10, 0)
    table.mark_used(host(3), 0)
    table.expire(10, 100)
    assert len(table) == 3
    assert table.find(host(2), 10) is None
    table.sweep(10)
    assert counters(table, "entries", "successful", "direct-to-fake", "evicted") == (1, 1, 1, 0)
    assert table.find(host(1), 10) == (1000, False, False)


@pytest.mark.parametrize("until_us", [2**32 - 1, 2**32, 2**48 + 1, 2**49 - 1])
def test_large_times(until_us: int) -> None:
    table = Table(2)
    table.add(host(1), until_us, 0)
    assert table.find(host(1), until_us - 1) == (until_us, False, False)
    assert table.mark_used(host(1), until_us - 1)
    assert table.find(host(1), until_us - 1) == (until_us, True, False)
    assert table.find(host(1), until_us) is None


def test_an_entry_used_over_and_over() -> None:
    """The generation of 16 bits runs round without touching time or flags."""
    table = Table(1)
    for now in range(70_000):
        table.add(host(now), now + 1, now)
        assert table.find(host(now), now) == (now + 1, False, False)
    assert table.find(host(0), 0) is None
    assert counters(table, "entries", "added", "direct-to-fake", "evicted") == (1, 70_000, 69_999, 0)


# ---- the full table


def test_eviction_takes_the_oldest_that_is_not_proven() -> None:
    """A SYN to the real server is no proof: such hosts go in their turn."""
    table = Table(3)
    for number in (1, 2, 3):
        table.add(host(number), LIFETIME, 0)
    table.prove(host(1), 0)
    table.mark_used(host(2), 0)
    table.add(host(4), LIFETIME + 1, 1)
    assert [table.find(host(number), 1) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]
    table.add(host(5), LIFETIME + 1, 1)
    assert [table.find(host(number), 1) is not None for number in (1, 3, 4, 5)] == [True, False, True, True]
    assert counters(table, "evicted", "entries") == (2, 3)


@pytest.mark.parametrize("used", [False, True])
def test_an_expired_entry_goes_before_a_living_one(used: bool) -> None:
    table = Table(3)
    table.add(host(1), 10, 0)
    if used:
        table.mark_used(host(1), 0)
        table.expire(1, 10)
    table.add(host(2), 20, 0)
    table.add(host(3), 20, 0)
    table.add(host(4), 30, 10)
    assert [table.find(host(number), 10) is not None for number in (2, 3, 4)] == [True, True, True]
    assert counters(table, "evicted", "successful", "direct-to-fake") == (0, int(used), int(not used))


def test_where_all_are_proven_the_oldest_makes_room() -> None:
    table = Table(2)
    for number in (1, 2):
        table.add(host(number), 10, 0)
        table.prove(host(number), 0)
    table.add(host(3), 15, 5)
    assert [table.find(host(number), 5) is not None for number in (1, 2, 3)] == [False, True, True]
    # The newcomer is not proven: it goes before the other one.
    table.add(host(4), 15, 5)
    assert [table.find(host(number), 5) is not None for number in (2, 3, 4)] == [True, False, True]
    assert counters(table, "entries", "evicted", "added") == (2, 2, 4)


def test_proven_hosts_survive_a_flood() -> None:
    """However long the run of proven hosts is, it is the others behind it that make room."""
    capacity, proven, flood = 4000, 2000, 20_000
    table = Table(capacity)
    for number in range(proven):
        table.add(host(number), LIFETIME, 0)
        table.prove(host(number), 0)
    for number in range(10_000, 10_000 + flood):
        table.add(host(number), LIFETIME, 0)
        table.mark_used(host(number), 0)
    assert all(table.find(host(number), 1) for number in range(proven))
    assert counters(table, "evicted") == (flood - (capacity - proven),)
    assert len(table) == capacity


def test_proven_hosts_leave_room_for_newcomers() -> None:
    """Among a thousand proven hosts newcomers keep a sixteenth, so that they do not push out each other at once."""
    table = Table(1000)
    for number in range(1000):
        table.add(host(number), LIFETIME, 0)
        table.prove(host(number), 0)
    for number in range(5000, 5500):
        table.add(host(number), LIFETIME, 0)
    assert sum(table.find(host(number), 0) is not None for number in range(1000)) == 1000 - 63
    assert all(table.find(host(number), 0) for number in range(5500 - 63, 5500))


def test_whoever_is_renewed_is_the_youngest() -> None:
    table = Table(3)
    for number in (1, 2, 3):
        table.add(host(number), LIFETIME, 0)
    assert table.renew(host(1), LIFETIME + 1, 0)
    table.add(host(4), LIFETIME, 0)
    assert [table.find(host(number), 1) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]


@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 11, 12, 13, 15, 16, 17, 63, 64, 65, 255, 256, 1000])
@pytest.mark.parametrize("collide", [False, True])
def test_every_size_can_be_filled(capacity: int, collide: bool) -> None:
    table = Table(capacity, collide=collide)
    for _ in range(2):
        for number in range(capacity):
            table.add(host(number), LIFETIME, 0)
        assert all(table.find(host(number), 0) for number in range(capacity))
        assert table.find(host(capacity), 0) is None
        assert counters(table, "entries", "evicted") == (capacity, 0)
        table.sweep(LIFETIME)
        assert not any(table.find(host(number), 0) for number in range(capacity))


# ---- shards


def test_a_host_is_found_in_any_shard() -> None:
    table = Table(9, 3)
    for shard in range(3):
        table.add(host(shard), 10, 0, shard=shard)
    assert [table.find(host(shard), 0) for shard in range(3)] == [(10, False, False)] * 3
    assert [table.mark_used(host(shard), 0) for shard in range(3)] == [True] * 3
    table.sweep(10)
    assert counters(table, "successful", "entries") == (3, 0)


def test_an_expired_entry_hides_no_living_one_of_another_shard() -> None:
    table = Table(4, 2)
    table.add(host(1), 10, 0, shard=0)
    table.add(host(1), 30, 10, shard=1)
    assert table.find(host(1), 10) == (30, False, False)
    assert table.mark_used(host(1), 10)
    table.sweep(10)
    assert counters(table, "entries", "successful", "direct-to-fake") == (1, 0, 1)


@pytest.mark.parametrize(("max_entries", "shards"), [(1, 1), (2, 2), (5, 2), (7, 3), (64, 64), (100, 7)])
def test_the_bound_holds_over_all_shards(max_entries: int, shards: int) -> None:
    table = Table(max_entries, shards)
    numbers = count()
    for shard in range(shards):
        own = max_entries // shards + (shard < max_entries % shards)
        for _ in range(own):
            table.add(host(next(numbers)), LIFETIME, 0, shard=shard)
        assert counters(table, "evicted") == (shard,)
        table.add(host(next(numbers)), LIFETIME, 0, shard=shard)
    assert len(table) == max_entries == table.max_entries
    assert table.shard_count == shards


# ---- the border to Python


@pytest.mark.parametrize(("max_entries", "shards"), [
    (0, 1), (-1, 1), (1, 0), (1, 2), (MAX_ENTRIES_LIMIT + 1, 1), (5, -1),
])
def test_sizes_out_of_range(max_entries: int, shards: int) -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        Table(max_entries, shards)


def test_wrong_arguments() -> None:
    for key in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            Table(1, key=key)
    table = Table(2, 2)
    for address in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            table.add(address, 1, 0)
        with pytest.raises(ValueError, match="16 bytes"):
            table.find(address, 0)
        with pytest.raises(ValueError, match="16 bytes"):
            table.mark_used(address, 0)
    with pytest.raises(TypeError):
        table.find(None, 0)  # type: ignore[arg-type]
    for shard in (-1, 2):
        with pytest.raises(IndexError):
            table.add(host(1), 1, 0, shard=shard)
        with pytest.raises(IndexError):
            table.expire(0, 1, shard=shard)
    with pytest.raises(OverflowError):
        table.add(host(1), -1, 0)
    assert len(table) == 0


def test_the_key_is_random_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    monkeypatch.setattr("os.urandom", urandom)
    Table(1, key=KEY)
    assert asked == []
    Table(1)
    assert asked == [16]
