"""What other gateways tell, in the whitelist: who hears of it, who must not come back, what a removal and a flush end.
"""
import asyncio
import gc
import time

import pytest

from mxallowd import telling
from mxallowd.backends.memories import Memories
from mxallowd.engine._meetings import Meetings
from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, PEER, Table
from mxallowd.engine.events import Event, Kind, decode
from mxallowd.following import Change
from mxallowd.telling import MOST_ENDED, Told
from mxallowd.whitelist import ALL, Whitelist
from tests.strategies import FAKE, HOSTS, REAL, packed, syn
from tests.test_memories import FLEET, SERVERS
from tests.test_settings import good
from tests.test_told import HOUR_S, SECOND, host, wire

NOW = 10**12
A, B, C, D = HOSTS[:4]
LONGEST = HOUR_S * SECOND


class Notes:
    """A follower, or a copier, that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, Change]] = []
        self.hosts: list[bytes] = []
        self.times_missed = 0

    def changed(self, host: bytes, change: Change) -> None:
        self.told.append((host, change))

    def touched(self, hosts: list[bytes]) -> None:
        self.hosts += hosts

    def missed(self) -> None:
        self.times_missed += 1


class Site:
    """A gateway's whitelist, who follows it, and who tells it what others say."""

    def __init__(self, told: int = 100) -> None:
        self.now = NOW
        self.table = Table(16 + 8 + told, 1, main=8 + told, told=told)
        self.whitelist = Whitelist(self.table, lambda: self.now)
        self.whitelist.set_servers([*FAKE, *REAL], FAKE)
        self.whitelist.set_lifetimes(LONGEST, 2 * LONGEST)
        self.follower, self.copier, self.teller = Notes(), Notes(), Notes()
        self.whitelist.follow(self.follower)
        self.whitelist.follow_as_copier(self.copier)
        self.whitelist.follow_as_copier(self.teller)

    def tell(self, *records: bytes, ago_s: float = 0, gateway: int = 1, quiet: bool = False,
             notes: dict[bytes, str] | None = None) -> Told:
        return self.whitelist.told(b"".join(records), age_us=int(ago_s * SECOND), longest_us=2 * LONGEST,
                                   gateway=gateway, teller=self.teller, quiet=quiet, notes=notes or {})

    def listed(self, *hosts: bytes) -> list[bool]:
        return [self.whitelist.find(one) is not None for one in hosts]

    def flush(self, gateway: int = 1, ago_s: float = 0) -> int:
        return asyncio.run(self.whitelist.told_flush(gateway, self.now - int(ago_s * SECOND), teller=self.teller))

    def meet(self, host: bytes, kind: Kind, server: bytes) -> None:
        self.whitelist.take([Event(kind, 0, 0, 0, self.now, host, server, 0)])


@pytest.fixture
def site() -> Site:
    return Site()


# ---- who hears of it

def test_followers_hear_of_what_changed_but_not_the_teller(site: Site) -> None:
    assert site.tell(wire(A), wire(B, 60), wire(bytes(16))) == Told(2, 0, 0, 0, 0, 1)
    assert site.tell(wire(A), wire(B, 60, flags=1), wire(C, 0)) == Told(0, 1, 1, 0, 1, 0)
    assert site.tell(wire(B, 120, flags=3)) == Told(0, 1, 0, 0, 0, 0)
    assert site.follower.told == [
        (A, Change.ADMITTED), (B, Change.ADMITTED), (B, Change.USED), (B, Change.RENEWED), (B, Change.PROVEN)]
    assert site.copier.hosts == [A, B, B, B]
    assert site.copier.told == []
    assert (site.teller.told, site.teller.hosts) == ([], [])


def test_followers_hear_of_who_made_room() -> None:
    site = Site(told=2)
    site.tell(wire(A), wire(B), notes={A: "old"})
    assert site.tell(wire(C), wire(D), wire(A)) == Told(3, 0, 0, 0, 0, 0, {1: 3})
    assert site.follower.told[2:] == [
        (A, Change.EVICTED), (C, Change.ADMITTED), (B, Change.EVICTED), (D, Change.ADMITTED),
        (C, Change.EVICTED), (A, Change.ADMITTED)]
    assert site.copier.hosts[2:] == [A, C, B, D, C, A]
    assert (site.teller.told, site.teller.hosts) == ([], [])
    assert site.whitelist.provenance.find(A) is None


