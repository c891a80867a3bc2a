"""The page of the doctor: what follows from a daemon's answers, and the last report that it keeps."""
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import Lab
from mxallowd.console import losses
from mxallowd.console.pages.doctor import report_values
from mxallowd.ctl.doctor.findings import WARNING
from mxallowd.metrics.counters import COUNTERS
from tests.console_pages import answering, shown
from tests.control_client import ask
from tests.daemon_process import serving
from tests.ways import NFT

REPORT = {"time": "2026-11-20T10:00:00Z", "findings": [
    {"check": "rule-present", "state": "ok", "what": "rules are there", "why": None, "command": None},
    {"check": "listener", "state": "broken", "what": "nothing <b>listens</b>", "why": "mail is lost",
     "command": "systemctl start postfix"}]}


@pytest.mark.usefixtures("guarded")
def test_of_a_daemon_that_is_well(lab: Lab) -> None:
    with serving(lab) as daemon:
        page = shown(daemon.control, "/doctor")
    assert "Nothing is wrong" in page.text
    assert "mxallowd " in page.text
    assert '<pre class="command">sudo mxallowctl doctor example.org' in page.html


@pytest.mark.usefixtures("guarded")
def test_what_root_has_seen_is_shown_until_the_daemon_ends(lab: Lab) -> None:
    with serving(lab) as daemon:
        words = [sys.executable, "-m", "mxallowd.ctl", "--socket", str(daemon.control), "doctor"]
        said = lab.gateway.run(words, capture_output=True, text=True).stdout
        page = shown(daemon.control, "/doctor")
    assert "Nobody has run it" not in page.text
    bad = [line.split(maxsplit=1)[1] for line in said.splitlines() if line.startswith(("broken ", "warning "))]
    assert bad
    assert all(" ".join(line.split()) in page.text for line in bad), (bad, page.text)


@pytest.mark.usefixtures("guarded")
def test_of_a_daemon_with_faults(lab: Lab, tmp_path: Path) -> None:
    """No table in the kernel, a list that was broken by its last edit, a dry run."""
    allow = tmp_path / "allow"
    allow.write_text("192.0.2.1\n", encoding="ascii")
    with serving(lab, "--dry-run", "--allow", str(allow), *NFT) as daemon:
        allow.write_text("192.0.2.1/24\n", encoding="ascii")
        ask(daemon.control, "POST", "/v1/reload")
        page = shown(daemon.control, "/doctor")
    assert "Something is broken" in page.text
    assert page.text.index("The kernel does not know who is whitelisted") < page.text.index("this is a dry run")
    assert "has bits behind its prefix" in page.text
    assert "What the list had before the last reload still holds." in page.text
    assert "nft 'add " in page.html.replace("&#39;", "'")


def answers(**more: Any) -> dict[str, Any]:
    """Those of a daemon that is well."""
    return {
        "/v1/doctor": {
            "version": "2", "pid": 7, "user_id": 990, "settings": {"config": "/etc/mxallowd.conf", "state_dir": "/s",
                                                                  "nft_table": None},
            "kernel_tables": [], "network_sets": [], "state": None, "lists": None, "broker": None, "trust": None,
            "door": [], "fleet": None, "counters": {}, **more},
        "/v1/status": {"dry_run": False, "stress": False, "reload": None},
        "/readyz": {"status": "ready", "reasons": [], "warnings": []},
        "/v1/counters": {"received": 100}, "/v1/series": {"values": {"log_lines_lost": 0}}}


def test_the_last_report_is_shown_with_its_age(tmp_path: Path) -> None:
    with answering(tmp_path, answers(report=REPORT)) as control:
        page = shown(control, "/doctor")
    assert "Nothing is wrong" in page.text  # that is the daemon's own word
    assert "nothing <b>listens</b>" in page.text
    assert "b" not in page.elements
    assert "Mail is lost." in page.text
    assert '<pre class="command">systemctl start postfix</pre>' in page.html
    made = report_values(REPORT, 1_795_168_800.0 + 3600)
    assert (made["age"], made["old"]) == (3600, False)
    assert report_values(REPORT, 1_795_168_800.0 + 100_000)["old"]


def test_what_is_not_ready_and_what_failed(tmp_path: Path) -> None:
    told = answers(broker="it has ended", state={"fault": "journal.3: Input/output error"})
    told["/readyz"] = (503, {"status": "not-ready", "reasons": ["it is starting"], "warnings": ["a list is old"]})
    told["/v1/status"] = {"dry_run": False, "stress": True, "reload": {"ok": False, "reason": "line 3: no such option"}}
    told["/v1/counters"] = {"queue-full": 5}
    told["/v1/series"] = {"values": {"log_lines_lost": 9}}
    with answering(tmp_path, told) as control:
        page = shown(control, "/doctor")
    for text in ("it is starting", "a list is old", "line 3: no such option", "the broker of the sandbox: it has ended",
                 "journal.3: Input/output error", "packets found no room in the queue: 5 since the start",
                 "lines of the log were left out or could not be written: 9", "journalctl -k -p err -n 50",
                 "stress mode"):
        assert text in page.text, text


def test_a_daemon_of_an_older_release(tmp_path: Path) -> None:
    told = answers()
    del told["/v1/series"]
    with answering(tmp_path, told) as control:
        assert "Nothing is wrong" in shown(control, "/doctor").text


def test_each_loss_is_a_counter_of_the_daemon() -> None:
    known = {one.name for one in COUNTERS} | {"log-lines-lost"}
    assert {one.counter for one in losses.LOSSES} <= known
    found = list(losses.check(dict.fromkeys(known, 1)))
    assert len(found) == len(losses.LOSSES)
    assert all(one.state == WARNING and one.why and one.command for one in found)
    assert not list(losses.check(json.loads('{"received": 3}')))
