"""Networks that contacts have let in: what a network is, who makes room, and what the decision makes of them."""
import random
import struct
import threading
import time
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import OUTCOME_NAMES, Fastpath
from mxallowd._foresight import Foresight
from mxallowd.captures._replay import replay
from mxallowd.engine import events
from mxallowd.engine._meetings import LEAST_NETWORKS, NETWORK_BYTES, Meetings
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import RENEW, Rules
from mxallowd.engine._table import BY_HAND, CHILD, LATEST_US, Table
from mxallowd.engine.events import Kind
from tests.oracle import MAPPED
from tests.sharing import NOW_US as SHARED_US
from tests.sharing import to_fake, to_real
from tests.strategies import FAKE, HOSTS, NO_HOSTS, REAL, RECORD, packed, syn

LIFE_S, SECOND_US = 3600, 1_000_000
LIFE_US = LIFE_S * SECOND_US


def networks(meetings: Meetings, now_us: int) -> dict[bytes, tuple[int, bool]]:
    """All that are let in, in pieces that do not fit: until when, and whether a host of them is proven."""
    found: dict[bytes, tuple[int, bool]] = {}
    start = 0
    while True:
        records, start = meetings.entries(now_us, start, 3)
        found |= {host: (until_us, bool(proven)) for host, until_us, _, _, proven in RECORD.iter_unpack(records)}
        if start == 0:
            return found


def first_of(host: bytes, four: int, six: int) -> bytes | None:
    """The network of a host, by the library."""
    bits = four if host.startswith(MAPPED) else six
    raw = host[12:] if host.startswith(MAPPED) else host
    if bits == 8 * len(raw) or host in NO_HOSTS:
        return None
    network = ip_network((raw, bits), strict=False)
    return packed(str(network.network_address))


@pytest.mark.parametrize("key", [(24, 64), (16, 48), (31, 63), (25, 57), (32, 64), (24, 128), (32, 128)])
def test_a_network_is_that_of_the_prefix(key: tuple[int, int]) -> None:
    meetings = Meetings(1000, *key)
    for host in (*HOSTS, *NO_HOSTS, packed("203.0.113.77"), packed("255.1.2.3"), packed("2001:db8:ff:fe::1")):
        first = first_of(host, *key)
        assert meetings.network(host) == first
        meetings.note(host, 50, 0)
        assert meetings.find(host, 49) == (50 if first else None)
        assert meetings.find(host, 50) is None
        meetings.forget(host)
        assert meetings.find(host, 0) is None
    # ::ffff:203.0.113.7 is 203.0.113.7, and 0:ffff:cb00:7100:: is another network, whose words look alike.
    meetings.note(packed("203.0.113.7"), 9, 0)
    assert meetings.find(packed("0:ffff:cb00:7100::1"), 0) is None


@pytest.mark.parametrize("arguments", [(3, 24, 64), (100, 0, 64), (100, 33, 64), (100, 24, 65), (100, 24, 0)])
def test_what_cannot_be_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"room|noted"):
        Meetings(*arguments)
    with pytest.raises(ValueError, match="16 bytes"):
        Meetings(100, 24, 64).find(b"\1\2\3\4", 0)
    assert (LEAST_NETWORKS, NETWORK_BYTES) == (4, 16)


CHANGES = st.lists(st.tuples(
    st.sampled_from(["note", "note", "prove", "forget", "tidy", "clear"]),
    st.sampled_from([packed(f"198.51.{third}.{last}") for third in range(4) for last in (1, 200)]
                    + [packed(f"2001:db8:1:{part}::{last}") for part in range(4) for last in (1, 2)]),
    st.integers(0, 100), st.integers(1, 300)), max_size=60)


@settings(max_examples=200, deadline=None)
@given(CHANGES)
def test_it_knows_what_a_dict_would(changes: list[tuple[str, bytes, int, int]]) -> None:
    meetings, model, now_us = Meetings(4000, 24, 64), dict[bytes, tuple[int, bool]](), 0
    for what, host, later_us, lasts_us in changes:
        now_us += later_us
        first = first_of(host, 24, 64)
        assert first
        until_us, proven = model.get(first, (0, False))
        if what in ("note", "prove"):
            meetings.note(host, now_us + lasts_us, now_us, proven=what == "prove")
            # Proof ends with the time that it came with.
            model[first] = max(until_us, now_us + lasts_us), what == "prove" or (proven and until_us > now_us)
        elif what == "forget":
            meetings.forget(host)
            model.pop(first, None)
        elif what == "clear" and lasts_us < 50:
            assert meetings.clear(0, 1000) == 1000
            assert meetings.clear(1000, 5000) == 0
            model.clear()
        else:
            meetings.tidy(now_us, 1500)
        assert networks(meetings, now_us) == {
            one: known for one, known in model.items() if known[0] > now_us}
        until_us = model.get(first, (0, False))[0]
        assert meetings.find(host, now_us) == (until_us if until_us > now_us else None)


