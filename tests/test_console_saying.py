"""What a change came to: the page that it leads to says so, a fault there too; and what a dead session's click gets."""
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mxallowd.console.log import LINES
from mxallowd.console.saying import KEPT_S, LONGEST, MOST, Said, Sayings
from mxallowd.console.visit import Outcome
from tests.console_site import PASSWORD, Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with Console(tmp_path) as made:
        yield made


def said(console: Console, target: str, cookie: str) -> str:
    """What a page says of a change."""
    found = re.search(r'<p class="said[^>]*>([^<]*)<', console.ask("GET", target, cookie=cookie)[2])
    return found[1] if found else ""


@pytest.mark.parametrize("page", ["/failing", "/broken", "/echo?q=a+b"])
def test_the_page_after_a_change_alone_says_it(console: Console, page: str) -> None:
    cookie = console.log_in()
    form = {"csrf": console.csrf(cookie), "say": "Nobody knows.", "back": page}
    assert console.ask("POST", "/change/thing", form, cookie)[1]["Location"] == page
    assert [said(console, other, cookie) for other in ("/", "/echo", "/echo?q=b")] == [""] * 3
    assert console.ask("HEAD", page, cookie=cookie)
    assert [said(console, page, cookie) for _ in range(2)] == ["Nobody knows.", ""]


def test_it_is_bounded_and_dropped_when_it_is_old() -> None:
    now = [0.0]
    sayings = Sayings(lambda: now[0])
    for number in range(MOST + 1):
        sayings.add(f"/{number}", "x" * LONGEST * 2, ok=True)
    assert sayings.at("/0") == Said() and len(sayings.at("/1").text) == LONGEST
    # A double click: both are told, and one that failed is.
    sayings.add("/", "It was done.", ok=True)
    sayings.add("/", "It was not there any more.", ok=False)
    assert sayings.at("/")[:2] == ("It was done. It was not there any more.", False)
    sayings.shown("/", "It was done.")
    assert sayings.at("/").text
    now[0] += KEPT_S
    assert sayings.at("/") == Said()


@pytest.mark.parametrize(("outcome", "key"), [
    (Outcome.DONE, "said"), (Outcome.NOTHING, "said"), (Outcome.REFUSED, "reason"), (Outcome.UNKNOWN, "reason")])
def test_the_log_has_each_outcome_with_its_target(console: Console, outcome: Outcome, key: str) -> None:
    cookie = console.log_in()
    sent = {"csrf": console.csrf(cookie), "say": "so it was", "outcome": str(outcome), "network": "192.0.2.7"}
    console.ask("POST", "/change/thing", sent, cookie)
    assert console.log.lines[1:] == [(str(outcome), {
        "client": "127.0.0.1", "user": "anna", "change": "/change/thing", "what": "192.0.2.7", key: "so it was"})]
    form = next(line.form for line in LINES if line.word == outcome)
    assert form == " ".join([str(outcome), *(f"{name}=" for name in console.log.lines[1][1])])


def test_an_error_within_a_change_is_said_to_be_unknown(console: Console) -> None:
    cookie = console.log_in()
    form = {"csrf": console.csrf(cookie), "defect": "1", "what": "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5"}
    assert console.ask("POST", "/change/thing", form, cookie)[0] == 500
    assert console.log.words() == ["logged-in", "change-unknown", "defect"]
    assert console.log.lines[1][1]["what"] == form["what"]


@pytest.mark.parametrize(("back", "referer", "leads"), [
    ("/echo?q=a%20b", "", "/echo?q=a+b"), ("https://evil.example/", "", "/"), ("//evil.example", "", "/"),
    ("", "http://{host}/echo?q=x#y", "/echo?q=x"), ("", "http://evil.example/echo", "/"), ("", "http://{host}", "/"),
    ("", "http://{host}@evil.example/echo", "/"), ("", "http://{host}/change/thing", "/"), ("", "", "/")])
def test_a_click_after_the_session_is_said_and_leads_back(
    console: Console, back: str, referer: str, leads: str,
) -> None:
    more = {"Referer": referer.format(host=f"127.0.0.1:{console.port}")} if referer else {}
    status, fields, text = console.ask("POST", "/change/thing", {"csrf": "x", "back": back}, "A" * 43, **more)
    assert (status, fields["Location"]) == (403, None)
    assert "You were logged out before this click, so nothing was changed." in text
    found = re.search(r'name="next" value="([^"]*)"', text)
    assert found and found[1] == leads
    form = {"name": "anna", "password": PASSWORD, "next": found[1]}
    assert console.ask("POST", "/login", form)[1]["Location"] == leads
