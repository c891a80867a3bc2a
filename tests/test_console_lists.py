"""The lists of the console, of a running daemon: lines with notes and hits, and lines by hand that come and go."""
import signal
from pathlib import Path

import pytest

from lab.hosts import REAL4, Attempt, Host, Lab
from mxallowd.console.render import NOTHING
from mxallowd.console.visit import Role
from mxallowd.ctl.commands.trust import state
from tests.console_visits import changed, shown
from tests.daemon_process import SENDER4, serving
from tests.test_list_files import old

DENIED = "192.0.2.66"
CLIENT = (SENDER4, DENIED)


def test_lines_their_hits_and_lines_by_hand(guarded: Lab, client: Host, tmp_path: Path) -> None:
    allow, trust = tmp_path / "allow", tmp_path / "trust"
    allow.write_text(f"# who\n{SENDER4} # the bank <b>\n2001:db8:7::/48\n", encoding="utf-8")
    trust.write_text("network 203.0.113.0/24 # the printers\n", encoding="utf-8")
    with serving(guarded, "--allow", str(old(allow)), "--trust", str(old(trust))) as daemon:
        done = changed(daemon.control, "/change/list-add", {
            "list": "deny", "network": DENIED, "note": "a nuisance", "seconds": "3600", "back": "/lists?verdict=deny"})
        assert done.path == "/lists?verdict=deny"
        assert done.said.startswith(f"{DENIED} stands in deny until 20")
        for _ in range(2):
            assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=DENIED, timeout=0.3) is Attempt.DROPPED
        daemon.wait_for("denied ")
        page = shown(daemon.control, "/lists")
        assert f"{SENDER4} allow {allow}:2 the bank <b> {NOTHING} " in page.text
        assert f"{DENIED} deny by hand a nuisance 20" in page.text
        note = "network 203.0.113.0/24, the printers"
        assert f"203.0.113.0/24 trusted {trust}:1 {note} {NOTHING} 0 {NOTHING} " in page.text
        assert f"1 network 203.0.113.0/24 holds the printers 0 {NOTHING}" in page.text
        assert f"{allow} allow 2 in force" in page.text
        # What stands in a file is not removed here.
        assert [one["value"] for one in page.of("button", name="network")] == [f"{DENIED}/32"]
        assert shown(daemon.control, "/lists", Role.LOOK).form_actions == {"/lists"}
        hits = [text for text in page.text.split() if text.isdigit()]
        assert "1" in hits
        assert f"{SENDER4} allow" not in shown(daemon.control, "/lists?verdict=deny").text
        page = shown(daemon.control, "/lists?verdict=allow&note=BANK&limit=5")
        assert (f"{SENDER4} allow" in page.text, "2001:db8:7::/48 allow" in page.text) == (True, False)
        assert f"2001:db8:7::/48 allow {allow}:3" in shown(daemon.control, f"/lists?source={allow}:3").text
        page = shown(daemon.control, "/lists?network=nonsense&limit=")
        assert (page.status, '"nonsense" is not' in page.text) == (400, True)
        assert page.of("input", id="network")[0]["value"] == "nonsense"
        form = {"list": "deny", "network": f"{DENIED}/32"}
        assert changed(daemon.control, "/change/list-remove", form).said == f"{DENIED} was removed from deny."
        said = changed(daemon.control, "/change/list-remove", form).said
        assert said.startswith(f"{DENIED} was not in deny any more: ")
        said = changed(daemon.control, "/change/list-remove", {"list": "allow", "network": SENDER4}).said
        assert f"it stands in {allow}:2, and is removed there" in said
        assert changed(daemon.control, "/change/trust-refresh", {}).said == "Records that are asked for now: 0."


def test_a_fault_of_a_file_is_shown(lab: Lab, tmp_path: Path) -> None:
    deny = tmp_path / "deny"
    deny.write_text("192.0.2.0/24\n", encoding="utf-8")
    with serving(lab, "--deny", str(old(deny))) as daemon:
        deny.write_text("<script>alert(1)</script>\n", encoding="utf-8")
        old(deny)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("list-failed ")
        page = shown(daemon.control, "/lists")
        assert "not read:" in page.text
        assert "there is no file of trusted senders: --trust names none" in page.text
        assert all((one["src"] or "").startswith("/files/") for one in page.of("script"))  # the console's own


@pytest.mark.parametrize(("line", "told"), [
    ({"kind": "network"}, "holds"),
    ({"kind": "dnswl", "hosts": 3, "passed_over": 2}, "3 hosts, 2 passed over"),
    ({"kind": "spf", "asked_now": True, "learned": None}, "no answer, is asked for now"),
    ({"kind": "spf", "asked_now": False, "next": None, "learned": None}, "no answer, not asked for yet"),
    ({"kind": "spf", "asked_now": False, "next": "x", "next_seconds": 600, "learned": "x", "networks": 4,
      "age_seconds": 130, "life_seconds": 7200}, "4 networks, learned 2 min ago for 2 h 0 min, again in 10 min"),
])
def test_the_state_of_a_trusted_line(line: dict[str, object], told: str) -> None:
    assert state(line) == told
