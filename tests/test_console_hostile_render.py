"""Hostile texts in every answer of the daemon, and in what is asked for: each page shows them as text."""
import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from lab.hosts import Lab
from mxallowd.console.asking import Document as Answer
from mxallowd.console.asking import Refusal, Unreachable
from mxallowd.console.pages import PAGES, Entry
from mxallowd.console.render import Renderer
from mxallowd.console.visit import Page, Role, Visit, Visitor
from mxallowd.console.watching import Watching
from mxallowd.control.exchange import RequestError
from tests.console_scene import SENDER, SPAMMER, gateway
from tests.hostile import LONGEST, MARK, PIECES, TEXTS, Document, spoiled
from tests.test_console_doctor import REPORT
from tests.test_console_trial import BUSY
from tests.test_ctl_fleet import BROKEN
from tests.test_ctl_fleet import DOCUMENT as FLEET

RENDERER = Renderer()
QUERIES = ("q", "note", "origin", "gateway", "network", "used", "proven", "level", "word", "range", "limit", "list")
# What leads to each part of a page.
GOOD: tuple[dict[str, str], ...] = ({}, {"q": SENDER}, {"q": SPAMMER}, {"q": "192.0.2.0/24"})


# What this gateway has none of: a fleet whose engine is broken, hosts by the thousand, what root's doctor has found.
OTHERS: dict[str, dict[str, Any]] = {
    "/v1/fleet": {**BROKEN, **{key: FLEET[key] for key in ("peers", "refused", "strangers", "stream")}},
    "/v1/forecast": BUSY, "/v1/doctor": {"report": REPORT}}


class Spoils:
    """What the daemons of all examples have: the answers of one, each asked once, and the texts to put in."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.kept: dict[str, Any] = {}
        self.text: Callable[[], str] = str
        self.everything = False

    async def spoiled(self, key: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer with other texts."""
        if key not in self.kept:
            found = {} if key.startswith("/v1/fleet") else await ask()
            self.kept[key] = found | OTHERS.get(key.split(maxsplit=1)[0], {}) if isinstance(found, dict) else found
        return spoiled(self.kept[key], self.text, everything=self.everything)


class Spoiled(Watching):
    """The daemon of one example."""

    def __init__(self, spoils: Spoils) -> None:
        super().__init__(spoils.socket, None, print)
        self._spoils = spoils

    async def get(self, path: str, query: Mapping[str, str] | None = None, wait_s: float = 10) -> Answer:
        """As from the daemon."""
        found: Answer = await self._spoils.spoiled(f"{path} {query}", partial(super().get, path, query, wait_s))
        return found

    async def lines(
        self, path: str, query: Mapping[str, str], most: int, wait_s: float = 10,
    ) -> tuple[list[Answer], bool]:
        """As from the daemon."""
        found, more = await self._spoils.spoiled(
            f"{path} {query} {most}", partial(super().lines, path, query, most, wait_s))
        return found, bool(more)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoils]:
    with Lab() as lab, gateway(lab, tmp_path_factory.mktemp("gateway")) as (_, process):
        yield Spoils(process.control)


def shown(daemon: Spoils, entry: Entry, query: Mapping[str, str], said: str) -> tuple[int, Document]:
    """The page as HTML, read again; a fault is the page that site.py makes of it."""
    visit = Visit(Visitor("anna", Role.CHANGE, "token", "127.0.0.1"), entry.path, query, said=said)

    async def ask() -> Page:
        watching = Spoiled(daemon)
        watching.start()
        try:
            await watching.pulse.beat()
            page = await entry.show(visit, watching)
        except (Unreachable, Refusal, RequestError) as error:
            return Page("fault.html", {"fault": str(error)}, getattr(error, "status", 502))
        finally:
            await watching.close()
        assert isinstance(page, Page)
        return page

    page = asyncio.run(ask())
    values = {"title": entry.title, "path": entry.path, "pages": PAGES, "visitor": visit.visitor, "said": said}
    return page.status, Document(RENDERER.html(page.template, {**values, **page.values}))


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.title)
@pytest.mark.parametrize("text", [f"<{MARK} {MARK}=1>'\"&\u202e\x1b[2J", PIECES[1] * 999, f'"><{MARK}>\\' * LONGEST])
def test_each_text_of_an_answer_is_shown_as_text(namespaces: None, daemon: Spoils, entry: Entry, text: str) -> None:
    daemon.text, daemon.everything = lambda: text, False
    for query in GOOD:
        status, page = shown(daemon, entry, query, text)
        assert not page.faults()
        assert status == 200, page.text


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.title)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_text_becomes_anything_else(namespaces: None, daemon: Spoils, entry: Entry, data: st.DataObject) -> None:
    texts = data.draw(st.lists(TEXTS, min_size=1, max_size=4))
    turn = iter(range(10**9))
    daemon.text = lambda: texts[next(turn) % len(texts)]
    daemon.everything = data.draw(st.booleans())
    query = data.draw(st.one_of(st.sampled_from(GOOD), st.dictionaries(st.sampled_from(QUERIES), TEXTS, max_size=3)))
    try:
        _, page = shown(daemon, entry, query, texts[0])
    except (UndefinedError, LookupError, TypeError, ValueError):
        # What is no answer of a daemon at all may be a defect, of which site.py makes a page of its own.
        if not daemon.everything:
            raise
    else:
        assert not page.faults()