def addresses(count: int, seed: int) -> list[bytes]:
    """Hosts of as many networks."""
    chosen = random.Random(seed).sample(range(1 << 20), count)
    return [MAPPED + struct.pack("!I", 0x50000000 + number * 256 + 5) for number in chosen]


def test_a_flood_takes_one_place_of_the_proven() -> None:
    """One line: four networks of proven hosts, then made-up contacts without end."""
    meetings = Meetings(4, 24, 64)
    proven = addresses(4, 1)
    for number, host in enumerate(proven):
        meetings.note(host, 1000 + number, 0, proven=True)
    for host in addresses(500, 2):
        # Even the newest finds room, so the usual way in stays open, and who comes right after it is let in.
        meetings.note(host, 5000, 10)
        assert meetings.find(host, 10) == 5000
    assert [meetings.find(host, 10) for host in proven] == [None, 1001, 1002, 1003]
    # Who is over goes before anybody else, proven or not.
    for host in addresses(3, 3):
        meetings.note(host, 9000, 1004)
        assert meetings.find(host, 1004) == 9000
    assert len(networks(meetings, 1004)) == 4
    assert meetings.counters() == {"networks-noted": 507, "networks-pushed-out": 500}


def test_of_those_who_are_not_proven_the_first_to_end_goes() -> None:
    meetings = Meetings(4, 24, 64)
    hosts = addresses(5, 4)
    for until_us, host in zip((300, 100, 400, 200), hosts, strict=False):
        meetings.note(host, until_us, 0)
    meetings.note(hosts[1], 500, 0)
    meetings.note(hosts[4], 250, 0)
    assert [meetings.find(host, 0) for host in hosts] == [300, 500, 400, None, 250]


