"""What a gateway says: each change once, at a pace, again after a loss; and that a removal is never said behind."""
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, PEER, Table
from mxallowd.engine.events import MAPPED
from mxallowd.fleet.batch import FLUSH, MOST_BYTES, NAME, PROVEN, RECORD, REMOVE, USED, WAY, Note, unseal
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import MOST_FLUSHES, MOST_RECORDS, MOST_REMOVALS, RECORDS_PER_S, REMOVALS_PER_S
from mxallowd.fleet.saying import (
    FLUSHES_BURST,
    HELLO_US,
    MAX_DIRTY,
    RECORDS_BURST,
    REMOVALS_BURST,
    Said,
    Saying,
)
from mxallowd.fleet.saying import RECORDS_PER_S as SAID_PER_S
from mxallowd.fleet.saying import REMOVALS_PER_S as REMOVALS_SAID_PER_S
from mxallowd.whitelist import Whitelist

LONGEST_S = 3600
S = 1_000_000
KEYS = Keys([bytes(range(32))], "example")


def host(number: int) -> bytes:
    return MAPPED + (0x0A000000 + number).to_bytes(4, "big")


class Gateway:
    """A whitelist with a clock of its own, and what it says."""

    def __init__(self, entries: int = 4096) -> None:
        self.now_us = 1_000_000 * S
        self.table = Table(entries, main=1024)
        self.whitelist = Whitelist(self.table, lambda: self.now_us)
        self.saying = Saying(self.whitelist, self.table, "mx1", LONGEST_S)
        self.saying.follow()
        self.id_ms = 0

    def contact(self, *numbers: int, left_s: float = LONGEST_S, origin: int = CONTACT) -> None:
        for number in numbers:
            self.table.add(host(number), self.now_us + int(left_s * S), self.now_us, origin=origin)
        self.saying.touched([host(number) for number in numbers])

    def load(self) -> None:
        """The stream was read; it has all own entries there are."""
        self.saying.loaded({}, (0, 0), self.now_us // 1000)
        self.all()

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * S)

    def say(self, *, fails: bool = False) -> Said | None:
        said = self.saying.take()
        if said is not None and fails:
            self.saying.failed(said)
        elif said is not None:
            self.saying.message(said, KEYS)
            self.saying.done(said, (self.now_us // 1000, 0))
        return said

    def all(self, step_s: float = 0.01, most: int = 5000) -> list[tuple[int, str]]:
        """All that is said until there is nothing more: number of the host, and what."""
        found: list[tuple[int, str]] = []
        for _ in range(most):
            said = self.say()
            if said is not None:
                found += records(said)
            elif not self.saying.due() and not self.saying.in_round:
                return found
            self.pass_s(step_s)
        raise AssertionError("it does not end")


def records(said: Said) -> list[tuple[int, str]]:
    found = []
    for one, left, flags, origin, left_ms in RECORD.iter_unpack(said.records):
        number = int.from_bytes(one[12:], "big") - 0x0A000000
        if flags & FLUSH:
            found.append((0, f"flush {left}"))
        elif flags & REMOVE:
            found.append((number, f"remove {left}"))
        else:
            marks = ("u" if flags & USED else "") + ("p" if flags & PROVEN else "")
            found.append((number, f"{left + left_ms / 1000:.10g} {origin} {marks}".strip()))
    return found


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.load()
    return made


def test_a_contact_is_said_once_as_it_is_by_its_turn(gateway: Gateway) -> None:
    gateway.contact(1)
    gateway.contact(1)
    gateway.pass_s(0.5)
    gateway.table.mark_used(host(1), gateway.now_us)
    gateway.table.prove(host(1), gateway.now_us)
    assert gateway.all() == [(1, "3599.5 0 up")]


def test_each_change_of_its_own_is_said(gateway: Gateway) -> None:
    whitelist, now_us = gateway.whitelist, gateway.now_us
    whitelist.admit(host(1), now_us + 60 * S, now_us, origin=CHILD, note="mail.example.org")
    whitelist.admit(host(2), now_us + 10**7 * S, now_us, origin=BY_HAND, note="n\u00e4her")
    said = gateway.say()
    assert said is not None
    assert records(said) == [(1, "60 1"), (2, "10000000 2")]
    assert said.notes == [Note(0, WAY, "mail.example.org"), Note(1, WAY, "n\u00e4her")]
    whitelist.prove(host(1))
    whitelist.renew(host(2), now_us + 2 * 10**7 * S, now_us)
    whitelist.annotate(host(2), "other")
    assert gateway.all() == [(1, "60 1 p"), (2, "20000000 2")]


def test_what_another_gateway_told_is_said_with_what_happened_here(gateway: Gateway) -> None:
    gateway.contact(1, origin=PEER)
    gateway.table.mark_used(host(1), gateway.now_us)
    assert gateway.all() == [(1, f"{LONGEST_S} {PEER} u")]
    gateway.saying.missed()
    assert gateway.all() == []


def test_what_is_over_or_pushed_out_is_not_said(gateway: Gateway) -> None:
    gateway.contact(1, left_s=1.5)
    gateway.contact(2, left_s=0.0009)
    gateway.contact(3)
    gateway.table.end(host(3), gateway.now_us)
    # Rounded down: an entry ends nowhere later than here.
    assert gateway.all() == [(1, "1.5 0")]


def test_confirmed_names_of_a_contact_are_said_with_it(gateway: Gateway) -> None:
    gateway.contact(1)
    assert gateway.say() is not None
    gateway.saying.named(host(1), [f"mx{number}.example.org" for number in range(9)])
    said = gateway.say()
    assert said is not None
    assert said.notes == [Note(0, NAME, f"mx{number}.example.org") for number in range(4)]
    # In a round as well.
    gateway.saying.missed()
    gateway.say()
    gateway.pass_s(1)
    again = gateway.say()
    assert again is not None
    assert again.notes == said.notes


def test_notes_leave_room_for_fewer_hosts(gateway: Gateway) -> None:
    now_us = gateway.now_us
    for number in range(100):
        gateway.whitelist.admit(host(number), now_us + 60 * S, now_us, note="\u20ac" * 200)
    sizes, hosts = [], []
    while (said := gateway.say()) is not None:
        message = gateway.saying.message(said, KEYS)
        assert len(unseal(message, KEYS).notes) == len(said.notes) == len(said.hosts)
        sizes.append(len(message))
        hosts += records(said)
    assert [number for number, _ in hosts] == list(range(100))
    assert max(sizes) <= MOST_BYTES
    assert min(sizes[:-1]) > MOST_BYTES - 300


# ---- removals and flushes

def test_a_removal_is_said_with_its_time_and_before_what_came_after_it(gateway: Gateway) -> None:
    gateway.contact(1, 2)
    gateway.all()
    gateway.whitelist.end(host(1))
    gateway.pass_s(0.25)
    gateway.contact(1)
    assert gateway.all() == [(1, "remove 250"), (1, f"{LONGEST_S} 0")]


def test_who_comes_again_is_not_said_before_his_removal(gateway: Gateway) -> None:
    """Removals are paced, so some wait; a contact that was said first would be taken out by its own old removal."""
    count = REMOVALS_BURST + 300
    gateway.contact(*range(count))
    gateway.all()
    for number in range(count):
        gateway.whitelist.end(host(number))
    gateway.contact(*range(count))
    removed: set[int] = set()
    for number, what in gateway.all():
        if what.startswith("remove"):
            removed.add(number)
        else:
            assert number in removed
    assert len(removed) == count


def test_a_removal_that_failed_keeps_its_time(gateway: Gateway) -> None:
    gateway.contact(1)
    gateway.all()
    gateway.whitelist.end(host(1))
    gateway.say(fails=True)
    gateway.pass_s(30)
    assert gateway.all() == [(1, "remove 30000")]


def test_a_flush_is_one_record_before_all_others(gateway: Gateway) -> None:
    gateway.contact(*range(20))
    gateway.saying.flushed()
    for number in range(20):
        gateway.table.end(host(number), gateway.now_us)
    gateway.pass_s(0.1)
    gateway.contact(3)
    assert gateway.all() == [(0, "flush 100"), (3, f"{LONGEST_S} 0")]
    gateway.saying.flushed()
    gateway.say(fails=True)
    gateway.pass_s(2)
    assert gateway.all() == [(0, "flush 2000")]


def test_flushes_in_a_row_are_said_as_often_as_others_take_them(gateway: Gateway) -> None:
    said = []
    for _ in range(100):
        gateway.saying.flushed()
        said += [what for one in [gateway.say()] if one is not None for _, what in records(one)]
        gateway.pass_s(1)
    assert len(said) == FLUSHES_BURST + 1
    gateway.pass_s(60)
    assert gateway.all(step_s=1) == [(0, "flush 61000")]


# ---- what is lost, and said again

def test_what_failed_is_said_again_as_it_is_by_then(gateway: Gateway) -> None:
    gateway.contact(1, 2, 3)
    gateway.say(fails=True)
    gateway.contact(4)
    gateway.table.end(host(2), gateway.now_us)
    gateway.pass_s(10)
    assert gateway.all() == [(1, "3590 0"), (3, "3590 0"), (4, "3590 0")]


def test_what_was_said_last_is_said_again_after_a_loss(gateway: Gateway) -> None:
    gateway.contact(1)
    gateway.all()
    gateway.pass_s(5.5)
    gateway.contact(2)
    gateway.all()
    gateway.whitelist.end(host(2))
    gateway.all()
    gateway.pass_s(0.5)
    gateway.contact(3)
    gateway.all()
    # However long nobody sees that it is lost.
    gateway.pass_s(30)
    gateway.saying.lost()
    assert [number for number, _ in gateway.all()] == [2, 3]
    gateway.saying.lost()
    gateway.saying.lost()
    assert [number for number, _ in gateway.all()] == [2, 3]


def test_each_try_is_a_message_of_its_own(gateway: Gateway) -> None:
    gateway.contact(1)
    said = gateway.saying.take()
    assert said is not None
    first, second = (unseal(gateway.saying.message(said, KEYS), KEYS) for _ in range(2))
    assert second.sequence == first.sequence + 1
    assert (first.origin, first.epoch, first.time_s) == ("mx1", gateway.saying.run.epoch, LONGEST_S)
    assert Gateway().saying.run.epoch != gateway.saying.run.epoch


def test_who_has_nothing_to_say_says_so_once_a_minute(gateway: Gateway) -> None:
    gateway.pass_s(HELLO_US / S - 2)
    assert not gateway.saying.due()
    assert gateway.say() is None
    gateway.pass_s(2)
    assert gateway.saying.due()
    said = gateway.say()
    assert said is not None
    assert said.records == b""
    assert unseal(gateway.saying.message(said, KEYS), KEYS).records == b""
    assert gateway.say() is None


def test_it_says_when_there_is_something_to_say(gateway: Gateway) -> None:
    woken: list[int] = []
    gateway.saying.wake = lambda: woken.append(1)
    gateway.contact(1)
    gateway.whitelist.end(host(1))
    gateway.saying.flushed()
    assert len(woken) >= 3


# ---- bounds

def said_within(gateway: Gateway, seconds: float) -> int:
    count = 0
    for _ in range(int(seconds * 200)):
        for _ in range(20):
            said = gateway.say()
            if said is None:
                break
            count += len(records(said))
        gateway.pass_s(0.005)
    return count


def test_the_pace_is_one_that_others_take() -> None:
    """A burst and two seconds of it, as a peer counts them, with a tenth to spare."""
    assert RECORDS_BURST < MOST_RECORDS
    assert SAID_PER_S < RECORDS_PER_S
    assert REMOVALS_BURST < MOST_REMOVALS
    assert REMOVALS_SAID_PER_S < REMOVALS_PER_S
    assert FLUSHES_BURST <= MOST_FLUSHES
    gateway = Gateway(entries=MAX_DIRTY)
    gateway.load()
    gateway.pass_s(10)
    gateway.contact(*range(60_000))
    assert RECORDS_BURST < said_within(gateway, 0.5) < RECORDS_BURST + 0.6 * SAID_PER_S


def test_marks_that_find_no_room_become_a_round(gateway: Gateway) -> None:
    gateway.contact(*range(3000))
    for base in range(0, 3 * MAX_DIRTY, 1024):
        gateway.saying.touched([host(1 << 20 | number) for number in range(base, base + 1024)])
    assert gateway.saying.waiting <= MAX_DIRTY
    assert gateway.saying.counters()["dirty-overflows"] > 0
    said = [number for number, _ in gateway.all()]
    assert set(said) == set(range(3000))


def test_failures_do_not_gather_without_end(gateway: Gateway) -> None:
    gateway.contact(*range(1000))
    for _ in range(400):
        gateway.say(fails=True)
        gateway.saying.lost()
        gateway.pass_s(0.01)
    assert gateway.saying.waiting <= 1000
    assert {number for number, _ in gateway.all()} == set(range(1000))


# ---- all of it together

class Others:
    """What others make of messages in the order of the stream, by the rules of hearing: host, and whether listed."""

    def __init__(self) -> None:
        self.hosts: set[int] = set()
        self.highest = -1

    def hear(self, sequence: int, said: Said) -> None:
        if sequence <= self.highest:
            return
        self.highest = sequence
        for number, what in records(said):
            if what.startswith("flush"):
                self.hosts.clear()
            elif what.startswith("remove"):
                self.hosts.discard(number)
            else:
                self.hosts.add(number)


STEPS = st.lists(st.tuples(st.sampled_from(
    ("contact", "contact", "end", "flush", "say", "say", "fail", "unknown", "late", "lost", "emptied", "missed")),
    st.integers(0, 7)), max_size=60)


@settings(max_examples=300)
@given(STEPS)
def test_whatever_fails_all_end_with_what_it_has(steps: Sequence[tuple[str, int]]) -> None:
    """One gateway heard all that came into the stream, and another one comes at the end and loads what it has."""
    gateway, present = Gateway(2048), Others()
    saying = gateway.saying

    def now_ms() -> int:
        return gateway.now_us // 1000

    saying.loaded({}, None, now_ms())
    stream: list[tuple[int, int, Said]] = []
    late: list[tuple[int, Said]] = []
    sequence = 0

    def land(number: int, said: Said) -> None:
        stream.append((now_ms(), number, said))
        present.hear(number, said)

    def say(step: str) -> None:
        nonlocal sequence
        said = saying.take()
        if said is None:
            return
        sequence += 1
        saying.message(said, KEYS)
        if step in ("say", "unknown"):
            land(sequence, said)
        if step == "late":
            late.append((sequence, said))
        if step == "say":
            saying.done(said, (now_ms(), 0))
        else:
            saying.failed(said)

    for step, number in steps:
        gateway.pass_s(0.3)
        if step == "contact":
            gateway.contact(number)
        elif step == "end":
            gateway.whitelist.end(host(number))
        elif step == "flush":
            saying.flushed()
            for other in range(8):
                gateway.table.end(host(other), gateway.now_us)
        elif step == "lost":
            saying.lost()
        elif step == "emptied":
            stream.clear()
        elif step == "missed":
            saying.missed()
        else:
            say(step)
    # Connected again, what was given up may come in between.
    saying.lost()
    saying.check((stream[0][0], 0) if stream else None, now_ms())
    for _ in range(500):
        gateway.pass_s(0.5)
        say("say")
        if late:
            land(*late.pop(0))
        if not late and not saying.due() and not saying.in_round:
            break
    newcomer = Others()
    for _, number, said in stream:
        newcomer.hear(number, said)
    listed = {number for number in range(8) if gateway.whitelist.find(host(number))}
    assert present.hosts == listed
    assert newcomer.hosts == listed


def test_who_comes_after_a_fault_does_not_wait_for_all_others() -> None:
    """Half of each batch is for the newest ones, and nobody is left out."""
    gateway = Gateway(entries=32_768)
    gateway.load()
    gateway.contact(*range(20_000))
    gateway.say()
    gateway.contact(20_001, 20_002)
    said = gateway.say()
    assert said is not None
    assert {number for number, _ in records(said)} >= {20_001, 20_002}
    assert len(said.hosts) == 256
    assert {number for number, _ in gateway.all()} >= set(range(1000, 20_000))
