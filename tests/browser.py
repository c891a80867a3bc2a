"""Real Chromium for tests: Debian's chromium-headless-shell, driven by Playwright.

A test gets a page in a context of its own, and fails by whatever went wrong in it: a message of the console that is a
warning or an error, an exception of a script, a request that failed or went to another origin, a report of the Content
Security Policy. What a test brings about itself it names before, by Sight.expects().

While Playwright runs, its thread has a running loop: a file that uses a browser calls no asyncio.run().
"""
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, sync_playwright

CHROMIUM = "chromium-headless-shell"
# Root has no sandbox of Chromium, and the network of a test ends at this machine.
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")
WAIT_MS = 10_000
RESIZED_S = 2.0  # plots follow the width of the window a moment later
GRAVE = ("serious", "critical")
# Chromium says these in its console as well; by the event there is one form of it, whatever its words are.
REPORTS = "addEventListener('securitypolicyviolation', event => console.error(" \
          "'content security policy:', event.violatedDirective, event.blockedURI, event.sourceFile || ''))"


class Sight:
    """A page, and what went wrong in its context."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.context = context
        self.origin = origin
        self._faults: list[str] = []
        self._expected: list[str] = []
        context.add_init_script(REPORTS)
        context.set_default_timeout(WAIT_MS)
        context.on("console", self._said)
        context.on("weberror", lambda error: self._faults.append(f"exception: {error.error}"))
        context.on("request", self._requested)
        context.on("requestfailed", self._failed)
        self.page: Page = context.new_page()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._faults.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self._faults.append(f"request to another origin: {request.url}")

    def _failed(self, request: Request) -> None:
        # Who leaves a page ends its stream, and does without the files that have not come yet.
        if request.failure != "net::ERR_ABORTED":
            self._faults.append(f"request failed: {request.url}: {request.failure}")

    def go(self, path: str) -> Page:
        """The page at a path of the origin."""
        self.page.goto(self.origin + path)
        return self.page

    def expects(self, pattern: str) -> None:
        """Take a fault that matches as what the test wants."""
        self._expected.append(pattern)

    @property
    def faults(self) -> list[str]:
        """What went wrong so far and was not expected."""
        return [one for one in self._faults if not any(re.search(each, one) for each in self._expected)]


def lacking() -> str | None:
    """Why there is no browser here; None: there is one."""
    return None if shutil.which(CHROMIUM) else f"there is no {CHROMIUM} (scripts/prepare test installs it)"


def required() -> None:
    """Skip the test where there is no browser, or fail it under CI=true."""
    if reason := lacking():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a browser: {reason}")
        pytest.skip(reason)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own, with a new directory of its user."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=list(ARGUMENTS))
        try:
            yield made
        finally:
            made.close()


@contextmanager
def sight(of: Browser, origin: str, **options: Any) -> Iterator[Sight]:
    """A page in a fresh context, with Playwright's options for one; its end fails by what went wrong in it."""
    context = of.new_context(**{"locale": "en-GB", "timezone_id": "Asia/Kathmandu", **options})
    try:
        made = Sight(context, origin)
        yield made
        faults = made.faults
    finally:
        context.close()
    assert not faults, "\n".join(faults)


@cache
def _axe() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def inaccessible(page: Page) -> list[str]:
    """What keeps people from reading the page, as axe-core finds it: what it calls serious or critical."""
    # As a script of the page it would offend against the policy that is looked at as well.
    page.evaluate(_axe())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for one in found["violations"] if one["impact"] in GRAVE for node in one["nodes"]]


def sideways(page: Page) -> list[str]:
    """What makes the page wider than the screen; nothing where it does not scroll sideways."""
    deadline = time.monotonic() + RESIZED_S
    while (found := _sideways(page)) and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return found


def _sideways(page: Page) -> list[str]:
    found: list[str] = page.evaluate("""() => {
        const width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= width) return [];
        return [...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > width + 1)
            .map(one => one.outerHTML.slice(0, 120)).slice(0, 5).concat(
                [`${document.documentElement.scrollWidth} > ${width}`]);
    }""")
    return found


def blank(page: Page, selector: str) -> bool:
    """Whether all pixels of a canvas have one colour."""
    try:
        same: bool = page.eval_on_selector(selector, """one => {
            const copy = new OffscreenCanvas(one.width, one.height).getContext('2d', {willReadFrequently: true});
            copy.drawImage(one, 0, 0);
            const pixels = new Uint32Array(copy.getImageData(0, 0, one.width, one.height).data.buffer);
            return pixels.every(pixel => pixel === pixels[0]);
        }""")
    except Error as error:
        raise AssertionError(f"no canvas at {selector}: {error}") from None
    return same