def test_threads_share_it_without_a_lock() -> None:
    """Two lines, and far more networks than places: what is read must be a network that was noted, with its end."""
    meetings, table = Meetings(8, 24, 64), Table(64, 2)
    known = [packed(f"2001:db8:1:{number:x}::") for number in range(64)]
    rules = Rules(FAKE, REAL, LIFE_S, meetings=meetings)
    rings = [Ring(1024, -1) for _ in range(2)]
    paths = [Fastpath(table, ring, rules, shard=shard) for shard, ring in enumerate(rings)]
    # Hosts of networks that nobody notes, which differ from those in one bit.
    work = b"".join(to_fake(host[:15] + b"\1") + to_real(host[:5] + b"\3" + host[6:15] + b"\2") for host in known)
    ending = threading.Event()

    def decide(path: Fastpath) -> None:
        while not ending.is_set():
            replay(path, work * 64)

    threads = [threading.Thread(target=decide, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    try:
        until, looked = time.monotonic() + 1.0, 0
        while time.monotonic() < until:
            for network, (until_us, proven) in networks(meetings, SHARED_US).items():
                assert network in known
                assert (until_us, proven) == (SHARED_US + LIFE_US, False)
                looked += 1
            meetings.tidy(SHARED_US, 3)
            for ring in rings:
                ring.drain(1024)
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    decided = [path.counters() for path in paths]
    assert looked > 100
    assert meetings.counters()["networks-pushed-out"] > 1000
    assert [one["real-network"] for one in decided] == [0, 0]
    assert all(one["real-refused"] > 1000 for one in decided)


class Path:
    """The decision with networks."""

    def __init__(self, *, renew: str = "never", threads: int = 1) -> None:
        self.table, self.meetings = Table(64, threads, main=8), Meetings(1000, 24, 64)
        self.rings = [Ring(256, -1) for _ in range(threads)]
        rules = Rules(FAKE, REAL, LIFE_S, renew=RENEW[renew], meetings=self.meetings)
        self.paths = [Fastpath(self.table, ring, rules, shard=shard) for shard, ring in enumerate(self.rings)]
        self.now_us = SECOND_US

    def at(self, *pairs: tuple[bytes, bytes], later_s: int = 0, shard: int = 0) -> list[str]:
        """The outcomes of a batch of SYNs."""
        self.now_us += later_s * SECOND_US
        batch = [syn(host, server) for host, server in pairs]
        return [OUTCOME_NAMES[outcome] for outcome in self.paths[shard].decide(batch, self.now_us)]


@pytest.mark.parametrize(("first", "others", "fake", "real"), [
    ("203.0.113.7", ("203.0.113.0", "203.0.113.255", "203.0.112.7", "203.0.114.1"), FAKE[0], REAL[0]),
    ("2001:db8:5::1", ("2001:db8:5::ffff", "2001:db8:5:0:1::", "2001:db8:5:1::1", "2001:db8:4:ffff::1"),
     FAKE[2], REAL[1])])
def test_a_contact_lets_its_network_in(first: str, others: tuple[str, ...], fake: bytes, real: bytes) -> None:
    path = Path(threads=2)
    host, *rest = map(packed, (first, *others))
    assert path.at(*((one, real) for one in rest)) == ["real-refused"] * 4
    # In one batch as well, and by another thread.
    let_in = ["real-network", "real-network", "real-refused", "real-refused"]
    assert path.at((host, fake), *((one, real) for one in rest)) == ["fake-new", *let_in]
    assert path.at(*((one, real) for one in rest), shard=1) == let_in
    # Without a memory of whom lists allow, each packet has an event; no entry is made.
    kinds = [event.kind for ring in path.rings for event in events.decode(ring.drain(100))]
    assert kinds.count(Kind.BY_NETWORK) == 4
    assert len(path.table) == 1
    assert path.at((rest[0], real), later_s=LIFE_S - 1) == ["real-network"]
    assert path.at((rest[0], real), later_s=1) == ["real-refused"]


def test_it_is_found_after_the_filter_was_made_anew() -> None:
    path = Path()
    hosts = addresses(100, 5)
    for step, host in enumerate(hosts):
        path.at((host, FAKE[0]))
        # At each place of the work on the filter.
        for _ in range(step):
            path.meetings.tidy(path.now_us, 90)
        assert path.at(*((other[:15] + b"\x99", REAL[0]) for other in hosts[: step + 1])) == ["real-network"] * (
            step + 1)


def test_renewing_an_entry_renews_the_network() -> None:
    neighbour = packed("203.0.113.99")
    for renew, server, origin, lasts in (
            ("contact", FAKE[0], None, True), ("use", REAL[0], None, True), ("never", FAKE[0], None, False),
            # A use says nothing of the network of a host that did not come in by a contact.
            ("use", REAL[0], CHILD, False), ("contact", FAKE[0], BY_HAND, True)):
        path, host = Path(renew=renew), packed("203.0.113.7")
        if origin is None:
            path.at((host, FAKE[0]))
        else:
            path.table.add(host, path.now_us + LIFE_US, path.now_us, origin=origin)
            assert path.at((neighbour, REAL[0])) == ["real-refused"]
        path.at((host, server), later_s=LIFE_S // 2)
        assert path.at((neighbour, REAL[0]), later_s=LIFE_S * 3 // 4) == [
            "real-network" if lasts else "real-refused"], (renew, origin)


def test_what_is_no_host_lets_nobody_in() -> None:
    path = Path()
    for text in ("224.0.0.1", "127.0.0.5", "0.0.0.1", "169.254.1.1"):
        assert path.at((packed(text), FAKE[0])) == ["fake-no-host"]
    path.meetings.note(packed("192.0.2.77"), LATEST_US, 0)
    # The servers are in that network.
    assert path.at((REAL[0], REAL[0]), (packed("192.0.2.78"), REAL[0])) == ["other", "real-network"]
    assert len(networks(path.meetings, 0)) == 1


def test_a_question_notes_nothing() -> None:
    path = Path()
    asking = Foresight(path.paths[0])
    host, neighbour = packed("203.0.113.7"), packed("203.0.113.8")
    assert asking.foresee(host, FAKE[0], path.now_us) == "fake-new"
    assert asking.foresee(neighbour, REAL[0], path.now_us) == "real-refused"
    path.at((host, FAKE[0]))
    assert asking.foresee(neighbour, REAL[0], path.now_us) == "real-network"
    assert asking.foresee(neighbour, REAL[0], path.now_us + LIFE_US) == "real-refused"
