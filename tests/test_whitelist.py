"""The stream of changes of the whitelist: who is told of what, in which order, and what one mistake can spoil."""
import time
from unittest.mock import Mock

import pytest

from mxallowd._fastpath import Fastpath
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import BY_HAND, RESTORED, Table
from mxallowd.engine.events import Event, Kind, decode
from mxallowd.engine.wake import Wake
from mxallowd.whitelist import Change, Whitelist
from tests.strategies import FAKE, HOSTS, REAL, listed, packed, syn

NOW_US = 5_000_000
HOUR_US = 3_600_000_000
A, B, C = HOSTS[:3]


class Notes:
    """A follower that writes down what it is told, and what the whitelist says of the host at that moment."""

    def __init__(self, whitelist: Whitelist) -> None:
        self._whitelist = whitelist
        self.told: list[tuple[bytes, Change]] = []
        self.found: list[tuple[int, bool] | None] = []
        self.times_missed = 0

    def changed(self, host: bytes, change: Change) -> None:
        self.told.append((host, change))
        self.found.append(self._whitelist.find(host))

    def missed(self) -> None:
        self.times_missed += 1


class Broken:
    """A follower with a mistake."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def changed(self, host: bytes, change: Change) -> None:
        self.calls.append("changed")
        raise RuntimeError("a mistake")

    def missed(self) -> None:
        self.calls.append("missed")
        raise RuntimeError("another mistake")


def followed(table: Table, threads: int = 1) -> tuple[Whitelist, Notes]:
    """A whitelist, and who follows it."""
    whitelist = Whitelist(table, lambda: NOW_US, threads=threads)
    notes = Notes(whitelist)
    whitelist.follow(notes)
    return whitelist, notes


def event(kind: Kind, host: bytes) -> Event:
    return Event(kind, 0, 0, 0, NOW_US, host, REAL[0], NOW_US + HOUR_US)


def test_events_of_the_packet_path_are_changes_in_their_order() -> None:
    whitelist, notes = followed(Table(10, 1))
    whitelist.take([
        event(Kind.EVICTED, A), event(Kind.WHITELISTED, B), event(Kind.ACCEPTED, B), event(Kind.RENEWED, B)])
    whitelist.take([])
    assert notes.told == [(A, Change.EVICTED), (B, Change.CONTACT), (B, Change.USED), (B, Change.RENEWED)]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.name not in (
    "WHITELISTED", "ACCEPTED", "RENEWED", "EVICTED", "PATIENT")])
def test_other_events_change_nothing(kind: Kind) -> None:
    whitelist, notes = followed(Table(10, 1))
    whitelist.take([event(kind, A)])
    assert notes.told == []


@pytest.mark.parametrize("kind", [Kind.MET, Kind.AGAIN])
def test_a_copier_is_told_of_contacts_where_others_tell(kind: Kind) -> None:
    """Elsewhere the host may have been forgotten."""
    for told, wanted in ((4, [A]), (0, [])):
        whitelist = Whitelist(Table(16, 1, main=8, told=told), lambda: NOW_US)
        touched: list[bytes] = []
        copier = Mock(touched=touched.extend)
        whitelist.follow_as_copier(copier)
        whitelist.take([event(kind, A)])
        assert touched == wanted


def test_packets_are_told_of_through_ring_and_whitelist() -> None:
    """From SYNs to changes: a contact, a first use, one that makes room for another."""
    table, ring = Table(2, 1), Ring(16, Wake().fd)
    fastpath = Fastpath(table, ring, Rules([FAKE[0]], [REAL[0]], 3600))
    fastpath.tell_evicted()
    whitelist, notes = followed(table)
    for packet in (syn(A, FAKE[0]), syn(B, FAKE[0]), syn(A, REAL[0]), syn(A, REAL[0]), syn(C, REAL[0]),
                   syn(A, FAKE[0]), syn(C, FAKE[0])):
        fastpath.decide([packet], NOW_US)
    whitelist.take(decode(ring.drain(16)))
    assert notes.told == [(A, Change.CONTACT), (B, Change.CONTACT), (A, Change.USED), (B, Change.EVICTED),
                          (C, Change.CONTACT)]
    assert listed(whitelist) == {A: (NOW_US + HOUR_US, True), C: (NOW_US + HOUR_US, False)}


def test_changes_of_sinks_are_told_when_they_have_happened() -> None:
    whitelist, notes = followed(Table(10, 1, main=2))
    assert whitelist.admit(A, NOW_US + 10, NOW_US)
    assert whitelist.renew(A, NOW_US + 20, NOW_US)
    assert notes.told == [(A, Change.ADMITTED), (A, Change.RENEWED)]
    assert notes.found == [(NOW_US + 10, False), (NOW_US + 20, False)]


def test_what_does_not_happen_is_not_told() -> None:
    whitelist, notes = followed(Table(10, 1, main=2))
    assert whitelist.admit(A, NOW_US + 10, NOW_US)
    notes.told.clear()
    assert not whitelist.admit(A, NOW_US + 30, NOW_US)
    assert not whitelist.renew(A, NOW_US + 5, NOW_US)
    assert not whitelist.renew(B, NOW_US + 5, NOW_US)
    assert notes.told == []


def test_a_child_removes_nobody() -> None:
    whitelist, notes = followed(Table(10, 1, main=1))
    assert whitelist.admit(A, NOW_US + 10, NOW_US)
    assert not whitelist.admit(B, NOW_US + 20, NOW_US)
    assert whitelist.find(A) == (NOW_US + 10, False)
    # One whose time is over makes room.
    assert whitelist.admit(B, NOW_US + 20, NOW_US + 10)
    assert notes.told == [(A, Change.ADMITTED), (B, Change.ADMITTED)]


def test_an_expired_entry_behind_a_renewed_one_makes_room() -> None:
    whitelist, _ = followed(Table(3000, 1, main=2500))
    for number in range(2500):
        assert whitelist.admit(packed(f"10.0.{number >> 8}.{number & 255}"), NOW_US + 10, NOW_US)
    assert whitelist.renew(packed("10.0.0.0"), NOW_US + 100, NOW_US)
    assert any(whitelist.admit(B, NOW_US + 50, NOW_US + 20) for _ in range(3))


@pytest.mark.parametrize("text", [
    "0.0.0.0", "::", "127.0.0.1", "169.254.1.2", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "ff02::1",
    "::192.0.2.1", "192.0.2.3", "2001:db8::5"])
def test_what_is_no_host_or_our_own_never_enters(text: str) -> None:
    whitelist, notes = followed(Table(10, 1, main=5))
    whitelist.set_servers([*FAKE, *REAL])
    assert not whitelist.admit(packed(text), NOW_US + 10, NOW_US)
    assert not whitelist.adopt(packed(text), NOW_US + 10, used=True)
    assert whitelist.counters() == {"no-hosts": 2}
    assert notes.told == []
    assert len(whitelist) == 0


def test_a_handshake_is_noted_once() -> None:
    table = Table(10, 1)
    whitelist, notes = followed(table)
    table.add(A, NOW_US + 10, NOW_US)
    assert [whitelist.prove(A), whitelist.prove(A), whitelist.prove(B)] == [True, False, False]
    assert table.is_proven(A, NOW_US)
    assert notes.told == [(A, Change.PROVEN)]


def test_an_end_before_its_time_is_told() -> None:
    table = Table(10, 1, main=2)
    whitelist, notes = followed(table)
    table.add(A, NOW_US + 10, NOW_US)
    assert whitelist.admit(B, NOW_US + 10, NOW_US)
    assert [whitelist.end(host) for host in (A, B, A, C)] == [True, True, False, False]
    assert notes.told[1:] == [(A, Change.ENDED), (B, Change.ENDED)]
    assert notes.found[1:] == [None, None]


def test_adopted_hosts_are_of_no_known_origin() -> None:
    table = Table(3, 1, main=1)
    whitelist, _ = followed(table)
    assert all(whitelist.adopt(host, NOW_US + 10, used=False) for host in (A, B, C))
    assert [table.find(host, NOW_US) for host in (A, B, C)] == [(NOW_US + 10, False, RESTORED)] * 3


def test_adopted_hosts_are_told_with_their_mark() -> None:
    whitelist, notes = followed(Table(10, 2, main=2), threads=2)
    assert whitelist.adopt(A, NOW_US + 10, used=True)
    assert whitelist.adopt(B, NOW_US + 10, used=False)
    assert notes.told == [(A, Change.ADOPTED), (B, Change.ADOPTED)]
    assert notes.found == [(NOW_US + 10, True), (NOW_US + 10, False)]


def test_who_adopts_first_knows_the_time_and_any_the_mark() -> None:
    table = Table(8, 2, main=2)
    whitelist, notes = followed(table, threads=2)
    # Its own shard is full: it stands in another one, and is found there.
    for number in range(3):
        assert whitelist.adopt(bytes([*A[:13], number, 0, A[15]]), NOW_US + 50, used=False)
    assert whitelist.adopt(A, NOW_US + 10, used=False)
    notes.told.clear()
    size = len(table)
    assert whitelist.adopt(A, NOW_US + 99, used=False)
    assert notes.told == []
    assert whitelist.adopt(A, NOW_US + 99, used=True)
    assert notes.told == [(A, Change.USED)]
    assert (len(table), whitelist.find(A)) == (size, (NOW_US + 10, True))


def test_where_there_is_no_room_nothing_is_adopted_or_told() -> None:
    whitelist, notes = followed(Table(2, 1))
    assert [whitelist.adopt(host, NOW_US + 10, used=False) for host in (A, B, C, A)] == [True, True, False, True]
    assert [host for host, _ in notes.told] == [A, B]
    assert whitelist.find(C) is None


def test_who_follows_is_told_from_then_on() -> None:
    whitelist = Whitelist(Table(10, 1, main=2), lambda: NOW_US)
    whitelist.take([event(Kind.WHITELISTED, A)])
    whitelist.missed()
    assert whitelist.admit(A, NOW_US + 10, NOW_US)
    assert whitelist.admit(B, NOW_US + 10, NOW_US)
    notes = Notes(whitelist)
    whitelist.follow(notes)
    whitelist.take([event(Kind.ACCEPTED, A)])
    assert notes.told == [(A, Change.USED)]


def test_of_who_was_patient_it_is_noted_since_when_until_a_contact() -> None:
    whitelist, notes = followed(Table(10, 1))
    whitelist.take([event(Kind.PATIENT, A)])
    note = whitelist.provenance.find(A)
    assert note is not None and abs(note.since_s - time.time()) < 5
    assert notes.told == [(A, Change.ADMITTED)]
    whitelist.take([event(Kind.WHITELISTED, A)])
    assert whitelist.provenance.find(A) is None


def test_lost_changes_are_told_to_all() -> None:
    whitelist, notes = followed(Table(10, 1))
    others = [Notes(whitelist), Notes(whitelist)]
    for other in others:
        whitelist.follow(other)
    whitelist.missed()
    assert [one.times_missed for one in (notes, *others)] == [1, 1, 1]


def test_a_follower_with_a_mistake_harms_nobody_else() -> None:
    defects: list[Exception] = []
    whitelist = Whitelist(Table(10, 1, main=2), lambda: NOW_US, defect=defects.append)
    before, broken, after = Notes(whitelist), Broken(), Notes(whitelist)
    for follower in (before, broken, after):
        whitelist.follow(follower)
    whitelist.take([event(Kind.WHITELISTED, A), event(Kind.ACCEPTED, A)])
    # It gave up at the first; that it missed the second is told.
    assert broken.calls == ["changed", "missed"]
    assert before.told == after.told == [(A, Change.CONTACT), (A, Change.USED)]
    assert whitelist.admit(B, NOW_US + 10, NOW_US)
    whitelist.missed()
    assert broken.calls == ["changed", "missed"] * 2 + ["missed"]
    assert before.told == after.told == [(A, Change.CONTACT), (A, Change.USED), (B, Change.ADMITTED)]
    assert (before.times_missed, after.times_missed) == (1, 1)
    assert [str(defect) for defect in defects] == [
        "a mistake", "another mistake", "a mistake", "another mistake", "another mistake"]


def test_where_nobody_hears_of_defects_they_are_raised() -> None:
    whitelist = Whitelist(Table(10, 1), lambda: NOW_US)
    whitelist.follow(Broken())
    with pytest.raises(RuntimeError, match="a mistake"):
        whitelist.take([event(Kind.WHITELISTED, A)])


def test_an_entry_tells_origin_and_note() -> None:
    whitelist = Whitelist(Table(128, 1, main=64), lambda: NOW_US)
    assert whitelist.entry(A) is None
    assert whitelist.admit(A, NOW_US + 5_000_000, NOW_US, origin=BY_HAND, note="bank")
    entry = whitelist.entry(A)
    assert entry and entry.note
    assert entry[:5] == (A, NOW_US + 5_000_000, False, False, "by-hand")
    assert entry.note.text == "bank" and abs(entry.note.since_s - time.time()) < 5
    assert whitelist.end(A)
    assert whitelist.entry(A) is None
