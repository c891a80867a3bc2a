"""Neighbours: who comes in by a contact of his network gets an entry of his own, and what ends or renews a network."""
import asyncio
from collections.abc import Sequence

import pytest

from lab.hosts import REAL4
from mxallowd.backends.handshakes import Handshakes
from mxallowd.engine._meetings import Meetings
from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, PATIENCE, RESTORED, Table
from mxallowd.engine.events import Event, Kind
from mxallowd.sinks import neighbours
from mxallowd.sinks.neighbours import Neighbours
from mxallowd.whitelist import Change, Whitelist
from tests.strategies import packed
from tests.test_handshakes import message
from tests.test_settings import MINIMUM, good

HOUR_US = 3_600_000_000
HOST, NEIGHBOUR, STRANGER = packed("198.51.100.7"), packed("198.51.100.8"), packed("198.51.101.8")
NETWORK = packed("198.51.100.0")
QUEUE = f"{MINIMUM} -r {REAL4} --network-key 24/64 --proven-time 864000"
CAPTURE = QUEUE.replace("-n 23", "-p nflog:5")


class Lines:
    """A log of hosts that keeps them."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bytes, dict[str, object]]] = []

    def info(self, word: str, host: bytes, **values: object) -> None:
        self.lines.append((word, host, values))


class Copy:
    """A copy of the networks."""

    def __init__(self) -> None:
        self.changes: list[tuple[bytes, Change]] = []
        self.lost = 0

    def changed(self, network: bytes, change: Change) -> None:
        self.changes.append((network, change))

    def missed(self) -> None:
        self.lost += 1


class Scene:
    """A whitelist with a contact, and who looks after its neighbours."""

    def __init__(self, options: str = QUEUE, *, main: int = 1000, told: int = 0, now_us: int = HOUR_US) -> None:
        self.now_us = now_us
        self.table = Table(16 + main + told, main=main + told, told=told)
        self.meetings = Meetings(1000, 24, 64)
        self.whitelist = Whitelist(self.table, lambda: self.now_us)
        self.log, self.copy = Lines(), Copy()
        settings = good(options)
        self.neighbours = Neighbours(settings, self.meetings, self.whitelist, self.log)  # type: ignore[arg-type]
        self.neighbours.follow(self.copy)
        self.handshakes = Handshakes(
            settings, self.whitelist, None, enter=self.neighbours.connected)  # type: ignore[arg-type]
        self.enter(HOST, 8)

    def enter(self, host: bytes, hours: int, origin: int = CONTACT) -> None:
        """As the packet path, or a restart, enters a host."""
        self.table.add(host, self.now_us + hours * HOUR_US, self.now_us, origin=origin)
        if origin == CONTACT:
            self.meetings.note(host, self.now_us + hours * HOUR_US, self.now_us)

    def connect(self, host: str) -> None:
        """A handshake, as ctnetlink tells it."""
        self.handshakes._take(message(host, REAL4))

    def come(self, hosts: Sequence[bytes]) -> None:
        """A SYN of each at a real server, as the packet path tells of those that a network lets in."""
        self.neighbours.handle([Event(Kind.BY_NETWORK, 0, 0, 1, self.now_us, host, packed(REAL4), 0) for host in hosts])

    def hours(self, host: bytes) -> float | None:
        found = self.neighbours.until_us(host)
        return None if found is None else (found - self.now_us) / HOUR_US


def test_who_has_connected_has_an_entry_of_his_own() -> None:
    scene = Scene()
    scene.come([NEIGHBOUR])
    # With a queue a SYN, which anybody can make up, makes no entry.
    assert scene.whitelist.find(NEIGHBOUR) is None
    scene.connect("198.51.100.8")
    scene.connect("198.51.101.8")
    entry = scene.whitelist.entry(NEIGHBOUR)
    assert entry
    assert entry.note
    assert (entry.origin, entry.proven, entry.note.text) == ("child", True, "network 198.51.100.0/24")
    assert entry.until_us - scene.now_us == 240 * HOUR_US
    assert scene.log.lines == [("neighbour", NEIGHBOUR, {"network": "198.51.100.0/24", "seconds": 864_000})]
    # That is the proof of the contact, too; his next connections are not. A stranger is told of as before.
    assert scene.hours(HOST) == 240
    scene.now_us += 2 * HOUR_US
    scene.connect("198.51.100.8")
    assert scene.hours(HOST) == 238
    assert scene.whitelist.find(NEIGHBOUR) == (scene.now_us + 240 * HOUR_US, False)
    scene.handshakes.tick()
    assert scene.handshakes.take_unlisted() == [STRANGER]


def test_without_a_queue_the_first_syn_makes_the_entry() -> None:
    scene = Scene(CAPTURE)
    scene.come([NEIGHBOUR, NEIGHBOUR, STRANGER])
    entry = scene.whitelist.entry(NEIGHBOUR)
    assert entry
    assert (entry.proven, entry.until_us) == (False, scene.now_us + 8 * HOUR_US)
    assert scene.hours(HOST) == 8
    scene.connect("198.51.100.8")
    assert scene.hours(HOST) == 240
    assert scene.whitelist.find(STRANGER) is None


def test_a_proven_contact_prolongs_its_network() -> None:
    scene = Scene()
    scene.connect("198.51.100.7")
    assert scene.hours(NEIGHBOUR) == 240
    assert (NETWORK, Change.PROVEN) in scene.copy.changes
    assert (NETWORK, Change.RENEWED) in scene.copy.changes


@pytest.mark.parametrize("origin", [CHILD, BY_HAND, RESTORED, PATIENCE])
def test_only_a_contact_lets_its_network_in(origin: int) -> None:
    scene = Scene()
    scene.enter(STRANGER, 8, origin)
    scene.connect("198.51.101.8")
    asyncio.run(scene.neighbours.begin())
    assert scene.hours(STRANGER) is None


def test_removing_by_hand_ends_the_network() -> None:
    scene = Scene()
    scene.enter(packed("198.51.100.9"), 4)
    scene.connect("198.51.100.8")
    assert scene.whitelist.end(HOST)
    assert scene.hours(HOST) is None
    assert scene.copy.changes[-1] == (NETWORK, Change.ENDED)
    # Others have their entries, and the next renewal of a contact lets the network in again.
    assert scene.whitelist.find(NEIGHBOUR)
    assert scene.whitelist.renew(packed("198.51.100.9"), scene.now_us + 5 * HOUR_US, scene.now_us)
    assert scene.hours(HOST) == 5
    asyncio.run(scene.neighbours.flush())
    assert scene.hours(HOST) is None
    assert scene.copy.lost == 1


def test_a_restart_fills_it_from_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CLEARED", 64)
    before = Scene()
    before.enter(packed("2001:db8:5::1"), 3)
    before.connect("198.51.100.8")
    before.whitelist.annotate(NEIGHBOUR, "bank")
    # Of a host that was let in by hand a note lets no network in, whatever it reads.
    by_hand = packed("203.0.113.8")
    before.whitelist.admit(by_hand, 9 * HOUR_US, HOUR_US, origin=BY_HAND, note="network people")
    before.whitelist.prove(by_hand)
    after = Scene()
    asyncio.run(after.neighbours.flush())
    for records in before.whitelist.records():
        after.table.restore(records, after.now_us, shard=0)
    after.whitelist.provenance.recall(dict(before.whitelist.provenance.noted({NEIGHBOUR, by_hand})))
    after.table.prove(by_hand, after.now_us)
    asyncio.run(after.neighbours.begin())
    assert after.hours(by_hand) is None
    assert (after.hours(STRANGER), after.hours(packed("2001:db8:5::ffff"))) == (None, 3)
    # From when the neighbour came in, by whole seconds.
    assert 239.9 < (after.hours(NEIGHBOUR) or 0) <= 240
    assert list(after.neighbours._known) == [NETWORK]


@pytest.mark.parametrize("barred", [False, True])
def test_a_removed_network_stays_so_over_a_restart(barred: bool) -> None:
    """By the notes of neighbours; or, of those that are not counted any more, by what was removed."""
    before = Scene(CAPTURE)
    before.connect("198.51.100.8")
    before.come([packed("198.51.100.9")])
    if barred:
        before.neighbours._known.clear()
    assert before.whitelist.end(HOST)
    if not barred:
        before.connect("198.51.100.9")
        assert before.hours(HOST) is None
    after = Scene()
    asyncio.run(after.neighbours.flush())
    for records in before.whitelist.records():
        after.table.restore(records, after.now_us, shard=0)
    after.table.end(HOST, after.now_us)
    after.table.prove(NEIGHBOUR, after.now_us)
    notes = before.whitelist.provenance.noted({NEIGHBOUR})
    assert notes[0][1].text == ("network 198.51.100.0/24" if barred else "former network 198.51.100.0/24")
    after.whitelist.provenance.recall(dict(notes))
    after.whitelist.bar({HOST: after.now_us + HOUR_US} if barred else {})
    asyncio.run(after.neighbours.begin())
    assert after.hours(HOST) is None
    assert list(after.neighbours._known) == [NETWORK]


def test_many_networks_that_are_removed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their notes are rewritten some at a time; until then a handshake of theirs lets in nobody either."""
    monkeypatch.setattr(neighbours, "REWRITES", 1)
    scene = Scene(CAPTURE)
    scene.neighbours.tick()
    contacts = [packed(f"203.0.{third}.1") for third in range(4)]
    for contact in contacts:
        scene.enter(contact, 8)
        scene.come([contact[:-1] + b"\x07"])
    for contact in contacts:
        assert scene.whitelist.end(contact)
    for ticks in (1, 2, 3):
        assert len(scene.neighbours._closing) == 4 - ticks
        scene.connect("203.0.3.7")
        assert scene.hours(contacts[3]) is None
        scene.neighbours.tick()
    notes = [scene.whitelist.entry(contact[:-1] + b"\x07") for contact in contacts]
    assert [one.note.text for one in notes if one and one.note] == [f"former network 203.0.{n}.0/24" for n in range(4)]


