"""What the script of the pages adds, in Chromium: keys, times, plots, and word of a stream that has ended."""
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser import Sight, blank, inaccessible, sight
from tests.console_scene import Scene, scene
from tests.until import until


@pytest.fixture(scope="module")
def gateway() -> Iterator[Scene]:
    """What a page shows."""
    with scene() as made:
        yield made


@pytest.fixture(scope="module")
def cookie(gateway: Scene) -> tuple[str, str]:
    """Of one log-in, since they have a rate."""
    name, _, value = gateway.console.session().cookie.partition("=")
    return name, value


@pytest.fixture
def seen(namespaces: None, chromium: Browser, gateway: Scene, cookie: tuple[str, str]) -> Iterator[Sight]:
    with logged_in(chromium, gateway, cookie) as made:
        yield made


@contextmanager
def logged_in(chromium: Browser, gateway: Scene, cookie: tuple[str, str], *, script: bool = True) -> Iterator[Sight]:
    with sight(chromium, gateway.console.origin, java_script_enabled=script) as made:
        made.context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": made.origin}])
        yield made


def test_keys_are_shown_and_do_what_they_say(seen: Sight) -> None:
    page = seen.go("/")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("g o")
    # Keys of the page rest meanwhile.
    page.keyboard.press("/")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type("g?/")
    expect(page.locator("#find")).to_have_value("g?/")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page).to_have_url(seen.origin + "/whitelist")


def test_a_time_is_told_in_the_own_zone_and_how_long_ago(seen: Sight) -> None:
    page = seen.go("/")
    when = page.locator("#about time").first
    expect(page.locator("#about .ago").first).to_contain_text("ago")
    # Kathmandu is 5:45 ahead.
    title = str(when.get_attribute("title"))
    assert title.endswith("GMT+5:45")
    assert str(when.text_content()).endswith(" UTC")
    expect(page.locator("#plots .u-legend th").first).to_have_text("time, GMT+5:45")
    hour, minute = str(when.get_attribute("datetime"))[11:16].split(":")
    ahead = (int(hour) * 60 + int(minute) + 345) % 1440
    assert f"{ahead // 60:02}:{ahead % 60:02}" in title


def test_plots_follow_the_window_and_the_colours(seen: Sight) -> None:
    page = seen.go("/")
    canvas = page.locator("[data-plot=fills] canvas")
    expect(canvas).to_be_visible()
    assert until(lambda: not blank(page, "[data-plot=fills] canvas"))
    assert "whitelist" in str(canvas.get_attribute("aria-label"))
    wide = page.locator("[data-plot=fills] .uplot").bounding_box()
    page.set_viewport_size({"width": 340, "height": 700})
    assert until(lambda: (page.locator("[data-plot=fills] .uplot").bounding_box() or {}) != wide)
    count = page.locator("#plots canvas").count()
    page.emulate_media(color_scheme="dark")
    expect(page.locator("#plots canvas")).to_have_count(count)
    assert until(lambda: not blank(page, "[data-plot=fills] canvas"))


def test_a_lone_value_is_a_point_and_the_last_one_stays_known(seen: Sight) -> None:
    """A new console has one value of 30 days, and none of the newest moment."""
    def change(route: Route) -> None:
        told = (response := route.fetch()).json()
        fills, after = told["plots"]["fills"], [None] * (len(told["times"]) - 6)
        fills["values"] = [[*[None] * 5, 50 + 10 * index, *after] for index in range(len(fills["keys"]))]
        route.fulfill(response=response, json=told)

    seen.page.route("**/api/history?range=month", change)
    page = seen.go("/?range=month")
    canvas = page.locator("[data-plot=fills] canvas")
    expect(canvas).to_be_visible()
    assert until(lambda: page.evaluate("""() => {
        const one = document.querySelector('[data-plot=fills] canvas');
        const colour = getComputedStyle(document.documentElement).getPropertyValue('--s1').trim().slice(1);
        const wanted = [0, 2, 4].map(at => parseInt(colour.slice(at, at + 2), 16));
        const {data} = one.getContext('2d').getImageData(0, 0, one.width, one.height);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) count += wanted.every((part, index) => data[at + index] === part);
        return count > 0;
    }"""))
    page.get_by_role("button", name="Values: How full").press("Enter")
    expect(page.locator("[data-plot=fills] .values tbody td").first).to_have_text("50")


