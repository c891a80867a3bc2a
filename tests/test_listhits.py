"""Hits of the lists: which network gets a connection, what is counted when, and what a change of the lists leaves."""
import asyncio
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._refused import Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.lists.composition import ALLOW, DENY, Composition, Source, record
from mxallowd.sinks import listhits
from mxallowd.sinks.listhits import Hit, ListHits
from tests.strategies import packed

MINUTE_US = 60_000_000


class Scene:
    """Hits of some lists, with a memory that holds what the test says."""

    def __init__(self, *sources: Source, most: int = 100) -> None:
        self.lists = Composition.of(sources)
        self.memory: dict[bytes, Refusals] = {}
        self.now_us = 5 * MINUTE_US
        self.hits = ListHits(self, lambda: self.lists, lambda: self.now_us, most)

    def find(self, host: bytes) -> Refusals | None:
        return self.memory.get(host)

    def come(self, address: str, times: int = 1, kind: Kind = Kind.LIST_DENIED, *, told: bool = True) -> None:
        """So many connections more, and the event of the last one where it is told."""
        host, before = packed(address), self.memory.get(packed(address))
        times += before.times if before else 0
        self.memory[host] = Refusals(0, self.now_us, times, None)
        if told:
            self.hits.handle([Event(kind, 0, 0, times, self.now_us, host, packed("192.0.2.5"), 0)])

    def pass_by(self, us: int = MINUTE_US) -> None:
        self.now_us += us
        self.hits.tick()

    def change(self, *sources: Source) -> None:
        self.lists = Composition.of(sources)
        self.hits.changed(self.lists)
        self.hits.tick()

    def counts(self) -> dict[str, int]:
        """By network."""
        found = asyncio.run(self.hits.by_rule(self.lists))
        return {str(self.lists.rule(number).network): hit.times for number, hit in found.items()}


def source(name: str, verdict: str, *networks: str) -> Source:
    return Source(name, verdict, b"".join(record(ip_network(one), verdict) for one in networks))


def test_a_connection_is_a_hit_of_the_network_that_holds() -> None:
    scene = Scene(source("a", DENY, "198.51.100.0/24", "198.51.100.7"), source("b", ALLOW, "2001:db8::/32"))
    scene.come("198.51.100.7")
    scene.come("198.51.100.8")
    scene.come("2001:db8::8", kind=Kind.LIST_ALLOWED)
    scene.come("203.0.113.1")
    assert scene.counts() == {"198.51.100.7/32": 1, "198.51.100.0/24": 1, "2001:db8::/32": 1}


def test_what_no_event_tells_is_counted_after_a_minute() -> None:
    scene = Scene(source("a", DENY, "198.51.100.0/24"))
    scene.come("198.51.100.7")
    scene.come("198.51.100.7", 4, told=False)
    scene.pass_by(MINUTE_US - 1)
    assert scene.counts() == {"198.51.100.0/24": 1}
    scene.pass_by(1)
    assert scene.counts() == {"198.51.100.0/24": 5}
    # Still open, since it came; then not, and its next connection has an event.
    scene.come("198.51.100.7", 2, told=False)
    scene.pass_by()
    scene.pass_by()
    scene.come("198.51.100.7")
    assert scene.counts() == {"198.51.100.0/24": 8}
    last_us = scene.now_us
    scene.pass_by()
    assert list(asyncio.run(scene.hits.by_rule(scene.lists)).values()) == [Hit(8, last_us)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, MINUTE_US))))
def test_all_are_counted_once(steps: list[tuple[int, int, int]]) -> None:
    scene = Scene(source("a", DENY, "198.51.100.0/24"))
    came, told_us = 0, dict[int, int]()
    for number, times, us in steps:
        # As the packet path tells: at first, and at the next connection after a minute.
        told = scene.now_us - told_us.get(number, 0) > MINUTE_US
        told_us |= {number: scene.now_us} if told else {}
        scene.come(f"198.51.100.{number}", times, told=told)
        came += times
        assert scene.counts()["198.51.100.0/24"] <= came
        scene.pass_by(us)
    scene.pass_by()
    assert scene.counts() == ({"198.51.100.0/24": came} if came else {})


def test_who_was_pushed_out_of_the_memory_is_counted_anew() -> None:
    scene = Scene(source("a", DENY, "198.51.100.0/24"))
    scene.come("198.51.100.7", 9)
    del scene.memory[packed("198.51.100.7")]
    scene.come("198.51.100.7", 2)
    assert scene.counts() == {"198.51.100.0/24": 11}
    del scene.memory[packed("198.51.100.7")]
    scene.pass_by()
    scene.hits.handle([Event(Kind.LIST_DENIED, 0, 0, 1, scene.now_us, packed("198.51.100.7"), bytes(16), 0)])
    assert scene.counts() == {"198.51.100.0/24": 12}


def test_a_neighbour_that_a_contact_let_in_is_no_hit() -> None:
    scene = Scene(source("a", DENY, "203.0.113.0/24"))
    scene.come("198.51.100.7", 3, Kind.BY_NETWORK)
    scene.change(source("a", ALLOW, "198.51.100.0/24"))
    scene.come("198.51.100.7", 1, Kind.LIST_ALLOWED)
    assert scene.counts() == {"198.51.100.0/24": 1}


def test_hits_stay_where_the_network_does() -> None:
    scene = Scene(source("a", DENY, "198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/25"))
    for address in ("198.51.100.7", "203.0.113.7", "192.0.2.7"):
        scene.come(address)
    # From another place and with another number; one is allowed now, which is another network.
    scene.change(source("b", ALLOW, "203.0.113.0/24", "2001:db8::/32"), source("c", DENY, "198.51.100.0/24"))
    assert scene.counts() == {"198.51.100.0/24": 1}
    assert len(scene.hits) == 1
    # A longer one holds for the last host: it still is there for others.
    scene.change(source("c", DENY, "198.51.100.7", "198.51.100.0/24"))
    assert scene.counts() == {"198.51.100.0/24": 1}


def test_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listhits, "MAX_OPEN", 2)
    monkeypatch.setattr(listhits, "MAX_KNOWN", 3)
    scene = Scene(source("a", DENY, *(f"198.51.100.{number}" for number in range(9))), most=3)
    for number in range(9):
        scene.come(f"198.51.100.{number}")
        scene.come(f"198.51.100.{number}", told=False)
    # The first two are open, and nobody else is asked about again.
    assert scene.counts() == {f"198.51.100.{number}/32": 1 for number in (6, 7, 8)}
    scene.pass_by()
    assert scene.counts() == {"198.51.100.0/32": 2, "198.51.100.1/32": 2, "198.51.100.8/32": 1}
