"""Hosts that meet the fake server alone: counted over the packet path's own memory and events."""
import asyncio
from collections.abc import Iterable

from mxallowd._fastpath import Fastpath
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import Kind, decode, packed
from mxallowd.history.firstmx import FirstMx, Found
from mxallowd.history.followed import DAY_S
from mxallowd.history.timeline import Timeline
from mxallowd.whitelist import Whitelist
from tests.strategies import FAKE, REAL, ipv4
from tests.test_refused import tcp

START_S = 1_000_000
A, B, C = (packed(f"198.51.100.{number}") for number in range(1, 4))


class Bench:
    """The decision with its memories, and a clock to turn."""

    def __init__(self, lifetime_s: int = 28_800) -> None:
        self.now_s = START_S
        self.table = Table(1000)
        self.refused, self.contacts = (Refused(1000, 1, self.table) for _ in range(2))
        self.ring = Ring(4096, -1)
        numbers = {server: self.refused.number_of(server) for server in REAL}
        self.path = Fastpath(self.table, self.ring, Rules(FAKE, REAL, lifetime_s, numbers, renew=1),
                             refused=self.refused, contacts=self.contacts)
        self.first_mx = FirstMx(
            self.contacts, lambda host: self.refused.find(host) is not None, Timeline(lambda: self.now_s * 1_000_000))
        self.port = 1000

    def meet(self, server: bytes, hosts: Iterable[bytes], port: int = 0) -> list[int]:
        """A SYN of each; the kinds of the events."""
        self.port += 1
        self.path.decide([ipv4(host, server, tcp(port or self.port)) for host in hosts], self.now_s * 1_000_000)
        events = decode(self.ring.drain(10_000))
        self.first_mx.handle(events)
        return [event.kind for event in events]

    def wait(self, seconds: int) -> None:
        self.now_s += seconds
        self.first_mx.tick()

    def found(self) -> list[Found]:
        return asyncio.run(self.first_mx.collect())


def test_three_contacts_within_seconds_count() -> None:
    bench = Bench()
    assert bench.meet(FAKE[0], [A, B]) == [Kind.WHITELISTED] * 2
    bench.wait(5)
    assert bench.meet(FAKE[0], [A]) == [Kind.MET]
    assert bench.found() == []
    # Of the third, within the minute, the memory alone knows.
    assert bench.meet(FAKE[0], [A]) == []
    [found] = bench.found()
    assert found[:3] == (A, 3, START_S)


def test_contacts_that_come_before_the_first_ones_event_count() -> None:
    bench = Bench()
    for port in (1, 2, 3):
        bench.path.decide([ipv4(A, FAKE[0], tcp(port))], bench.now_s * 1_000_000)
    bench.first_mx.handle(decode(bench.ring.drain(10)))
    assert [one.contacts for one in bench.found()] == [3]


def test_who_comes_to_the_real_server_is_none() -> None:
    bench = Bench()
    for _ in range(4):
        bench.meet(FAKE[0], [A, B])
        bench.wait(10)
    assert {one.host for one in bench.found()} == {A, B}
    # Who is led there does not come by himself.
    bench.first_mx.is_led = A.__eq__
    assert [one.host for one in bench.found()] == [B]
    bench.first_mx.is_led = lambda host: False
    bench.meet(REAL[0], [A])
    assert {one.host for one in bench.found()} == {B}
    # Nor is its contact noted any more, and no event written.
    assert bench.meet(FAKE[0], [A]) == []
    # Who was refused before his first contact has come, too.
    bench.meet(REAL[0], [C])
    for _ in range(4):
        bench.meet(FAKE[0], [C])
        bench.wait(10)
    assert {one.host for one in bench.found()} == {B}


def test_entries_that_expire_between_count_as_well() -> None:
    bench = Bench(lifetime_s=3600)
    for number in range(3):
        assert bench.meet(FAKE[0], [A]) == [Kind.WHITELISTED]
        assert len(bench.found()) == (number == 2)
        bench.wait(7200)
    assert bench.found() == [Found(A, 3, START_S, START_S + 14_400)]


def test_three_contacts_in_two_days_are_no_day() -> None:
    bench = Bench(lifetime_s=3600)
    for _ in range(3):
        bench.meet(FAKE[0], [A])
        bench.wait(13 * 3600)
        bench.wait(0)
    assert bench.found() == []


def test_a_syn_that_is_sent_again_after_an_rst_is_none() -> None:
    """Windows sends it twice more, each half a second after the other, from the same port."""
    bench = Bench()
    for _ in range(2):
        for _ in range(3):
            bench.meet(FAKE[0], [A], port=50_000)
        bench.wait(100)
    # The first attempt is one, the second is one at a port that is known; that is too few.
    assert bench.found() == []


def test_what_a_day_has_shown_is_kept_for_a_week() -> None:
    bench = Bench()
    for _ in range(4):
        bench.meet(FAKE[0], [A])
        bench.wait(10)
    [found] = bench.found()
    for _ in range(3):
        bench.wait(DAY_S)
    assert bench.first_mx.followed == 0
    assert bench.found() == [found]
    bench.meet(FAKE[0], [A])
    assert bench.found() == [found]
    bench.wait(7 * DAY_S)
    assert bench.found() == []


def test_made_up_contacts_push_out_none_that_came_again() -> None:
    bench = Bench()
    for _ in range(3):
        bench.meet(FAKE[0], [A])
        bench.wait(10)
    for number in range(20):
        bench.meet(FAKE[0], [(2**96 + number * 4096 + one).to_bytes(16, "big") for one in range(1000)])
    assert A in {one.host for one in bench.found()}
    assert bench.first_mx.followed <= 4096


def test_a_made_up_syn_to_the_real_server_hides_no_contacts() -> None:
    for heard in (True, False):
        bench = Bench()
        whitelist = Whitelist(bench.table, lambda: bench.now_s * 1_000_000)  # noqa: B023  # called within the turn
        whitelist.hears_handshakes = heard
        bench.meet(FAKE[0], [A])
        assert bench.meet(REAL[0], [A]) == [Kind.ACCEPTED]
        for _ in range(2):
            bench.wait(120)
            assert bench.meet(FAKE[0], [A]) == [Kind.MET]
        assert whitelist.knows_real(A) is not heard
        whitelist.prove(A)
        assert whitelist.knows_real(A)
        bench.wait(120)
        assert bench.meet(FAKE[0], [A]) == []
        assert bench.found() == []
