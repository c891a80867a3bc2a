"""mxallowctl's way to the daemon: requests as the server gets them, and answers of every form, broken ones too."""
import socket
from pathlib import Path

import pytest

from mxallowd.ctl.client import Client, Unreachable, escaped
from tests.control_standin import Standin, document, stream


def test_a_request_is_escaped_and_closes(tmp_path: Path) -> None:
    with Standin(tmp_path, [document("{}"), document("{}")]) as server:
        client = Client(server.path)
        client.ask("GET", "/v1/entries/2001:db8::/32", query={"note": "a b&c=\xe4\udcff"})
        client.ask("POST", "/v1/entries", body={"address": "::1"})
    assert server.requests == [
        b"GET /v1/entries/2001%3Adb8%3A%3A/32?note=a%20b%26c%3D%C3%A4%FF HTTP/1.1\r\nHost: mxallowd\r\n"
        b"Connection: close\r\n\r\n",
        b"POST /v1/entries HTTP/1.1\r\nHost: mxallowd\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b'Content-Length: 17\r\n\r\n{"address":"::1"}']
    assert escaped("a-._~/\r\n") == "a-._~%2F%0D%0A"


@pytest.mark.parametrize(("answer", "status", "body"), [
    (document('{"a": [1]}'), 200, {"a": [1]}),
    (document('{"error": {"code": "x", "message": "y"}}', "404 Not Found"), 404,
     {"error": {"code": "x", "message": "y"}}),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + document("null"), 200, None),
    (b"HTTP/1.0 200 OK\nContent-Type: text/plain\n\nhello", 200, "hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"2;x=y\r\n[1\r\n3\r\n,2]\r\n0\r\nTrailer: t\r\n\r\n", 200, [1, 2]),
])
def test_a_document_is_read(tmp_path: Path, answer: bytes, status: int, body: object) -> None:
    with Standin(tmp_path, [answer]) as server:
        found = Client(server.path).ask("GET", "/v1/status")
    assert (found.status, found.body) == (status, body)


def test_a_stream_comes_line_by_line_whatever_its_pieces(tmp_path: Path) -> None:
    with Standin(tmp_path, [stream(b'{"n": 1}\n{"n"', b': 2}', b'\n\n{"n": 3}')]) as server:
        answer = Client(server.path).ask("GET", "/v1/entries", stream=True)
        assert [line["n"] for line in answer.lines()] == [1, 2, 3]


@pytest.mark.parametrize("answer", [stream(b'{"n": 1}\n', end=b""), stream(b'{"n": 1}\n', end=b"5\r\n{")])
def test_a_stream_that_breaks_off_is_no_whole_one(tmp_path: Path, answer: bytes) -> None:
    with Standin(tmp_path, [answer]) as server:
        lines = Client(server.path).ask("GET", "/v1/entries", stream=True).lines()
        assert next(lines) == {"n": 1}
        with pytest.raises(Unreachable, match=r"ends too early|is missing"):
            next(lines)


@pytest.mark.parametrize("answer", [
    b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", b"A" * (3 << 20),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", document("{"), document("[" * 100_000),
])
def test_what_is_no_answer_is_one_error(tmp_path: Path, answer: bytes) -> None:
    with Standin(tmp_path, [answer]) as server, pytest.raises(Unreachable):
        Client(server.path).ask("GET", "/v1/status")


@pytest.mark.parametrize("line", [b"[1]\n", b"nonsense\n", b"x" * (2 << 20)])
def test_a_line_of_a_stream_that_is_no_object_is_an_error(tmp_path: Path, line: bytes) -> None:
    with Standin(tmp_path, [stream(line)]) as server, pytest.raises(Unreachable):
        list(Client(server.path).ask("GET", "/v1/entries", stream=True).lines())


def test_who_says_nothing_is_waited_for_a_bounded_time(tmp_path: Path) -> None:
    with Standin(tmp_path, [None]) as server, pytest.raises(Unreachable, match=r"has not answered for 0\.2 seconds"):
        Client(server.path, 0.2).ask("GET", "/v1/status")


def test_a_full_queue_of_connections_is_waited_for_too(tmp_path: Path) -> None:
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(Unreachable, match=r"has not answered for 0\.2 seconds"):
            Client(path, 0.2).ask("GET", "/v1/status")


def test_each_way_to_find_nobody_says_what_to_do(tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    for path, words in ((tmp_path / "none", "it does not run, or has another --control"), (dead, "nobody listens"),
                        (tmp_path / ("x" * 200), "AF_UNIX path too long"), (tmp_path, "nobody listens")):
        with pytest.raises(Unreachable, match=words):
            Client(str(path)).ask("GET", "/v1/status")
