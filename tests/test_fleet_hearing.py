"""What a gateway hears, on the real whitelist: lifetimes, order, replays, clocks, and what others may not do to it."""
import asyncio
import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine._table import CHILD, PEER
from mxallowd.fleet import batch
from mxallowd.fleet.batch import NAME, PROVEN, USED, WAY, Note
from mxallowd.fleet.hearing import LATE_MS, TWIN_AFTER_MS
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import MOST_FLUSHES, MOST_RECORDS, MOST_REMOVALS, RETURNS, Spent
from mxallowd.whitelist import Change
from tests.fleet_stream import KEYS, LONGEST_S, MOST_TOLD, START_MS, Receiver, Sender, entries, host, later

GARBAGE = st.tuples(
    st.binary(max_size=20) | st.from_regex(rb"[0-9]{1,30}-[0-9]{1,30}"), st.none() | st.binary(max_size=300))


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def test_an_entry_has_what_it_had_left_less_the_age_of_its_message(receiver: Receiver) -> None:
    sender = Sender(receiver)
    receiver.hear(sender.say(entries(1) + entries(2, left_s=100) + entries(3, left_s=2)), after_ms=2500)
    assert receiver.listed() == {1: "3597.5 told", 2: "97.5 told"}
    peer = receiver.peer("mx2")
    assert (peer.records, peer.entered, peer.over, peer.lag_ms, peer.batches) == (3, 2, 1, 2500, 1)
    assert receiver.refused() == {}
    assert sorted(receiver.changes) == [(1, Change.ADMITTED), (2, Change.ADMITTED)]
    assert receiver.saying.waiting == 0


def test_no_entry_lasts_longer_than_those_of_this_gateway(receiver: Receiver) -> None:
    receiver.hear(Sender(receiver).say(entries(1, left_s=10 * LONGEST_S)), after_ms=1000)
    assert receiver.listed() == {1: "3599 told"}


def test_an_entry_ahead_of_the_clock_is_not_younger_than_new(receiver: Receiver) -> None:
    sender = Sender(receiver)
    message = sender.say(entries(1), at_ms=START_MS + 90_000)
    asyncio.run(receiver.hearing.hear([message]))
    assert receiver.listed() == {1: "3600 told"}


@pytest.mark.parametrize("ahead_ms", [-600_000, 0, 600_000, 10**10])
def test_the_clock_of_a_gateway_does_not_matter(receiver: Receiver, ahead_ms: int) -> None:
    receiver.hear(Sender(receiver, ahead_ms=ahead_ms).say(entries(1)), after_ms=1000)
    assert receiver.listed() == {1: "3599 told"}
    assert receiver.refused() == {}


def test_what_was_sealed_long_before_it_came_gains_nothing(receiver: Receiver) -> None:
    """An engine that was taken over kept it back, or brings it up again to one that has just started."""
    sender = Sender(receiver)
    message = sender.say(entries(1) + entries(2, left_s=1200), wall_ms=START_MS - LATE_MS - 600_000)
    receiver.hear(message)
    assert receiver.listed() == {1: "2100 told"}
    assert receiver.refused() == {"late": 2}


def test_marks_and_ways_come_along(receiver: Receiver) -> None:
    records = entries(1, origin=CHILD) + entries(2, flags=USED) + entries(3, flags=USED | PROVEN)
    receiver.hear(Sender(receiver).say(records, [Note(0, WAY, "mail.example.org"), Note(1, 77, "what is that?")]))
    found = [receiver.whitelist.entry(host(number)) for number in (1, 2, 3)]
    assert [(one.used, one.proven, one.origin, one.note.text if one.note else "") for one in found if one] == [
        (False, False, "peer", "mail.example.org"), (True, False, "peer", ""), (True, True, "peer", "")]


def test_a_note_controls_no_terminal(receiver: Receiver) -> None:
    receiver.hear(Sender(receiver).say(entries(1, 2), [Note(0, WAY, "a\x1b[2J\nb"), Note(1, WAY, "DOMAIN\\user")]))
    found = [receiver.whitelist.provenance.find(host(number)) for number in (1, 2)]
    assert [note.text for note in found if note] == ["a\\x1b[2J\\x0ab", "DOMAIN\\user"]


def test_confirmed_names_of_a_contact_come_along(receiver: Receiver) -> None:
    named: list[tuple[bytes, list[str]]] = []
    receiver.whitelist.tellings.named = lambda one, names: named.append((one, list(names)))
    receiver.hear(Sender(receiver).say(
        entries(1, 2), [Note(1, NAME, "a.example.org"), Note(1, NAME, "b.example.org"), Note(0, WAY, "x")]))
    assert named == [(host(2), ["a.example.org", "b.example.org"])]


