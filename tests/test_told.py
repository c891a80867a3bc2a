"""What other gateways tell, against a model in plain Python; told places, gateways, networks, hostile records."""
import random
import struct
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mxallowd.engine._meetings import Meetings
from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._saved import look_up
from mxallowd.engine._table import CHILD, CONTACT, LATEST_US, PEER, RESTORED, Table, table_bytes
from mxallowd.engine._told import (
    HAS_MADE_ROOM,
    HAS_MET,
    MOST_GATEWAY,
    SAID_PROVEN,
    SAID_USED,
    TOLD_SIZE,
    WAS_ENTERED,
    WAS_PROVEN,
    WAS_RENEWED,
    WAS_USED,
    Taken,
    end_told,
    take,
)
from tests.strategies import HOSTS, REAL, RECORD, packed, record

SECOND, HOUR_S = 1_000_000, 3600
KEY = bytes(range(16))
NOW = 10**12
WIRE = struct.Struct(">16sIBB2x")
COUNTS = ("entered", "renewed", "known", "left_out", "over", "no_hosts")
CLAIMED = -2
LONGEST_S, PROVEN_S = 600, 900


def host(number: int) -> bytes:
    return packed(f"198.51.{number >> 8}.{number & 255}")


def wire(address: bytes, left_s: int = HOUR_S, flags: int = 0, origin: int = CONTACT) -> bytes:
    return WIRE.pack(address, left_s, flags, origin)


def counts(taken: Taken) -> dict[str, int]:
    return {name: value for name in COUNTS if (value := getattr(taken, name))}


def tell(table: Table, *records: bytes, now: int = NOW, gateway: int = 1, age_us: int = 0) -> Taken:
    return take(table, b"".join(records), now, age_us=age_us, longest_us=HOUR_S * SECOND, gateway=gateway)


def told_table(told: int = 8, local: int = 4, rest: int = 8) -> Table:
    return Table(rest + local + told, 1, KEY, main=local + told, told=told)


# ---- random operations

@dataclass
class Known:
    """A listed host in the model."""

    until: int
    origin: int
    used: bool = False
    proven: bool = False
    gateway: int = 0  # who told first; -1: nobody, it is in no told place; CLAIMED: it was told once
    several: bool = False
    main: bool = False


