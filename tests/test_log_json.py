"""The log as JSON: one object a line with the grammar's words and keys, whatever bytes they are about."""
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.log import Log
from mxallowd.log.grammar import Form, format_line, format_object
from mxallowd.log.handlers import StreamHandler, SyslogHandler
from mxallowd.log.words import LINES
from mxallowd.log.writer import Writer
from tests.daemon_process import QUEUE, SENDER4, SERVERS
from tests.until import until

OWN = ("time", "level", "word", "address")
LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
FORMS = {(line.word, line.host): line for line in LINES}


def pairs_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object in which no key stands twice."""
    found = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


def parsed(line: str | bytes) -> dict[str, object]:
    """The object of a line, as a strict reader takes it."""
    text = line if isinstance(line, str) else line.decode("ascii")
    assert text.isascii()
    assert text.isprintable(), text
    found = json.loads(text, object_pairs_hook=pairs_once, parse_constant=pytest.fail)
    assert isinstance(found, dict)
    # Half a surrogate pair is what many readers refuse.
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    moment = found["time"]
    assert isinstance(moment, str)
    assert moment.endswith("Z")
    assert datetime.fromisoformat(moment).tzinfo
    assert found["level"] in LEVELS.values()
    return found


def check_words(lines: Iterable[dict[str, object]]) -> None:
    """They are of the table of words, with its keys."""
    for line in lines:
        known = {key for (word, host), form in FORMS.items() if (word, host) == (line["word"], "address" in line)
                 for key in {*form.keys, *(key for one in LINES if one.word == word for key in one.keys)}}
        assert (line["word"], "address" in line) in FORMS, line
        assert "…" in known or set(line) - {*OWN} <= known, line


def test_no_key_of_a_line_has_a_name_of_the_object() -> None:
    assert not {key for line in LINES for key in line.keys} & {*OWN}


ANY = st.text() | st.text(st.characters()) | st.binary().map(os.fsdecode) | st.integers() | st.booleans() | st.none()


@given(st.none() | st.text() | st.binary().map(os.fsdecode), ANY, ANY, st.sampled_from(list(LEVELS)))
def test_any_bytes_give_one_valid_object(address: str | None, value: object, other: object, level: int) -> None:
    line = format_object(1795759980.1234, level, "word", address, {"some_key": value, "other": other})
    found = parsed(line)
    assert list(found) == ["time", "level", "word", *(["address"] if address is not None else []), "some-key", "other"]
    assert (found["time"], found["level"], found["word"]) == ("2026-11-27T06:13:00.123Z", LEVELS[level], "word")
    for key, given_value in (("some-key", value), ("other", other)):
        if isinstance(given_value, int):
            assert (found[key], type(found[key])) == (given_value, type(given_value))
        elif not any("\ud800" <= one <= "\udfff" for one in str(given_value)):
            assert found[key] == str(given_value)


@given(st.sampled_from([line for line in LINES if "…" not in line.keys]), ANY)
def test_each_line_has_the_keys_of_its_text(line: object, value: object) -> None:
    form = next(one for one in LINES if one is line)
    values = {key.replace("-", "_"): value for key in form.keys}
    address = "192.0.2.1" if form.host else None
    text = format_line(form.word, address, values)
    found = parsed(format_object(0.0, logging.INFO, form.word, address, values))
    assert text.startswith(form.word)
    assert tuple(found)[3 + form.host :] == form.keys
    check_words([found])


def test_a_byte_that_is_no_text_is_shown_as_one() -> None:
    found = parsed(format_object(0.0, logging.INFO, "word", None, {"path": os.fsdecode(b"/a\xff\n\"\\b")}))
    assert found["path"] == '/a\\xff\n"\\b'


def logged(handler: logging.Handler, capacity: int = 4096) -> tuple[Log, Writer]:
    writer = Writer(handler, capacity, Form.JSON)
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(writer)
    return Log(logger, Form.JSON), writer


def test_standard_output_has_the_object_alone() -> None:
    reader, descriptor = os.pipe()
    json_log, writer = logged(StreamHandler(descriptor, Form.JSON), capacity=2)
    for number in range(5):
        json_log.info("refused", "192.0.2.1", real="192.0.2.2", times=number)
    writer.close()
    os.close(descriptor)
    lines = [parsed(line) for line in os.read(reader, 1 << 16).splitlines()]
    os.close(reader)
    # What the log says of itself is an object, too.
    assert [(line["word"], line.get("times"), line.get("lines")) for line in lines] == [
        ("suppressed", None, 3), ("refused", 0, None), ("refused", 1, None)]
    assert writer.lost == 3


def test_syslog_gets_the_object_behind_its_own_header(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        handler = SyslogHandler(path)
        log, writer = logged(handler)
        log.error("reload-failed", where=os.fsdecode(b"/etc/\xff\n\0"), reason="a \"b\"\r\n\x1b[2J")
        writer.close()
        handler.close()
        server.settimeout(5)
        header, _, message = server.recv(1 << 16).partition(b": ")
    assert header == b"<27>mxallowd[%d]" % os.getpid()
    assert message.endswith(b"\0")
    found = parsed(message[:-1])
    assert found["where"] == "/etc/\\xff\n\0"
    check_words([found])


def test_the_daemon_in_the_background_and_its_guard(guarded: Lab, client: Host, tmp_path: Path) -> None:
    """Every line of both is an object; the guard's are those about a daemon that was stopped."""
    pid_file, log, config = tmp_path / "pid", tmp_path / "log", tmp_path / "conf"
    config.write_text("log-format json\n", encoding="ascii")
    with log.open("wb") as output:
        done = guarded.gateway.run(
            [sys.executable, "-m", "mxallowd", "-c", str(config), *SERVERS, "-n", QUEUE, "-b", "-s", "--user", "root",
             "--pid-file", str(pid_file), "--control", str(tmp_path / "control"),
             "--state-dir", str(tmp_path / "state")],
            stdout=output, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    daemon = int(pid_file.read_text(encoding="ascii"))
    try:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        os.kill(daemon, signal.SIGUSR1)
        # The form of lines stays until a restart, and how many there may be holds at once.
        config.write_text("log-format text\nlog-hosts 7\n", encoding="ascii")
        os.kill(daemon, signal.SIGHUP)
        assert until(lambda: b'"reloaded"' in log.read_bytes() and b'"counters"' in log.read_bytes())
        os.kill(daemon, signal.SIGSTOP)
        # One connection after the other, as mail comes: the guard looks for packets that wait.
        assert until(lambda: client.attempt(REAL4, timeout=0.5) and b'"guard-killed"' in log.read_bytes())
    finally:
        if Path(f"/proc/{daemon}").exists():
            os.kill(daemon, signal.SIGKILL)
    lines = [parsed(line) for line in log.read_bytes().splitlines()]
    check_words(lines)
    of = {line["word"]: line for line in lines}
    assert of["start"]["queue-num"] == int(QUEUE)
    assert {key: of["whitelisted"][key] for key in ("address", "fake", "level")} == {
        "address": SENDER4, "fake": FAKE4, "level": "info"}
    assert of["counters"]["real-first"] == 1
    assert (of["restart-needed"]["options"], of["reloaded"]["changed"]) == ("log-format", "log-hosts")
    assert (of["guard-killed"]["queue"], of["guard-killed"]["level"]) == (int(QUEUE), "error")