def test_a_load_is_told_at_its_end_alone(site: Site) -> None:
    site.tell(*(wire(host(number)) for number in range(50)), quiet=True)
    assert (site.follower.told, site.copier.hosts) == ([], [])
    site.whitelist.missed(teller=site.teller)
    assert [one.times_missed for one in (site.follower, site.copier, site.teller)] == [1, 1, 0]


def test_a_told_entry_shows_its_gateway(site: Site) -> None:
    site.whitelist.gateway_name = {1: "mx1", 2: "mx2"}.__getitem__
    site.tell(wire(A, origin=CHILD), notes={A: "mail.example.org"})
    entry = site.whitelist.entry(A)
    assert entry is not None and entry.note is not None
    assert (entry.origin, entry.gateway, entry.note.text) == ("peer", "mx1", "mail.example.org")
    site.whitelist.admit(B, NOW + SECOND, NOW, origin=BY_HAND)
    site.tell(wire(B), gateway=2)
    assert (entry := site.whitelist.entry(B)) is not None and (entry.origin, entry.gateway) == ("by-hand", "")


def test_lifetimes_are_those_of_here(site: Site) -> None:
    site.tell(wire(A, 10**6), wire(B, 10**6, flags=2))
    assert site.whitelist.find(A) == (NOW + LONGEST, False)
    assert site.whitelist.find(B) == (NOW + 2 * LONGEST, False)


def test_the_note_of_a_former_entry_goes(site: Site) -> None:
    site.tell(wire(A, 10), notes={A: "old"})
    site.now += 20 * SECOND
    site.tell(wire(A))
    assert site.whitelist.provenance.find(A) is None


def test_notes_that_are_told_push_out_none_of_ours(site: Site) -> None:
    provenance = site.whitelist.provenance
    provenance._most_told = 2
    site.whitelist.admit(D, NOW + SECOND, NOW, note="ours")
    site.tell(wire(A), wire(B), wire(C), notes={A: "a", B: "b", C: "c", D: "not told"})
    assert [bool(provenance.find(one)) for one in (A, B, C)] == [False, True, True]
    assert (found := provenance.find(D)) and found.text == "ours"


# ---- who meets a fake server here as well

@pytest.mark.parametrize(("kind", "server", "own"), [
    (Kind.RENEWED, FAKE[0], True), (Kind.MET, FAKE[0], True), (Kind.RENEWED, REAL[0], False),
    (Kind.ACCEPTED, REAL[0], False), (Kind.REFUSED, FAKE[0], False)])
def test_a_contact_here_makes_it_our_own(site: Site, kind: Kind, server: bytes, own: bool) -> None:
    site.tell(wire(A), notes={A: "theirs"})
    site.meet(A, kind, server)
    entry = site.whitelist.entry(A)
    assert entry is not None and (entry.origin == "contact", entry.note is None) == (own, own)
    # The teller says it from now on.
    assert ((A, Change.RENEWED) in site.teller.told) == own
    assert site.flush() == (0 if own else 1)


def test_who_is_let_in_by_hand_as_well_is_our_own(site: Site) -> None:
    site.tell(wire(A), notes={A: "theirs"})
    assert site.whitelist.claim(A, BY_HAND)
    assert not site.whitelist.claim(A, BY_HAND) and not site.whitelist.claim(B, BY_HAND)
    entry = site.whitelist.entry(A)
    assert entry is not None and entry.note is not None
    assert (entry.origin, entry.gateway, entry.note.text) == ("by-hand", "", "")
    assert site.teller.told == [(A, Change.RENEWED)]
    assert site.flush() == 0


# ---- what was ended here

def test_what_was_said_before_a_removal_does_not_come_back(site: Site) -> None:
    site.tell(wire(A), wire(B))
    site.now += 10 * SECOND
    site.whitelist.end(A)
    site.now += 10 * SECOND
    assert site.tell(wire(A), wire(C), ago_s=15) == Told(1, 0, 0, 0, 1, 0)
    assert site.listed(A, B, C) == [False, True, True]
    assert site.tell(wire(A), ago_s=5).entered == 1


def test_what_was_said_before_a_flush_does_not_come_back(site: Site) -> None:
    site.tell(wire(A))
    site.whitelist.end(A, flush=True)
    site.whitelist.tellings.note_all_ended(site.now)
    site.now += 10 * SECOND
    assert site.tell(wire(A), wire(B), ago_s=11) == Told(0, 0, 0, 0, 2, 0)
    assert site.tell(wire(A), ago_s=9).entered == 1
    assert (A, Change.FLUSHED) in site.follower.told


