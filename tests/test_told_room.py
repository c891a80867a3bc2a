"""Told places that are full: who makes room for whom, and who hears of it."""
from pathlib import Path

import pytest

from mxallowd.engine._table import CONTACT, PEER, Table
from mxallowd.engine._told import HAS_MADE_ROOM, MOST_GATEWAY, SAID_PROVEN, Taken, take
from mxallowd.whitelist import Whitelist
from tests.memory_target import HOUR_US, Scene, run
from tests.strategies import record
from tests.test_memories import FLEET
from tests.test_state import Life
from tests.test_told import HOUR_S, NOW, SECOND, counts, host, tell, told_table, wire

PLACES = 32
UNKNOWN = MOST_GATEWAY + 2


def gone(taken: Taken) -> list[bytes]:
    hosts = [taken.hosts[at : at + 16] for at in range(0, len(taken.hosts), 16)]
    return [one for one, what in zip(hosts, taken.became, strict=True) if what == HAS_MADE_ROOM]


def whose(taken: Taken) -> set[int]:
    return set(memoryview(taken.gateways).cast("H"))


def say(table: Table, *numbers: int, gateway: int = 1, proven: bool = False, most: int = 0) -> Taken:
    return take(table, b"".join(wire(host(number), flags=SAID_PROVEN if proven else 0) for number in numbers), NOW,
                age_us=0, longest_us=HOUR_S * SECOND, gateway=gateway, most=most)


@pytest.fixture
def table() -> Table:
    return told_table(told=PLACES)


def test_the_oldest_makes_room_for_a_newer_one(table: Table) -> None:
    say(table, *range(PLACES))
    # This one is young again.
    tell(table, wire(host(0), HOUR_S), now=NOW + 10 * SECOND)
    taken = say(table, 100, 101)
    assert gone(taken) == [host(1), host(2)]
    assert (whose(taken), counts(taken), table.counters()["evicted"]) == ({1}, {"entered": 2}, 2)
    assert [table.find(host(number), NOW) is not None for number in (0, 1, 2, 3, 100)] == [
        True, False, False, True, True]


def test_who_came_and_went_in_one_batch_is_said_in_that_order(table: Table) -> None:
    taken = say(table, *range(200))
    assert gone(taken) == [host(number) for number in range(200 - PLACES)]
    at = [taken.hosts[one : one + 16] for one in range(0, len(taken.hosts), 16)].index
    assert at(host(PLACES)) == at(host(0), at(host(0)) + 1) + 1


def test_proven_ones_go_last(table: Table) -> None:
    say(table, *range(4), proven=True)
    say(table, *range(4, PLACES))
    say(table, *range(100, 100 + 10 * PLACES))
    assert all(table.is_proven(host(number), NOW) for number in range(4))
    # One that was proven here counts as well, and so does what its gateway says of one that it has told before.
    table.prove(host(99 + 10 * PLACES), NOW)
    say(table, 98 + 10 * PLACES, proven=True)
    say(table, *range(1000, 1000 + 10 * PLACES))
    assert all(table.find(host(number), NOW) for number in (98 + 10 * PLACES, 99 + 10 * PLACES))


def test_where_all_are_proven_the_others_keep_a_sixteenth(table: Table) -> None:
    say(table, *range(10 * PLACES), proven=True)
    say(table, *range(1000, 1100))
    unproven = [number for number in range(1000, 1100) if table.find(host(number), NOW)]
    assert unproven == [1097, 1098, 1099]
    assert table.told_by(1) == PLACES