# ---- again, and in what order

def test_what_is_read_again_is_passed_over(receiver: Receiver) -> None:
    sender = Sender(receiver)
    first, second = sender.say(entries(1)), sender.say(entries(2))
    receiver.hear(first, second)
    receiver.whitelist.end(host(1))
    receiver.hear(first, second, after_ms=10)
    assert receiver.hosts() == [2]
    assert receiver.refused() == {}
    assert receiver.peer("mx2").batches == 2


def test_a_replay_is_refused(receiver: Receiver) -> None:
    sender = Sender(receiver)
    first = sender.say(entries(1, 2))
    receiver.hear(first)
    for number in (1, 2):
        receiver.whitelist.end(host(number))
    receiver.hear(later(first, 1000), later(first, 2000))
    assert receiver.hosts() == []
    assert receiver.refused() == {"replayed": 4}
    assert receiver.peer("mx2").refused["replayed"] == 4


def test_a_removal_ends_what_was_there_before_it(receiver: Receiver) -> None:
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.contact(1)
    receiver.hear(sender.say(entries(2)), other.say(entries(3)))
    receiver.engine_ms += 1000
    removals = [batch.removal(host(number), 0) for number in (1, 2, 3, 4)]
    receiver.hear(sender.say(removals), after_ms=30)
    assert receiver.hosts() == []
    assert {number for number, change in receiver.changes if change is Change.ENDED} == {1, 2, 3}
    # It is not said again: all hear it.
    assert receiver.saying.waiting == 0


def test_who_comes_again_after_a_removal_stays(receiver: Receiver) -> None:
    """Whether in the same batch, in the next one of the same turn, or by a contact here that the removal has missed."""
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.hear(sender.say(entries(1, 2, 3)))
    receiver.engine_ms += 500
    receiver.contact(4)
    at_ms = receiver.engine_ms
    receiver.hear(
        sender.say([batch.removal(host(1), 0), batch.removal(host(4), 200), entries(1)], at_ms=at_ms),
        sender.say([batch.removal(host(number), 0) for number in (2, 3)], at_ms=at_ms),
        sender.say(entries(2), at_ms=at_ms), other.say(entries(3), at_ms=at_ms + 1), after_ms=40)
    assert receiver.listed() == {1: "3599.96 told", 2: "3599.96 told", 3: "3599.96 told", 4: "3599.96 own"}


def test_the_same_order_holds_in_a_load_long_after() -> None:
    loading = Receiver(loading=True)
    sender, other = Sender(loading), Sender(loading, "mx3")
    loading.hear(
        sender.say(entries(1, 2, 3), at_ms=START_MS), other.say(entries(4), at_ms=START_MS + 50),
        sender.say([batch.removal(host(number), 5) for number in (1, 2, 4)], at_ms=START_MS + 100),
        sender.say(entries(1), at_ms=START_MS + 101), other.say(entries(4), at_ms=START_MS + 102),
        after_ms=600_000)
    assert loading.hosts() == [1, 3, 4]
    assert loading.refused() == {}


def test_a_flush_ends_what_its_gateway_told_and_nothing_else(receiver: Receiver) -> None:
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.contact(1)
    receiver.hear(sender.say(entries(2, 3)), other.say(entries(4, 3)))
    receiver.engine_ms += 1000
    receiver.hear(sender.say([batch.flush(0), entries(5)]), after_ms=20)
    assert receiver.hosts() == [1, 3, 4, 5]
    assert receiver.peer("mx2").flushes == 1


def test_a_flush_in_a_load_ends_what_came_before_it() -> None:
    loading = Receiver(loading=True)
    sender = Sender(loading)
    loading.hear(
        sender.say(entries(1, 2), at_ms=START_MS), sender.say(batch.flush(0), at_ms=START_MS + 1000),
        sender.say(entries(2), at_ms=START_MS + 1001), after_ms=600_000)
    assert loading.hosts() == [2]


def test_a_removal_here_is_not_undone_by_what_was_said_before(receiver: Receiver) -> None:
    sender = Sender(receiver)
    said = sender.say(entries(1, 2))
    receiver.contact(1)
    receiver.engine_ms += 50
    receiver.whitelist.end(host(1))
    receiver.hear(said, after_ms=10)
    assert receiver.hosts() == [2]
    receiver.engine_ms += 50
    receiver.hear(sender.say(entries(1)))
    assert receiver.hosts() == [1, 2]


