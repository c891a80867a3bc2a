"""What doctor has found is left with the daemon, within bounds, by root alone, and without a word about it."""
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts import Lab
from mxallowd.control.answers.findings import Findings
from mxallowd.control.exchange import Request, RequestError
from mxallowd.ctl.client import Client
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.report import LARGEST_OF_ALL, fitting, send
from tests.control_client import ask
from tests.control_standin import Standin, document
from tests.daemon_process import serving

REPORT = "/v1/doctor/report"
FINE = {"check": "mx", "state": "ok", "what": "all is well"}
TEXTS = st.text(max_size=5000)


def report(control: Path) -> Any:
    return ask(control, "GET", "/v1/doctor")[1]["report"]


@pytest.fixture
def control(lab: Lab) -> Any:
    """The socket of a daemon that serves."""
    with serving(lab) as daemon:
        yield daemon.control
        assert not [line for line in daemon.messages() if line.startswith("defect")]


def test_the_last_one_is_kept_with_who_sent_it(control: Path) -> None:
    assert report(control) is None
    other = {**FINE, "state": "broken", "why": "since", "command": "true"}
    assert ask(control, "PUT", REPORT, {"findings": [FINE, other]}) == (200, {"taken": 2})
    found = report(control)
    assert found.pop("time").endswith("Z")
    assert found == {"user": 0, "findings": [{**FINE, "why": None, "command": None}, other]}
    assert ask(control, "PUT", REPORT, {"findings": []}, by="jo")[0] == 200
    assert (report(control)["by"], report(control)["findings"]) == ("jo", [])


def test_nobody_leaves_any_but_root_and_the_daemon_s_user() -> None:
    """Root types their commands: who may change the daemon by --control-change-group may not put his own there."""
    findings = Findings()
    (route,) = findings.routes()
    body = {"findings": [FINE]}

    async def leave(user: int) -> None:
        await route.handler(Request("PUT", REPORT, body=body, user=user))

    with pytest.raises(RequestError, match="the user with id 5000 may leave no findings") as raised:
        asyncio.run(leave(5000))
    assert (raised.value.status, findings.report) == (403, None)
    asyncio.run(leave(os.geteuid()))
    assert findings.report


@pytest.mark.parametrize("body", [
    None, [], {}, {"findings": {}}, {"findings": [1]}, {"findings": [FINE] * 201}, {"findings": [FINE], "x": 1},
    {"findings": [{**FINE, "state": "fine"}]}, {"findings": [{**FINE, "what": "x" * 2001}]},
    {"findings": [{**FINE, "what": None}]}, {"findings": [{**FINE, "why": 1}]}, {"findings": [{**FINE, "x": "y"}]},
    {"findings": [{"check": "mx", "state": "ok"}]}])
def test_what_is_none_leaves_the_last_one(control: Path, body: object) -> None:
    assert ask(control, "PUT", REPORT, {"findings": [FINE]})[0] == 200
    assert ask(control, "PUT", REPORT, body)[0] == 400
    assert len(report(control)["findings"]) == 1


def test_all_that_fits_the_bounds_is_taken(control: Path) -> None:
    largest = {"check": "x" * 2000, "state": "ok", "what": "y" * 1900, "why": None, "command": None}
    assert ask(control, "PUT", REPORT, {"findings": [largest] * 25}) == (200, {"taken": 25})
    assert ask(control, "PUT", REPORT, {"findings": [largest] * 26})[0] == 413
    assert ask(control, "PUT", REPORT, {"findings": [{**largest, "why": "z" * 200}]})[0] == 200
    worst = [Finding("\U0001f600" * 3000, BROKEN, "\x1b" * 3000, '"' * 3000, "\ud83d" * 3000)] * 250
    send(Client(str(control)), worst)
    assert 20 < len(report(control)["findings"]) <= 200


@given(st.lists(st.builds(Finding, TEXTS, st.sampled_from([OK, WARNING, BROKEN]), TEXTS, TEXTS, TEXTS), max_size=5))
def test_what_is_sent_is_within_the_bounds_of_the_daemon(findings: list[Finding]) -> None:
    found = fitting(findings)
    assert len(found) == len(findings)
    for one, sent in zip(findings, found, strict=True):
        assert isinstance(sent, dict)
        assert len(json.dumps(sent)) <= 4096
        assert all(len(sent[key] or "") <= 2000 for key in ("check", "what", "why", "command"))
        if len(json.dumps(one)) < 3800 and max(map(len, one)) <= 2000:
            assert (sent["check"], sent["what"], sent["why"] or "") == (one.check, one.what, one.why)
    assert len(json.dumps(found)) <= LARGEST_OF_ALL


def test_of_too_many_the_worst_are_sent(tmp_path: Path) -> None:
    findings = [*(Finding(str(number), OK, "well") for number in range(300)), Finding("x", BROKEN, "y", "z", "w")]
    for answer in (document("{}"), document("{}", "404 Not Found"), b"nonsense"):
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        directory.mkdir()
        with Standin(directory, [answer]) as daemon:
            send(Client(daemon.path), findings)
            sent = json.loads(daemon.requests[0].partition(b"\r\n\r\n")[2])["findings"]
            assert (len(sent), sent[0]["check"]) == (200, "x")
    # Nobody there: nothing is said either.
    send(Client(str(tmp_path / "none.sock")), findings)


# Runs doctor as a user, within the socket's group.
AS = """
import os, sys
from mxallowd.ctl.__main__ import main
user = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(0, 0, 0)
os.setresuid(user, user, user)
sys.exit(main(sys.argv[1:]))
"""


def test_root_s_findings_are_left_and_the_output_is_the_same(lab: Lab) -> None:
    def doctor(control: Path, user: int, *more: str) -> subprocess.CompletedProcess[str]:
        return lab.gateway.run([sys.executable, "-c", AS, str(user), "doctor", "--socket", str(control), *more],
                               capture_output=True, text=True)

    with serving(lab) as daemon:
        daemon.control.parent.chmod(0o755)
        done = doctor(daemon.control, 65534, "--json")
        assert done.stderr == ""
        assert json.loads(done.stdout)["findings"][0]["what"].startswith("mxallowd ")
        assert report(daemon.control) is None
        done = doctor(daemon.control, 0, "--json")
        left = report(daemon.control)
        assert (left["user"], done.stderr) == (0, "")
        assert left["findings"] == json.loads(done.stdout)["findings"]
        text = doctor(daemon.control, 0)
        assert text.returncode == done.returncode
        assert [line[9:] for line in text.stdout.splitlines() if line[:8].strip()] == [
            one["what"] for one in report(daemon.control)["findings"]]
