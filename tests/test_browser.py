"""The browser of the tests sees what it is there to see: each fault of a page is noticed, and a good page has none."""
import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import blank, inaccessible, sideways, sight

GOOD = ("<main><h1>Good</h1><p>Text</p><canvas id=drawn width=9 height=9></canvas></main>"
        "<script src=/draw.js></script>")
PAGES = {
    "/good": GOOD,
    "/inline": "<main><h1>Inline</h1></main><script>window.ran = 1</script>",
    "/style": "<main><h1 style='color: red'>Style</h1></main>",
    "/handler": "<main><h1>Handler</h1><img alt='' src=/none.png onerror='window.ran = 1'></main>",
    "/thrown": "<main><h1>Thrown</h1></main><script src=/throw.js></script>",
    "/said": "<main><h1>Said</h1></main><script src=/say.js></script>",
    "/elsewhere": "<main><h1>Elsewhere</h1><a href=http://127.0.0.2:9/>there</a></main>",
    "/image": "<main><h1>Image</h1><img src=/draw.js><button></button></main>",
    "/wide": "<main><h1>Wide</h1><link rel=stylesheet href=/wide.css><p>Text</p></main>",
}
SCRIPTS = {
    "/draw.js": "drawn.getContext('2d').fillRect(2, 2, 3, 3)",
    "/throw.js": "throw new Error('thrown here')",
    "/say.js": "console.warn('said here')",
    "/wide.css": "p { width: 3000px }",
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the above as the console does: everything from here alone."""

    def do_GET(self) -> None:
        page, script = PAGES.get(self.path), SCRIPTS.get(self.path)
        self.send_response(200 if page or script else 404)
        kind = "text/html" if page else "text/css" if self.path.endswith("css") else "text/javascript"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", "default-src 'self'")
        self.end_headers()
        head = "<!doctype html><html lang=en><title>A page</title><link rel=icon href=/draw.js><body>"
        self.wfile.write((head + page if page else script or "").encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_good_page_has_no_fault(chromium: Browser, origin: str) -> None:
    with sight(chromium, origin) as seen:
        page = seen.go("/good")
        assert not inaccessible(page)
        assert not sideways(page)
        assert not blank(page, "#drawn")
        # A canvas that gets a width is empty again.
        page.eval_on_selector("#drawn", "one => one.width = 9")
        assert blank(page, "#drawn")


@pytest.mark.parametrize(("path", "fault"), [
    ("/inline", "content security policy: script-src-elem inline"),
    ("/style", "content security policy: style-src-attr inline"),
    ("/handler", "content security policy: script-src-attr inline"),
    ("/thrown", "exception: thrown here"),
    ("/said", "console: said here"),
    ("/none", "status of 404"),
])
def test_each_fault_of_a_page_is_seen(chromium: Browser, origin: str, path: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault), sight(chromium, origin) as seen:
        seen.go(path)
        assert seen.page.evaluate("window.ran") is None
    with sight(chromium, origin) as seen:
        seen.expects(".")
        seen.go(path)


def test_a_request_to_another_origin_is_seen(chromium: Browser, origin: str) -> None:
    with pytest.raises(AssertionError, match=r"another origin: http://127\.0\.0\.2:9/"), \
            sight(chromium, origin) as seen:
        page = seen.go("/elsewhere")
        with page.expect_event("requestfailed"):
            page.click("a", no_wait_after=True)


def test_what_keeps_people_from_reading_is_seen(chromium: Browser, origin: str) -> None:
    with sight(chromium, origin) as seen:
        found = inaccessible(seen.go("/image"))
        assert [one.partition(" ")[0] for one in found] == ["button-name", "image-alt"]


def test_a_page_that_scrolls_sideways_is_seen(chromium: Browser, origin: str) -> None:
    with sight(chromium, origin) as seen:
        assert any(one.startswith("<p>") for one in sideways(seen.go("/wide")))


def test_contexts_share_nothing(chromium: Browser, origin: str) -> None:
    with sight(chromium, origin) as one, sight(chromium, origin) as other:
        one.go("/good").evaluate("document.cookie = 'a=b'")
        assert [seen.go("/good").evaluate("document.cookie") for seen in (one, other)] == ["a=b", ""]
