"""What restarts the time of an entry: contacts with a fake server, uses of a real one, and how often."""
import pytest

from mxallowd._fastpath import Fastpath
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import RENEW, Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import Kind, decode
from tests.pair import Pair
from tests.strategies import FAKE, HOSTS, REAL, syn

HOST = HOSTS[0]


@pytest.mark.parametrize(("renew", "by_contact", "by_use"), [
    ("never", False, False), ("contact", True, False), ("use", False, True), ("both", True, True)])
@pytest.mark.parametrize("server", ["fake", "real"])
def test_what_restarts_the_time(renew: str, by_contact: bool, by_use: bool, server: str) -> None:
    pair = Pair(8)
    pair.publish(FAKE, REAL, 8, renew)
    renewing = by_contact if server == "fake" else by_use
    packet = syn(HOST, (FAKE if server == "fake" else REAL)[0])
    pair.decide([syn(HOST, FAKE[0]), syn(HOST, REAL[0])], 0)
    # Not before an eighth is over, then at once, and not again before the next eighth: one event each.
    for now_us, renewed in ((999_999, False), (1_000_000, True), (1_999_999, False), (2_000_000, True)):
        before = pair.table.find(HOST, now_us)
        pair.decide([packet] * 3, now_us)
        after = pair.table.find(HOST, now_us)
        assert after and before
        assert after[0] == (now_us + 8_000_000 if renewed and renewing else before[0])
    assert (pair.table.find(HOST, 8_000_000) is not None) == renewing
    pair.check_counters(20_000_000)


def test_a_renewal_reaches_the_shard_of_another_queue() -> None:
    pair = Pair(8, 2)
    pair.publish(FAKE, REAL, 8, "contact")
    pair.decide([syn(HOST, FAKE[0])], 0, 0)
    assert pair.decide([syn(HOST, FAKE[0])], 7_000_000, 1) == ["fake-known"]
    assert pair.decide([syn(HOST, REAL[0])], 14_999_999, 1) == ["real-first"]
    assert pair.decide([syn(HOST, REAL[0])], 15_000_000, 1) == ["real-refused"]
    pair.check_counters(15_000_000)


def told_of_contacts(renew: str, *, proven: bool, lasting: bool, fleet: bool = True) -> list[tuple[int, str]]:
    """A host is listed at 0, and meets the fake server every 10 s for 200 s: when something is told, and what."""
    table, ring = Table(8, 1), Ring(64, -1)
    rules = Rules(FAKE, REAL, 1000, renew=RENEW[renew], renewed_after_us=60_000_000 if fleet else 0,
                  tells_contacts=fleet)
    path = Fastpath(table, ring, rules, contacts=Refused(64, 1, table))
    path.decide([syn(HOST, FAKE[0])], 0)
    if proven:
        table.prove(HOST, 0)
    if lasting:
        table.renew(HOST, 5_000_000_000, 0)
    ring.drain(64)
    found = []
    for now_s in range(0, 200, 10):
        # A new connection each time, and its second packet.
        packet = bytearray(syn(HOST, FAKE[0]))
        packet[20:22] = (50_000 + now_s).to_bytes(2, "big")
        path.decide([bytes(packet)] * 2, now_s * 1_000_000)
        found += [(now_s, Kind(event.kind).name) for event in decode(ring.drain(64))]
    return found


def test_a_fleet_is_told_of_contacts_each_minute() -> None:
    minutes = (60, 120, 180)
    assert told_of_contacts("contact", proven=True, lasting=False) == [(at, "RENEWED") for at in minutes]
    # What a contact does not renew is told all the same.
    for renew, lasting in (("contact", True), ("both", True), ("never", False), ("use", False)):
        found = told_of_contacts(renew, proven=True, lasting=lasting)
        assert {name for _, name in found} == {"AGAIN"}
        assert [at for at, _ in found] == [0, 70, 140]
        assert {name for _, name in told_of_contacts(renew, proven=False, lasting=lasting)} == {"MET"}


def test_without_a_fleet_nobody_is_told_of_them() -> None:
    assert told_of_contacts("contact", proven=True, lasting=False, fleet=False) == [(130, "RENEWED")]
    for renew in RENEW:
        assert told_of_contacts(renew, proven=True, lasting=True, fleet=False) == []


@pytest.mark.parametrize("after_us", [-1, 1_000_001])
def test_a_renewal_comes_within_the_lifetime(after_us: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Rules(FAKE, REAL, 1, renewed_after_us=after_us)
