"""What capture and rehearsal have in common: room in the ring, an end that is told, and rules that follow a reload."""
import sys
from ipaddress import ip_network

import pytest

from mxallowd._fastpath import Fastpath
from mxallowd.backends.main_thread import MainThreadBackend
from mxallowd.engine._networks import Networks
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.lists.composition import record as network_record
from tests.recorder import Recorder
from tests.strategies import FAKE, HOSTS, REAL, syn


class Wake:
    """Counts."""

    def __init__(self) -> None:
        self.signals = 0

    def signal(self) -> None:
        self.signals += 1


class Bench:
    """A back end that reads nothing by itself, with lines to look at."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.table = Table(1000, 2)
        self.ring = Ring(64, -1)
        self.fastpath = Fastpath(self.table, self.ring, Rules(FAKE, REAL, 60), shard=1)
        self.wake = Wake()
        self.now_us = 1
        self.backend = MainThreadBackend(
            self.fastpath, 1, self.wake, self.recorder.log, lambda: self.now_us)  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_reads_while_the_ring_holds_two_events_a_packet(bench: Bench) -> None:
    assert bench.backend._has_room(32)
    assert not bench.backend._has_room(33)
    bench.fastpath.decide([syn(HOSTS[0], FAKE[0])], 1)
    assert len(bench.ring) == 1
    assert not bench.backend._has_room(32)
    assert bench.backend._has_room(31)
    bench.ring.drain(64)
    assert bench.backend._has_room(32)


def test_it_has_ended_before_it_began_and_a_stop_wakes_the_loop(bench: Bench) -> None:
    assert bench.backend.ended()
    bench.backend._ended = False
    bench.backend.stop()
    assert bench.backend.ended()
    assert bench.wake.signals == 1
    assert not bench.backend.failed()
    assert bench.recorder.lines == []


def test_a_failure_is_logged_and_ends_it(bench: Bench) -> None:
    bench.backend._ended = False
    bench.backend._fail("eth0: it is gone")
    assert (bench.backend.ended(), bench.backend.failed(), bench.wake.signals) == (True, True, 1)
    assert bench.recorder.lines == ['capture-failed reason="eth0: it is gone"']


def test_rules_and_sweeps_reach_its_own_shard(bench: Bench) -> None:
    assert bench.backend.rings == [bench.ring]
    assert bench.backend.fastpaths == [bench.fastpath]
    bench.backend.publish(Rules([], [], 1))
    bench.fastpath.decide([syn(HOSTS[0], FAKE[0])], 1)
    assert len(bench.table) == 0
    bench.backend.publish(Rules(FAKE, REAL, 1))
    bench.fastpath.decide([syn(HOSTS[0], FAKE[0])], 1)
    bench.table.add(HOSTS[1], 1_000_000, 1, shard=0)
    bench.now_us = 2_000_000
    assert bench.backend.sweep() == 0
    assert len(bench.table) == 1
    assert bench.table.find(HOSTS[1], 1) is not None


def test_rules_that_hold_no_more_are_freed_at_once(bench: Bench) -> None:
    """A capture may be silent for days."""
    networks = Networks(network_record(ip_network("192.0.2.0/24"), "deny"))
    free = sys.getrefcount(networks)
    for _ in range(3):
        bench.backend.publish(Rules(FAKE, REAL, 60, networks=networks))
        assert sys.getrefcount(networks) == free + 1
    bench.backend.publish(Rules(FAKE, REAL, 60))
    assert sys.getrefcount(networks) == free
