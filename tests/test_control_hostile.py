"""Hostile and broken clients of the control socket, on the running daemon: refused, bounded, and nobody else minds."""
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.control.server import MOST_CLIENTS, MOST_OF_A_USER
from mxallowd.control.wire import MAX_BODY, MAX_HEAD
from tests.control_client import ask, connected, raw
from tests.daemon_process import DaemonProcess, serving

START = b"GET /v1/log-level HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/entries HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"address": "192.0.2.99"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# What is sent, and the status of the answer; after each the connection is closed.
REFUSED = {
    "both lengths": (POST + LENGTH + CHUNKED + b"\r\n" + BODY, 400),
    "both lengths, the other way": (POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n", 400),
    "chunks": (POST + CHUNKED + b"\r\n19\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    "two equal lengths": (POST + LENGTH + LENGTH + b"\r\n" + BODY, 400),
    "two lengths in one": (POST + b"Content-Length: 25, 25\r\n\r\n" + BODY, 400),
    "two different lengths": (POST + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY, 400),
    "a length below zero": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length with a sign": (POST + b"Content-Length: +25\r\n\r\n" + BODY, 400),
    "a length beyond the bound": (POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
    "a length of a thousand digits": (POST + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n", 400),
    "bare LF behind a field": (START + b"A: b\n\r\n", 400),
    "bare LF behind the request line": (START.replace(b"1.1\r\n", b"1.1\n") + b"\r\n", 400),
    "bare LF alone": (START.replace(b"\r\n", b"\n") + b"\n", 400),
    "LF for the empty line": (START + b"\n", 400),
    "a CR within a line": (START + b"A: b\rc\r\n\r\n", 400),
    "a zero byte": (START + b"A: b\0\r\n\r\n", 400),
    "a folded field": (START + b"A: b\r\n c\r\n\r\n", 400),
    "a blank before the colon": (START + b"A : b\r\n\r\n", 400),
    "no host": (b"GET /v1/log-level HTTP/1.1\r\n\r\n", 400),
    "two hosts": (START + b"Host: y\r\n\r\n", 400),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "another version": (START.replace(b"1.1", b"2.0") + b"\r\n", 505),
    "a field that is too long": (START + b"A: " + b"a" * (8 << 20) + b"\r\n\r\n", 431),
    "a target that is too long": (b"GET /" + b"a" * (MAX_HEAD + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "20,000 fields": (START + b"A: b\r\n" * 20_000 + b"\r\n", 431),
    "many small fields": (START + b"A: b\r\n" * 200 + b"\r\n", 431),
}
ANSWERED = {
    "an absolute target": (START.replace(b"/v1", b"http://x/v1"), 400),
    "a broken escape": (START.replace(b"log", b"%zz"), 400),
    "an escape that is no UTF-8": (START.replace(b"log", b"%ff"), 400),
    "an escaped zero": (START.replace(b"log", b"%00"), 400),
    "an escaped slash is none": (START.replace(b"v1/", b"v1%2f"), 404),
    "dots are not resolved": (START.replace(b"/v1", b"/v1/../v1"), 404),
    "a parameter twice": (START.replace(b"log-level", b"entries?limit=1&limit=2"), 400),
    "an unknown parameter": (START.replace(b"log-level", b"log-level?x=1"), 400),
    "a parameter without value": (START.replace(b"log-level", b"entries?limit"), 400),
    "another method": (START.replace(b"GET", b"BREW"), 405),
    "a body that nobody wants": (START + b"Content-Length: 2\r\n", 400),
    "a tunnel": (b"CONNECT x:25 HTTP/1.1\r\nHost: x\r\n", 400),
}
BODIES = {
    "no JSON": b"{", "no UTF-8": b'{"address": "\xff"}', "a list": b"[]", "nothing": b"", "null": b"null",
    "nested": b"[" * 8000, "a key twice": b'{"address": "192.0.2.1", "address": "192.0.2.2"}',
    "no number": b'{"address": "192.0.2.1", "seconds": NaN}',
    "a huge number": b'{"address": "192.0.2.1", "seconds": ' + b"9" * 5000 + b"}",
    "a truth": b'{"address": "192.0.2.1", "seconds": true}',
    "too long a time": b'{"address": "192.0.2.1", "seconds": 315360001}',
    "no time": b'{"address": "192.0.2.1", "seconds": 0}',
    "half a character": b'{"address": "192.0.2.1", "note": "\\ud800"}',
    "a line break": b'{"address": "192.0.2.1", "note": "a\\nb"}',
    "a long note": b'{"address": "192.0.2.1", "note": "' + b"a" * 201 + b'"}',
    "a zone": b'{"address": "fe80::1%eth0"}', "a number": b'{"address": 3221225985}',
    "both": b'{"address": "192.0.2.1", "network": "192.0.2.0/24"}',
    "bits behind the prefix": b'{"network": "192.0.2.1/24"}', "another key": b'{"address": "192.0.2.1", "x": 1}',
}


@pytest.fixture
def daemon(guarded: Lab) -> Iterator[DaemonProcess]:
    """One that serves."""
    with serving(guarded) as process:
        yield process


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split()[1])


def lives(daemon: DaemonProcess, client: Host) -> None:
    """It answers, it decides, and nothing was a mistake of its own."""
    assert ask(daemon.control, "GET", "/v1/log-level") == (200, {"level": "info"})
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert client.attempt(REAL4) is Attempt.CONNECTED
    assert not [line for line in daemon.messages() if line.startswith("defect")]


def test_what_no_client_should_send_is_refused(daemon: DaemonProcess, client: Host) -> None:
    for what, (sent, status) in REFUSED.items():
        answer = raw(daemon.control, sent)
        assert status_of(answer) == status, what
        assert answer.count(b"HTTP/1.1") == 1, what
        assert b'{"error": {"code": ' in answer, what
        assert not answer.endswith(b"late"), what
    for what, (sent, status) in ANSWERED.items():
        assert status_of(raw(daemon.control, sent + b"Connection: close\r\n\r\n{}")) == status, what
    for what, body in BODIES.items():
        whole = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        assert status_of(raw(daemon.control, whole)) == 400, what
    assert ask(daemon.control, "POST", "/v1/entries", {"note": "a" * 10_000})[0] == 413
    assert ask(daemon.control, "GET", "/v1/entries") == (200, [])
    lives(daemon, client)


def test_what_comes_in_pieces_or_at_once_is_answered(daemon: DaemonProcess, client: Host) -> None:
    whole = POST + LENGTH + b"Connection: close\r\n\r\n" + BODY
    assert status_of(raw(daemon.control, *(whole[at : at + 1] for at in range(len(whole))))) == 200
    two = raw(daemon.control, START + b"\r\n" + START + b"Connection: close\r\n\r\n")
    assert two.count(b"HTTP/1.1 200 OK") == 2
    waits = raw(daemon.control, POST + LENGTH + b"Connection: close\r\nExpect: 100-continue\r\n\r\n", BODY)
    assert waits.startswith(b"HTTP/1.1 100 ")
    assert waits.count(b"HTTP/1.1 200 OK") == 1
    # A fault behind a whole request is no part of it.
    both = raw(daemon.control, START + b"\r\n" + START + b"A: b\n\r\n")
    assert status_of(both) == 200
    assert both.count(b"HTTP/1.1 400") == 1
    assert status_of(raw(daemon.control, START, half_close=True)) == 400
    assert status_of(raw(daemon.control, POST + LENGTH + b"\r\n" + BODY[:-1], half_close=True)) == 400
    assert raw(daemon.control, half_close=True) == b""
    lives(daemon, client)


def open_sockets(daemon: DaemonProcess) -> int:
    folder = Path(f"/proc/{daemon.process.pid}/fd")
    return sum(str(one.readlink()).startswith("socket:") for one in folder.iterdir() if one.is_symlink())


def test_a_thousand_idle_clients_keep_nobody_out(daemon: DaemonProcess, client: Host) -> None:
    before = open_sockets(daemon)
    with ExitStack() as held:
        idle = [held.enter_context(connected(daemon.control)) for _ in range(1000)]
        for made in idle[::2]:
            # Those that it has closed already say so.
            with suppress(BrokenPipeError, ConnectionResetError):
                made.sendall(START)
        started = time.monotonic()
        lives(daemon, client)
        assert time.monotonic() - started < 5
        assert open_sockets(daemon) - before <= MOST_OF_A_USER < MOST_CLIENTS
    assert ask(daemon.control, "GET", "/v1/status")[0] == 200


def test_a_stream_that_nobody_reads_holds_nobody_up(daemon: DaemonProcess, client: Host) -> None:
    for first in range(0, 5000, 1000):
        entries = [{"address": f"10.0.{number >> 8}.{number & 255}"} for number in range(first, first + 1000)]
        assert ask(daemon.control, "POST", "/v1/import", {"entries": entries})[1]["entered"] == 1000
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(connected(daemon.control)).sendall(START.replace(b"log-level", b"entries") + b"\r\n")
        time.sleep(0.2)
        lives(daemon, client)
    # One that goes in the middle.
    for _ in range(20):
        with connected(daemon.control) as made:
            made.sendall(START.replace(b"log-level", b"entries") + b"\r\n")
            made.recv(100, socket.MSG_WAITALL)
    lives(daemon, client)
    assert len(ask(daemon.control, "GET", "/v1/entries")[1]) == 5001
