"""Who has the engine, or the site's key as well, and means harm: refused, bounded, counted; local entries stay."""
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.hosts import FAKE4, REAL4, Attempt
from mxallowd.fleet.keys import new_key
from tests.gateways import BROKEN, MENDED, SENDERS, STREAM, Fleet, Gateway, fleet, hosts, seconds_until
from tests.rogue import Rogue, entry, keys_of, many, packed
from tests.until import until

pytestmark = pytest.mark.usefixtures("namespaces")
BURST, A_SECOND = 50_000, 25_000
LARGEST = "18446744073709551615-18446744073709551615"


class Scene:
    """A gateway with entries of its own, the engine, and a rogue that has the key."""

    def __init__(self, made: Fleet, *more: str) -> None:
        self.made = made
        self.engine: Engine = made.engine()
        self.key = made.key.read_text(encoding="ascii").strip()
        self.a: Gateway = made.gateway("a", *more)
        self.a.start()
        self.own = self.a.meet("10.1.0.0", 20)
        assert until(lambda: self.a.known().keys() == self.own)
        self.rogue = Rogue(self.engine, keys_of(self.key))

    def refused(self) -> dict[str, int]:
        """What was refused, by reason, without what was not."""
        return {reason: number for reason, number in self.a.fleet()["refused"].items() if number}

    def entries(self) -> int:
        """How many entries there are."""
        return self.a.daemon.counters()["entries"]

    def settled(self) -> int:
        """Entries, once a last honest batch has come through."""
        honest = Rogue(self.engine, keys_of(self.key), f"honest-{time.monotonic_ns()}")
        last = f"10.250.{time.monotonic_ns() % 250}.1"
        honest.tell([packed(last)])
        seconds_until(lambda: self.a.entry(last), 10)
        return self.entries()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """With the defaults."""
    with fleet(tmp_path) as made:
        yield Scene(made)


def test_what_no_key_of_the_site_has_sealed(scene: Scene) -> None:
    """Two sites mixed up, and who can write the stream and has no key."""
    host = packed("10.9.0.1")
    record = entry(host, 3600)
    other_key = Rogue(scene.engine, keys_of(new_key()), "stranger")
    other_site = Rogue(scene.engine, keys_of(scene.key, "other"), "neighbour")
    good = scene.rogue.sealed(record)
    scene.rogue.send(
        other_key.sealed(record), other_site.sealed(record), good[:-1] + bytes([good[-1] ^ 1]),
        good.replace(host, packed("10.9.0.2")), bytes([9]) + good[1:], b"", b"x" * 40, os.urandom(8192),
        b"\1" * 100_000)
    scene.engine.do("XADD", STREAM, "*", "other", "field")
    scene.settled()
    assert scene.a.known().keys().isdisjoint({"10.9.0.1", "10.9.0.2"})
    refused = scene.refused()
    assert (refused.pop("key"), refused.pop("forged"), sum(refused.values())) == (1, 3, 6)
    assert {one["origin"] for one in scene.a.fleet()["strangers"]} >= {"stranger", "neighbour"}
    # What was not changed in between is taken.
    scene.rogue.send(good)
    assert until(lambda: scene.a.entry("10.9.0.1"))
    findings = json.loads(scene.a.ctl("doctor", "--json"))["findings"]
    assert any("stranger" in one["what"] for one in findings if one["state"] != "ok")


def test_replayed_batches(scene: Scene) -> None:
    """An engine that was taken over has them all: a removed host does not come back, nobody gets more time."""
    b = scene.made.gateway("b")
    b.start()
    b.meet("10.2.0.0", 3)
    assert until(lambda: len(scene.a.known()) == 23)
    messages = scene.engine.do("XRANGE", STREAM, "-", "+")
    scene.a.ctl("remove", "10.2.0.1")
    assert until(lambda: len(b.known()) == 22)
    left = scene.a.known()["10.2.0.2"]["seconds_left"]
    time.sleep(2.1)
    for _ in range(3):
        scene.rogue.send(*(fields[b"d"] if isinstance(fields, dict) else fields[1] for _, fields in messages))
    scene.settled()
    known = scene.a.known()
    assert "10.2.0.1" not in known
    assert "10.2.0.1" not in b.known()
    assert known["10.2.0.2"]["seconds_left"] <= left - 2
    assert scene.refused()["replayed"] >= 9
    # The same after a start, which reads all of it from the beginning.
    scene.a.stop()
    scene.a.start()
    assert until(lambda: scene.a.known().keys() == b.known().keys())
    assert "10.2.0.1" not in scene.a.known()


def test_a_peer_that_says_100_000_a_second(tmp_path: Path) -> None:
    """Of one that floods, so many are taken; a mean one that is slow enough is stopped where its share ends."""
    with fleet(tmp_path) as made:
        scene = Scene(made, "--max-entries", "80000")
        # It is not the only peer, so it has three quarters of what is told, at most.
        own = scene.settled()
        began = time.monotonic()
        scene.rogue.tell(many("10.16.0.0", 100_000))
        taken = scene.settled() - own - 1
        most = BURST + A_SECOND * (time.monotonic() - began + 0.1)
        assert BURST - 256 <= taken <= min(most, 60_000)
        # On a busy machine it is slow enough itself.
        refused = scene.refused()
        assert refused.get("too-fast", 0) + refused.get("too-many", 0) >= 100_000 - most
        for start in range(100_000, 180_000, 10_000):
            scene.rogue.tell(many(f"10.{16 + start // 65536}.{start // 256 % 256}.0", 10_000))
            time.sleep(0.4)
        assert scene.settled() - own - 2 <= 60_000
        assert scene.refused()["too-many"]
        known = scene.a.known().keys()
        assert known >= scene.own
        # Neither does it keep others out: local contacts, and what an honest gateway says.
        more = scene.a.meet("10.1.1.0", 20)
        assert until(lambda: scene.a.entry("10.1.1.19"))
        honest = Rogue(scene.engine, keys_of(scene.key), "good")
        honest.tell(many("10.3.0.0", 100))
        assert until(lambda: scene.a.entry("10.3.0.99"))
        known = scene.a.known().keys()
        assert known >= scene.own | more | hosts("10.3.0.0", 100)
        assert scene.a.tries(FAKE4, SENDERS[0]) is Attempt.REFUSED
        assert scene.a.tries(REAL4, SENDERS[0]) is Attempt.CONNECTED
        assert not scene.a.said(BROKEN)
        assert scene.a.stop() == 0


