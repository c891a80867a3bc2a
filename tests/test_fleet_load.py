"""The load: what a gateway gets back of its own, and what it must say again; restarts on both sides."""
import asyncio

from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, OUTBOUND, PEER, RESTORED
from mxallowd.fleet import batch, returned
from mxallowd.fleet.batch import PROVEN, USED, WAY, Note
from mxallowd.fleet.returned import MOST_SHOWN, Returned
from mxallowd.fleet.rounds import FOUND
from mxallowd.whitelist import ALL
from tests.fleet_stream import LONGEST_S, START_MS, Receiver, S, Sender, entries, host, number_of


def back(receiver: Receiver) -> dict[int, str]:
    """Own entries that the load brings back: seconds left, origin, marks."""
    records = asyncio.run(receiver.hearing.loaded())
    now_us = receiver.whitelist.now_us()
    return {number_of(one): f"{(until_us - now_us) / S:g} {origin}{' u' * used}{' p' * proven}"
            for one, until_us, origin, used, proven in FOUND.iter_unpack(records)}


def test_own_entries_of_an_earlier_run_come_back_as_they_came_in() -> None:
    receiver = Receiver(loading=True)
    before = Sender(receiver, "mx1", epoch=1)
    receiver.hear(before.say(
        [entries(1), entries(2, origin=CHILD, flags=USED), entries(3, flags=USED | PROVEN, origin=OUTBOUND),
         entries(4, left_s=10 * LONGEST_S, origin=BY_HAND), entries(5, left_s=10 * LONGEST_S), entries(6, left_s=9),
         entries(7, origin=PEER), entries(8, origin=200)],
        [Note(1, WAY, "mail.example.org"), Note(3, WAY, "the \\ bank\n")]), after_ms=10_000)
    assert receiver.hosts() == []
    assert back(receiver) == {
        1: f"3590 {CONTACT}", 2: f"3590 {CHILD} u", 3: f"3590 {OUTBOUND} u p", 4: f"35990 {BY_HAND}",
        5: f"3600 {CONTACT}"}
    assert {number_of(one): note.text for one, note in receiver.returned.notes().items()} == {
        2: "mail.example.org", 4: "the \\\\ bank\\x0a"}
    assert receiver.refused() == {}


def test_the_last_one_of_a_host_counts() -> None:
    receiver = Receiver(loading=True)
    before, other = Sender(receiver, "mx1", epoch=1), Sender(receiver)
    receiver.hear(
        before.say(entries(1, 2, 3, left_s=100), at_ms=START_MS), before.say(entries(1), at_ms=START_MS + 1000),
        other.say(batch.removal(host(2), 0), at_ms=START_MS + 2000),
        before.say(batch.removal(host(3), 0), at_ms=START_MS + 3000),
        before.say(entries(3), at_ms=START_MS + 3000), after_ms=1000)
    assert back(receiver) == {1: f"3597 {CONTACT}", 3: f"3599 {CONTACT}"}


def test_a_flush_before_the_start_holds_and_one_of_others_does_not_matter() -> None:
    receiver = Receiver(loading=True)
    before, other = Sender(receiver, "mx1", epoch=1), Sender(receiver)
    receiver.hear(
        before.say(entries(1, 2)), before.say([batch.flush(0), entries(3)], [Note(1, WAY, "x")]),
        other.say(batch.flush(0)))
    assert list(back(receiver)) == [3]


def test_what_was_read_twice_is_one() -> None:
    """The connection was lost in the middle of the load."""
    receiver = Receiver(loading=True)
    before = Sender(receiver, "mx1", epoch=1)
    first, second = before.say(entries(1)), before.say([batch.removal(host(1), 0), entries(2)])
    receiver.hear(first, second)
    receiver.hear(first, second)
    assert list(back(receiver)) == [2]


