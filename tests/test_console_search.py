"""The search of the console, and what its clicks change in a running daemon."""
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.console.pages.search import refusals
from mxallowd.console.visit import Outcome, Role
from mxallowd.control.exchange import RequestError
from mxallowd.ctl.__main__ import main
from tests.console_visits import changed, shown
from tests.control_client import ask
from tests.daemon_process import SENDER4, DaemonProcess, serving

GOOD, BAD = CLIENT = (SENDER4, "192.0.2.66")
SEARCH = f"/search?q={BAD}"
CHANGING = {"/change/let-in", "/change/list-add"}


def clicked(daemon: DaemonProcess, path: str, **form: str) -> str:
    done = changed(daemon.control, path, {"back": SEARCH, **form})
    assert done.path == SEARCH
    return done.said


def test_an_address_is_let_in_for_a_day_for_good_and_no_more(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        assert client.attempt(FAKE4, source=GOOD) is Attempt.REFUSED
        assert client.attempt(REAL4, source=BAD, timeout=0.3) is Attempt.DROPPED
        daemon.wait_for("refused ")
        page = shown(daemon.control, f"/search?q={GOOD}")
        assert "gets in it contacted the fake server" in page.text
        assert f"contacted the fake server at {FAKE4}" in page.text
        page = shown(daemon.control, f"/search?q=+[{BAD}]+")
        assert "is refused it is not in the whitelist" in page.text
        assert (page.status, page.form_actions) == (200, CHANGING)
        assert len(page.of("li", **{"class": "refused"})) == 1
        assert f"real server {REAL4} drop , says mxallowd (way a): it is not whitelisted" in page.text
        assert shown(daemon.control, SEARCH, Role.LOOK).form_actions == set()

        said = clicked(daemon, "/change/let-in", what=BAD, how="day", note="the bank")
        assert said.startswith(f"{BAD} is let in until 20")
        assert said.endswith("for 24 h.")
        assert client.attempt(REAL4, source=BAD) is Attempt.CONNECTED
        entry = ask(daemon.control, "GET", f"/v1/entries/{BAD}")[1]
        assert (entry["note"], entry["origin"]) == ("the bank", "by-hand")
        page = shown(daemon.control, SEARCH)
        assert "/change/remove" in page.form_actions
        assert "Note the bank" in page.text
        # A second click changes nothing.
        assert clicked(daemon, "/change/let-in", what=BAD, how="day", note="the bank").startswith(f"{BAD} is let in")
        assert clicked(daemon, "/change/remove", what=BAD) == f"{BAD} was removed."
        assert clicked(daemon, "/change/remove", what=BAD) == f"{BAD} was not in the whitelist any more."
        assert client.attempt(REAL4, source=BAD, timeout=0.3) is Attempt.DROPPED

        for _ in range(2):
            assert clicked(daemon, "/change/let-in", what=BAD, how="good", note="") == f"{BAD} is let in for good."
        assert client.attempt(REAL4, source=BAD) is Attempt.CONNECTED
        assert "/change/list-remove" in shown(daemon.control, SEARCH).form_actions
        assert clicked(daemon, "/change/remove", what=BAD) == f"{BAD} was removed."
        assert client.attempt(REAL4, source=BAD, timeout=0.3) is Attempt.DROPPED


def test_what_a_list_decides_otherwise_is_said(guarded: Lab, client: Host, tmp_path: Path) -> None:
    allow = tmp_path / "allow"
    allow.write_text("192.0.2.64/26\n", encoding="utf-8")
    with serving(guarded, "--allow", str(allow)) as daemon:
        assert clicked(daemon, "/change/remove", what=BAD) == (
            f"{BAD} was not in the whitelist any more, but 192.0.2.64/26 is allowed in {allow}:1: mxallowctl explain "
            "says more.")
        # A line that is as long as another, or longer, holds.
        assert clicked(daemon, "/change/list-add", list="deny", network="192.0.2.66", note="nuisance") == (
            f"{BAD} stands in deny.")
        page = shown(daemon.control, SEARCH)
        assert "is refused" in page.text
        assert "deny 192.0.2.66 , by hand: nuisance" in page.text
        assert "Refused not that anybody remembers" in page.text
        assert client.attempt(REAL4, source=BAD, timeout=0.3) is Attempt.DROPPED
        daemon.wait_for("denied ")
        assert "Refused 1 time by a list, last 20" in shown(daemon.control, SEARCH).text
        said = clicked(daemon, "/change/let-in", what=BAD, how="day")
        assert said.endswith(
            " It, or a part of it, stays refused: denied by 192.0.2.66 (by hand), which still holds.")
        said = clicked(daemon, "/change/list-remove", list="deny", network=f"{BAD}/32")
        assert said == f"{BAD} was removed from deny."
        said = clicked(daemon, "/change/remove", what=BAD)
        assert said.endswith(f"gets in all the same: allowed by 192.0.2.64/26 ({allow}:1), which still holds.")


def test_networks_and_names(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        assert client.attempt(FAKE4, source=GOOD) is Attempt.REFUSED
        assert client.attempt(REAL4, source=BAD, timeout=0.3) is Attempt.DROPPED
        daemon.wait_for("refused ")
        page = shown(daemon.control, "/search?q=192.0.2.0/24")
        for text in ("In the whitelist 1 Came to the real server 0", "Refused hosts 1", "contact: 1.",
                     f"{GOOD} contact", f"{BAD} 1 20"):
            assert text in page.text, page.text
        assert {one["data-confirm"] for one in page.of("form") if "data-confirm" in one} == {
            "Let in all of 192.0.2.0/24?", "Take 192.0.2.0/24 and all its hosts out of the whitelist?",
            "Refuse 192.0.2.0/24 at the real server, whatever the whitelist says?"}
        assert clicked(daemon, "/change/let-in", what="192.0.2.0/24", how="day").startswith(
            "192.0.2.0/24 is let in until 20")
        assert client.attempt(REAL4, source=BAD) is Attempt.CONNECTED
        said = clicked(daemon, "/change/remove", what="192.0.2.0/24")
        assert said == "192.0.2.0/24 was removed, entries and lines: 2."
        page = shown(daemon.control, "/search?q=8.0.0.0/7")
        assert page.form_actions == set()
        assert "too large to be changed by a click" in page.text
        name = shown(daemon.control, "/search?q=mail.example.org")
        assert "no address no name server is asked (no-rdns-whitelist)" in name.text


def test_what_was_typed_stays_and_a_mistake_is_quoted(lab: Lab) -> None:
    with serving(lab) as daemon:
        page = shown(daemon.control, "/search")
        assert (page.status, len(page.of("li"))) == (200, 4)
        for typed, said in [
                ("no host", '"no host" is neither an address nor a network nor a name'),
                ("192.0.2.1/24", '"192.0.2.1/24" has bits behind its prefix; the network is 192.0.2.0/24'),
                ("300.1.1.1", '"300.1.1.1" is not an IPv4 or IPv6 address'),
                ("../entries", '"../entries" is not a network'),
                ("<b>x</b>", '"<b>x</b>" is not a network'), ("\\", '"\\\\" is neither'),
                ("a" * 301, f'"{"a" * 256}..." (301 characters) is neither')]:
            page = shown(daemon.control, "/search?" + urlencode({"q": typed}))
            assert page.status == 400
            assert said in page.text
            assert page.of("input", id="q")[0]["value"] == typed


def test_a_form_that_is_not_as_it_must_be_changes_nothing(lab: Lab) -> None:
    with serving(lab) as daemon:
        for path, form, said in [
                ("/change/let-in", {"what": BAD}, 'how "" is neither day nor good'),
                ("/change/let-in", {"how": "day"}, "nothing was chosen"),
                ("/change/let-in", {"how": "day", "what": "x"}, '"x" is not an IPv4 or IPv6 address'),
                ("/change/let-in", {"how": "day", "what": BAD, "note": "a\nb"}, 'note "a\\x0ab" is not one line'),
                ("/change/let-in", {"how": "good", "what": BAD, "note": "n" * 201}, "is not one line of at most 200"),
                ("/change/let-in", {"how": "day", "what": "0.0.0.0/0"}, "0.0.0.0/0 is larger than a /8"),
                ("/change/let-in", {"how": "day", "what": "127.0.0.1"}, "127.0.0.1 is no address that a host"),
                ("/change/remove", {"what": "::/0"}, "::/0 is larger than a /16"),
                ("/change/list-add", {"list": "grey", "network": BAD}, 'list "grey" is none of allow, deny, direct'),
                ("/change/list-add", {"list": "deny", "network": BAD, "seconds": "-1"}, 'seconds "-1" is not a number'),
                ("/change/list-add", {"list": "deny", "network": BAD, "seconds": "0"}, "is not a whole number from 1"),
                ("/change/trust-refresh", {}, "there is no file of trusted senders")]:
            done = changed(daemon.control, path, form)
            assert (done.ok, said in done.said) == (False, True), done
        # Nothing is said in the colour of success.
        page = shown(daemon.control, done.path, said=done)
        assert (len(page.of("p", **{"class": "said failed"})), done.said in page.text) == (1, True)
        assert ask(daemon.control, "GET", "/v1/entries")[1] == []
        assert ask(daemon.control, "GET", "/v1/lists")[1]["by_hand"] == []
        with pytest.raises(RequestError, match="anna may look, and change nothing"):
            changed(daemon.control, "/change/let-in", {"how": "day", "what": BAD}, Role.LOOK)
        # Nobody is sent to anywhere else.
        for back in ("//evil.example/", "https://evil.example/", "/\\evil", "/search\r\nX: y", "/logout",
                     "/search/..", ""):
            done = changed(daemon.control, "/change/remove", {"what": BAD, "back": back})
            assert done.path == "/whitelist"
        done = changed(daemon.control, "/change/remove", {"what": BAD, "back": "/search?q=a\r\nb&x=%0d%0a"})
        assert done.path == "/search?q=a%0D%0Ab&x=%0D%0A"


def test_no_answer_of_the_daemon_is_said_to_be_none(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = changed(tmp_path / "none", "/change/remove", {"what": BAD})
    assert done.outcome is Outcome.UNKNOWN
    assert done.said.startswith(f"Nobody knows whether it was done (remove {BAD}): the daemon cannot be reached at ")
    # Of many the first one is tried, and the others are said not to be.
    done = changed(tmp_path / "none", "/change/let-in", {"what": f"{BAD} 198.51.100.9", "how": "day"})
    assert done.outcome is Outcome.UNKNOWN
    assert done.said.startswith(f"0 of 2 were let in. Nobody knows whether it was done for {BAD}: the daemon cannot")
    assert done.said.endswith(" 1 was not tried.")
    assert time.monotonic() - begun < 5




def test_what_was_changed_is_seen_at_once_with_the_same_end(guarded: Lab) -> None:
    network = "198.51.100.96/27"
    with serving(guarded) as daemon:
        def seen() -> tuple[str | None, list[str | None]]:
            found = ask(daemon.control, "GET", f"/v1/explain/{network}")[1]
            return found["verdict"], [one["until"] for one in found["lists"]]

        assert seen() == (None, [])
        said = clicked(daemon, "/change/let-in", what=network, how="day")
        verdict, (until,) = seen()
        assert verdict == "allow"
        assert said == f"{network} is let in until {until}."
        clicked(daemon, "/change/remove", what=network)
        assert seen() == (None, [])
        clicked(daemon, "/change/let-in", what=network, how="good")
        assert seen() == ("allow", [None])
        # It is never shortened.
        assert clicked(daemon, "/change/let-in", what=network, how="day") == (
            f"{network} is let in for good, as it was before.")


def test_what_a_restart_forgets_is_said_to_be_forgotten(
        guarded: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "file"
    place.touch()
    with serving(guarded, "--state-dir", str(place)) as daemon:
        lost = ", but no longer than until mxallowd restarts ("
        for what in (BAD, "198.51.100.0/24"):
            for how in ("day", "good"):
                assert lost in clicked(daemon, "/change/let-in", what=what, how=how)
            capsys.readouterr()
            assert main(["--socket", str(daemon.control), "add", what]) == 0
            printed = capsys.readouterr()
            assert "it holds now, and is lost at the next restart: " in printed.err
            assert "kept" not in printed.out


def test_refusals_of_a_list_are_told() -> None:
    def told(refused: object, *last: tuple[str, str, int]) -> list[tuple[object, ...]]:
        found = {"refused": refused, "last": [
            {"what": what, "time": time, "times": times} for what, time, times in last]}
        return [(one["times"], one["by"], one["first"], one["last"]) for one in refusals(found)]

    once = {"first": "a", "last": "a", "times": 1, "server": None}
    assert told(None, ("contact", "a", 1)) == []
    assert told(None, ("denied", "b", 1), ("denied", "c", 13)) == [(13, " by a list", None, "c")]
    assert told(once, ("refused", "a", 1), ("would-deny", "b", 2)) == [(1, "", "a", "a"), (2, " by a list", None, "b")]
    assert told(None, ("refused", "a", 4)) == [(4, "", None, "a")]