def test_a_peer_that_flushes_and_removes_in_a_loop(scene: Scene) -> None:
    """A flush ends what that gateway told; removals are those of an operator, so they are few."""
    honest = Rogue(scene.engine, keys_of(scene.key), "good")
    honest.tell(many("10.3.0.0", 100))
    scene.rogue.tell(many("10.4.0.0", 100))
    assert until(lambda: scene.entries() == 220)
    scene.rogue.flush(500)
    scene.settled()
    known = scene.a.known().keys()
    assert known >= scene.own | hosts("10.3.0.0", 100)
    assert not known & hosts("10.4.0.0", 100)
    assert scene.refused()["too-fast"] >= 490
    # A thousand, and a hundred a second.
    wide = scene.a.meet("10.5.0.0", 3000)
    assert until(lambda: scene.a.entry("10.5.11.183"))
    began = time.monotonic()
    scene.rogue.remove(*sorted(wide))
    scene.settled()
    left = scene.a.known().keys() & wide
    assert len(left) >= 3000 - 1000 - 100 * (time.monotonic() - began + 1)
    assert scene.a.stop() == 0


def test_a_stream_that_takes_nothing_any_more(scene: Scene) -> None:
    """Its last ID is the largest: it is said once, with the remedy; after that all is well, and nobody is missing."""
    b = scene.made.gateway("b")
    b.start()
    assert until(lambda: b.known().keys() == scene.own)
    scene.engine.do("XADD", STREAM, LARGEST, "d", "x")
    scene.own |= scene.a.meet("10.1.1.0", 20)
    said = scene.a.daemon.wait_for(BROKEN)
    assert f"del {STREAM}" in said
    assert STREAM in str(scene.a.fleet()["remedy"])
    assert any(STREAM in one["what"] + one["command"] for one in json.loads(scene.a.ctl("doctor", "--json"))["findings"]
               if one["state"] != "ok")
    scene.engine.do("DEL", STREAM)
    scene.a.daemon.wait_for(MENDED)
    c = scene.made.gateway("c")
    c.start()
    seconds_until(lambda: all(one.known().keys() == scene.own for one in (scene.a, b, c)), 20)
    assert len(scene.a.said(BROKEN)) == len(scene.a.said(MENDED)) == 1


def test_ids_that_lie(scene: Scene) -> None:
    """One far ahead of the engine's clock is said; no entry lives longer by it."""
    ahead_ms = time.time_ns() // 1_000_000 + 3_600_000
    scene.rogue.send(scene.rogue.sealed(entry(packed("10.9.0.1"), 3600)), ids=[f"{ahead_ms}-0"])
    said = scene.a.daemon.wait_for("fleet-engine ", timeout=15)
    assert f"del {STREAM}" in said
    assert any(f"del {STREAM}" in one for one in scene.a.fleet()["warnings"])
    found = scene.a.entry("10.9.0.1")
    assert found is None or found["seconds_left"] <= 3600
    # It is true that it goes on.
    assert scene.a.fleet()["connected"]
    scene.rogue.send(scene.rogue.sealed(entry(packed("10.9.0.2"), 3600)))
    assert until(lambda: scene.a.entry("10.9.0.2"))
    scene.engine.do("DEL", STREAM)
    assert until(lambda: not scene.a.fleet()["warnings"], 15)
    assert not scene.a.said(BROKEN)


def test_batches_that_were_held_back(scene: Scene) -> None:
    """An engine brings up what was said long ago: it is as old as its gateway says."""
    record = entry(packed("10.9.0.1"), 3600) + entry(packed("10.9.0.2"), 600)
    scene.rogue.ahead_ms = -1_200_000
    scene.rogue.send(scene.rogue.sealed(record))
    scene.settled()
    known = scene.a.known()
    assert known["10.9.0.1"]["seconds_left"] <= 2410
    assert "10.9.0.2" not in known
    assert scene.refused()["late"] == 2


def resident_kb(process: int) -> int:
    """Memory of a process and its children that is not shared."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))


def test_memory_in_a_storm(tmp_path: Path) -> None:
    """Two gateways, of which each may say 25,000 a second: after the first two rounds no more memory is taken."""
    with fleet(tmp_path) as made:
        scene = Scene(made, "--max-entries", "100000")
        peers = [Rogue(scene.engine, keys_of(scene.key), f"storm-{number}") for number in range(2)]
        seen = []
        for number in range(8):
            for place, peer in enumerate(peers):
                peer.tell(many(f"10.{32 + 16 * place + number}.0.0", 12_500))
            time.sleep(0.5)
            seen.append(resident_kb(scene.a.daemon.process.pid))
        # Two of them have all the room that others have, and none of ours.
        assert until(lambda: scene.refused().get("too-many"))
        Rogue(scene.engine, keys_of(scene.key), "good").tell([packed("10.9.0.1")])
        assert until(lambda: "10.9.0.1" in scene.a.known())
        assert max(seen[4:]) <= seen[3] * 1.05, seen
        assert scene.a.known().keys() >= scene.own
        assert scene.a.stop() == 0
