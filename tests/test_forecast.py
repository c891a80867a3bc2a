"""The forecast: what became of refused hosts, over the real memory and the packet path's own events."""
import asyncio
import itertools
import time
from collections.abc import Iterable

from mxallowd._fastpath import Fastpath
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import Event, Kind, decode, packed
from mxallowd.history.followed import DAY_S, Trace
from mxallowd.history.forecast import Forecast, Sums, Tried
from mxallowd.history.timeline import Timeline
from tests.strategies import FAKE, REAL, ipv4
from tests.test_refused import tcp

START_S = 1_000_000
A, B, C, D = (packed(f"198.51.100.{number}") for number in range(1, 5))


class Bench:
    """The decision with its memory, and the forecast behind it, with a clock to turn."""

    def __init__(self, max_refused: int = 10_000) -> None:
        self.now_s = START_S
        self.table = Table(50_000, 1, main=100)
        self.refused = Refused(max_refused, 1, self.table)
        self.ring = Ring(65_536, -1)
        numbers = {server: self.refused.number_of(server) for server in REAL}
        self.path = Fastpath(self.table, self.ring, Rules(FAKE, REAL, 28_800, numbers), refused=self.refused)
        self.forecast = Forecast(self.refused, Timeline(lambda: self.now_s * 1_000_000))
        self.port = 1000

    def meet(self, server: bytes, hosts: Iterable[bytes]) -> None:
        """A SYN of each, and what the packet path tells of them."""
        self.port += 1
        self.path.decide([ipv4(host, server, tcp(self.port)) for host in hosts], self.now_s * 1_000_000)
        self.forecast.handle(decode(self.ring.drain(100_000)))

    def wait(self, seconds: int) -> None:
        """The time passes, with a tick at its end."""
        self.now_s += seconds
        self.forecast.tick()

    def sums(self) -> Sums:
        return asyncio.run(self.forecast.collect())[0]

    def tried(self) -> list[Tried]:
        return asyncio.run(self.forecast.collect())[1]


def test_what_becomes_of_four_hosts() -> None:
    bench = Bench()
    bench.meet(REAL[0], [A, B, C, D])
    assert bench.sums() == Sums(4, (0, 0, 0), (4, 4, 4), 0, 4, 0)
    bench.wait(200)
    bench.meet(FAKE[0], [A])
    bench.meet(REAL[0], [A, D])
    assert bench.forecast.later_passed == 1
    bench.wait(3000)
    bench.meet(FAKE[0], [B])
    bench.wait(10_000)
    assert bench.sums() == Sums(4, (1, 2, 2), (0, 0, 2), 0, 1, 1)
    assert bench.tried() == [Tried(D, 2, START_S, START_S + 200)]
    bench.meet(FAKE[0], [C])
    assert bench.sums() == Sums(4, (1, 2, 3), (0, 0, 1), 0, 0, 1)
    # Their day is over: the numbers stay, for a week.
    bench.wait(2 * DAY_S)
    assert (bench.forecast.followed, bench.sums()) == (0, Sums(4, (1, 2, 3), (0, 0, 0), 0, 0, 1))
    bench.wait(7 * DAY_S)
    assert bench.sums() == Sums()


def test_who_met_the_fake_server_first_is_none_of_them() -> None:
    bench = Bench()
    bench.meet(FAKE[0], [A])
    bench.meet(REAL[0], [A])
    assert (bench.sums(), bench.forecast.later_passed) == (Sums(), 0)


def test_attempts_that_no_event_tells_of_count() -> None:
    """A second attempt within the minute is in the memory alone."""
    bench = Bench()
    bench.meet(REAL[0], [A, B])
    bench.wait(10)
    bench.meet(REAL[0], [A])
    assert bench.sums() == Sums(2, (0, 0, 0), (2, 2, 2), 0, 1, 1)
    bench.wait(150)
    # By then it is noted, should the memory lose it.
    # Which host makes room for which is chance: the hash has a key of its own in each process.
    others = itertools.count()
    while bench.refused.find(A) is not None:
        number = next(others)
        assert number < 1_000_000
        bench.refused.note(number.to_bytes(16, "big"), 0, 1, bench.now_s * 1_000_000)
    assert (bench.sums().came_once, bench.sums().kept_trying) == (1, 1)


def test_an_attempt_that_was_looked_at_before_its_event_counts_once() -> None:
    bench = Bench()
    bench.meet(REAL[0], [A])
    bench.now_s += 600
    bench.path.decide([ipv4(A, REAL[0], tcp(5000))], bench.now_s * 1_000_000)
    bench.wait(0)
    bench.forecast.handle(decode(bench.ring.drain(10)))
    assert bench.tried() == [Tried(A, 2, START_S, START_S + 600)]