# ---- what is not taken

def test_other_keys_are_told_from_forgery(receiver: Receiver) -> None:
    place, data = Sender(receiver).say(entries(1))
    assert data
    receiver.hearing.keys = Keys([bytes(32 * b"x")], "example")
    receiver.hear((place, data))
    receiver.hearing.keys = Keys([bytes(range(32))], "other")
    receiver.hear((place, data))
    receiver.hear((place, data[:-1]), (place, b"\x02" + data[1:]), (place, b""), (place, None))
    assert receiver.hosts() == []
    assert receiver.refused() == {"key": 1, "forged": 1, "version": 1, "broken": 3}
    assert receiver.peers.strangers()["mx2"].messages == 2
    assert len(receiver.peers) == 0


@given(st.lists(GARBAGE, max_size=5))
def test_whatever_the_engine_sends_is_counted(messages: list[tuple[bytes, bytes | None]]) -> None:
    receiver = Receiver(own=1024, told=16)
    asyncio.run(receiver.hearing.hear(messages))
    assert sum(receiver.refused().values()) == len(messages)


@pytest.mark.parametrize("place", [b"", b"-", b"1", b"1-", b"-1-0", b"a-0", b"1-0-0", b"99999999999999999999-0",
                                   b"9" * 5000 + b"-0"])
def test_a_place_that_is_none_is_no_message(receiver: Receiver, place: bytes) -> None:
    _, data = Sender(receiver).say(entries(1))
    asyncio.run(receiver.hearing.hear([(place, data)]))
    assert receiver.refused() == {"broken": 1}


def test_a_stream_at_its_largest_place_harms_nothing(receiver: Receiver) -> None:
    sender = Sender(receiver)
    last = (1 << 64) - 1
    asyncio.run(receiver.hearing.hear([(f"{last}-{last}".encode(), sender.say(entries(1))[1])]))
    assert receiver.refused() == {}
    assert receiver.peers.now_ms < START_MS + 100_000
    # Once it is deleted, all goes on; a gateway that was heard there has not lost its pace.
    for number in range(2, 202):
        for _ in range(3):
            receiver.engine_ms += 30
            receiver.hear(sender.say(100 * entries(number)))
    assert receiver.hosts() == list(range(1, 202))
    assert receiver.refused() == {}


def test_who_says_too_much_is_held_to_the_clock_of_the_stream(receiver: Receiver) -> None:
    """100,000 a second for two seconds: a burst and two seconds' worth are taken, wherever and however fast."""
    sender = Sender(receiver)
    some = entries(*range(1, 201))
    for at in range(0, 2000, 2):
        receiver.hear(sender.say(some, at_ms=START_MS + at))
    peer = receiver.peer("mx2")
    assert peer.records + peer.refused["too-fast"] == 200_000
    assert MOST_RECORDS + 25_000 * 1.9 < peer.records < MOST_RECORDS + 25_000 * 2.1
    receiver.hear(Sender(receiver, "mx3").say(entries(900)))
    assert 900 in receiver.hosts()


def test_who_removes_in_a_loop_is_held_up(receiver: Receiver) -> None:
    sender = Sender(receiver)
    receiver.contact(*range(1, 1500))
    receiver.engine_ms += 1000
    for first in range(1, 1500, 200):
        receiver.hear(sender.say([batch.removal(host(number), 0) for number in range(first, min(first + 200, 1500))]))
    assert len(receiver.hosts()) == 1499 - MOST_REMOVALS
    assert receiver.refused() == {"too-fast": 1499 - MOST_REMOVALS}


def test_who_flushes_in_a_loop_ends_nothing_of_others(receiver: Receiver) -> None:
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.contact(1)
    receiver.hear(sender.say(entries(2)), other.say(entries(3)))
    for _ in range(500):
        receiver.engine_ms += 10
        receiver.hear(sender.say(batch.flush(0)))
    assert receiver.hosts() == [1, 3]
    assert receiver.peer("mx2").flushes == MOST_FLUSHES
    assert receiver.refused() == {"too-fast": 500 - MOST_FLUSHES}


