"""What waits to be said stays within its bounds, and what finds no room is counted."""
import asyncio
import time
from collections.abc import Sequence

import pytest

from mxallowd.fleet import saying
from mxallowd.fleet.batch import NAME, Note
from mxallowd.fleet.peers import MOST_RECORDS
from mxallowd.whitelist import Change
from tests.fleet_stream import Receiver, Sender, entries, finished
from tests.test_fleet_saying import Gateway, S, host


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.load()
    return made


def test_removals_that_find_no_room_are_counted(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saying, "MAX_ENDED", 4)
    gateway.contact(*range(8))
    gateway.all()
    for number in (0, 1, 2, 3, 4, 5, 0):
        gateway.saying.changed(host(number), Change.ENDED)
    assert gateway.saying.waiting == 4
    assert gateway.saying.counters()["removals-lost"] == 2
    # One that another gateway has ended finds none either.
    gateway.saying.ended_elsewhere(host(6), gateway.now_us - 9 * S)
    assert gateway.saying.waiting == 4


def test_names_are_those_of_the_last_contacts(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saying, "MAX_NAMED", 8)
    gateway.contact(*range(20))
    for number in range(20):
        gateway.saying.named(host(number), [f"mx{number}.example.org"])
    said = gateway.say()
    assert said is not None
    # They stand in two halves, of which the older one goes at once.
    assert {note.text for note in said.notes} == {f"mx{number}.example.org" for number in range(12, 20)}


def test_a_contact_after_a_removal_has_no_names_yet(gateway: Gateway) -> None:
    gateway.contact(1)
    gateway.saying.named(host(1), ["mail.example.org"])
    gateway.whitelist.end(host(1))
    gateway.contact(1)
    said = gateway.say()
    assert said is not None
    assert said.notes == []


def test_a_flush_is_not_said_host_by_host(gateway: Gateway) -> None:
    gateway.contact(*range(50))
    gateway.all()
    gateway.saying.flushed()
    for number in range(50):
        gateway.whitelist.end(host(number), flush=True)
    assert gateway.all() == [(0, "flush 0")]


def test_failures_beyond_the_bound_become_a_round(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.contact(*range(300))
    monkeypatch.setattr(saying, "MAX_DIRTY", 100)
    gateway.say(fails=True)
    assert gateway.saying.waiting <= 100
    assert {number for number, _ in gateway.all()} == set(range(300))


def test_an_engine_whose_clock_is_behind_slows_nobody_down() -> None:
    """It took over, and gives the last place again and again, for ten minutes, until its clock has caught up."""
    receiver = Receiver()
    sender = Sender(receiver)
    frozen_ms = receiver.engine_ms
    receiver.hear(sender.say(entries(101)))
    receiver.engine_ms -= 600_000
    for number in range(1, 101):
        for _ in range(6):
            receiver.engine_ms += 100
            finished(receiver.hearing.hear([sender.say(100 * entries(number), at_ms=frozen_ms)]))
    assert receiver.peer("mx2").records > MOST_RECORDS
    assert receiver.hosts() == list(range(1, 102))
    assert receiver.refused() == {}


def test_names_are_given_in_turns() -> None:
    """Of hosts with many names the first ones count, and others have the loop meanwhile."""
    receiver = Receiver()
    named: list[int] = []

    def take(_: bytes, names: Sequence[str]) -> None:
        named.append(len(names))
        time.sleep(0.001)

    receiver.whitelist.tellings.named = take
    notes = [Note(record, NAME, f"{name}.example") for record in range(15) for name in range(8)]
    message = Sender(receiver).say(entries(*range(30)), notes)
    receiver.engine_ms += 1

    async def hear() -> int:
        hearing = asyncio.ensure_future(receiver.hearing.hear([message]))
        turns = 0
        while not hearing.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(hear()) >= 5
    assert named == [4] * 15
