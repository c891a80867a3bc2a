"""Patience in the decision: who was refused often enough is whitelisted, and everybody who keeps a copy is told."""
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import OUTCOME_NAMES, Fastpath
from mxallowd._foresight import Foresight
from mxallowd.engine import events
from mxallowd.engine._patience import Patience
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import ORIGINS, PATIENCE, Table
from mxallowd.engine.events import Kind
from mxallowd.whitelist import Change, Whitelist
from tests.oracle import Oracle
from tests.oracle import Whitelist as Model
from tests.strategies import FAKE, HOSTS, REAL, ipv4, ipv6, packed

SECOND_US = 1_000_000
START_US = 10**12
LIFE_S = 3600


def syn(source: bytes, destination: bytes, port: int) -> bytes:
    """A whole SYN."""
    segment = struct.pack("!HHIIBBHHH", port, 25, 0, 0, 80, 2, 0, 0, 0)
    return (ipv4 if source.startswith(bytes(10) + b"\xff\xff") else ipv6)(source, destination, segment)


class Path:
    """The decision with patience, and what is told of it."""

    def __init__(self, times: int = 2, seconds: int = 600, *, networks: bool = False, threads: int = 1) -> None:
        self.table = Table(64, threads)
        self.patience = Patience(64 * threads, threads, self.table)
        self.rings = [Ring(256, -1) for _ in range(threads)]
        rules = Rules(FAKE, REAL, LIFE_S, patience=self.patience, patience_times=times,
                      patience_us=seconds * SECOND_US, patience_networks=networks)
        self.paths = [Fastpath(self.table, ring, rules, shard=shard) for shard, ring in enumerate(self.rings)]
        self.now_us = START_US
        self._port = 1000

    def at(self, host: bytes, server: bytes, later_s: float = 0, *, shard: int = 0) -> str:
        """The outcome of the first SYN of an attempt."""
        self._port += 1
        self.now_us += int(later_s * SECOND_US)
        return OUTCOME_NAMES[self.paths[shard].decide([syn(host, server, self._port)], self.now_us)[0]]

    def told(self) -> list[tuple[int, bytes]]:
        return [(event.kind, event.source) for ring in self.rings for event in events.decode(ring.drain(1000))
                if event.kind != Kind.REFUSED]


@pytest.mark.parametrize("host", [HOSTS[0], HOSTS[-1]])
def test_the_syn_after_the_last_refusal_is_let_in(host: bytes) -> None:
    real = REAL[0] if host is HOSTS[0] else REAL[1]
    path = Path()
    assert [path.at(host, real), path.at(host, real, 599), path.at(host, real, 1)] == ["real-refused"] * 3
    # It is listed by now, so a rule of the kernel lets the next one in as well.
    assert path.told() == [(Kind.PATIENT, host)]
    found = path.table.find(host, path.now_us)
    assert found == (path.now_us + LIFE_S * SECOND_US, False, PATIENCE)
    assert path.at(host, real, 1) == "real-first"
    assert path.told() == [(Kind.ACCEPTED, host)]
    assert path.patience.counters()["patience-let-in"] == 1
    # It was refused twice within the day, whatever has become of its entry.
    assert path.at(host, real, LIFE_S + 1) == "real-patient"
    assert path.told() == [(Kind.PATIENT, host), (Kind.ACCEPTED, host)]
    assert path.at(host, real, 1) == "real-again"
    path.at(host, real, 86_400)
    assert path.table.find(host, path.now_us) is None


def test_a_network_comes_in_as_one() -> None:
    path = Path(networks=True)
    hosts = [packed(f"203.0.113.{number}") for number in range(1, 6)]
    assert path.at(hosts[0], REAL[0]) == path.at(hosts[1], REAL[0], 600) == "real-refused"
    assert [path.at(host, REAL[0], 1) for host in hosts] == [
        "real-patient", "real-first", "real-patient", "real-patient", "real-patient"]
    assert path.at(packed("203.0.114.1"), REAL[0]) == "real-refused"