def test_one_gateway_does_not_take_all_places_from_another(receiver: Receiver) -> None:
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.hear(other.say(entries(2000)))
    for first in range(1, 601, 20):
        receiver.hear(sender.say(entries(*range(first, first + 20))))
    told = len(receiver.hosts()) - 1
    assert MOST_TOLD * 0.7 <= told <= MOST_TOLD * 3 / 4
    assert receiver.refused() == {"too-many": 600 - told}
    assert receiver.hosts()[told - 1] == 600
    receiver.hear(other.say(entries(*range(2001, 2050))))
    assert len(receiver.hosts()) == told + 50


def test_the_only_other_gateway_may_take_all_places() -> None:
    receiver = Receiver()
    receiver.contact(*range(1000, 1010))
    sender = Sender(receiver)
    for first in range(1, 601, 20):
        receiver.hear(sender.say(entries(*range(first, first + 20))))
    assert len(receiver.hosts()) == MOST_TOLD + 10
    assert receiver.refused() == {"too-many": 200}


def test_a_flood_at_another_gateway_keeps_no_good_sender_out(receiver: Receiver) -> None:
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.hear(other.say(entries(5000)))
    for first in range(1, 1001, 50):
        receiver.hear(sender.say(entries(*range(first, first + 50))))
    # It met the fake server of the gateway that is flooded.
    receiver.hear(sender.say(entries(3000)))
    # Of the others each has its share, whoever is first.
    for name in range(50):
        receiver.hear(Sender(receiver, f"evil{name}").say(entries(*range(6000 + 8 * name, 6008 + 8 * name))))
    receiver.hear(other.say(entries(5001)))
    assert all(receiver.whitelist.find(host(number)) for number in (3000, 5000, 5001))
    assert receiver.peer("mx3").refused == {}
    assert receiver.peer("mx2").refused["too-many"] > 700


def test_what_is_no_host_is_no_entry(receiver: Receiver) -> None:
    receiver.whitelist.set_servers([host(3)])
    records = [batch.entry(bytes(16), 60, 0, 0), entries(1, 3), batch.entry(b"\xff" * 16, 60, 0, 0),
               entries(2, flags=0x20), entries(4, origin=200)]
    receiver.hear(Sender(receiver).say(records))
    assert set(receiver.hosts()) <= {1, 4}
    assert receiver.refused() == {"no-host": 4}
    assert receiver.table.find(host(4), receiver.whitelist.now_us())[2] == PEER  # type: ignore[index]


# ---- names

def test_what_this_gateway_has_said_itself_is_passed_over(receiver: Receiver) -> None:
    receiver.saying.run.next()
    receiver.hear(Sender(receiver, "mx1", receiver.saying.run.epoch).say(entries(1)))
    assert receiver.hosts() == []
    assert receiver.hearing.own_heard == 1
    assert not receiver.hearing.is_twin()


def test_another_gateway_with_this_name_is_seen_and_harms_nothing(receiver: Receiver) -> None:
    twin = Sender(receiver, "mx1", epoch=99)
    receiver.contact(1)
    # What this one said before its start may come late.
    receiver.hear(twin.say(entries(2)))
    assert not receiver.hearing.is_twin()
    receiver.engine_ms += TWIN_AFTER_MS + 1
    for number in (3, 4):
        receiver.hear(twin.say(entries(number)))
    assert receiver.hearing.is_twin()
    receiver.engine_ms += 1000
    receiver.hear(twin.say(batch.flush(0)))
    assert receiver.listed()[1].endswith("own")
    assert receiver.hosts() == [1]


def test_two_others_of_one_name_are_seen_and_all_of_both_is_taken(receiver: Receiver) -> None:
    one, two = Sender(receiver, "mx2", epoch=1), Sender(receiver, "mx2", epoch=2)
    for number in range(1, 2 * RETURNS + 1):
        receiver.engine_ms += 5000
        receiver.hear((one if number % 2 else two).say(entries(number)))
    assert receiver.hosts() == list(range(1, 2 * RETURNS + 1))
    assert receiver.peer("mx2").is_shared(receiver.peers.now_ms)
    assert receiver.refused() == {}


# ---- time

def test_it_holds_the_loop_for_moments_only() -> None:
    receiver = Receiver(loading=True, told=30_000)
    sender = Sender(receiver)
    messages = [sender.say(entries(*range(at, at + 50)), at_ms=START_MS + at) for at in range(0, 25_000, 50)]
    held: list[float] = []

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            held.append(time.thread_time() - before)

    async def load() -> None:
        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(0)
        await receiver.hearing.hear(messages)
        watching.cancel()

    receiver.engine_ms += 30_000
    # What other tests have left to the collector of garbage is no part of it.
    gc.collect()
    gc.disable()
    try:
        asyncio.run(load())
    finally:
        gc.enable()
    assert receiver.table.told == 25_000
    assert len(held) >= 2
    assert max(held) < 0.015


