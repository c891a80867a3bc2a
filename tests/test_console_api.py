"""The document of the console's API has what is served and no more, and the running console does what it says."""
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from lab.console import Console, console
from lab.hosts import Lab
from mxallowd.console.openapi import DOCUMENT, PATH
from mxallowd.console.pages import CHANGES
from mxallowd.console.site import OWN
from mxallowd.console.watching import Watching
from tests.daemon_process import serving

LONGEST_S = 1.0  # of an operation and a mode
EXAMPLES = 30
STREAMS = {path for path, node in DOCUMENT["paths"].items()
           if "text/event-stream" in node.get("get", {}).get("responses", {}).get("200", {}).get("content", {})}


@pytest.fixture
def served_console(lab: Lab) -> Iterator[Console]:
    """A console before a daemon that serves."""
    with serving(lab) as daemon, console(daemon.control) as made:
        yield made


def test_the_document_has_each_answer_and_each_change(tmp_path: Any) -> None:
    answers = Watching(tmp_path / "no.sock", None, lambda _: None).answers
    assert {*answers, *CHANGES, *OWN} == set(DOCUMENT["paths"])
    assert set(answers) > STREAMS


def test_who_has_not_logged_in_gets_none_of_it(served_console: Console) -> None:
    base = f"http://127.0.0.1:{served_console.port}"
    for path, node in DOCUMENT["paths"].items():
        answer = requests.request(next(iter(node)), base + path, timeout=10, allow_redirects=False,
                                  data={} if "post" in node else None)
        if "post" in node:
            # (requests gives an empty form no type.)
            assert answer.status_code == 415
        else:
            assert answer.status_code == 401
            assert answer.json() == {"error": {"code": "not-logged-in", "message": "log in first, at /login"}}


@pytest.mark.filterwarnings("ignore")
def test_the_console_does_what_the_document_says(served_console: Console) -> None:
    user = served_console.session()
    csrf = re.search(r'name="csrf" value="([^"]+)"', user.get("/search").body)
    assert csrf
    base = f"http://127.0.0.1:{served_console.port}"
    served = requests.get(base + PATH, headers={"Cookie": user.cookie}, timeout=10).json()
    # Each request has the session here, so none is made up.
    schema = schemathesis.openapi.from_dict({key: value for key, value in served.items() if key != "security"})
    asked: dict[str, int] = {}
    begun: dict[tuple[str, GenerationMode], float] = {}

    def trying(mode: GenerationMode, operation: Any) -> Any:
        @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode), strategies.booleans())
        def try_it(case: Any, own: bool) -> None:
            if time.monotonic() > begun.setdefault((operation.label, mode), time.monotonic()) + LONGEST_S:
                return
            if own and isinstance(case.body, dict):
                case.body["csrf"] = csrf[1]
            answer = case.call(base_url=base, headers={"Cookie": user.cookie}, allow_redirects=False, timeout=10)
            asked[operation.label] = asked.get(operation.label, 0) + 1
            assert answer.status_code < 500, answer.text
            # A change says what was wrong with its form on the page to which it leads.
            case.validate_response(
                answer, excluded_checks=[negative_data_rejection] if operation.method == "post" else [])
        return try_it

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # the document is right
        if operation.path in STREAMS:
            with user.stream(operation.path) as stream:
                head = stream.recv(65_536)
                assert head.startswith(b"HTTP/1.1 200 ")
                assert b"\r\nContent-Type: text/event-stream\r\n" in head
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                trying(mode, operation)()
            except Unsatisfiable:
                continue
    assert len(asked) == len(DOCUMENT["paths"]) - len(STREAMS), asked
    assert "defect" not in served_console.said()
