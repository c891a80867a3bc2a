"""Many changes: each has its line, with all that it is about, and those beyond the rate are not made."""
from pathlib import Path

from mxallowd.console import fields
from mxallowd.console.clicks import BURST, COUNTED, Clicks
from tests.console_site import Console


def test_each_change_has_a_line_and_a_user_has_a_rate(tmp_path: Path) -> None:
    with Console(tmp_path) as console:
        cookie = console.log_in()
        form = {"csrf": console.csrf(cookie), "what": "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4"}
        found = [console.ask("POST", "/change/thing", form, cookie) for _ in range(int(BURST) * 3)]
        statuses = [status for status, _, _ in found]
        assert set(statuses) == {303, 429} and statuses[:int(BURST)] == [303] * int(BURST)
        refused = next(text for status, _, text in found if status == 429)
        assert "Nothing was changed: anna has made more than" in refused
        lines = [values for word, values in console.log.lines if word == "changed"]
        assert len(lines) == statuses.count(303)
        assert {str(values["what"]) for values in lines} == {form["what"]}
        assert console.log.words().count("not-changed") == 1
        # His pages stay.
        assert console.ask("GET", "/", cookie=cookie)[0] == 200


def test_who_is_counted_is_bounded() -> None:
    clicks = Clicks(lambda: 0.0)
    for number in range(COUNTED + 5):
        clicks.take(str(number))
    assert len(clicks._users) == COUNTED


def test_the_log_has_all_that_a_change_is_about() -> None:
    words = [f"2001:db8::{number:x}" for number in range(250)]
    assert fields.everything({"what": " ".join(words[:20])}) == " ".join(words[:20])
    text = fields.everything({f"tick:{word}": "on" for word in words})
    shown, _, more = text.partition(" and ")
    assert shown.split() == words[:len(shown.split())] and len(shown) <= 1000
    assert more == f"{250 - len(shown.split())} others"
