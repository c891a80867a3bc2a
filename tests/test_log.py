"""The log: grammar, time stamp, syslog, and that nothing which blocks holds anybody up."""
import errno
import logging
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.log import Log, StreamHandler, SyslogHandler, Writer, format_line, syslog_listens

LINE = re.compile(r'[a-z-]+( \[[^ ]+\])?( [a-z0-9-]+=([^ "=]+|"([^"\\]|\\.)*"))*$')


@given(st.text(), st.text(), st.integers())
def test_any_value_gives_one_line_of_the_grammar(address: str, value: str, number: int) -> None:
    line = format_line("word", None, {"some_key": value, "other": number})
    assert line.isprintable()
    assert LINE.match(line), line
    assert format_line("word", address, {}).isprintable()


def test_grammar() -> None:
    assert format_line("refused", "192.0.2.1", {"real": "192.0.2.2", "times": 1}) == \
        "refused [192.0.2.1] real=192.0.2.2 times=1"
    assert format_line("x", None, {"queue_num": "", "reason": 'a "b"'}) == 'x queue-num="" reason="a \\"b\\""'


def logger_with(handler: logging.Handler) -> Log:
    logger = logging.getLogger("mxallowd-test")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [handler]
    return Log(logger)


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


def test_a_stuck_target_holds_nobody_up_and_what_is_left_out_is_counted() -> None:
    target = Stuck()
    writer = Writer(target, capacity=10)
    writer.start()
    log = logger_with(writer)
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
    left_out = [int(line.split("=")[1]) for line in target.lines if line.startswith("left-out ")]
    assert 10 <= len(written) <= 11
    assert sum(left_out) == 1000 - len(written)
    assert target.lines[-1] == "after"


def test_a_target_that_fails_is_tried_again_and_the_loss_is_said() -> None:
    target = Stuck()
    target.fail = True
    target.go.set()
    writer = Writer(target)
    writer.start()
    log = logger_with(writer)
    for _ in range(3):
        log.info("lost")
    deadline = time.monotonic() + 5
    while writer._left_out < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    target.fail = False
    log.info("found")
    writer.close()
    assert target.lines == ["left-out lines=3", "found"]


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
    log = logger_with(writer)
    for number in range(5):
        log.info("line", number=number)
    writer.close()
    assert target.lines == ["line number=0", "left-out lines=2", "line number=3", "line number=4"]


def test_a_line_that_a_full_disk_cut_is_ended_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    written = bytearray()
    room = 40

    def write(_: int, data: memoryview) -> int:
        nonlocal room
        taken = min(room, len(data))
        if not taken:
            raise OSError(errno.ENOSPC, "no room")
        written.extend(data[:taken])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", write)
    target = StreamHandler(-1)
    # It began, so it counts as written.
    target.emit(record("first " + 40 * "x"))
    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            target.emit(record("second"))
    room = 1000
    target.emit(record("third"))
    monkeypatch.undo()
    lines = written.decode("ascii").splitlines()
    assert [line.partition(" - ")[2] for line in lines] == ["first " + 40 * "x", "third"]


def record(line: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, line, (), None)


def test_a_stuck_target_does_not_hold_up_the_end() -> None:
    writer = Writer(Stuck(), capacity=2)
    writer.start()
    log = logger_with(writer)
    for _ in range(5):
        log.info("line")
    started = time.monotonic()
    writer.close(timeout_s=0.2)
    assert time.monotonic() - started < 1


def test_stamp_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-5")
    time.tzset()
    reader, writer = os.pipe()
    try:
        record = logging.LogRecord("x", logging.INFO, "", 0, "stop signal=SIGTERM", (), None)
        record.created = 1700000000.5
        StreamHandler(writer).emit(record)
        assert os.read(reader, 100) == b"15.11.2023 03:13:20 - stop signal=SIGTERM\n"
    finally:
        monkeypatch.undo()
        time.tzset()
        os.close(reader)
        os.close(writer)


def test_a_non_blocking_pipe_gets_whole_lines() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = StreamHandler(writer)
    total = 3000

    def write() -> None:
        for number in range(total):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, f"line number={number:0100}", (), None))

    thread = threading.Thread(target=write)
    thread.start()
    content = b""
    while content.count(b"\n") < total:
        content += os.read(reader, 50000)
    thread.join()
    os.close(reader)
    os.close(writer)
    assert [int(line.split(b"=")[1]) for line in content.splitlines()] == list(range(total))


def test_syslog_facility_level_and_ident(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = SyslogHandler(str(path))
    record = logging.LogRecord("x", logging.INFO, "", 0, "start", (), None)
    with pytest.raises(OSError):
        handler.emit(record)  # nobody listens yet
    for _ in range(2):  # syslog is restarted
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.settimeout(5)
            server.bind(str(path))
            for level, number in ((logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)):
                handler.emit(logging.LogRecord("x", level, "", 0, "word a=1", (), None))
                # RFC 3164: facility daemon is 3
                assert server.recv(200).rstrip(b"\0") == f"<{3 * 8 + number}>mxallowd[{os.getpid()}]: word a=1".encode()
        path.unlink()
        with pytest.raises(OSError):
            handler.emit(record)


def test_quiet_leaves_errors_and_what_was_asked_for() -> None:
    target = Stuck()
    target.go.set()
    log = logger_with(target)
    log.set_quiet(True)
    log.info("a")
    log.warning("b")
    log.error("c")
    log.notice("counters", blocked=1)
    log.set_quiet(False)
    log.info("d")
    assert target.lines == ["c", "counters blocked=1", "d"]


def test_whether_a_syslog_listens(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert not syslog_listens(str(path))
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as server:
            server.bind(str(path))
            if kind is socket.SOCK_STREAM:
                server.listen()
            assert syslog_listens(str(path))
        # Its name outlives it.
        assert path.exists()
        assert not syslog_listens(str(path))
        path.unlink()