def test_a_network_has_so_many_entries_and_no_more() -> None:
    scene = Scene(CAPTURE)
    everybody = [packed(f"198.51.100.{number}") for number in range(10, 250)]
    scene.come(everybody)
    assert sum(scene.whitelist.find(host) is not None for host in everybody) == neighbours.MOST_UNPROVEN
    # What made-up SYNs have used up is not what handshakes need.
    scene.connect("198.51.100.249")
    assert scene.whitelist.find(everybody[-1])
    # Those whose time is over make room.
    scene.now_us += 9 * HOUR_US
    scene.enter(packed("198.51.100.251"), 8)
    scene.come(everybody[-20:-1])
    assert all(scene.whitelist.find(host) for host in everybody[-20:])


def test_who_completes_a_handshake_gives_his_place_free() -> None:
    """An entry that a first SYN made, and a handshake proves, counts among those with a handshake."""
    scene = Scene(CAPTURE)
    for number in range(20, 20 + neighbours.MOST_UNPROVEN + 10):
        scene.come([packed(f"198.51.100.{number}")])
        assert scene.whitelist.find(packed(f"198.51.100.{number}"))
        scene.connect(f"198.51.100.{number}")
    # The network lasts for ten days by now; an entry for a SYN alone does not.
    made_up = [packed(f"198.51.100.{number}") for number in range(150, 150 + neighbours.MOST_UNPROVEN)]
    scene.come([*made_up, NEIGHBOUR])
    assert scene.whitelist.find(NEIGHBOUR) is None
    assert scene.whitelist.find(made_up[0]) == (scene.now_us + 8 * HOUR_US, False)
    scene.now_us += 9 * HOUR_US
    scene.come(made_up)
    # One that is removed leaves its place, too.
    assert scene.whitelist.end(made_up[0])
    scene.enter(HOST, 8)
    scene.come([NEIGHBOUR])
    assert scene.whitelist.find(NEIGHBOUR)