def test_lines_are_switched_by_keys_and_values_are_a_table(seen: Sight) -> None:
    page = seen.go("/")
    line = page.locator("[data-plot=fills] .u-legend th[role=button]").first
    expect(line).to_have_attribute("aria-pressed", "true")
    line.focus()
    page.keyboard.press("Enter")
    expect(line).to_have_attribute("aria-pressed", "false")
    table = page.locator("[data-plot=fills] table").last
    expect(table).to_be_hidden()
    values = page.get_by_role("button", name="Values: How full")
    values.press("Enter")
    expect(values).to_have_attribute("aria-expanded", "true")
    expect(page.locator("[data-plot=fills] .values")).to_contain_text("whitelist")


def test_without_a_script_values_are_shown(
    namespaces: None, chromium: Browser, gateway: Scene, cookie: tuple[str, str],
) -> None:
    with logged_in(chromium, gateway, cookie, script=False) as seen:
        page = seen.go("/?range=10m")
        expect(page.locator("[data-plot=fills] .values")).to_be_visible()


def test_a_page_without_data_says_since_when_and_looks_it(seen: Sight, gateway: Scene) -> None:
    page = seen.go("/")
    expect(page.locator("#live")).to_have_text("live")
    gateway.console.process.send_signal(signal.SIGSTOP)
    try:
        expect(page.locator("#state .state.broken")).to_contain_text("no data since", timeout=20_000)
        assert page.title().startswith("\u2715 ")
        expect(page.locator("body.old")).to_have_count(1)
        assert not inaccessible(page)
    finally:
        gateway.console.process.send_signal(signal.SIGCONT)
    expect(page.locator("#state .state.ok")).to_have_text("healthy and ready")
    expect(page.locator("body.old")).to_have_count(0)
    assert not page.title().startswith("\u2715")


@pytest.mark.parametrize("path", ["/?range=day", "/log?level=warning"])
def test_a_page_whose_session_ends_asks_for_a_log_in(chromium: Browser, gateway: Scene, path: str) -> None:
    """And goes on by itself once somebody has logged in elsewhere."""
    session = gateway.console.session("ben")
    name, _, value = session.cookie.partition("=")
    with logged_in(chromium, gateway, (name, value)) as seen:
        seen.expects("status of 401")
        page = seen.go(path)
        expect(page.locator("#live, #log-state").first).to_contain_text(re.compile("live", re.IGNORECASE))
        page.evaluate("window.before = true")
        csrf = str(page.locator("input[name=csrf]").first.get_attribute("value"))
        assert session.post("/logout", {"csrf": csrf}).status == 303
        link = page.get_by_role("link", name="log in again")
        expect(link).to_be_visible()
        assert page.title().startswith("\u2715 ")
        assert parse_qs(urlsplit(str(link.get_attribute("href"))).query) == {"next": [path]}
        name, _, value = gateway.console.session("ben").cookie.partition("=")
        seen.context.add_cookies([{"name": name, "value": value, "url": seen.origin}])
        expect(link).to_have_count(0, timeout=20_000)
        # The forms are of the new session.
        assert page.evaluate("window.before") is None
        assert page.locator("input[name=csrf]").first.get_attribute("value") != csrf


def test_a_page_of_another_build_is_loaded_anew_once(seen: Sight) -> None:
    seen.page.route("**/?range=10m", lambda route: route.fulfill(
        response=(got := route.fetch()), body=got.text().replace('data-build="', 'data-build="x')))
    loads: list[str] = []
    seen.page.on("load", lambda page: loads.append(page.url))
    with seen.page.expect_event("load", lambda _: len(loads) == 2):
        page = seen.go("/?range=10m")
    # What was cached between is not loaded for ever.
    expect(page.locator("#live")).to_have_text("live")
    page.wait_for_timeout(1500)
    assert len(loads) == 2
