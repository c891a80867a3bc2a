"""What other gateways have ended: who it was is known, and the log has it within bounds."""
from mxallowd.daemon.fleetremovals import MOST, Removals
from mxallowd.engine.events import packed
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.stress import Stress
from tests.recorder import Recorder

HOST = packed("192.0.2.7")


def made(recorder: Recorder, lines_per_s: int = 5) -> Removals:
    hostlog = HostLog(recorder.log, lambda lines: None, Stress(recorder.log), lines_per_s=lines_per_s)
    return Removals(hostlog, lambda: 1000.0)


def test_a_removal_is_a_line_and_is_remembered() -> None:
    recorder = Recorder()
    removals = made(recorder)
    assert removals.find(HOST) is None
    removals.removed(HOST, "mx2")
    assert recorder.take() == ["fleet-removed [192.0.2.7] by=mx2"]
    assert removals.find(HOST) == ("mx2", 1000.0)


def test_many_are_bounded() -> None:
    recorder = Recorder()
    removals = made(recorder)
    removals.removed(HOST, "mx2")
    for number in range(MOST):
        removals.removed(packed(f"10.0.{number // 256}.{number % 256}"), "mx3")
    assert removals.find(HOST) is None
    assert 1 <= len(recorder.take()) <= 30


def test_flushes_are_one_line_a_minute() -> None:
    recorder = Recorder()
    removals = made(recorder)
    for _ in range(10):
        removals.flushed("mx2", 4)
    assert recorder.take() == ["fleet-flushed by=mx2 flushes=1 count=4"]
