"""Gateways of a site together: who met the fake server of one gets in on all, and a removal reaches all of them."""
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Setup
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt
from tests.gateways import BROKEN, MENDED, SENDERS, Fleet, Gateway, fleet, seconds_until, start
from tests.name_server_process import NameServerProcess
from tests.until import until

pytestmark = pytest.mark.usefixtures("namespaces")
CHILD4 = "192.0.2.65"
RECORDS = ["101.2.0.192.in-addr.arpa PTR out1.example.net", "out1.example.net A 192.0.2.101",
           f"out1.example.net A {CHILD4}"]
# A name that shows others of its addresses each time.
OTHERS = ["102.2.0.192.in-addr.arpa PTR out1.example.net", "out1.example.net A 192.0.2.102"]
SENDER4, SECOND4, THIRD4, SENDER6, SECOND6 = SENDERS


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Fleet]:
    """A site."""
    with fleet(tmp_path) as one:
        yield one


def same(*gateways: Gateway) -> bool:
    """Whether all of them list the same hosts."""
    first, *others = (one.known().keys() for one in gateways)
    return all(one == first for one in others)


@pytest.mark.parametrize("way", ["queue", "set"])
def test_the_fake_on_one_and_the_real_on_the_other(made: Fleet, way: str) -> None:
    """Both families; who is denied here stays so; what is removed or flushed there is out here, of the kernel too."""
    made.engine()
    a, b = made.gateway("a", way=way), made.gateway("b", "--deny", THIRD4, way=way)
    start(a, b)
    for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6), (FAKE4, REAL4, THIRD4)):
        assert b.tries(real, sender) is Attempt.DROPPED
        assert a.tries(fake, sender) is Attempt.REFUSED
    assert until(lambda: b.known().keys() == {SENDER4, SENDER6, THIRD4})
    for real, sender, gets in ((REAL4, SENDER4, Attempt.CONNECTED), (REAL6, SENDER6, Attempt.CONNECTED),
                               (REAL4, THIRD4, Attempt.DROPPED), (REAL4, SECOND4, Attempt.DROPPED)):
        assert b.tries(real, sender) is gets
    entry = b.known()[SENDER4]
    assert (entry["origin"], entry["gateway"]) == ("peer", "a")
    assert "gateway" not in a.known()[SENDER4]
    assert "gateway a" in b.ctl("explain", SENDER4)
    if way == "set":
        assert b.way.members(b.lab, "mx_white4").keys() == {SENDER4, THIRD4}
    # A first use on one is known to the other.
    assert until(lambda: a.known()[SENDER4]["used"])
    a.ctl("remove", SENDER4)
    assert until(lambda: SENDER4 not in b.known())
    if way == "set":
        assert until(lambda: SENDER4 not in b.way.members(b.lab, "mx_white4"))
    assert b.tries(REAL4, SENDER4) is Attempt.DROPPED
    # What was removed may come back.
    assert a.tries(FAKE4, SENDER4) is Attempt.REFUSED
    assert until(lambda: SENDER4 in b.known())
    # A flush takes what this gateway has told, and nothing that the other one has let in itself.
    assert b.tries(FAKE4, SECOND4) is Attempt.REFUSED
    assert until(lambda: SECOND4 in a.known())
    a.ctl("flush", "--yes")
    assert until(lambda: b.known().keys() == {SECOND4})
    assert a.known().keys() == set()
    for one in (a, b):
        assert not one.said(BROKEN)
        assert one.stop() == 0


@pytest.mark.parametrize(
    "options", [(), pytest.param(("--renew", "never"), marks=pytest.mark.fleet)], ids=["renewed", "never-renewed"])
@pytest.mark.parametrize("way", ["queue", "set"])
def test_a_contact_counts_where_its_host_was_forgotten(made: Fleet, way: str, options: tuple[str, ...]) -> None:
    """By a flush there, or since its time there is shorter."""
    made.engine()
    a, b = made.gateway("a", *options, "-t", "24", way=way), made.gateway("b", "-t", "2", way=way)
    start(a, b)
    a.tries(FAKE4, SENDER4)
    assert until(lambda: SENDER4 in b.known())
    b.ctl("flush", "--yes")
    assert b.tries(REAL4, SENDER4) is Attempt.DROPPED
    # At once, or when an eighth of the time of a has gone by: so long its kernel shows no contact.
    assert until(lambda: a.tries(FAKE4, SENDER4) and SENDER4 in b.known(), 5)
    # Its kernel has it a moment later.
    assert until(lambda: b.tries(REAL4, SENDER4) is Attempt.CONNECTED)
    if not options:
        assert until(lambda: SENDER4 not in b.known(), 5)
        assert until(lambda: a.tries(FAKE4, SENDER4) and SENDER4 in b.known(), 5)


def test_a_sender_with_several_hosts(made: Fleet) -> None:
    """Children come with their way in; by its name, or its network, a second host counts elsewhere as it does here."""
    made.engine()
    asking = ("--dns-server", "127.0.0.1:5353")
    a, b, c = made.gateway("a", *asking), made.gateway("b", *asking), made.gateway("c", "--network-key", "24/64")
    with NameServerProcess(a.lab.gateway, RECORDS), NameServerProcess(b.lab.gateway, OTHERS):
        start(a, b, c)
        assert a.tries(FAKE4, SENDER4) is Attempt.REFUSED
        # Its name has a second address.
        assert until(lambda: b.known().keys() == {SENDER4, CHILD4})
        assert b.known()[CHILD4]["note"] == a.known()[CHILD4]["note"]
        assert "out1.example.net" in b.known()[CHILD4]["note"]
        # Another host of its name is refused, looked up and let in; and one of its network at once.
        assert until(lambda: b.tries(REAL4, SECOND4) is Attempt.CONNECTED)
        assert c.tries(REAL4, THIRD4) is Attempt.CONNECTED
        for one in (a, b, c):
            assert one.stop() == 0


