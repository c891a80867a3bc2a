"""Who changes: every change by the control socket is in the log with the user's id, and with the name he asks for."""
from pathlib import Path

import pytest

from lab.hosts import Lab
from tests.control_client import ask, raw
from tests.daemon_process import serving
from tests.test_control_api import routes

# Each request that changes something, and the line about it behind its user.
CHANGES: tuple[tuple[str, str, str, object, str], ...] = (
    ("POST", "/v1/entries", "/v1/entries", {"address": "198.51.100.7", "seconds": 60},
     r"added \[198.51.100.7\] {} seconds=60$"),
    ("POST", "/v1/entries", "/v1/entries", {"network": "198.51.100.64/26"},
     "network-added {} network=198.51.100.64/26 list=allow$"),
    ("DELETE", "/v1/entries/{target:path}", "/v1/entries/198.51.100.7", None, "removed {} what=198.51.100.7 count=1$"),
    ("POST", "/v1/lists/{verdict}", "/v1/lists/deny", {"network": "203.0.113.0/24", "note": "x"},
     "network-added {} network=203.0.113.0/24 list=deny$"),
    ("DELETE", "/v1/lists/{verdict}", "/v1/lists/deny", {"network": "203.0.113.0/24"},
     "removed {} what=203.0.113.0/24 list=deny count=1$"),
    ("POST", "/v1/import", "/v1/import", {"entries": [{"address": "198.51.100.9"}]}, "imported {} entered=1 "),
    ("DELETE", "/v1/entries", "/v1/entries", None, "removed {} what=all count=2$"),
    ("PUT", "/v1/log-level", "/v1/log-level", {"level": "error"}, "log-level {} set=error$"),
    ("POST", "/v1/trust/refresh", "/v1/trust/refresh", {}, "trust-asked {} domain=all asked=0$"),
    ("POST", "/v1/reload", "/v1/reload", None, "reload-asked {}$"),
)


@pytest.mark.parametrize("by", ["", "jo.doe_2@mail-x"])
def test_each_change_is_logged_with_who_made_it(lab: Lab, tmp_path: Path, by: str) -> None:
    trusted = tmp_path / "trusted-senders"
    trusted.write_text("network 192.0.2.128/25\n", encoding="ascii")
    who = f"user=0 by={by}" if by else "user=0"
    with serving(lab, "--trust", str(trusted)) as daemon:
        for method, _, target, body, line in CHANGES:
            status, answer = ask(daemon.control, method, target, body, by)
            assert status == 200, answer
            daemon.wait_for(line.format(who))
    # Findings of doctor change nothing but what GET /v1/doctor shows, with who sent them.
    changing = {(one.method, one.template) for one in routes() if one.changes} - {("PUT", "/v1/doctor/report")}
    assert changing == {one[:2] for one in CHANGES}


def test_a_name_that_is_none_changes_nothing(lab: Lab) -> None:
    with serving(lab) as daemon:
        for name in ("", "a b", "x" * 33, "a=b", 'a"', "é", "a\u0001"):
            field = f"Mxallowd-User: {name}\r\n".encode("latin-1")
            answer = raw(daemon.control, b"DELETE /v1/entries HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 400 "), (name, answer)
        twice = b"Mxallowd-User: a\r\nMXALLOWD-USER: b\r\n\r\n"
        answer = raw(daemon.control, b"DELETE /v1/entries HTTP/1.1\r\nHost: x\r\n" + twice)
        assert b"stands twice" in answer
        status, answer = ask(daemon.control, "GET", "/v1/status", by="a b")
        assert (status, answer["error"]["message"]) == (
            400, 'Mxallowd-User "a b" is not 1 to 32 letters, digits and . _ @ -')
        assert ask(daemon.control, "GET", "/v1/status", by="a@b")[0] == 200
        assert not [line for line in daemon.messages() if line.startswith(("removed", "defect"))]
