"""The writer: nothing that blocks holds anybody up, and what is lost is counted and said."""
import errno
import logging
import threading
import time

from mxallowd.log.recent import Recent
from mxallowd.log.writer import Writer
from tests.log_lines import log_through


class Stuck(logging.Handler):
    """A target that blocks until it is let go, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.fail = False
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.go.wait(10)
        if self.fail:
            raise BrokenPipeError
        self.lines.append(record.getMessage())


def test_a_stuck_target_holds_nobody_up_and_is_counted() -> None:
    target = Stuck()
    writer = Writer(target, capacity=10)
    writer.start()
    log = log_through(writer)
    started = time.monotonic()
    for number in range(1000):
        log.info("line", number=number)
    assert time.monotonic() - started < 1
    target.go.set()
    deadline = time.monotonic() + 5
    while len(target.lines) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    log.info("after")
    writer.close()
    written = [line for line in target.lines if line.startswith("line ")]
    suppressed = [int(line.split("=")[1]) for line in target.lines if line.startswith("suppressed ")]
    assert 10 <= len(written) <= 11
    assert sum(suppressed) == 1000 - len(written)
    assert target.lines[-1] == "after"


def test_a_failing_target_is_tried_again_and_the_loss_is_said() -> None:
    target = Stuck()
    target.fail = True
    target.go.set()
    recent = Recent()
    writer = Writer(target, recent=recent)
    writer.start()
    log = log_through(writer)
    for _ in range(3):
        log.info("lost")
    deadline = time.monotonic() + 5
    while writer._suppressed < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    target.fail = False
    log.info("found")
    writer.close()
    assert target.lines == ["suppressed lines=3", "found"]
    # What the writer says itself is kept as well.
    assert [line.text for line in recent.kept().lines] == ["suppressed lines=3"]


class FullOnce(Stuck):
    """A target that has no room for the two lines after the first."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.tried += 1
        if self.tried in (2, 3):
            raise OSError(errno.ENOSPC, "no room")
        self.lines.append(record.getMessage())


def test_no_line_gets_through_before_the_gap_is_said() -> None:
    """The loss cannot be written, and the next line could."""
    target = FullOnce()
    writer = Writer(target)
    writer.start()
    log = log_through(writer)
    for number in range(5):
        log.info("line", number=number)
    writer.close()
    assert target.lines == ["line number=0", "suppressed lines=2", "line number=3", "line number=4"]


def test_a_stuck_target_does_not_hold_up_the_end() -> None:
    writer = Writer(Stuck(), capacity=2)
    writer.start()
    log = log_through(writer)
    for _ in range(5):
        log.info("line")
    started = time.monotonic()
    writer.close(timeout_s=0.2)
    assert time.monotonic() - started < 1