# ---- a removal against what was said at the same time

@pytest.mark.parametrize("flying", [False, True])
def test_what_was_said_behind_a_removal_is_removed_again(receiver: Receiver, flying: bool) -> None:
    """The contact was first, but its message came behind the removal: the others have let it in again."""
    sender = Sender(receiver)
    receiver.contact(1, 2)
    receiver.engine_ms += 100
    removal = sender.say(batch.removal(host(1), 0))
    receiver.engine_ms += 5
    receiver.saying.touched([host(1), host(2)])
    said = receiver.saying.take()
    assert said is not None
    if not flying:
        receiver.saying.done(said, (receiver.engine_ms, 0))
    receiver.hear(removal, after_ms=5)
    assert receiver.hosts() == [2]
    again = receiver.saying.take()
    assert again is not None
    assert again.records == batch.removal(host(1), 10)
    # Heard once more, it is no news.
    receiver.saying.message(again, KEYS)
    receiver.saying.done(again, (receiver.engine_ms, 0))
    receiver.hear(Sender(receiver, "mx3").say(batch.removal(host(1), 15)))
    assert receiver.saying.waiting == 0


def test_a_removal_that_is_said_twice_spares_who_came_between(receiver: Receiver) -> None:
    """Within the same second: entries have their time to the millisecond."""
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.hear(sender.say(entries(1, 2)))
    receiver.engine_ms += 300
    receiver.hear(sender.say([batch.removal(host(number), 0) for number in (1, 2)]))
    receiver.engine_ms += 100
    receiver.hear(other.say(entries(1)))
    receiver.engine_ms += 100
    receiver.hear(sender.say([batch.removal(host(number), 200) for number in (1, 2)]))
    assert receiver.hosts() == [1]


def test_a_flush_that_was_cut_off_goes_on_when_it_is_read_again(receiver: Receiver) -> None:
    """The connection breaks meanwhile, and the message counts as known."""
    sender = Sender(receiver)
    receiver.hear(sender.say(entries(1, 2)))
    receiver.engine_ms += 100
    message = sender.say([batch.flush(0), entries(3)])

    async def broken() -> None:
        hearing = asyncio.ensure_future(receiver.hearing.hear([message]))
        await asyncio.sleep(0)
        hearing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hearing

    asyncio.run(broken())
    assert receiver.hosts() != [3]
    receiver.hear(message)
    assert receiver.hosts() == [3]


def test_made_up_names_do_not_take_all_the_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver.peers, "_new", Spent(10, 20, START_MS))
    for number in range(70):
        receiver.hear(Sender(receiver, f"evil{number}").say(entries(1)))
    assert receiver.refused() == {"too-many": 50}


@pytest.mark.parametrize("ticks", [0, 1])
def test_entries_whose_time_is_over_do_not_count(receiver: Receiver, ticks: int) -> None:
    """They stay in their places until somebody looks: a gateway that says little for hours would have had its share."""
    sender, other = Sender(receiver), Sender(receiver, "mx3")
    receiver.hear(sender.say(entries(*range(1, 151))), sender.say(entries(*range(151, 291))), other.say(entries(301)))
    receiver.engine_ms += (LONGEST_S + 1) * 1000
    for _ in range(ticks):
        receiver.hearing.tick()
        assert receiver.whitelist.told_by(receiver.peer("mx2").number) == 0
    receiver.hear(sender.say(entries(*range(301, 501))), after_ms=10)
    receiver.hear(sender.say(entries(*range(501, 590))), after_ms=10)
    assert receiver.hosts() == list(range(301, 590))
    assert receiver.refused() == {}


def test_what_a_flush_has_ended_does_not_count(receiver: Receiver) -> None:
    sender = Sender(receiver)
    receiver.hear(sender.say(entries(1, 2, 3)))
    assert receiver.whitelist.told_by(receiver.peer("mx2").number) == 3
    for _ in range(4):
        # Each of an operator's flushes in a row ends what was told before it.
        receiver.hear(sender.say(batch.flush(0)))
        assert receiver.hosts() == []
        assert receiver.whitelist.told_by(receiver.peer("mx2").number) == 0
        receiver.engine_ms += 3000
        receiver.hear(sender.say(entries(4, 5)))
        assert receiver.hosts() == [4, 5]
        receiver.engine_ms += 3000
    assert receiver.refused() == {}
