"""The page of the forecast, of a real daemon, and of the numbers of a busy one."""
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.console_pages import answering, shown
from tests.daemon_process import serving

BUSY: dict[str, Any] = {
    "since": "2026-11-20T10:00:00Z", "dry_run": False, "hosts": 2000, "sampled": True,
    "seen": {"packets": 10, "of": 1000, "share": 0.01},
    "met_the_fake": [{"within_seconds": within_s, "hosts": hosts, "share": hosts / 2000, "still_may": 7}
                     for within_s, hosts in ((300, 500), (3600, 600), (86_400, 700))],
    "let_in_by_patience": 50, "let_in_otherwise": 150, "came_once": 1000, "kept_trying": 300,
    "refused_later_passed": 12, "connections": {"refused": 3000, "accepted": 1000, "share_refused": 0.75},
    "hosts_that_kept_trying": [{"address": "2001:db8::5", "name": "mx.example.net", "name_confirmed": False,
                                "attempts": 9, "first": "2026-11-20T10:00:00Z", "last": "2026-11-20T11:00:00Z"}],
    "networks_that_kept_trying": [{"network": "198.51.100.0/24", "hosts": 3, "attempts": 30, "names": ["a.example"],
                                   "first": "2026-11-20T10:00:00Z", "last": "2026-11-20T11:00:00Z"}]}


@pytest.mark.usefixtures("guarded")
def test_the_forecast_of_a_daemon(lab: Lab, client: Host) -> None:
    with serving(lab, "--dry-run") as daemon:
        page = shown(daemon.control, "/trial")
        assert "Dry run: nobody is refused" in page.text
        assert "No host would have been refused yet" in page.text
        assert client.attempt(REAL4) is Attempt.CONNECTED
        daemon.wait_for("would-refuse")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        daemon.wait_for("whitelisted|new", timeout=5)
        page = shown(daemon.control, "/trial")
    assert "1 of 1 would have been refused (100.0 %)" in page.text
    assert "They got in since they met the fake server" in page.text


def test_each_number_stands_as_text_beside_its_bar(tmp_path: Path) -> None:
    with answering(tmp_path, {"/v1/forecast": BUSY}) as control:
        page = shown(control, "/trial")
    for text in ("Armed: strangers are refused", "(estimated from a sample", "mxallowd was shown 10 of 1000 such",
                 "3\u202f000 of 4\u202f000 were refused (75.0 %)", "passed: 12", "They came once and not again",
                 "1\u202f000 50.0 %", "500 25.0 %", "mx.example.net (unconfirmed)", "a.example"):
        assert " ".join(text.split()) in page.text, text
    assert page.elements.count("rect") == 2 * (1 + 5 + 3)
    assert 'width="75.0"' in page.html
    assert {"/search?q=2001%3Adb8%3A%3A5", "/search?q=198.51.100.0/24"} <= set(page.links)
