"""The overview of a running daemon: as a page without script, and what its script is told."""
import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mxallowd.console.pages import overview
from mxallowd.console.plots import PLOTS
from mxallowd.console.visit import Visit
from mxallowd.console.watching import Watching
from tests.console_beats import Numbers, series
from tests.console_scene import SPAMMER, Scene, scene
from tests.console_visits import Document, parsed, rendered, visitor
from tests.until import until


@pytest.fixture(scope="module")
def gateway() -> Iterator[Scene]:
    """Everything in a pulse or two."""
    with scene() as made:
        yield made


def page(scene: Scene, **query: str) -> Document:
    answer = scene.console.session().get("/", **query)
    return parsed(answer.body, answer.status)


def shown_until(scene: Scene, text: str, **query: str) -> Document:
    deadline = time.monotonic() + 15
    while text not in (found := page(scene, **query)).text:
        assert time.monotonic() < deadline, found.text
        time.sleep(0.2)
    return found


def events(scene: Scene, most: int) -> list[tuple[str, dict[str, Any]]]:
    """The first events of the stream."""
    found: list[tuple[str, dict[str, Any]]] = []
    connection = scene.console.session().stream("/api/stream")
    try:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.headers["Content-Type"] == "text/event-stream"
        name = ""
        while len(found) < most:
            line = answer.readline().decode()
            if line.startswith("event: "):
                name = line.removeprefix("event: ").strip()
            elif line.startswith("data: "):
                assert len(line) < 1024
                found.append((name, json.loads(line.removeprefix("data: "))))
    finally:
        connection.close()
    return found


def history(scene: Scene, span: str) -> dict[str, Any]:
    answer = scene.console.session().get("/api/history", range=span)
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_without_a_script_all_of_it_can_be_read(namespaces: None, gateway: Scene) -> None:
    found = shown_until(gateway, "healthy and ready")
    assert "mxallowd 2." in found.text
    for title in ("Decisions", "Let in", "Refused", "Refused, later passed", "Whitelist", "Waiting packets",
                  "Names looked up", "State on disk"):
        assert title in found.text
    assert found.of("p", id="dry") == [{"id": "dry", "class": "notice big", "hidden": None}]
    # Rates are there from the second beat on.
    shown_until(gateway, "let in: whitelisted")
    for range_ in ("10m", "day", "month"):
        found = page(gateway, range=range_)
        assert len(found.of("table")) == len(PLOTS)
        assert [one["href"] for one in found.of("a", **{"class": "button"})] == [
            "/?range=10m", "/?range=day", "/?range=month"]
        assert found.of("a", **{"aria-current": "true"})[0]["href"] == f"/?range={range_}"


def test_a_range_that_there_is_not_is_told(namespaces: None, gateway: Scene) -> None:
    answer = gateway.console.session().get("/", range="week<b>")
    assert answer.status == 400
    assert "none of 10m, day, month" in answer.body
    assert "<b>" not in answer.body
    assert gateway.console.session().get("/api/history", range="x").status == 400


def test_what_the_daemon_decides_is_in_the_plots(namespaces: None, gateway: Scene) -> None:
    events(gateway, 3)
    refused = 0.0
    deadline = time.monotonic() + 10
    while not refused:
        assert time.monotonic() < deadline
        gateway.gets_in(SPAMMER)
        part = history(gateway, "10m")["plots"]["decisions"]
        refused = max((value or 0 for key, values in zip(part["keys"], part["values"], strict=True)
                       if key == "refused" for value in values), default=0)
        time.sleep(0.5)
    assert list(history(gateway, "day")["plots"]) == [plot.key for plot in PLOTS]


def test_points_of_the_stream_fit_the_history(namespaces: None, gateway: Scene) -> None:
    begun = time.monotonic()
    found = events(gateway, 5)
    assert [name for name, _ in found] == ["console", "state", "point", "point", "point"]
    # The first two at once, the others every two seconds.
    assert 2 < time.monotonic() - begun < 6
    assert found[1][1]["word"] == "healthy and ready"
    told = history(gateway, "10m")
    points = [data for name, data in found if name == "point"]
    assert {point["layout"] for point in points} == {told["layout"]}
    assert points[0]["time"] < points[1]["time"]
    fills = told["plots"]["fills"]
    place = fills["places"][fills["keys"].index("whitelist")]
    assert points[-1]["values"][place] == pytest.approx(fills["values"][fills["keys"].index("whitelist")][-1])
    assert points[-1]["figures"]["whitelist"][0] == str(gateway.daemon.counters()["entries"])


def test_without_the_daemon_the_page_stays_and_says_so(namespaces: None) -> None:
    with scene() as made:
        shown_until(made, "healthy and ready")
        made.daemon.stop()
        found = shown_until(made, "no answer since")
        assert found.status == 200
        assert "the daemon cannot be reached" in found.text
        assert "healthy and ready" not in found.text
        # An answer is given again for two seconds.
        assert until(lambda: _ends_in_a_gap(history(made, "10m")))


def _ends_in_a_gap(told: dict[str, Any]) -> bool:
    values = told["plots"]["fills"]["values"]
    return bool(values) and all(line[-1] is None for line in values)


def test_a_dry_run_stands_in_big_letters(tmp_path: Path) -> None:
    async def shown() -> Document:
        daemon = Watching(tmp_path / "nowhere", None, print)
        numbers = Numbers()
        daemon.pulse._daemon = numbers
        numbers.answer = {**series(dry_run=1, packets={"real-refused": 0}), "ready": False,
                          "reasons": ["the <table> is broken"], "warnings": ["and a warning"]}
        daemon.start()
        try:
            while daemon.pulse.state.fault:
                await asyncio.sleep(0.01)
            visit = Visit(visitor(), "/")
            return rendered(await overview.show(visit, daemon), "Overview", visit)
        finally:
            await daemon.close()

    found = asyncio.run(shown())
    assert "hidden" not in found.of("p", id="dry")[0]
    assert "dry run: let in all the same" in found.text
    assert found.of("span", **{"class": "state big broken"})
    assert "not ready" in found.text
    assert "the <table> is broken and a warning" in found.text