def test_a_flood_leaves_others_their_fair_share(table: Table) -> None:
    say(table, *range(10), gateway=2)
    for first in range(100, 2100, 50):
        say(table, *range(first, first + 50))
    assert (table.told_by(1), table.told_by(2)) == (PLACES - 10, 10)
    taken = say(table, *range(3000, 3030), gateway=2)
    assert (table.told_by(1), table.told_by(2)) == (PLACES // 2, PLACES // 2)
    assert whose(taken) == {1, 2}
    say(table, *range(4000, 4100))
    assert (table.told_by(1), table.told_by(2)) == (PLACES // 2, PLACES // 2)


def test_invented_names_share_what_is_left(table: Table) -> None:
    """Each one is a gateway like others: the places are shared by all, and nobody is kept out."""
    say(table, *range(PLACES), gateway=20, proven=True)
    for name in range(21, 28):
        say(table, *range(100 * name, 100 * name + 50), gateway=name)
    assert counts(say(table, 50, gateway=1)) == {"entered": 1}
    for name in range(20, 28):
        say(table, *range(5000 + 100 * name, 5050 + 100 * name), gateway=name, proven=True)
    assert table.find(host(50), NOW)
    assert min(table.told_by(name) for name in range(20, 28)) == PLACES // 9


def test_a_proven_entry_outlives_too_much_of_another_gateway(table: Table) -> None:
    say(table, *range(16), gateway=2, proven=True)
    say(table, *range(100, 116))
    say(table, 500, gateway=3)
    say(table, 501, gateway=2)
    assert all(table.find(host(number), NOW) for number in range(16))
    assert table.told_by(1) == 14


def test_of_more_than_it_may_have_its_own_oldest_goes(table: Table) -> None:
    taken = say(table, *range(10), most=4)
    assert gone(taken) == [host(number) for number in range(6)]
    assert (table.told, table.told_by(1)) == (4, 4)


def test_what_met_a_fake_here_makes_room_for_nobody(table: Table) -> None:
    say(table, *range(PLACES))
    assert sum(table.claim(host(number), NOW) for number in range(PLACES)) == PLACES // 2
    say(table, *range(100, 400))
    assert all(table.find(host(number), NOW) == (NOW + HOUR_S * SECOND, False, CONTACT)
               for number in range(PLACES // 2))
    # A copy that was read later may say so as well.
    say(table, *range(500, 500 + PLACES // 2))
    records = b"".join(record(host(500 + number), NOW + HOUR_S * SECOND, CONTACT) for number in range(PLACES // 2))
    table.restore(records, NOW, shard=0)
    assert counts(say(table, 600)) == {"left_out": 1}
    assert (table.told, table.told_by(1), table.counters()["evicted"]) == (PLACES, 0, 300 + PLACES // 2)


def test_what_was_told_before_a_restart_is_one_gateways(table: Table) -> None:
    table.restore(b"".join(record(host(number), NOW + HOUR_S * SECOND, PEER) for number in range(PLACES)), NOW, shard=1)
    taken = say(table, *range(100, 200))
    assert (table.told_by(UNKNOWN), table.told_by(1)) == (PLACES // 2, PLACES // 2)
    assert whose(taken) == {1, UNKNOWN}


def test_the_one_that_has_too_much_is_found_in_turns() -> None:
    """Of 5,000 gateways 64 are looked at for each record."""
    table = told_table(told=6000)
    for gateway in range(1, 5001):
        say(table, 10_000 + gateway, gateway=gateway)
    say(table, *range(900), gateway=6000)
    say(table, *range(900, 1200), gateway=6000)
    assert (table.told, table.told_by(6000)) == (6000, 1000)
    left_out = sum(say(table, 20_000 + number, gateway=7000).left_out for number in range(100))
    assert left_out <= 5002 // 64 + 1
    assert table.told_by(6000) == 1000 - table.told_by(7000)
    assert all(table.told_by(gateway) == 1 for gateway in range(1, 5001))


def test_a_local_host_always_finds_a_place() -> None:
    """Even where somebody adds one to a shard that has told places alone."""
    table = Table(6, 1, main=4, told=4)
    say(table, *range(4))
    table.claim(host(0), NOW)
    for number in range(10, 14):
        table.add(host(number), NOW + SECOND, NOW, shard=1)
    assert [table.find(host(number), NOW) is not None for number in (0, 1, 2, 3, 10, 11, 12, 13)] == [
        True, False, True, True, False, False, False, True]


# ---- copies

def test_a_kernel_table_has_none_that_made_room() -> None:
    async def story() -> None:
        # The last one made room before, and is there again.
        scene = Scene()
        scene.table = Table(1000, 1, main=100, told=8)
        scene.whitelist = Whitelist(scene.table)
        other = Scene(beside=scene)
        other.open()
        scene.whitelist.told(b"".join(wire(host(number)) for number in range(8)), age_us=0, longest_us=HOUR_US,
                             gateway=1, teller=None)
        await other.until(lambda: len(other.target.copied) == 8)
        scene.whitelist.told(b"".join(wire(host(number)) for number in (100, 101, 102, 0)), age_us=0,
                             longest_us=HOUR_US, gateway=1, teller=None)
        await other.until(lambda: other.target.copied.keys() == {
            host(number) for number in (100, 101, 102, 0, 4, 5, 6, 7)})
        other.mirror.close()

    run(story)


def test_a_state_directory_has_none_that_made_room(tmp_path: Path) -> None:
    def work(life: Life) -> None:
        for first in range(0, 400, 100):
            life.whitelist.told(b"".join(wire(host(number)) for number in range(first, first + 100)), age_us=0,
                                longest_us=HOUR_US, gateway=1, teller=None, most=90)

    before = Life(tmp_path / "state", FLEET).live(work)
    after = Life(tmp_path / "state", FLEET)
    after.begin()
    kept = [number for number in range(400) if after.whitelist.find(host(number))]
    assert kept == [number for number in range(400) if before.whitelist.find(host(number))]
    assert kept == list(range(310, 400))
