"""Lines about refused hosts: the first at once, sums once a minute, and bounds."""
from mxallowd.engine._refused import Refusals, Refused
from mxallowd.engine._table import Table
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.log.periodic import PERIOD_S
from mxallowd.sinks.hostlog import LINES_BURST, HostLog
from mxallowd.sinks.refusals import MAX_OPEN, RefusalLines
from mxallowd.sinks.stress import Stress
from tests.log_lines import log_to

REAL = packed("192.0.2.20")
OTHER = packed("192.0.2.21")


class Bench:
    """The lines with a clock to turn, over a real memory into which this writes as the packet path does."""

    def __init__(self, room: int = 100_000, shards: int = 1, *, dry_run: bool = False) -> None:
        self.now = 1000.0
        self.lines: list[str] = []
        self.suppressed = 0
        self.untold = 0
        log = log_to(self.lines)
        self.memory = Refused(room, shards, Table(4))
        self.servers = {server: self.memory.number_of(server) for server in (REAL, OTHER)}
        self.port = 0
        self.written = RefusalLines(
            HostLog(log, self.count_suppressed, Stress(log), lambda: self.now), self, lambda: self.now,
            dry_run=dry_run)

    def find(self, host: bytes) -> Refusals | None:
        return self.memory.find(host)

    def counters(self) -> dict[str, int]:
        return {"refused-untold": self.untold}

    def count_suppressed(self, lines: int) -> None:
        self.suppressed += lines

    def refuse(
        self, host: str, times: int = 1, server: bytes = REAL, shard: int = 0, kind: Kind = Kind.REFUSED,
    ) -> None:
        """So many attempts; the packet path tells of those that are due."""
        for _ in range(times):
            self.port = self.port % 60_000 + 1
            attempts = self.memory.note(
                packed(host), self.servers[server], self.port, int(self.now * 1_000_000), shard=shard)
            if attempts:
                self.written.take(Event(kind, 0, 23, attempts, 0, packed(host), server, 0))

    def take(self) -> list[str]:
        lines, self.lines[:] = list(self.lines), []
        return lines

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.written.tick()


def test_attempts_are_summed_up_once_a_minute() -> None:
    bench = Bench()
    bench.refuse("198.51.100.7", 5)
    assert bench.take() == ["refused [198.51.100.7] real=192.0.2.20 times=1"]
    bench.pass_time(PERIOD_S - 1)
    bench.refuse("198.51.100.7", server=OTHER)
    assert bench.take() == []
    bench.pass_time(1)
    assert bench.take() == ["refused [198.51.100.7] real=192.0.2.21 times=5 seconds=60"]
    # Still under watch for another minute, with nothing new about it; a quiet one ends it.
    bench.refuse("198.51.100.7", 2)
    bench.pass_time(PERIOD_S)
    assert bench.take() == ["refused [198.51.100.7] real=192.0.2.20 times=2 seconds=60"]
    bench.pass_time(PERIOD_S)
    assert bench.take() == []
    bench.refuse("198.51.100.7", 3)
    assert bench.take() == ["refused [198.51.100.7] real=192.0.2.20 times=1"]
    bench.pass_time(PERIOD_S)
    assert bench.take() == ["refused [198.51.100.7] real=192.0.2.20 times=2 seconds=60"]


def test_syns_sent_again_are_no_attempts() -> None:
    bench = Bench()
    for seconds in (0, 1, 3, 7, 15, 31):
        bench.now = 1000.0 + seconds
        bench.port = 7
        bench.refuse("198.51.100.7")
    bench.pass_time(PERIOD_S)
    assert bench.take() == ["refused [198.51.100.7] real=192.0.2.20 times=1"]


def test_hosts_are_summed_up_apart_and_the_end_says_all() -> None:
    bench = Bench()
    for host in ("198.51.100.1", "2001:db8::2"):
        bench.refuse(host, 3)
    bench.take()
    bench.now += 7
    bench.written.close()
    assert bench.take() == ["refused [198.51.100.1] real=192.0.2.20 times=2 seconds=7",
                            "refused [2001:db8::2] real=192.0.2.20 times=2 seconds=7"]