def test_own_servers_and_who_was_removed_do_not_come_back() -> None:
    receiver = Receiver(loading=True)
    receiver.whitelist.set_servers([host(1)])
    receiver.returned = receiver.hearing.returned = Returned(
        LONGEST_S * S, receiver.whitelist.servers, receiver.whitelist.is_barred)
    receiver.whitelist.bar({host(2): receiver.whitelist.now_us() + LONGEST_S * S})
    receiver.hear(Sender(receiver, "mx1", epoch=1).say(
        [entries(1, 2, 3), batch.entry(bytes(16), 60, 0, 0), batch.entry(b"\xff" * 16, 60, 0, 0)]))
    assert list(back(receiver)) == [3]
    other = Receiver(loading=True)
    other.whitelist.bar({ALL: other.whitelist.now_us() + LONGEST_S * S})
    other.hear(Sender(other, "mx1", epoch=1).say(entries(1)))
    assert back(other) == {}


def test_what_others_told_is_said_to_followers_once_at_the_end() -> None:
    receiver = Receiver(loading=True)
    receiver.hear(Sender(receiver).say(entries(1, 2)))
    assert receiver.hosts() == [1, 2]
    assert (receiver.changes, receiver.times_missed) == ([], 0)
    receiver.hearing.lost()
    receiver.hearing.lost()
    assert receiver.times_missed == 1
    back(receiver)
    assert receiver.times_missed == 1
    receiver.hear(Sender(receiver, "mx3").say(entries(3)))
    assert [number for number, _ in receiver.changes] == [3]


def test_a_gateway_without_its_disk_says_nothing_twice() -> None:
    """It has all back, and what came in meanwhile is said."""
    receiver = Receiver(loading=True)
    receiver.contact(9)
    receiver.hear(Sender(receiver, "mx1", epoch=1).say(entries(1, 2)), Sender(receiver).say(entries(3)))
    records = asyncio.run(receiver.hearing.loaded())
    assert receiver.table.restore(records, receiver.whitelist.now_us(), shard=0)[0] == 2
    shown = asyncio.run(receiver.returned.shown())
    assert shown == {host(1), host(2)}
    receiver.saying.loaded(shown, START_MS, receiver.engine_ms)
    receiver.engine_ms += 5000
    said = receiver.saying.take()
    assert said is not None
    assert [number_of(said.records[at:at + 16]) for at in range(0, len(said.records), 24)] == [9]
    # The memory is given back, and none is taken any more.
    receiver.hear(Sender(receiver, "mx3").say(batch.removal(host(1), 0)))
    assert len(receiver.returned._records) == 0


def test_more_than_can_be_shown_is_all_said() -> None:
    one = Returned(LONGEST_S * S)
    one._records = bytearray((MOST_SHOWN + 1) * RECORD_SIZE)
    assert asyncio.run(one.shown()) is None


def test_equal_hosts_are_merged_while_it_loads() -> None:
    """A gateway that said one host for days does not fill the memory with it."""
    receiver = Receiver(loading=True)
    before = Sender(receiver, "mx1", epoch=1)
    returned_most = returned.MOST_PENDING
    one = receiver.returned
    one._next_merge = 64 * RECORD_SIZE
    for _ in range(20):
        receiver.hear(before.say(entries(*range(1, 51))))
    assert one._next_merge > returned_most
    assert len(one._records) <= 17 * 50 * RECORD_SIZE + returned_most
    assert len(back(receiver)) == 50


def test_what_a_kernel_table_brought_back_is_said_where_nobody_tells_of_it() -> None:
    """Without a disk a start has all from there, most of it told by others before: they have it in the stream."""
    receiver = Receiver(loading=True)
    now_us = receiver.whitelist.now_us()
    for number in (1, 2, 3):
        receiver.table.add(host(number), now_us + 1000 * S, now_us, origin=RESTORED)
    receiver.hear(Sender(receiver).say(entries(1)), Sender(receiver, "mx1", epoch=1).say(entries(2)))
    receiver.table.restore(asyncio.run(receiver.hearing.loaded()), receiver.whitelist.now_us(), shard=0)
    receiver.saying.loaded(asyncio.run(receiver.returned.shown()), START_MS, receiver.engine_ms)
    receiver.engine_ms += 5000
    said = receiver.saying.take()
    assert said is not None
    assert list(said.hosts) == [host(3)]
    origins = [one.origin for number in (1, 2, 3) if (one := receiver.whitelist.entry(host(number)))]
    assert origins == ["peer", "contact", "restored"]
