"""Where lines go: whole lines with the time stamp of the contract to a descriptor, datagrams to syslog."""
import errno
import logging
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from mxallowd.log.handlers import StreamHandler, SyslogHandler, syslog_listens


def record(line: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, line, (), None)


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
