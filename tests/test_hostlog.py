"""Lines about hosts: one bound for all sinks, and no text made for what is left out."""
from mxallowd.engine.events import packed
from mxallowd.settings.options import BY_NAME
from mxallowd.sinks.hostlog import BURST_FACTOR, LINES_BURST, LINES_PER_S, HostLog
from mxallowd.sinks.stress import Stress
from tests.log_lines import log_to


def test_one_bound_for_all_who_write() -> None:
    now, suppressed = [0.0], [0]
    written: list[str] = []

    def count_suppressed(lines: int) -> None:
        suppressed[0] += lines

    log = log_to(written)
    stress = Stress(log, lambda: now[0])
    hostlog = HostLog(log, count_suppressed, stress, lambda: now[0])
    host = packed("192.0.2.1")
    for _ in range(LINES_BURST + 10):
        hostlog.info("child", host, name="a.example.org", of=packed("2001:db8::1"))
    assert written == ["child [192.0.2.1] name=a.example.org of=2001:db8::1"] * LINES_BURST
    assert suppressed == [10]
    now[0] += 0.5
    for _ in range(LINES_PER_S):
        hostlog.info("refused", host)
    assert len(written) == LINES_BURST + LINES_PER_S // 2
    # In stress mode there is none at all, and all are counted.
    stress.on = True
    now[0] += 10
    suppressed[0] = 0
    hostlog.info("refused", host)
    assert suppressed == [1]
    stress.on = False
    hostlog.info("refused", host)
    assert suppressed == [1]


def test_the_operator_lowers_it_while_it_runs() -> None:
    now, suppressed = [0.0], [0]
    written: list[str] = []

    def count_suppressed(lines: int) -> None:
        suppressed[0] += lines

    log = log_to(written)
    hostlog = HostLog(log, count_suppressed, Stress(log, lambda: now[0]), lambda: now[0], lines_per_s=2)
    host = packed("192.0.2.1")

    def write(times: int) -> int:
        written.clear()
        for _ in range(times):
            hostlog.info("refused", host)
        return len(written)

    assert BY_NAME["log-hosts"].default == LINES_PER_S
    assert write(20) == 2 * BURST_FACTOR
    now[0] += 1
    assert write(20) == 2
    hostlog.set_rate(10)
    now[0] += 1
    assert write(20) == 10
    # None: who wants none need not hear how many there were.
    hostlog.set_rate(0)
    suppressed[0] = 0
    now[0] += 10
    assert write(20) == 0
    hostlog.suppress(5)
    assert suppressed == [0]
    hostlog.set_rate(2)
    now[0] += 1
    assert write(20) == 2
