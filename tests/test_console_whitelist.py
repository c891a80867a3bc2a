"""The whitelist of the console: filters, numbers, and what is taken out of a running daemon."""
import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.console import fields
from mxallowd.console.pages.whitelist import MOST, USUAL
from mxallowd.console.visit import Outcome, Role
from mxallowd.control.exchange import RequestError
from tests.console_visits import Document, changed, shown
from tests.control_client import ask
from tests.daemon_process import SENDER4, DaemonProcess, serving


def filled(daemon: DaemonProcess, count: int) -> list[str]:
    hosts = [f"100.64.{number // 250}.{number % 250}" for number in range(1, count + 1)]
    for first in range(0, count, 1000):
        body = {"entries": [{"address": host, "note": f"n{host}"} for host in hosts[first : first + 1000]]}
        assert ask(daemon.control, "POST", "/v1/import", body)[1]["rejected"] == []
    return hosts


def listed(page: Document) -> set[str | None]:
    return {one["value"] for one in page.of("button", name="what")}


def test_filters_and_how_many(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        filled(daemon, MOST + 200)
        page = shown(daemon.control, "/whitelist")
        assert "1 201 entries, and room for " in page.text
        assert len(listed(page)) == USUAL
        assert f"There are more than these {USUAL}" in page.text
        page = shown(daemon.control, "/whitelist?limit=1000")
        assert len(listed(page)) == MOST
        page = shown(daemon.control, "/whitelist?origin=contact&used=true&proven=&network=&note=&gateway=&limit=")
        assert listed(page) == {SENDER4}
        assert "There are more" not in page.text
        # What was chosen stays in the form, and is where a click leads back to.
        assert [one.get("selected", "no") for one in page.of("option", value="true")] == [None, "no"]
        assert page.of("input", name="back")[0]["value"] == "/whitelist?origin=contact&used=true"
        page = shown(daemon.control, "/whitelist?network=100.64.1.0%2F28&note=N100")
        assert listed(page) == {f"100.64.1.{number}" for number in range(16)}
        assert page.of("input", id="note")[0]["value"] == "N100"
        assert listed(shown(daemon.control, "/whitelist?note=none+has+this")) == set()
        for query, said in [
                ("network=x", '"x" is not a network'), ("origin=magic", 'origin "magic" is none of'),
                ("limit=0", 'limit "0" is not a number from 1 to 1000'), ("limit=1001", 'limit "1001"'),
                ("gateway=a%20b", "gateway"), ("used=maybe", 'used "maybe" is none of true, false')]:
            page = shown(daemon.control, f"/whitelist?{query}")
            assert (page.status, said in page.text) == (400, True), page.text


def test_a_row_or_ticks_are_removed_by_who_may_change(lab: Lab) -> None:
    with serving(lab) as daemon:
        hosts = filled(daemon, fields.MOST_TARGETS + 1)
        page = shown(daemon.control, "/whitelist?limit=1000")
        ticks = [str(one["name"]) for one in page.of("input", type="checkbox")]
        assert len(ticks) == len(hosts)
        # Enter presses the first button of the form.
        first = next(one for one in page.of("button") if one.get("class") == "danger" or "name" in one)
        assert "data-confirm" in first
        look = shown(daemon.control, "/whitelist", Role.LOOK)
        assert (listed(look), look.of("input", type="checkbox")) == (set(), [])
        with pytest.raises(RequestError, match="may look"):
            changed(daemon.control, "/change/remove", {"what": hosts[0]}, Role.LOOK)

        form = {"what": hosts[0], ticks[5]: "1", "back": "/whitelist?limit=9"}
        done = changed(daemon.control, "/change/remove", form)
        assert done == ("/whitelist?limit=9", f"{hosts[0]} was removed.", Outcome.DONE)
        some = dict.fromkeys(ticks[10:20], "1")
        done = changed(daemon.control, "/change/remove", some)
        assert done == ("/whitelist", "10 of 10 were removed.", Outcome.DONE)
        done = changed(daemon.control, "/change/remove", some)
        assert done.outcome is Outcome.NOTHING
        assert done.said.startswith(f"0 of 10 were removed. {ticks[10][5:]} was not in the whitelist any more. ")
        assert done.said.endswith(" And 7 further ones like that.")
        assert changed(daemon.control, "/change/remove", {}).said == "Nothing was changed: nothing was chosen."
        done = changed(daemon.control, "/change/remove", dict.fromkeys(ticks, "1"))
        assert done.said.endswith(" and 248 others): these are 251 at once, and at most 250 are changed by one click.")
        left = {one["address"] for one in ask(daemon.control, "GET", "/v1/entries")[1]}
        assert left == set(hosts) - {hosts[0]} - {name[5:] for name in some}
        daemon.wait_for(rf"removed user=0 by=anna what={hosts[0]} count=1")
