"""The console as its users see it, in Chromium: every page and every button, before a gateway with real connections."""
import re
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from lab.console import ANNA, BEN, PASSWORDS
from lab.hosts import FAKE4, REAL4
from mxallowd.console.pages import PAGES
from tests.browser import Sight, blank, inaccessible, sideways, sight
from tests.console_scene import (
    BANK,
    DENIED,
    FAKE_ONLY,
    NAMED,
    NOTE,
    SENDER,
    SPAMMER,
    STRANGERS,
    TRUSTED,
    Scene,
    scene,
)
from tests.control_client import ask
from tests.until import until

PHONE: ViewportSize = {"width": 320, "height": 640}
SCREEN: ViewportSize = {"width": 1280, "height": 720}
PATHS = [page.path for page in PAGES]
FOUND = [f"/search?q={what}" for what in (SENDER, SPAMMER, BANK, DENIED, "192.0.2.0/24", "nobody")]
CHANGES = "form[action^='/change/']"


class Users:
    """The scene, and who has logged in: once each, since log-ins have a rate."""

    def __init__(self, of: Scene, chromium: Browser) -> None:
        self.scene = of
        self.chromium = chromium
        self._cookies = {name: of.console.session(name).cookie for name in (ANNA, BEN)}

    @contextmanager
    def sight(self, name: str = "", **options: Any) -> Iterator[Sight]:
        """A page of this user; of nobody who has logged in without a name."""
        with sight(self.chromium, self.scene.console.origin, **options) as seen:
            if name:
                key, _, value = self._cookies[name].partition("=")
                seen.context.add_cookies([{"name": key, "value": value, "url": seen.origin}])
            yield seen

    def anna(self, **options: Any) -> AbstractContextManager[Sight]:
        """Somebody who may change."""
        return self.sight(ANNA, **options)


@pytest.fixture(scope="module")
def users(chromium: Browser) -> Iterator[Users]:
    with scene() as made:
        yield Users(made, chromium)


@pytest.fixture(autouse=True)
def _supported(namespaces: None) -> None:
    """Each test has hosts."""


def button(page: Page, name: str) -> Any:
    """The button of this name."""
    return page.get_by_role("button", name=name, exact=True)


def done(page: Page, *texts: str) -> None:
    """Wait until the page says what the last change came to."""
    for text in texts:
        expect(page.locator("p.said")).to_contain_text(text)


# ---- log-in

def test_log_in_by_the_keyboard_and_out_by_the_mouse(users: Users) -> None:
    with users.sight() as seen:
        seen.expects("status of 403")
        page = seen.go("/whitelist?origin=contact")
        assert not inaccessible(page)
        page.keyboard.type(ANNA)
        page.keyboard.press("Tab")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong")
        # The name is there still, and the cursor where the password goes.
        page.keyboard.type(PASSWORDS[ANNA])
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Whitelist")
        assert page.url.endswith("/whitelist?origin=contact")
        cookies = {one["name"]: one for one in seen.context.cookies()}
        assert {name: one["path"] for name, one in cookies.items()} == {
            "mxallowd-console": "/", "mxallowd-device": "/login"}
        assert all(one["httpOnly"] and one["sameSite"] == "Strict" for one in cookies.values())
        assert page.evaluate("document.cookie") == ""
        button(page, "Log out").click()
        expect(button(page, "Log in")).to_be_visible()
        # The browser is known, whoever comes next.
        assert [one["name"] for one in seen.context.cookies()] == ["mxallowd-device"]
        seen.go("/lists")
        expect(button(page, "Log in")).to_be_visible()


# ---- all pages

@pytest.mark.parametrize(("scheme", "size"), [("light", SCREEN), ("dark", PHONE)])
def test_every_page_can_be_read_by_everybody(users: Users, scheme: Any, size: ViewportSize) -> None:
    """By axe-core, on a screen and on a phone, where no page moves sideways."""
    with users.anna(color_scheme=scheme, viewport=size) as seen:
        seen.expects("status of 400|status of 404")
        for path in [*PATHS, *FOUND]:
            page = seen.go(path)
            assert page.locator("h1").count() == 1
            assert not inaccessible(page), path
            assert not sideways(page), path


