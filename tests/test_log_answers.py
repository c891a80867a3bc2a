"""GET /v1/log: numbers, what was missed, levels; and on a running daemon, in whichever form it logs."""
import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import Lab
from mxallowd.control.answers.log import LogLines
from mxallowd.control.exchange import Request, RequestError
from mxallowd.log.recent import Recent
from tests.control_client import ask
from tests.daemon_process import QUEUE, SERVERS
from tests.until import until


def shown(recent: Recent, **query: str) -> dict[str, Any]:
    route, = LogLines(recent).routes()
    assert not route.changes

    async def answer() -> object:
        return (await route.handler(Request("GET", "/v1/log", query=query))).body

    found = asyncio.run(answer())
    assert isinstance(found, dict)
    return found


def numbers(found: dict[str, Any]) -> list[int]:
    return [line["number"] for line in found["lines"]]


def test_who_follows_misses_nothing_and_is_told_what_is_gone() -> None:
    recent = Recent(most_lines=10)
    assert (shown(recent)["last"], shown(recent)["next"], shown(recent, after="7")["lost"]) == (0, 0, 0)
    for number in range(1, 26):
        recent.add(0.0, logging.WARNING if number % 2 else logging.INFO, f"line n={number}")
    assert numbers(shown(recent)) == list(range(16, 26))
    assert numbers(shown(recent, limit="2")) == [24, 25]
    found = shown(recent, after="5", limit="4")
    assert (found["first"], found["last"], found["lost"], found["next"]) == (16, 25, 10, 19)
    assert numbers(found) == [16, 17, 18, 19]
    found = shown(recent, after="19", level="warning")
    assert (numbers(found), found["lost"], found["next"]) == ([21, 23, 25], 0, 25)
    # The next one begins behind what was not asked for, too.
    found = shown(recent, after="20", limit="1", level="warning")
    assert (numbers(found), found["next"]) == ([21], 21)
    found = shown(recent, after="23", level="error")
    assert (numbers(found), found["next"]) == ([], 25)
    # Of another epoch.
    found = shown(recent, after="4000")
    assert (numbers(found), found["lost"], found["next"]) == ([], 0, 25)


@pytest.mark.parametrize("query", [
    {"after": "-1"}, {"after": "x"}, {"after": "9" * 17}, {"limit": "0"}, {"limit": "2001"}, {"level": "debug"},
    {"epoch": "x"}])
def test_what_is_no_question_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(RequestError):
        shown(Recent(), **query)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_daemon_gives_what_it_has_written(lab: Lab, tmp_path: Path, form: str) -> None:
    control = tmp_path / "control.sock"
    process = lab.gateway.popen(
        [sys.executable, "-m", "mxallowd", "-F", "-s", "-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", "--user", "root",
         "--control", str(control), "--state-dir", str(tmp_path / "state"), "--log-format", form],
        stdout=subprocess.PIPE, text=True)
    try:
        assert until(control.exists)
        assert until(lambda: "start" in [one["word"] for one in ask(control, "GET", "/v1/log")[1]["lines"]])
        assert ask(control, "POST", "/v1/entries", {"address": "198.51.100.7", "seconds": 60})[0] == 200
        status, found = ask(control, "GET", "/v1/log?limit=2000")
        assert (status, found["first"], found["lost"]) == (200, 1, 0)
        line = found["lines"][-1]
        assert (line["text"], line["word"], line["address"]) == (
            "added [198.51.100.7] user=0 seconds=60", "added", "198.51.100.7")
        assert (line["level"], line["values"]) == ("info", {"user": "0", "seconds": "60"})
    finally:
        process.terminate()
        written, _ = process.communicate(timeout=10)
    texts = [one["text"] for one in found["lines"]]
    lines = written.splitlines()
    assert len(lines) >= len(texts) > 5
    for line, text in zip(lines, texts, strict=False):
        if form == "text":
            assert line.endswith(f" - {text}")
        else:
            assert json.loads(line)["word"] == text.split()[0]