@pytest.mark.parametrize("networks", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_who_is_removed_waits_anew(networks: bool, threads: int) -> None:
    path = Path(networks=networks, threads=threads)
    whitelist = Whitelist(path.table, lambda: path.now_us)
    whitelist.before_end = path.patience.forget
    host, other = packed("203.0.113.1"), packed("203.0.114.1")
    for one in (host, other):
        assert [path.at(one, REAL[0], later) for later in (0, 600)] == ["real-refused"] * 2
    assert whitelist.end(host)
    assert path.patience.find(host, networks=networks) is None
    assert (len(path.patience), path.patience.find(other, networks=networks) is not None) == (1, True)
    # Each thread begins anew, in the place that it had.
    assert [path.at(host, REAL[0], later, shard=threads - 1) for later in (1, 1, 598)] == ["real-refused"] * 3
    assert whitelist.find(host) is None
    assert path.at(host, REAL[0], 1, shard=threads - 1) == "real-refused"
    assert whitelist.find(host)
    # Of a network all go, whether they are listed or not; others stay.
    assert path.table.end(host, path.now_us)
    at = -1
    while at:
        at = path.patience.forget_between(packed("203.0.113.0"), packed("203.0.113.255"), max(at, 0), 10)
    assert path.at(host, REAL[0], 1) == "real-refused"
    assert whitelist.find(host) is None
    assert path.table.end(other, path.now_us)
    assert path.at(other, REAL[0], 1) == "real-patient"


def test_off_nobody_comes_in() -> None:
    table, ring = Table(64), Ring(256, -1)
    path = Fastpath(table, ring, Rules(FAKE, REAL, LIFE_S))
    for minutes in range(0, 1000, 10):
        [outcome] = path.decide([syn(HOSTS[0], REAL[0], minutes)], START_US + minutes * 60 * SECOND_US)
        assert OUTCOME_NAMES[outcome] == "real-refused"
    assert len(table) == 0


def test_what_is_no_host_never_comes_in() -> None:
    path = Path(1, 1)
    for host in (packed("0.0.0.1"), packed("224.0.0.1"), packed("169.254.1.1")):
        assert {path.at(host, REAL[0], 1) for _ in range(4)} == {"real-refused"}
    assert path.at(REAL[0], REAL[0]) == "other"
    assert len(path.table) == len(path.patience) == 0


def test_threads_and_a_batch_agree() -> None:
    path = Path(threads=2)
    assert path.at(HOSTS[0], REAL[0], shard=0) == path.at(HOSTS[0], REAL[0], 600, shard=1) == "real-refused"
    assert path.at(HOSTS[0], REAL[0], 1, shard=0) == "real-first"
    path.at(HOSTS[1], REAL[0])
    # One batch: the last refusal, and the SYN that comes right after it.
    outcomes = path.paths[0].decide([syn(HOSTS[1], REAL[0], port) for port in (5, 6, 7)], path.now_us + 600 * SECOND_US)
    assert [OUTCOME_NAMES[outcome] for outcome in outcomes] == ["real-refused", "real-first", "real-again"]


def test_a_question_is_no_refusal() -> None:
    path = Path()
    asking = Foresight(path.paths[0])
    path.at(HOSTS[0], REAL[0])
    for _ in range(3):
        path.now_us += 600 * SECOND_US
        assert asking.foresee(HOSTS[0], REAL[0], path.now_us) == "real-refused"
    path.at(HOSTS[0], REAL[0])
    assert asking.foresee(HOSTS[0], REAL[0], path.now_us + 2 * LIFE_S * SECOND_US) == "real-patient"
    assert path.patience.counters()["patience-let-in"] == 1


def test_who_keeps_a_copy_is_told() -> None:
    path, changes = Path(), []

    class Notes:
        def changed(self, host: bytes, change: Change) -> None:
            changes.append((host, change))

        def missed(self) -> None:
            raise AssertionError

    whitelist = Whitelist(path.table, lambda: path.now_us)
    whitelist.follow(Notes())
    path.at(HOSTS[0], REAL[0])
    path.at(HOSTS[0], REAL[0], 600)
    whitelist.take(events.decode(path.rings[0].drain(1000)))
    assert changes == [(HOSTS[0], Change.ADMITTED)]
    entry = whitelist.entry(HOSTS[0])
    assert entry
    assert entry.origin == ORIGINS[PATIENCE] == "patience"
    assert entry.note


STEPS = st.lists(st.tuples(
    st.sampled_from(HOSTS[:4]), st.sampled_from([FAKE[0], REAL[0]]), st.booleans(),
    st.one_of(st.integers(0, 70), st.integers(0, 1300), st.integers(0, 90_000))), max_size=40)


@settings(max_examples=300)
@given(STEPS, st.sampled_from([(1, 1), (2, 5), (2, 600), (2, 3600)]))
def test_it_decides_as_the_oracle_does(steps: list[tuple[bytes, bytes, bool, int]], patience: tuple[int, int]) -> None:
    path = Path(*patience)
    oracle = Oracle(Model(64), FAKE, REAL, LIFE_S)
    oracle.patience = (patience[0], patience[1] * SECOND_US)
    port = 1000
    for host, server, again, later_s in steps:
        port += not again
        # Ticks of the memory are 4096 us: at such times both have the same.
        path.now_us += later_s * SECOND_US // 4096 * 4096
        packet = syn(host, server, port)
        expected = oracle.decide(packet, path.now_us)
        assert OUTCOME_NAMES[path.paths[0].decide([packet], path.now_us)[0]] == expected