class ToldMachine(RuleBasedStateMachine):
    """The same on both. Expired entries are removed before each step, so that places are exact."""

    collide: ClassVar = False
    KNOWN = 24

    @initialize(told=st.integers(1, 12), local=st.integers(1, 4))
    def start(self, told: int, local: int) -> None:
        self.told, self.local, self.now = told, local, NOW
        self.table = Table(64 + told + local, 2, KEY, main=told + local, told=told, collide=self.collide)
        self.model: dict[bytes, Known] = {}

    def sweep(self) -> None:
        self.table.sweep(self.now)
        self.model = {one: known for one, known in self.model.items() if known.until > self.now}

    def taken(self, *, told: bool) -> int:
        return sum((known.gateway != -1) == told for known in self.model.values() if known.main)

    def give_way(self, gateway: int, most: int, gone: list[bytes]) -> bool:
        """Whether there is room for one more of this gateway. Of hosts that make room, only some may."""
        has_all = 0 < most <= self.told_by(gateway)
        if not has_all and self.taken(told=True) < self.told:
            return True
        total = sum(known.gateway >= 0 for known in self.model.values())
        tellers = len({known.gateway for known in self.model.values() if known.gateway >= 0} | {gateway})
        content = has_all or self.told_by(gateway) * tellers >= total
        may = [one for one in sorted({known.gateway for known in self.model.values() if known.gateway >= 0})
               if (one == gateway and content) or (not has_all and self.told_by(one) * tellers > total)]
        unproven = [known for known in self.model.values() if known.gateway in may and not known.proven]
        if not may:
            return False
        # All shares here are below a sixteenth, so that proven ones go only where there are no others.
        went = self.model.pop(gone.pop(0))
        assert went.gateway in may
        assert went.origin == PEER
        if went.proven:
            assert not unproven
        return True

    def told_by(self, gateway: int) -> int:
        return sum(known.gateway == gateway for known in self.model.values())

    def tell_one(
        self, one: tuple[int, int, int, int], age_us: int, gateway: int, most: int, gone: list[bytes],
    ) -> tuple[str, int]:
        number, left_s, flags, origin = one
        longest = PROVEN_S if flags & SAID_PROVEN else LONGEST_S
        until = self.now + min(left_s, longest) * SECOND - age_us
        if number == 0 or flags & ~3:
            return "no_hosts", 0
        if until <= self.now:
            return "over", 0
        met = HAS_MET if origin == CONTACT else 0
        known = self.model.get(host(number))
        if known is None:
            if not self.give_way(gateway, most, gone):
                return "left_out", 0
            self.model[host(number)] = Known(
                until, PEER, bool(flags & SAID_USED), bool(flags & SAID_PROVEN), gateway, main=True)
            return "entered", WAS_ENTERED | met
        became = 0
        if known.origin == RESTORED:
            known.origin = PEER
        if flags & SAID_USED and not known.used:
            known.used, became = True, WAS_USED
        if flags & SAID_PROVEN and not known.proven:
            known.proven, became = True, became | WAS_PROVEN
        if until > known.until + SECOND:
            known.until, became = until, became | WAS_RENEWED
        if known.gateway == 0:
            known.gateway, known.several = gateway, False
        elif known.gateway > 0 and gateway != known.gateway and origin != PEER:
            known.several = True
        return ("renewed", became | met) if became else ("known", 0)

    @rule(records=st.lists(st.tuples(
        st.integers(0, KNOWN - 1), st.integers(0, 1000) | st.just(2**32 - 1),
        st.integers(0, 3) | st.sampled_from([0x40, 0x80, 0x84, 7]), st.integers(0, 9)), max_size=20),
        age_us=st.integers(0, 700 * SECOND) | st.just(0), gateway=st.integers(0, 3), most=st.integers(0, 6))
    def tell(self, records: list[tuple[int, int, int, int]], age_us: int, gateway: int, most: int) -> None:
        self.sweep()
        taken = take(
            self.table, b"".join(wire(host(number), left, flags, origin) for number, left, flags, origin in records),
            self.now, age_us=age_us, longest_us=LONGEST_S * SECOND, proven_us=PROVEN_S * SECOND, gateway=gateway,
            most=most, servers=host(0) + REAL[0])
        hosts = [taken.hosts[at : at + 16] for at in range(0, len(taken.hosts), 16)]
        gone = [one for one, what in zip(hosts, taken.became, strict=True) if what == HAS_MADE_ROOM]
        assert len(gone) == taken.made_room == len(taken.gateways) // 2
        came = [self.tell_one(one, age_us, gateway, most, gone) for one in records]
        assert gone == []
        assert [getattr(taken, name) for name in COUNTS] == [
            sum(word == name for word, _ in came) for name in COUNTS]
        changed = [(host(one[0]), what) for one, (_, what) in zip(records, came, strict=True) if what]
        assert [(one, what) for one, what in zip(hosts, taken.became, strict=True) if what != HAS_MADE_ROOM] == changed

    @rule(number=st.integers(1, KNOWN - 1), origin=st.sampled_from([CONTACT, CHILD, RESTORED]), shard=st.integers(0, 1))
    def add(self, number: int, origin: int, shard: int) -> None:
        self.sweep()
        if host(number) not in self.model:
            self.table.add(host(number), self.now + 50 * SECOND, self.now, origin=origin, shard=shard)
            self.model[host(number)] = Known(self.now + 50 * SECOND, origin, gateway=-1)

    @rule(number=st.integers(1, KNOWN - 1))
    def admit(self, number: int) -> None:
        self.sweep()
        room = host(number) not in self.model and self.taken(told=False) < self.local
        assert self.table.admit(host(number), self.now + 90 * SECOND, self.now) == room
        if room:
            self.model[host(number)] = Known(self.now + 90 * SECOND, CHILD, gateway=-1, main=True)

    @rule(number=st.integers(1, KNOWN - 1))
    def end(self, number: int) -> None:
        assert self.table.end(host(number), self.now) == (host(number) in self.live())
        self.model.pop(host(number), None)

    @rule(number=st.integers(1, KNOWN - 1))
    def meet(self, number: int) -> None:
        known = self.live().get(host(number))
        told = known is not None and known.origin == PEER
        told &= known is not None and (known.gateway == -1 or self.told_by(CLAIMED) < self.told // 2)
        assert self.table.claim(host(number), self.now) == told
        if known and told:
            known.origin = CONTACT
            known.gateway = CLAIMED if known.gateway != -1 else -1

    @rule(step=st.integers(1, 200))
    def wait(self, step: int) -> None:
        self.now += step * SECOND

    @rule(records=st.lists(st.tuples(st.integers(1, KNOWN - 1), st.integers(1, 100)), max_size=8))
    def restore(self, records: list[tuple[int, int]]) -> None:
        """What was told before a restart: nobody knows by whom."""
        self.sweep()
        for number, left in records:
            until = self.now + left * SECOND
            known = self.model.get(host(number))
            if known is not None:
                known.until = max(known.until, until)
                if known.origin == RESTORED and self.taken(told=True) < self.told:
                    known.gateway, known.main = 0, True
                known.origin = PEER if known.origin == RESTORED else known.origin
            elif self.taken(told=True) < self.told:
                self.model[host(number)] = Known(until, PEER, main=True)
            self.table.restore(record(host(number), until, PEER), self.now, shard=2)

    def live(self) -> dict[bytes, Known]:
        return {one: known for one, known in self.model.items() if known.until > self.now}

    @invariant()
    def agree(self) -> None:
        live = self.live()
        records, _ = self.table.entries(self.now, 0, 1000)
        assert sorted((one[0], one[1], one[2], bool(one[3]), bool(one[4])) for one in RECORD.iter_unpack(records)) \
            == sorted((one, known.until, known.origin, known.used, known.proven) for one, known in live.items())
        gateways = {one: max(known.gateway, 0) if known.origin == PEER else 0 for one, known in live.items()}
        assert {one: self.table.gateway(one, self.now) for one in live} == gateways
        looked_up = look_up(self.table, b"".join(live), self.now)
        for found in (records, looked_up):
            for at in range(0, len(found), RECORD_SIZE):
                assert struct.unpack_from("=H", found, at + 28)[0] == gateways[found[at : at + 16]]

    @invariant()
    def places(self) -> None:
        if not hasattr(self, "table"):
            return
        self.sweep()
        assert self.table.told == self.taken(told=True) <= self.told
        for gateway in (1, 2, 3):
            assert self.table.told_by(gateway) == sum(known.gateway == gateway for known in self.model.values())
            found, following = end_told(self.table, gateway, self.now, self.now, 10**9, 0, 1000)
            assert following == 0
            assert {found[at : at + 16] for at in range(0, len(found), 16)} == {
                one for one, known in self.model.items()
                if known.gateway == gateway and not known.several and known.origin == PEER}
        assert self.table.free(2) == self.local - self.taken(told=False)
        assert 64 - self.table.free(0) - self.table.free(1) == sum(not known.main for known in self.model.values())


class CollidingToldMachine(ToldMachine):
    """Every host in one line of the index, and on into the next."""

    collide = True


TestTold = ToldMachine.TestCase
TestTold.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestCollidingTold = CollidingToldMachine.TestCase
TestCollidingTold.settings = settings(max_examples=6, stateful_step_count=30, deadline=None)


# ---- places

def test_what_is_told_takes_nobodys_place() -> None:
    """However much is told, contacts and children have as much room as without it, and nobody goes."""
    table = told_table()
    for number in range(8):
        table.add(host(1000 + number), NOW + SECOND, NOW)
    taken = tell(table, *(wire(host(number)) for number in range(100)))
    assert counts(taken) == {"entered": 100}
    assert (table.told, taken.made_room, table.counters()["evicted"]) == (8, 92, 92)
    assert [table.admit(host(500 + number), NOW + HOUR_S, NOW) for number in range(5)] == [True] * 4 + [False]
    assert all(table.find(host(1000 + number), NOW) for number in range(8))


def test_children_leave_told_places_alone() -> None:
    table = told_table()
    assert sum(table.admit(host(number), NOW + SECOND, NOW) for number in range(100)) == 4
    assert counts(tell(table, *(wire(host(200 + number)) for number in range(9)))) == {"entered": 9}
    assert (table.told, sum(table.find(host(number), NOW) is not None for number in range(100))) == (8, 4)


def test_expired_told_entries_make_room_at_last() -> None:
    """They may stand behind living ones; nobody has to sweep the table."""
    table = told_table(told=200, local=50)
    tell(table, *(wire(host(number), 3000 if number % 2 else 10) for number in range(200)))
    later = NOW + 20 * SECOND
    made_room = sum(tell(table, wire(host(1000 + number)), now=later).made_room for number in range(104))
    assert (made_room, table.told) == (4, 200)


def test_the_room_is_that_of_who_may_come_here() -> None:
    """Free told places are none for a contact: a whitelist is full without them."""
    table = told_table(told=100, local=4, rest=8)
    assert (table.room, table.max_entries) == (12, 112)
    tell(table, *(wire(host(number)) for number in range(30)))
    assert (table.room, len(table)) == (42, 30)


def test_an_ended_entry_gives_its_place_back() -> None:
    table = told_table(told=2)
    tell(table, wire(host(1)), wire(host(2)))
    table.end(host(1), NOW)
    assert counts(tell(table, wire(host(3)))) == {"entered": 1}
    assert (table.told, table.told_by(1)) == (2, 2)


def test_a_contact_keeps_its_told_place() -> None:
    """Else contacts of told hosts would fill the places of children."""
    table = told_table(told=4, local=1)
    tell(table, *(wire(host(number)) for number in range(1, 5)))
    assert table.claim(host(1), NOW) and table.claim(host(2), NOW)
    # Not more than half, or made-up contacts had all told places.
    assert not table.claim(host(1), NOW) and not table.claim(host(3), NOW)
    assert table.claim(host(4), NOW, CHILD)
    assert table.find(host(1), NOW) == (NOW + HOUR_S * SECOND, False, CONTACT)
    assert table.gateway(host(1), NOW) == 0
    assert table.free(1) == 1
    assert counts(tell(table, *(wire(host(number)) for number in range(5, 9)))) == {"entered": 4}
    assert [table.find(host(number), NOW) is not None for number in range(1, 9)] == [
        True, True, False, True, False, False, False, True]


def test_what_the_firewall_brought_back_gives_its_place_to_contacts() -> None:
    """The disk says later that it was told: where all places of contacts were full of such hosts, they are free then.
    """
    table = told_table(told=16, local=4, rest=8)
    for number in range(8):
        table.add(host(number), NOW + 100 * SECOND, NOW, origin=RESTORED)
    table.mark_used(host(1), NOW)
    assert table.free(0) == 0
    records = b"".join(record(host(number), NOW + (50 + 20 * number) * SECOND, PEER, False, number == 2)
                       for number in range(8))
    assert table.restore(records, NOW, shard=1) == (0, 8, 0, 0)
    assert [table.find(host(number), NOW) for number in (1, 2, 5)] == [
        (NOW + 100 * SECOND, True, PEER), (NOW + 100 * SECOND, False, PEER), (NOW + 150 * SECOND, False, PEER)]
    assert table.is_proven(host(2), NOW) and not table.is_proven(host(1), NOW)
    assert len(table) == 8
    table.sweep(NOW)
    assert (table.told, table.free(0), len(table), table.counters()["evicted"]) == (8, 8, 8, 0)


# ---- single records

@pytest.mark.parametrize("address", [
    bytes(16), bytes(15) + b"\1", packed("127.0.0.1"), packed("224.0.0.1"), packed("255.255.255.255"),
    packed("0.1.2.3"), packed("169.254.1.1"), packed("fe80::1"), packed("ff02::1"), REAL[0], REAL[1]])
def test_what_is_no_host_is_not_entered(address: bytes) -> None:
    table = told_table()
    taken = take(table, wire(address), NOW, age_us=0, longest_us=SECOND, servers=b"".join(REAL))
    assert (counts(taken), taken.hosts, table.told) == ({"no_hosts": 1}, b"", 0)


@pytest.mark.parametrize(("left_s", "age_us", "left_us"), [
    (0, 0, 0), (1, 0, SECOND), (1, SECOND, 0), (1, SECOND - 1, 1), (2**32 - 1, 0, HOUR_S * SECOND),
    (2**32 - 1, HOUR_S * SECOND - 1, 1), (2**32 - 1, HOUR_S * SECOND, 0), (1, 2**63, 0)])
def test_lifetimes_clip(left_s: int, age_us: int, left_us: int) -> None:
    table = told_table()
    taken = tell(table, wire(host(1), left_s), age_us=age_us)
    assert counts(taken) == ({"entered": 1} if left_us else {"over": 1})
    found = table.find(host(1), NOW)
    assert (found[0] - NOW if found else 0) == left_us


def test_the_latest_time_is_the_end() -> None:
    table = told_table()
    take(table, wire(host(1), 2**32 - 1), LATEST_US - SECOND, age_us=0, longest_us=2**62)
    assert table.find(host(1), LATEST_US - SECOND) == (LATEST_US, False, PEER)


def test_what_is_told_never_shortens() -> None:
    table = told_table()
    table.add(host(1), NOW + HOUR_S * SECOND, NOW)
    assert counts(tell(table, wire(host(1), 5))) == {"known": 1}
    assert table.find(host(1), NOW) == (NOW + HOUR_S * SECOND, False, CONTACT)


@pytest.mark.parametrize(("call", "text"), [
    (lambda: take(Table(8, 1, main=2), b"", NOW, age_us=0, longest_us=1), "no places"),
    (lambda: take(Table(8), b"", NOW, age_us=0, longest_us=1), "no places"),
    (lambda: take(told_table(), bytes(TOLD_SIZE - 1), NOW, age_us=0, longest_us=1), "no records"),
    (lambda: take(told_table(), b"", NOW, age_us=0, longest_us=1, servers=bytes(15)), "no records"),
    (lambda: take(told_table(), b"", NOW, age_us=0, longest_us=1, gateway=MOST_GATEWAY + 1), "no gateway"),
    (lambda: take(told_table(), b"", NOW, age_us=0, longest_us=1, gateway=-1), "no gateway"),
    (lambda: end_told(told_table(), MOST_GATEWAY + 1, 0, 0, 0, 0, 1), "no gateway"),
    (lambda: told_table().told_by(0), "no gateway"), (lambda: Table(8, 1, main=2, told=3), "none for 3")])
def test_what_makes_no_sense_is_refused(call: object, text: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=text):
        call()


def test_any_bytes_do_no_harm() -> None:
    chance = random.Random(5)
    table = told_table(told=40)
    for _ in range(200):
        taken = tell(table, chance.randbytes(TOLD_SIZE * 50), age_us=chance.randrange(2**40))
        assert sum(counts(taken).values()) == 50
        assert table.told <= 40


# ---- gateways

def test_a_flush_of_a_gateway_is_found_in_slices() -> None:
    table = told_table(told=300)
    tell(table, *(wire(host(number)) for number in range(100)), gateway=1)
    tell(table, *(wire(host(100 + number)) for number in range(100)), gateway=2)
    # Both of them know these.
    tell(table, *(wire(host(number)) for number in range(10)), gateway=2)
    # Who says again what he was told is no second one.
    tell(table, *(wire(host(number), origin=PEER) for number in range(50)), gateway=3)
    found, start, slices = b"", -1, 0
    while start:
        hosts, start = end_told(table, 1, NOW, NOW, HOUR_S * SECOND, max(0, start), 32)
        found, slices = found + hosts, slices + 1
    assert {found[at : at + 16] for at in range(0, len(found), 16)} == {host(number) for number in range(10, 100)}
    assert slices == 7


def test_what_was_told_after_a_flush_stays() -> None:
    table = told_table()
    tell(table, wire(host(1)), gateway=1)
    tell(table, wire(host(2)), gateway=1, now=NOW + 10 * SECOND)
    found, _ = end_told(table, 1, NOW + 5 * SECOND, NOW + 10 * SECOND, HOUR_S * SECOND, 0, 100)
    assert found == host(1)


def test_memory_is_counted() -> None:
    assert table_bytes(1000, told=100, main=200) == table_bytes(1000) + 2 * 201 + 30 * 32768


# ---- networks

def meetings_told(table: Table, meetings: Meetings, *records: bytes) -> None:
    take(table, b"".join(records), NOW, age_us=0, longest_us=HOUR_S * SECOND, gateway=1, meetings=meetings)


def test_a_contact_elsewhere_lets_in_its_network() -> None:
    table, meetings = told_table(), Meetings(64, 24, 64)
    meetings_told(table, meetings, wire(HOSTS[0]), wire(host(7 << 8), origin=CHILD))
    assert meetings.find(HOSTS[1], NOW) == NOW + HOUR_S * SECOND
    assert meetings.find(host(7 << 8), NOW) is None


def test_told_networks_push_out_nobody() -> None:
    table, meetings = told_table(told=4000), Meetings(4, 24, 64)
    for number in range(4):
        meetings.note(packed(f"192.0.{number}.1"), NOW + SECOND, NOW)
    meetings_told(table, meetings, *(wire(host(number << 8)) for number in range(200)))
    assert all(meetings.find(packed(f"192.0.{number}.1"), NOW) for number in range(4))
    assert meetings.counters()["networks-pushed-out"] == 0