def test_lifetimes_are_the_shorter_ones(made: Fleet) -> None:
    """Of who says it and of who hears it."""
    made.engine()
    a, b, c = made.gateway("a", "-t", "3600"), made.gateway("b", "-t", "600"), made.gateway("c", "-t", "7200")
    start(a, b, c)
    a.tries(FAKE4, SENDER4)
    b.tries(FAKE4, SECOND4)
    everyone = (a, b, c)
    assert until(lambda: all(one.known().keys() == {SENDER4, SECOND4} for one in everyone))
    left = {one.name: {host: entry["seconds_left"] for host, entry in one.known().items()} for one in everyone}
    assert left["a"][SENDER4] == pytest.approx(3600, abs=10)
    assert left["b"][SENDER4] == pytest.approx(600, abs=10)
    assert left["c"][SENDER4] == pytest.approx(left["a"][SENDER4], abs=2)
    for name in "abc":
        assert left[name][SECOND4] == pytest.approx(left["b"][SECOND4], abs=2)


@pytest.mark.parametrize(
    "kept", [True, pytest.param(False, marks=pytest.mark.fleet)], ids=["with-disks", "without-disks"])
def test_all_of_it_starts_again(made: Fleet, tmp_path: Path, kept: bool) -> None:
    """In whatever order: the list is the same as before, from the disks, or from the engine alone."""
    engine = made.engine(setup=Setup(keep=not kept))
    a, b = (made.gateway(name, "--state-dir", str(tmp_path / f"state-{name}")) if kept else made.gateway(name)
            for name in "ab")
    # Before the engine is there.
    engine.kill()
    a.start()
    known = a.meet("10.1.0.0", 50)
    engine.restart()
    b.start()
    known |= b.meet("10.2.0.0", 50)
    seconds_until(lambda: all(one.known().keys() == known for one in (a, b)), 10)
    a.ctl("remove", "10.2.0.7")
    known.discard("10.2.0.7")
    assert until(lambda: b.known().keys() == known)
    # What the engine and the disks write, they write within a second.
    assert not until(lambda: not same(a, b), 1.2)
    for one in (a, b):
        one.kill()
    engine.kill()
    if kept:
        engine.forget()
        b.start()
        engine.restart()
        a.start()
    else:
        engine.restart()
        start(a, b)
    seconds_until(lambda: all(one.known().keys() == known for one in (a, b)), 20)
    assert {one["origin"] for one in a.known().values()} <= {"contact", "restored", "peer"}
    for one in (a, b):
        assert one.stop() == 0


def test_what_an_operator_does(made: Fleet, tmp_path: Path) -> None:
    """Who is let in by hand is let in everywhere, with the note; a removal holds while a gateway is away."""
    made.engine()
    a, b = made.gateway("a"), made.gateway("b", "--state-dir", str(tmp_path / "state"))
    start(a, b)
    known = b.meet("10.2.0.0", 5) | {SENDER4}
    a.ctl("add", SENDER4, "--time", "3600", "--note", "ticket 17 \u00e4")
    assert until(lambda: a.known().keys() == b.known().keys() == known)
    assert b.known()[SENDER4]["note"] == "ticket 17 \u00e4"
    assert b.tries(REAL4, SENDER4) is Attempt.CONNECTED
    # Each peer with what it told; nothing is wrong.
    [peer] = b.fleet()["peers"]
    assert (peer["origin"], peer["entries"]) == ("a", 1)
    findings = json.loads(b.ctl("doctor", "--json"))["findings"]
    assert not [one for one in findings if "fleet" in one["check"] and one["state"] != "ok"]
    # The disk has it within a second.
    assert not until(lambda: not same(a, b), 1.2)
    b.stop()
    a.ctl("remove", "10.2.0.3")
    b.start()
    known.discard("10.2.0.3")
    assert until(lambda: b.known().keys() == known)
    # Whoever had it first: it is removed wherever that is said.
    b.ctl("remove", SENDER4)
    assert until(lambda: a.known().keys() == known - {SENDER4})
    a.daemon.wait_for(rf"fleet-removed \[{SENDER4}\] by=b$")
    assert "the gateway b removed its entry at " in a.ctl("explain", SENDER4)


@pytest.mark.fleet
def test_ten_gateways(made: Fleet) -> None:
    """All have what each of them let in; also after the engine has come back without anything."""
    engine = made.engine()
    gateways = [made.gateway(f"g{number}") for number in range(10)]
    start(*gateways)
    known: set[str] = set()

    def meet(network: int) -> None:
        for number, one in enumerate(gateways):
            known.update(one.meet(f"10.{network}.{number}.0", 20))
        seconds_until(lambda: all(one.known().keys() == known for one in gateways), 20)

    meet(1)
    engine.kill()
    engine.restart(empty=True)
    meet(2)
    for one in gateways:
        one.daemon.wait_for(MENDED)
        assert len(one.said(BROKEN)) == len(one.said(MENDED)) == 1
