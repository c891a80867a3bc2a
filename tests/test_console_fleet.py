"""The page of the fleet: without one, with one whose engine cannot be reached, and with others in it."""
from pathlib import Path

import pytest

from lab.hosts import Lab
from mxallowd.fleet.keys import new_key
from tests.console_pages import answering, shown
from tests.daemon_process import serving
from tests.test_ctl_fleet import BROKEN, DOCUMENT


@pytest.mark.usefixtures("guarded")
def test_without_a_fleet_the_page_says_how_to_have_one(lab: Lab) -> None:
    with serving(lab) as daemon:
        page = shown(daemon.control, "/fleet")
    assert page.status == 200
    assert "This gateway has no fleet" in page.text


@pytest.mark.usefixtures("guarded")
def test_an_engine_that_does_not_answer(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(new_key() + "\n", encoding="ascii")
    key.chmod(0o600)
    words = ("--fleet", "redis://127.0.0.1:1", "--fleet-site", "example", "--fleet-key-file", str(key))
    with serving(lab, *words) as daemon:
        daemon.wait_for("fleet-broken|fleet-down", timeout=10)
        page = shown(daemon.control, "/fleet")
        doctor = shown(daemon.control, "/doctor")
    assert "No connection for" in page.text
    assert "The engine cannot be used:" in page.text
    assert "No other gateway was heard yet." in page.text
    assert "the engine redis://127.0.0.1:1 cannot be used:" in doctor.text


def test_what_is_told_of_the_others(tmp_path: Path) -> None:
    with answering(tmp_path, {"/v1/fleet": DOCUMENT}) as control:
        page = shown(control, "/fleet")
    for text in ("Connected for 3 h", "0a1b2c3d (signs)", "Last heard 0 s ago",
                 "1\u202f204 entries of 1\u202f000\u202f000",
                 "12 s behind the engine's", "41\u202f233 batches, 1-0 to", "Two gateways have this name", "forged 3",
                 "mx2 0 s ago 12 ms", "Here 8 h", "mx9 with another key 2 60 s ago"):
        assert " ".join(text.split()) in page.text, text
    assert "too-fast" not in page.text


def test_a_fault_stands_with_its_remedy_as_text(tmp_path: Path) -> None:
    with answering(tmp_path, {"/v1/fleet": BROKEN}) as control:
        page = shown(control, "/fleet")
    assert r"no \x1b[2J answer" in page.text
    assert '<pre class="command">raise maxmemory of the engine</pre>' in page.html
    assert "its maxmemory-policy is allkeys-lru" in page.text
    assert "give each a fleet-origin of its own" in page.text