def test_the_lines_of_watched_hosts_add_up() -> None:
    bench = Bench()
    for turn in range(5):
        for number in range(1500):
            bench.now += 0.03
            bench.refuse(f"10.0.{number >> 8}.{number & 255}", 1 + turn % 2)
        bench.written.tick()
    bench.written.close()
    times = sum(int(line.split("times=")[1].split()[0]) for line in bench.take())
    assert bench.suppressed == 0
    # One attempt of a hundred may be taken for one before.
    assert 7 * 1485 <= times <= 7 * 1500


def test_others_do_not_end_the_watch_on_a_host() -> None:
    """Hosts that never were here before come all the time; all attempts of the one that stays are said."""
    bench = Bench()
    for second in range(300):
        bench.refuse("198.51.100.7")
        for number in range(50):
            bench.refuse(f"10.{second >> 8}.{second & 255}.{number}")
            assert len(bench.written._open) <= MAX_OPEN
        bench.pass_time(1)
    bench.written.close()
    lines = [line for line in bench.take() if "[198.51.100.7]" in line]
    assert sum(int(line.split("times=")[1].split()[0]) for line in lines) == 300
    assert bench.suppressed == 0


def test_a_host_that_two_threads_meet_is_counted_once() -> None:
    bench = Bench(shards=2)
    bench.refuse("198.51.100.7", 3)
    bench.refuse("198.51.100.7", 1, server=OTHER, shard=1)
    bench.pass_time(PERIOD_S)
    bench.pass_time(PERIOD_S)
    bench.refuse("198.51.100.7", 2, shard=1)
    bench.pass_time(PERIOD_S)
    times = [int(line.split("times=")[1].split()[0]) for line in bench.take()]
    assert times == [1, 3, 1, 1]


def test_who_was_pushed_out_of_the_memory_begins_anew() -> None:
    bench = Bench(room=4)
    bench.refuse("198.51.100.1", 5)
    for number in range(2, 6):
        bench.now += 2
        bench.refuse(f"198.51.100.{number}")
    bench.take()
    bench.refuse("198.51.100.1", 3)
    # Nothing is said of those that nobody knows any more.
    bench.pass_time(PERIOD_S)
    lines = bench.take()
    assert lines[0] == "refused [198.51.100.1] real=192.0.2.20 times=3 seconds=68"
    assert len(lines) == 1


def test_a_flood_is_cut_and_what_nobody_told_of_is_counted() -> None:
    bench = Bench()
    for number in range(3000):
        bench.refuse(f"10.0.{number >> 8}.{number & 255}")
    assert len(bench.take()) == LINES_BURST
    assert bench.suppressed == 3000 - LINES_BURST
    bench.untold = 500
    bench.pass_time(1)
    bench.untold = 700
    bench.pass_time(1)
    bench.pass_time(1)
    assert bench.suppressed == 3000 - LINES_BURST + 700


def test_a_dry_run_has_words_of_its_own() -> None:
    for dry_run, refused, denied in ((False, "refused", "denied"), (True, "would-refuse", "would-deny")):
        bench = Bench(dry_run=dry_run)
        bench.refuse("198.51.100.7", 3)
        bench.refuse("198.51.100.8", 2, kind=Kind.LIST_DENIED)
        bench.refuse("198.51.100.9", kind=Kind.LIST_ALLOWED)
        assert bench.take() == [
            f"{refused} [198.51.100.7] real=192.0.2.20 times=1", f"{denied} [198.51.100.8] server=192.0.2.20 times=1",
            "allowed [198.51.100.9] real=192.0.2.20 times=1 by=list"]
        bench.pass_time(PERIOD_S)
        assert bench.take() == [f"{refused} [198.51.100.7] real=192.0.2.20 times=2 seconds=60",
                                f"{denied} [198.51.100.8] server=192.0.2.20 times=1 seconds=60"]
