"""The log sink: one line for what happens to a host, sums for what happens often, and bounds."""
from mxallowd.engine._refused import Refused
from mxallowd.engine._table import Table
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.log.periodic import PERIOD_S
from mxallowd.sinks.hostlog import LINES_BURST, LINES_PER_S, HostLog
from mxallowd.sinks.log import LogSink, Memories
from mxallowd.sinks.stress import Stress
from tests.log_lines import log_to

REAL = packed("192.0.2.20")
FAKE = packed("2001:db8::10")


class Bench:
    """A sink with a clock to turn and lines to look at."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[str] = []
        self.suppressed = 0
        log = log_to(self.lines)
        self.sink = LogSink(
            log, HostLog(log, self.count_suppressed, Stress(log), lambda: self.now),
            Memories(Refused(100, 1, Table(4))), lambda: self.now)

    def count_suppressed(self, lines: int) -> None:
        self.suppressed += lines

    def take(self) -> list[str]:
        lines, self.lines[:] = list(self.lines), []
        return lines


def event(kind: Kind, source: str = "198.51.100.7", destination: bytes = REAL) -> Event:
    return Event(kind, 0, 23, 0, 5_000_000, packed(source), destination, 3_605_000_000)


def test_a_line_a_kind() -> None:
    bench = Bench()
    bench.sink.handle([
        event(Kind.WHITELISTED, "2001:db8::7", FAKE), event(Kind.ACCEPTED), event(Kind.REFUSED),
        Event(Kind.MALFORMED, 3, 23, 5, 0, b"\x45\x00\x01\x02\x03" + bytes(11), bytes(16), 0),
        event(Kind.RENEWED), event(Kind.EVICTED), event(Kind.SWEPT), event(Kind.STOPPED)])
    assert bench.take() == [
        "whitelisted [2001:db8::7] fake=2001:db8::10 seconds=3600",
        "accepted [198.51.100.7] real=192.0.2.20",
        "refused [198.51.100.7] real=192.0.2.20 times=1",
        "malformed count=1 reason=truncated length=5 head=4500010203"]


def test_a_flood_of_hosts_is_cut_and_counted() -> None:
    bench = Bench()
    flood = [event(Kind.WHITELISTED, f"10.0.{n >> 8}.{n & 255}") for n in range(10_000)]
    bench.sink.handle(flood)
    assert len(bench.take()) == LINES_BURST
    assert bench.suppressed == 10_000 - LINES_BURST
    bench.now += 1
    bench.sink.handle(flood)
    assert len(bench.take()) == LINES_PER_S


def test_malformed_packets_are_counted_once_a_minute() -> None:
    bench = Bench()
    for _ in range(30):
        bench.sink.handle([event(Kind.MALFORMED)] * 10)
        bench.now += 1
    assert [line.split()[1] for line in bench.take()] == ["count=10"]
    bench.now += PERIOD_S
    bench.sink.tick()
    assert [line.split()[1] for line in bench.take()] == ["count=290"]
    bench.now += PERIOD_S
    bench.sink.tick()
    assert bench.take() == []
