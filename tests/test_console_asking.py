"""The console's way to the daemon: what it takes for an answer, and how it fails."""
import asyncio
from pathlib import Path

import pytest

from mxallowd.console.asking import Daemon, Late, Older, Refusal, Unreachable, path_of
from tests.control_standin import Standin, document, stream

LINES = ("/v1/entries", {"limit": "3"})


def test_a_document_and_who_asks(tmp_path: Path) -> None:
    with Standin(tmp_path, [document('{"removed": 1}'), document('{"gets_in": true}')]) as standin:
        daemon = Daemon(Path(standin.path))
        assert asyncio.run(daemon.change("DELETE", path_of("v1", "entries", "a/b?"), None, "anna")) == {"removed": 1}
        assert asyncio.run(daemon.get("/v1/x", {"limit": "a b&c"})) == {"gets_in": True}
        assert standin.requests[0].startswith(b"DELETE /v1/entries/a%2Fb%3F HTTP/1.1\r\n")
        assert b"\r\nMxallowd-User: anna\r\n" in standin.requests[0]
        assert standin.requests[1].startswith(b"GET /v1/x?limit=a+b%26c HTTP/1.1\r\n")
        assert b"Mxallowd-User" not in standin.requests[1]


def test_an_error_is_a_refusal_and_ill_health_an_answer(tmp_path: Path) -> None:
    refused = document('{"error": {"code": "not-listed", "message": "nothing of it"}}', "404 Not Found")
    with Standin(tmp_path, [refused, refused, document('{"ready": false}', "503 Service Unavailable")]) as standin:
        daemon = Daemon(Path(standin.path))
        with pytest.raises(Refusal, match="nothing of it") as caught:
            asyncio.run(daemon.get("/v1/entries/192.0.2.1"))
        assert (caught.value.status, caught.value.code) == (404, "not-listed")
        with pytest.raises(Refusal, match="nothing of it"):
            asyncio.run(daemon.lines(*LINES, most=2))
        assert asyncio.run(daemon.get("/readyz")) == {"ready": False}


def test_what_an_older_daemon_does_not_know(tmp_path: Path) -> None:
    """It is said in one way, and taken for nothing that was looked for and is not there."""
    answers = [document(f'{{"error": {{"code": "{code}", "message": "there is none"}}}}', status) for code, status in (
        ("not-found", "404 Not Found"), ("wrong-method", "405 Method Not Allowed"), ("not-found", "404 Not Found"),
        ("not-found", "404 Not Found"))]
    with Standin(tmp_path, answers) as standin:
        daemon = Daemon(Path(standin.path))
        with pytest.raises(Older, match=r"is older than the console, and does not know GET /v1/entries$") as caught:
            asyncio.run(daemon.lines(*LINES, most=2))
        assert caught.value.status == 501
        with pytest.raises(Older, match=r"does not know PUT /v1/doctor/report$"):
            asyncio.run(daemon.change("PUT", "/v1/doctor/report", {}, "anna"))
        with pytest.raises(Older):
            asyncio.run(daemon.get("/v1/doctor"))
        # Who types that is not to hear of releases.
        with pytest.raises(Refusal, match="there is none"):
            asyncio.run(daemon.get(path_of("v1", "explain", "..")))


def test_the_first_lines_of_a_stream_and_whether_there_are_more(tmp_path: Path) -> None:
    one, two, three = (b'{"n": %d}\n' % number for number in (1, 2, 3))
    answers = [stream(one + two[:3], two[3:]), stream(one, two + three), stream(one, b"{\n"), stream()]
    with Standin(tmp_path, [*answers, None]) as standin:
        daemon = Daemon(Path(standin.path))
        assert asyncio.run(daemon.lines(*LINES, most=2)) == ([{"n": 1}, {"n": 2}], False)
        assert asyncio.run(daemon.lines(*LINES, most=2)) == ([{"n": 1}, {"n": 2}], True)
        with pytest.raises(Unreachable, match="is no JSON"):
            asyncio.run(daemon.lines(*LINES, most=2))
        assert asyncio.run(daemon.lines(*LINES, most=2)) == ([], False)
        # There was no time for any.
        assert asyncio.run(daemon.lines(*LINES, most=2, wait_s=0.2)) == ([], True)


@pytest.mark.parametrize(("answer", "fault"), [
    (b"", "is no HTTP"), (b"nonsense\r\n\r\n", "is no HTTP"), (document("[1]"), "is no object"),
    (document("{"), "is no JSON"), (document("[" * 100_000), "is no JSON"), (document('{"a": 1}')[:-3], "is no HTTP"),
])
def test_what_is_no_answer(tmp_path: Path, answer: bytes, fault: str) -> None:
    with Standin(tmp_path, [answer]) as standin, pytest.raises(Unreachable, match=fault):
        asyncio.run(Daemon(Path(standin.path)).get("/v1/status"))


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"cannot be reached at .*/none: No such file"):
        asyncio.run(Daemon(tmp_path / "none").get("/v1/status"))
    with Standin(tmp_path, [None]) as standin, pytest.raises(Late, match="did not answer within 0 seconds"):
        asyncio.run(Daemon(Path(standin.path)).get("/v1/status", wait_s=0.2))