def test_of_more_removals_than_are_remembered_none_comes_back() -> None:
    site = Site()
    tellings = site.whitelist.tellings
    for number in range(MOST_ENDED + 1):
        tellings.note_end(number.to_bytes(16, "big"), site.now)
    assert not tellings._ended
    assert site.tell(wire(A), ago_s=1).over == 1


def test_removals_elsewhere_keep_out_nobody_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, and a flush as well: what a third gateway said a moment before still holds."""
    monkeypatch.setattr(telling, "MOST_ENDED", 10)
    site.tell(*(wire(host(number)) for number in range(60)))
    site.now += 10 * SECOND
    for number in range(30):
        assert site.whitelist.told_end(host(number), site.now, teller=site.teller)
    assert site.flush() == 30
    assert len(site.whitelist.tellings._ended) == 10
    assert site.tell(wire(A), wire(host(29)), wire(host(59)), ago_s=1, gateway=2) == Told(2, 0, 0, 0, 1, 0)


def test_a_load_brings_back_nobody_who_was_barred(site: Site) -> None:
    """Removed before the start: what others said before it may still be in the stream."""
    site.whitelist.bar({A: NOW - 50 * SECOND + 2 * LONGEST})
    assert site.tell(wire(A), wire(B), ago_s=60) == Told(1, 0, 0, 0, 1, 0)
    # It met a fake server again, before this start; the bar lasts as long as the entry of a proven host would have.
    assert site.tell(wire(A), ago_s=40).entered == 1


def test_after_too_many_removals_all_are_barred(site: Site) -> None:
    site.whitelist.bar({ALL: NOW - 50 * SECOND + 2 * LONGEST})
    assert site.tell(wire(A), wire(B), ago_s=60) == Told(0, 0, 0, 0, 2, 0)
    assert site.tell(wire(A), ago_s=40).entered == 1


def test_who_was_let_in_by_hand_for_long_is_barred_by_the_end(site: Site) -> None:
    """Nobody knows when such an entry was ended."""
    site.whitelist.bar({A: NOW + 10 * LONGEST})
    assert site.tell(wire(A), wire(B), ago_s=60) == Told(1, 0, 0, 0, 1, 0)
    site.now += SECOND
    assert site.tell(wire(A)).entered == 1


# ---- what another gateway ends

def test_a_removal_elsewhere_ends_what_was_told(site: Site) -> None:
    ended: list[bytes] = []
    site.whitelist.before_end = ended.append
    site.tell(wire(A))
    assert site.whitelist.told_end(A, site.now, teller=site.teller)
    assert not site.whitelist.told_end(A, site.now, teller=site.teller)
    assert site.listed(A) == [False]
    assert site.follower.told[-1] == site.copier.told[-1] == (A, Change.ENDED)
    assert (site.teller.told, ended) == ([], [A])


@pytest.mark.parametrize(("origin", "left_s", "since_s", "ended"), [
    (CONTACT, HOUR_S - 60, None, True),  # met us a minute ago
    (CONTACT, HOUR_S - 10, None, False),  # ten seconds ago, and the removal is older
    (CHILD, HOUR_S - 60, 60, True), (CHILD, HOUR_S - 10, 10, False), (CHILD, HOUR_S - 10, 60, False),
    (BY_HAND, 60, 60, True), (BY_HAND, 60, 10, False),
    (BY_HAND, 100 * HOUR_S, 60, True), (BY_HAND, 100 * HOUR_S, 10, False), (BY_HAND, 100 * HOUR_S, None, True)])
def test_a_removal_ends_what_was_here_before_it(
        site: Site, origin: int, left_s: int, since_s: int | None, ended: bool) -> None:
    site.table.add(A, NOW + left_s * SECOND, NOW, origin=origin)
    if since_s is not None:
        site.whitelist.provenance.note(A, int(time.time()) - since_s, "")
    assert site.whitelist.told_end(A, NOW - 30 * SECOND, teller=site.teller) == ended


def test_a_flush_elsewhere_ends_what_that_gateway_alone_told(site: Site) -> None:
    site.table.add(D, NOW + LONGEST, NOW)
    site.tell(wire(A), wire(B), wire(D), *(wire(host(number)) for number in range(60)), gateway=1)
    site.tell(wire(B), wire(C), gateway=2)
    assert site.whitelist.told_by(1) == 62
    assert site.flush() == 61
    assert site.listed(A, B, C, D) == [False, True, True, True]
    assert site.follower.told[-61:] == [(one, Change.FLUSHED) for one in [A, *(host(number) for number in range(60))]]
    assert (site.teller.told, site.whitelist.told_by(1)) == ([], 62)


def test_a_flush_in_a_loop_leaves_local_entries(site: Site) -> None:
    """A gateway that was taken over says the whole list as its own, and flushes it."""
    mine = [host(number) for number in range(8)]
    for one in mine:
        site.table.add(one, site.now + LONGEST, site.now)
    for _ in range(5):
        site.now += SECOND
        site.tell(*map(wire, [*mine, A, B]))
        assert site.flush() == 2
    assert all(site.listed(*mine))


@pytest.mark.parametrize("gateway", [0, 3])
def test_a_flush_of_who_told_nothing_ends_nothing(site: Site, gateway: int) -> None:
    site.tell(wire(A), gateway=0)
    assert site.flush(gateway) == 0
    assert site.listed(A) == [True]


def test_the_loop_turns_while_a_flush_goes_on() -> None:
    site = Site(told=3000)
    site.tell(*(wire(host(number)) for number in range(3000)))

    async def story() -> tuple[int, float]:
        flushing = asyncio.create_task(site.whitelist.told_flush(1, site.now, teller=None))
        turns, longest, before = 0, 0.0, time.thread_time()
        while not flushing.done():
            await asyncio.sleep(0)
            after = time.thread_time()
            turns, longest, before = turns + 1, max(longest, after - before), after
        return turns, longest

    # What other tests have left to the collector of garbage is no part of it.
    gc.collect()
    gc.disable()
    try:
        turns, longest = asyncio.run(story())
    finally:
        gc.enable()
    assert turns >= 30
    # Of the processor, since other programs run as well.
    assert longest < 0.05
    assert site.table.counters()["ended"] == 3000


# ---- names and networks

def test_names_are_of_listed_hosts(site: Site) -> None:
    named: list[tuple[bytes, object]] = []
    site.whitelist.tellings.named = lambda host, names: named.append((host, names))
    site.tell(wire(A))
    site.whitelist.told_names(A, ["a.example.org"])
    site.whitelist.told_names(B, ["b.example.org"])
    assert named == [(A, ["a.example.org"])]


def test_contacts_elsewhere_are_told_to_who_keeps_networks(site: Site) -> None:
    met: list[bytes] = []
    site.whitelist.tellings.met = met.extend
    site.whitelist.tellings.meetings = Meetings(16, 24, 64)
    site.tell(wire(A), wire(host(1), origin=CHILD))
    assert met == [A]
    assert site.whitelist.tellings.meetings.find(B, NOW) == NOW + LONGEST


def test_without_told_places_nothing_is_told() -> None:
    whitelist = Whitelist(Table(8, 1, main=4), lambda: NOW)
    with pytest.raises(ValueError, match="no places"):
        whitelist.told(wire(A), age_us=0, longest_us=LONGEST, gateway=1, teller=None)
    assert PEER not in {found[2] for one in HOSTS if (found := whitelist._table.find(one, NOW))}


@pytest.mark.parametrize("renew", ["never", "both"])
def test_the_packet_path_tells_of_a_contact_of_a_told_host(renew: str) -> None:
    """Whether or not its time is renewed by that, and within the first minute."""
    made = Memories(good(f"{SERVERS} {FLEET} --renew {renew}"), 1)
    whitelist, now = Whitelist(made.table, lambda: NOW), NOW
    whitelist.set_servers(map(packed, ("192.0.2.1", "192.0.2.2")), [packed("192.0.2.1")])
    path = made.decision(0, -1)
    whitelist.told(wire(A, 600) + wire(B, 600), age_us=0, longest_us=LONGEST, gateway=1, teller=None)
    path.decide([syn(A, packed("192.0.2.1")), syn(B, packed("192.0.2.2"))], now)
    assert [path.counters()[one] for one in ("fake-known", "real-first")] == [1, 1]
    whitelist.take(decode(path.ring.drain(100)))
    assert [entry.origin for one in (A, B) if (entry := whitelist.entry(one))] == ["contact", "peer"]