def test_plots_follow_the_width_of_the_window(users: Users) -> None:
    with users.anna() as seen:
        page = seen.go("/")
        expect(page.locator("#plots canvas").first).to_be_visible()
        page.set_viewport_size(PHONE)
        assert not sideways(page)


def test_dark_is_dark(users: Users) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        with users.anna(color_scheme=scheme) as seen:
            color = seen.go("/trial").evaluate("getComputedStyle(document.body).backgroundColor")
            shades[scheme] = sum(int(part) for part in color[4:-1].split(",")[:3])
    assert shades["dark"] < 200 < 600 < shades["light"]


def test_every_page_can_be_read_without_javascript(users: Users) -> None:
    with users.anna(java_script_enabled=False) as seen:
        seen.expects("status of 400|status of 404")
        for path in [*PATHS, *FOUND]:
            page = seen.go(path)
            assert len(page.locator("main").inner_text()) > 40, path
        # Numbers of the plots, and lines of the log.
        assert seen.go("/?range=day").locator("#plots td").count() > 3
        assert DENIED in seen.go("/log").locator("main").inner_text()


def test_pages_by_their_links_and_keys(users: Users) -> None:
    with users.anna() as seen:
        page = seen.go("/")
        for entry in PAGES:
            page.get_by_role("navigation", name="Pages").get_by_role("link", name=entry.title, exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_have_text(entry.title)
            assert page.locator("nav [aria-current=page]").inner_text() == entry.title
            # A page that is left early asks for its files in vain; and keys are heard once the script is there.
            page.wait_for_load_state()
        page.keyboard.press("g")
        page.keyboard.press("o")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        page.wait_for_load_state()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("Search")
        assert not inaccessible(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("/")
        page.keyboard.type(SENDER)
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text("gets in")


def test_who_may_look_sees_no_button_that_changes(users: Users) -> None:
    for name, some in ((BEN, False), (ANNA, True)):
        with users.sight(name) as seen:
            found = [path for path in [*PATHS, *FOUND[:-1]] if seen.go(path).locator(CHANGES).count()]
            assert bool(found) is some, found


# ---- overview

def test_plots_move(users: Users) -> None:
    with users.anna() as seen:
        page = seen.go("/")
        expect(page.locator("#plots canvas").first).to_be_visible()
        users.scene.client.attempt(FAKE4, source=FAKE_ONLY)
        assert until(lambda: not blank(page, "#plots canvas"))
        before = page.locator("[data-figure=decisions]").inner_text()

        def moved() -> bool:
            users.scene.client.attempt(FAKE4, source=FAKE_ONLY)
            page.wait_for_timeout(100)
            return bool(page.locator("[data-figure=decisions]").inner_text() != before)
        assert until(moved)
        for title in ("day", "30 days"):
            page.get_by_role("link", name=title, exact=True).click()
            expect(page.locator(".choice [aria-current]")).to_have_text(title)
        expect(page.locator("#plots canvas").first).to_be_visible()


# ---- search and its changes

def test_a_host_is_let_in_for_a_day_and_not_any_more(users: Users) -> None:
    host, here = STRANGERS[0], users.scene
    assert not here.gets_in(host)
    with users.anna() as seen:
        page = seen.go(f"/search?q={host}")
        expect(page.locator("main")).to_contain_text("is refused")
        button(page, "Let in for a day").click()
        done(page, host, "let in until")
        expect(page.locator("main")).to_contain_text("gets in")
        assert here.gets_in(host)
        here.daemon.wait_for(rf"added \[{host}\].* by={ANNA}")
        # What a change came to is said once.
        page.reload()
        expect(page.locator("p.said")).to_have_count(0)
        button(page, "Not any more").click()
        done(page, "was removed")
        assert not here.gets_in(host)


def test_a_host_is_let_in_for_good_by_the_keyboard(users: Users) -> None:
    host, here = STRANGERS[1], users.scene
    with users.anna() as seen:
        page = seen.go("/")
        page.keyboard.press("/")
        page.keyboard.type(f"{host}\n")
        expect(button(page, "Let in for good")).to_be_visible()
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent.trim()") == "Let in for good":
                break
        # The focus can be seen.
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.keyboard.press("Enter")
        done(page, "for good")
        assert here.gets_in(host)
        assert (ask(here.daemon.control, "GET", f"/v1/explain/{host}")[1]["list"]["note"] or "").startswith("by anna")
        button(page, "Not any more").click()
        assert until(lambda: not here.gets_in(host))


def test_a_host_is_refused_once_that_is_confirmed(users: Users) -> None:
    host, here = STRANGERS[2], users.scene
    ask(here.daemon.control, "POST", "/v1/entries", {"address": host})
    assert here.gets_in(host)
    with users.anna() as seen:
        page = seen.go(f"/search?q={host}")
        page.get_by_text("Refuse it").click()
        button(page, f"Refuse {host}").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("whatever the whitelist says")
        assert not inaccessible(page)
        button(page, "Cancel").click()
        expect(dialog).to_have_count(0)
        assert here.gets_in(host)
        button(page, f"Refuse {host}").click()
        dialog.get_by_role("button", name=f"Refuse {host}").click()
        done(page, "deny")
        assert not here.gets_in(host)


def test_a_network_is_let_in(users: Users) -> None:
    with users.anna() as seen:
        page = seen.go("/search?q=203.0.113.0/28")
        button(page, "Let in for good").click()
        page.get_by_role("dialog").get_by_role("button", name="Let in for good").click()
        done(page, "203.0.113.0/28")
        answer = ask(users.scene.daemon.control, "GET", "/v1/explain/203.0.113.9")[1]
        assert answer["gets_in"]


def test_all_addresses_of_a_name_are_let_in(users: Users) -> None:
    with users.anna() as seen:
        page = seen.go(f"/search?q={NAMED}")
        expect(page.locator("main")).to_contain_text("All 2 addresses of today")
        page.locator("section", has_text="All 2 addresses of today").get_by_role(
            "button", name="Let in for a day").click()
        done(page, "2 of 2 were let in")
        assert all(users.scene.gets_in(host) for host in STRANGERS[-2:])


def test_what_cannot_be_searched_for_is_said(users: Users) -> None:
    with users.anna() as seen:
        seen.expects("status of 400")
        page = seen.go("/search?q=192.0.2.1/33")
        expect(page.get_by_role("alert")).to_contain_text("192.0.2.1/33")
        expect(page.locator("#q")).to_have_value("192.0.2.1/33")


def test_changes_without_javascript(users: Users) -> None:
    host, here = STRANGERS[3], users.scene
    with users.anna(java_script_enabled=False) as seen:
        page = seen.go(f"/search?q={host}")
        button(page, "Let in for a day").click()
        done(page, "let in until")
        assert here.gets_in(host)
        button(page, "Not any more").click()
        assert not here.gets_in(host)


# ---- whitelist and lists

def test_the_whitelist_is_filtered_and_hosts_are_removed(users: Users) -> None:
    here, hosts = users.scene, STRANGERS[4:6]
    for host in hosts:
        ask(here.daemon.control, "POST", "/v1/entries", {"address": host, "note": "a test"})
    with users.anna() as seen:
        page = seen.go("/whitelist")
        expect(page.locator("main table")).to_contain_text(SENDER)
        page.get_by_label("Note or name").fill("a test")
        button(page, "Filter").click()
        expect(page.locator("main table tbody tr")).to_have_count(2)
        button(page, f"Remove {hosts[0]}").click()
        done(page, hosts[0])
        expect(page.locator("main table tbody tr")).to_have_count(1)
        page.get_by_label(f"Tick {hosts[1]}").check()
        button(page, "Remove what is ticked").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove what is ticked").click()
        done(page, hosts[1])
        expect(page.locator("main")).to_contain_text("No entry is like that")
        assert not here.gets_in(hosts[0])


def test_more_hosts_are_ticked_than_a_short_form_has(users: Users) -> None:
    control = users.scene.daemon.control
    for last in range(1, 61):
        ask(control, "POST", "/v1/entries", {"address": f"198.18.0.{last}", "note": "many"})
    with users.anna() as seen:
        page = seen.go("/whitelist?note=many")
        for box in page.get_by_role("checkbox").all():
            box.check()
        button(page, "Remove what is ticked").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove what is ticked").click()
        done(page, "60 of 60 were removed")


def test_lines_of_lists_are_added_and_removed(users: Users) -> None:
    here, host = users.scene, STRANGERS[6]
    with users.anna() as seen:
        page = seen.go("/lists")
        lines = page.get_by_role("table", name="Lines of the lists")
        expect(lines).to_contain_text(NOTE)
        expect(lines).to_contain_text("too loud")
        expect(page.locator("main")).to_contain_text(TRUSTED)
        add = page.locator("#add")
        add.get_by_label("Network or address").fill(host)
        add.get_by_label("Note").fill('"quoted" <i>text</i>')
        button(page, "Add").click()
        done(page, host)
        expect(lines).to_contain_text('"quoted" <i>text</i>')
        assert here.gets_in(host)
        page.get_by_role("button", name=re.compile(rf"^Remove {re.escape(host)}(.32)? from allow$")).click()
        done(page, "was removed")
        assert not here.gets_in(host)


# ---- what is looked at

def test_refused_hosts_lead_to_the_search(users: Users) -> None:
    with users.anna() as seen:
        page = seen.go("/refused")
        page.get_by_role("link", name=SPAMMER, exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(SPAMMER)
        expect(page.locator("main")).to_contain_text("is refused")
        expect(page.locator("ol.line")).to_contain_text(REAL4)


def test_trial_fleet_and_doctor_say_what_the_daemon_says(users: Users) -> None:
    with users.anna() as seen:
        expect(seen.go("/trial").locator("main")).to_contain_text("192.0.2.102")
        expect(seen.go("/fleet").locator("main")).to_contain_text("This gateway has no fleet")
        page = seen.go("/doctor")
        expect(page.locator("main")).to_contain_text("mxallowctl doctor")
        seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button(page, "Copy").first.click()
        expect(button(page, "Copied")).to_be_visible()
        assert "mxallowctl doctor" in page.evaluate("navigator.clipboard.readText()")


# ---- log

def test_the_log_is_live_can_be_filtered_and_pauses(users: Users) -> None:
    here = users.scene
    with users.anna() as seen:
        page = seen.go("/log")
        lines = page.locator("#log li")
        expect(page.locator("#log-state")).to_contain_text("Live")
        assert not here.gets_in(STRANGERS[7])
        expect(lines.filter(has_text=STRANGERS[7])).to_have_count(1, timeout=3000)
        button(page, "Pause").click()
        assert not here.gets_in(STRANGERS[8])
        expect(page.locator("#log-state")).to_contain_text("1 new lines wait", timeout=3000)
        expect(lines.filter(has_text=STRANGERS[8])).to_have_count(0)
        button(page, "Resume").click()
        expect(lines.filter(has_text=STRANGERS[8])).to_have_count(1)
        # The filter holds for what comes live, too.
        page.get_by_label("Text").fill(STRANGERS[9])
        page.keyboard.press("Enter")
        expect(lines).to_have_count(0)
        for host in (STRANGERS[8], STRANGERS[9]):
            assert not here.gets_in(host)
        expect(lines).to_have_count(1, timeout=3000)
        lines.get_by_role("link", name=STRANGERS[9]).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(STRANGERS[9])


def test_what_a_page_tells_of_a_daemon_that_does_not_answer(users: Users) -> None:
    """It says so, and goes on by itself once there are answers again."""
    process = users.scene.daemon.process
    with users.anna() as seen:
        page = seen.go("/")
        expect(page.locator("#state")).to_contain_text("healthy")
        process.send_signal(signal.SIGSTOP)
        try:
            expect(page.locator("#state")).not_to_contain_text("healthy", timeout=15_000)
            expect(page.locator("#fault")).to_contain_text("did not answer")
        finally:
            process.send_signal(signal.SIGCONT)
        expect(page.locator("#state")).to_contain_text("healthy", timeout=15_000)
