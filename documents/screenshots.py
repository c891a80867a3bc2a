"""Pictures of the console: `python -m documents.screenshots` makes docs/assets/console-*.png, which the documents show.

It lets the demo's traffic run before a real daemon and a real console, and looks at it in Chromium. It needs root and
ten minutes, so `python -m documents` leaves it out. Run it as `./scripts/prepare test .venv/bin/python -m ...` does,
after a change of what the console looks like; the pictures are never the same twice.
"""
import argparse
import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import Browser

from lab.account import Account
from lab.console import console
from lab.console_demo import USER, Traffic, Visitor, daemon_user, stage
from lab.demo import DAEMON
from tests.browser import browser, sight

PLACE = Path(__file__).parent.parent / "docs" / "assets"
LARGEST = 150 * 1024
COLOURS = 256
SENDER, SPAMMER = "198.51.100.12", "198.51.100.104"
PASSWORD = "taken for pictures alone"  # noqa: S105  # of a console that ends with them
DESK, PHONE = {"width": 1320, "height": 900}, {"width": 360, "height": 740}


class Shot(NamedTuple):
    """A picture: its name, the page, and how it is looked at."""

    name: str
    path: str
    options: dict[str, Any]


SHOTS = (
    Shot("overview", "/", {"viewport": DESK}),
    Shot("overview-dark", "/", {"viewport": DESK, "color_scheme": "dark"}),
    Shot("search", f"/search?q={SENDER}", {"viewport": DESK}),
    Shot("phone", f"/search?q={SPAMMER}", {"viewport": PHONE, "device_scale_factor": 1.5, "has_touch": True}),
)


@contextmanager
def flowing(everyone: Sequence[Visitor]) -> Iterator[None]:
    """Let the traffic run meanwhile, in a thread: Playwright has the loop of this one."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(Traffic(everyone).run())

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def take(chromium: Browser, origin: str, shot: Shot) -> bytes:
    """A picture as PNG; its colours are few, so that it is small."""
    with sight(chromium, origin, **shot.options, timezone_id="UTC") as seen:
        page = seen.go("/login")
        page.fill("[name=name]", USER)
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/")
        seen.go(shot.path)
        page.wait_for_timeout(3000)
        with Image.open(BytesIO(page.screenshot())) as image:
            made = BytesIO()
            image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
                made, "PNG", optimize=True)
    return made.getvalue()


def main() -> int:
    """Make them all; 1 where one is too large."""
    parser = argparse.ArgumentParser(prog="python -m documents.screenshots", description="pictures of the console")
    parser.add_argument("--seconds", type=float, default=600, metavar="N",
                        help="let the traffic run so long before (default: %(default)s)")
    arguments = parser.parse_args()
    too_large = 0
    with tempfile.TemporaryDirectory() as directory, stage(Account(), DAEMON, Path(directory)) as (_, everyone), \
            console(Path(directory) / "control.sock", passwords={USER: PASSWORD}, user=daemon_user()) as served, \
            flowing(everyone):
        threading.Event().wait(arguments.seconds)
        with browser() as chromium:
            for shot in SHOTS:
                data = take(chromium, served.origin, shot)
                (PLACE / f"console-{shot.name}.png").write_bytes(data)
                print(f"console-{shot.name}.png: {len(data)} bytes")
                too_large += len(data) > LARGEST
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
