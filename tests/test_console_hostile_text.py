"""Hostile texts through the browser: what Chromium makes of pages whose every text somebody else has chosen."""
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect

from lab.console import ANNA, Console, console
from lab.hosts import REAL4, Host, Lab
from mxallowd.console.pages import PAGES
from tests.browser import Sight, sight
from tests.console_scene import SENDER, SPAMMER, STRANGERS, gateway
from tests.hostile import IN_BROWSER, MARK, PIECES, SHOWN, TEXTS, raw
from tests.hostile_daemon import HostileDaemon

PATHS = [*(page.path for page in PAGES), f"/search?q={SENDER}", f"/search?q={SPAMMER}", "/search?q=192.0.2.0/24"]
WORST = f"<img src=x onerror=window.{MARK}=1>'\"&\u202e\x1b[2J\n<{MARK} {MARK}=1>"
# A longer head is refused before anybody reads it.
LONGEST_QUERY = 1000


class Hostile(NamedTuple):
    """A console whose daemon says what a test wants, before a gateway that is as it should be."""

    daemon: HostileDaemon
    console: Console
    client: Host
    cookie: str


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    place: Path = tmp_path_factory.mktemp("gateway")
    with Lab() as lab, gateway(lab, place) as (client, process), \
            HostileDaemon(process.control, place / "hostile.sock") as daemon, console(daemon.path) as made:
        yield Hostile(daemon, made, client, made.session(ANNA).cookie)
        assert "defect" not in made.said(), made.said()


@pytest.fixture(autouse=True)
def _supported(namespaces: None) -> None:
    """Each test has hosts."""


def log_in(seen: Sight, cookie: str) -> None:
    """Be somebody who may change."""
    key, _, value = cookie.partition("=")
    seen.context.add_cookies([{"name": key, "value": value, "url": seen.origin}])


def check(page: Page) -> None:
    """That nothing came of a text, and that it hides and turns nothing."""
    assert not page.evaluate(IN_BROWSER)
    for text in page.evaluate(SHOWN):
        assert not raw(text), text[:200]


@settings(max_examples=2, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate],
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=3, max_size=12))
def test_pages_show_texts(chromium: Browser, hostile: Hostile, texts: list[str]) -> None:
    hostile.daemon.texts = [*texts, WORST]
    with sight(chromium, hostile.console.origin) as seen:
        seen.expects("status of 4")
        log_in(seen, hostile.cookie)
        for path in PATHS:
            check(seen.go(path))
        for path, key in (("/search", "q"), ("/whitelist", "note"), ("/lists", "note"), ("/log", "q"), ("/", "range")):
            for text in (texts[0], WORST):
                check(seen.go(f"{path}?{urlencode({key: text[:LONGEST_QUERY]})}"))
    with sight(chromium, hostile.console.origin) as seen:
        seen.expects("status of 400")
        check(seen.go(f"/login?{urlencode({'next': texts[1][:LONGEST_QUERY]})}"))


@pytest.mark.parametrize("text", [WORST, PIECES[1] * 4000], ids=["worst", "long"])
def test_what_a_change_comes_to_is_a_text(chromium: Browser, hostile: Hostile, text: str) -> None:
    hostile.daemon.texts = [text]
    with sight(chromium, hostile.console.origin) as seen:
        log_in(seen, hostile.cookie)
        page = seen.go(f"/search?q={SPAMMER}")
        page.get_by_label("Note").first.fill(WORST.replace("\n", " ").replace("\x1b", ""))
        page.get_by_role("button", name="Let in for a day").click()
        expect(page.locator("p.said")).to_contain_text("Nothing was changed")
        check(page)
        # What is asked before a change is a text as well.
        page.get_by_text("Refuse it").click()
        page.get_by_role("button", name=f"Refuse {SPAMMER}").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        check(page)


def test_lines_that_come_live_are_texts(chromium: Browser, hostile: Hostile) -> None:
    hostile.daemon.texts = [WORST]
    with sight(chromium, hostile.console.origin) as seen:
        log_in(seen, hostile.cookie)
        page = seen.go("/log")
        before = page.locator("#log tbody tr, #log li").count()
        hostile.client.attempt(REAL4, source=STRANGERS[0], timeout=0.1)
        page.wait_for_function(
            "before => document.querySelectorAll('#log tbody tr, #log li').length > before", arg=before)
        check(page)
