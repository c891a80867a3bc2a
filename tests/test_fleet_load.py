"""The load: what a gateway is told that it said itself before, and what it must say again; restarts on both sides."""
from mxallowd.engine._table import BY_HAND, CHILD, RESTORED
from mxallowd.fleet import batch, earlier
from mxallowd.fleet.batch import PROVEN, USED, WAY, Note
from mxallowd.whitelist import ALL
from tests.fleet_stream import LONGEST_S, MOST_TOLD, START_MS, Receiver, S, Sender, entries, host, number_of


def says(receiver: Receiver) -> list[int]:
    """The load is complete: what this gateway says of its own then."""
    receiver.hearing.loaded()
    receiver.saying.loaded(receiver.hearing.earlier.shown(), (START_MS, 0), receiver.engine_ms)
    receiver.engine_ms += 1000
    said = receiver.saying.take()
    return [] if said is None else [number_of(one) for one in said.hosts]


def test_what_an_earlier_run_said_is_told_as_by_another_gateway() -> None:
    """Whoever has the key can say it: no lifetime, mark or way in of his becomes one of an own entry."""
    receiver = Receiver(loading=True)
    before = Sender(receiver, "mx1", epoch=1)
    receiver.hear(before.say(
        [entries(1), entries(2, origin=CHILD, flags=USED), entries(4, left_s=10 * LONGEST_S, origin=BY_HAND),
         entries(6, left_s=9)], [Note(1, WAY, "mail.example.org")]), after_ms=10_000)
    assert receiver.listed() == {1: "3590 told", 2: "3590 told", 4: "3590 told"}
    assert says(receiver) == []
    assert receiver.whitelist.told_by(receiver.peer("mx1").number) == 3


def test_who_says_our_own_entries_takes_no_place_of_ours() -> None:
    receiver = Receiver(loading=True)
    other = Sender(receiver, "mx1", epoch=99)
    for first in range(1, 2001, 200):
        receiver.hear(other.say(entries(*range(first, first + 200), left_s=10**6, origin=BY_HAND, flags=USED | PROVEN)))
    assert len(receiver.hosts()) <= MOST_TOLD
    receiver.contact(*range(2001, 2500))
    assert receiver.hosts()[-499:] == list(range(2001, 2500))


def test_the_last_one_of_a_host_counts() -> None:
    receiver = Receiver(loading=True)
    receiver.contact(1, 2, 3)
    before, other = Sender(receiver, "mx1", epoch=1), Sender(receiver)
    receiver.engine_ms += 1000
    receiver.hear(before.say(entries(1, 3, left_s=100)), before.say(entries(1, 2)))
    assert says(receiver) == [3]
    assert receiver.refused() == {}
    # What others removed of it is over, here as there.
    receiver = Receiver(loading=True)
    receiver.contact(1)
    receiver.engine_ms += 1000
    before, other = Sender(receiver, "mx1", epoch=1), Sender(receiver)
    receiver.hear(before.say(entries(1, 2)), other.say(batch.removal(host(1), 0)))
    assert receiver.hosts() == [2]


def test_a_flush_in_our_name_has_all_said_again() -> None:
    """And one of another gateway does not matter."""
    receiver = Receiver(loading=True)
    receiver.contact(1, 2, 3)
    before, other = Sender(receiver, "mx1", epoch=1), Sender(receiver)
    receiver.hear(before.say(entries(1, 2)), before.say([batch.flush(0), entries(3)]), other.say(batch.flush(0)))
    assert says(receiver) == [1, 2]


def test_own_servers_and_who_was_removed_do_not_come_back() -> None:
    receiver = Receiver(loading=True)
    receiver.whitelist.set_servers([host(1)])
    message = Sender(receiver, "mx1", epoch=1).say(
        [entries(1, 2, 3), batch.entry(bytes(16), 60, 0, 0), batch.entry(b"\xff" * 16, 60, 0, 0)])
    receiver.engine_ms += 1000
    receiver.whitelist.bar({host(2): receiver.whitelist.now_us() + LONGEST_S * S})
    receiver.hear(message)
    assert receiver.hosts() == [3]
    other = Receiver(loading=True)
    message = Sender(other, "mx1", epoch=1).say(entries(1))
    other.engine_ms += 1000
    other.whitelist.bar({ALL: other.whitelist.now_us() + LONGEST_S * S})
    other.hear(message)
    assert other.hosts() == []


def test_what_others_told_is_said_to_followers_once_at_the_end() -> None:
    receiver = Receiver(loading=True)
    receiver.hear(Sender(receiver).say(entries(1, 2)))
    assert receiver.hosts() == [1, 2]
    assert (receiver.changes, receiver.times_missed) == ([], 0)
    receiver.hearing.lost()
    receiver.hearing.lost()
    assert receiver.times_missed == 1
    receiver.hearing.loaded()
    assert receiver.times_missed == 1
    receiver.hear(Sender(receiver, "mx3").say(entries(3)))
    assert [number for number, _ in receiver.changes] == [3]


def test_what_the_stream_has_is_not_said_again() -> None:
    """And the memory for it is given back."""
    receiver = Receiver(loading=True)
    receiver.contact(1, 9)
    receiver.hear(Sender(receiver, "mx1", epoch=1).say(entries(1, 2)), Sender(receiver).say(entries(3)))
    assert says(receiver) == [9]
    receiver.hear(Sender(receiver, "mx1", epoch=3).say(entries(5)))
    assert not receiver.hearing.earlier.shown()


def test_more_than_can_be_shown_is_all_said() -> None:
    one, most = earlier.Earlier(), earlier.MOST_SHOWN
    for first in range(0, most + 256, 256):
        one.take(entries(*range(first, first + 256)), 0, 0)
    one.take(entries(1), 0, 0)
    assert one.shown() == {}


def test_what_a_kernel_table_brought_back_is_said_if_untold() -> None:
    """Without a disk a start has all from there, most of it told by others before: they have it in the stream."""
    receiver = Receiver(loading=True)
    now_us = receiver.whitelist.now_us()
    for number in (1, 2, 3):
        receiver.table.add(host(number), now_us + 1000 * S, now_us, origin=RESTORED)
    receiver.hear(Sender(receiver).say(entries(1)), Sender(receiver, "mx1", epoch=1).say(entries(2)))
    assert says(receiver) == [3]
    origins = [one.origin for number in (1, 2, 3) if (one := receiver.whitelist.entry(host(number)))]
    assert origins == ["peer", "peer", "restored"]