def test_so_many_are_counted_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_COUNTED", 100)
    scene = Scene(CAPTURE)
    for third in range(60):
        scene.enter(packed(f"203.0.{third}.1"), 8 if third < 50 else 1)
        scene.come([packed(f"203.0.{third}.{last}") for last in (7, 8, 9, 7)])
        known = scene.neighbours._known
        assert scene.neighbours._counted == sum(map(len, known.values())) <= 100
    # Those of the networks that came last.
    assert list(known) == [packed(f"203.0.{third}.0") for third in range(27, 60)]


def test_a_full_whitelist_removes_nobody_for_them() -> None:
    scene = Scene(main=2)
    for number in (8, 9, 10):
        scene.connect(f"198.51.100.{number}")
    assert [scene.whitelist.find(packed(f"198.51.100.{number}")) is not None for number in (7, 8, 9, 10)] == [
        True, True, True, False]


def test_off_nothing_is_done() -> None:
    scene = Scene()
    silent = Neighbours(good(MINIMUM), None, scene.whitelist, scene.log)  # type: ignore[arg-type]
    silent.handle([Event(Kind.BY_NETWORK, 0, 0, 1, 1, NEIGHBOUR, packed(REAL4), 0)])
    silent.changed(HOST, Change.ENDED)
    asyncio.run(silent.begin())
    asyncio.run(silent.flush())
    assert (silent.connected(NEIGHBOUR), silent.until_us(NEIGHBOUR)) == (False, None)
    assert scene.whitelist.find(NEIGHBOUR) is None