def test_attempts_of_several_threads_are_added_up() -> None:
    bench = Bench()
    refused = Refused(10_000, 2, bench.table)
    forecast = Forecast(refused, Timeline(lambda: bench.now_s * 1_000_000))
    for shard in (0, 1, 0, 1):
        bench.now_s += 70
        length = refused.note(A, 0, shard, bench.now_s * 1_000_000, shard=shard)
        forecast.handle([Event(Kind.REFUSED, 0, 0, length, bench.now_s * 1_000_000, A, REAL[0], 0)])
    assert [one.attempts for one in asyncio.run(forecast.collect())[1]] == [4]


def test_a_host_counts_once_for_each_time_it_was_refused_and_passed() -> None:
    bench = Bench()
    for expected in (1, 2):
        bench.meet(REAL[0], [A])
        bench.wait(5)
        bench.meet(FAKE[0], [A])
        bench.meet(REAL[0], [A])
        bench.wait(5)
        bench.meet(REAL[0], [A])
        assert bench.forecast.later_passed == expected
        bench.wait(30_000)
    # Its entry has expired, and it comes by the fake server now.
    bench.meet(FAKE[0], [A])
    bench.meet(REAL[0], [A])
    assert bench.forecast.later_passed == 2


def test_who_is_let_in_by_a_name() -> None:
    bench = Bench()
    bench.meet(REAL[0], [A])
    bench.wait(5)
    bench.table.admit(A, bench.now_s * 1_000_000 + 10**10, bench.now_s * 1_000_000, 1)
    bench.forecast.admitted(A)
    bench.forecast.admitted(B)
    bench.meet(REAL[0], [A])
    assert bench.sums() == Sums(1, (1, 1, 1), (0, 0, 0), 1, 0, 0)
    assert bench.forecast.later_passed == 1


def test_a_flood_pushes_out_nobody_who_matters() -> None:
    bench = Bench(200_000)
    again = [packed(f"198.51.100.{number}") for number in range(200)]
    bench.meet(REAL[0], again)
    bench.wait(70)
    bench.meet(REAL[0], again)
    flood = [(2**96 + number * 2654435761 % 2**64).to_bytes(16, "big") for number in range(60_000)]
    for at in range(0, len(flood), 5000):
        # Each of them new: the packet path tells of it.
        bench.forecast.handle([Event(Kind.REFUSED, 0, 0, 1, bench.now_s * 1_000_000, host, REAL[0], 0)
                               for host in flood[at : at + 5000]])
    sums = bench.sums()
    assert sums.sampled
    assert sums.kept_trying == 200
    assert {one.host for one in bench.tried()} == set(again)
    assert abs(sums.came_once / 60_000 - 1) < 0.25
    # Who of the 60,000 passes later is known by the memory, in the sample or not.
    for host in again[:50]:
        bench.meet(FAKE[0], [host])
        bench.meet(REAL[0], [host])
    assert bench.forecast.later_passed == 50


def test_a_flood_costs_a_bounded_time() -> None:
    """The ring tells of at most 1,024 new hosts every 20 ms. That is under a tenth of a core; loaded, a part of it."""
    bench = Bench()
    flood = [(2**96 + number * 2654435761 % 2**64).to_bytes(16, "big") for number in range(50_000)]
    events = [Event(Kind.REFUSED, 0, 0, 1, bench.now_s * 1_000_000, host, REAL[0], 0) for host in flood]
    begun = time.process_time()
    for at in range(0, len(events), 512):
        bench.forecast.handle(events[at : at + 512])
    assert time.process_time() - begun < 0.5
    # A day that is over is closed in steps. (The least of three: a step may be interrupted.)
    steps = []
    bench.now_s += DAY_S + 7200
    while bench.forecast.followed:
        begun = time.thread_time()
        bench.forecast.tick()
        steps.append(time.thread_time() - begun)
    assert sorted(steps)[-3] < 0.005


def test_all_rooms_full_are_looked_at_in_short_steps() -> None:
    """The loop is never held over 5 ms: when it is asked, and when it is copied for the disk."""
    bench = Bench()
    for number in range(26 * 2048):
        at_s = START_S - number // 2048 * 3600
        bench.forecast.hosts.note((2**96 + number * 2654435761 % 2**64).to_bytes(16, "big"),
                                  Trace(at_s, at_s, 0, 0, 2, number % 2))
    assert bench.forecast.followed > 30_000

    async def steps() -> list[float]:
        collecting, found = asyncio.create_task(bench.forecast.collect()), []
        while not collecting.done():
            begun = time.thread_time()
            await asyncio.sleep(0)
            found.append(time.thread_time() - begun)
        return found

    assert sorted(asyncio.run(steps()))[-3] < 0.005
    copying, found = bench.forecast.hosts.parts(), []
    while True:
        begun = time.thread_time()
        if next(copying, None) is None:
            break
        found.append(time.thread_time() - begun)
    assert sorted(found)[-3] < 0.005
