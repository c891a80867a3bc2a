"""The privileged helper: its border, its end, and where its code comes from."""
import io
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.mirrors import TargetError
from mxallowd.mirrors.kernel import helper, privileged
from mxallowd.mirrors.kernel.helper import ANSWER, REQUEST, Pf, Verb, serve
from mxallowd.mirrors.kernel.privileged import Privileged
from mxallowd.process import child
from tests.strategies import packed
from tests.test_pf import Pf as StandIn

FOUR = packed("192.0.2.1")


@pytest.fixture
def pf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Helpers that run the stand-in for pfctl."""
    made = StandIn(tmp_path)
    monkeypatch.setattr(privileged, "command", lambda *words: [*made.prefix, *child.command(*words)])
    return made


class Standard:
    """A standard stream with a buffer of bytes."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)


def answers(
    kind: Pf, requests: bytes, monkeypatch: pytest.MonkeyPatch,
) -> tuple[list[list[str]], list[str], bytes]:
    """The programs that were run, their inputs, and what came back."""
    ran: list[list[str]] = []
    inputs: list[str] = []

    def run(words: list[str], text: str) -> str:
        ran.append(words)
        inputs.append(text)
        return ""

    sink = Standard()
    monkeypatch.setattr("sys.stdin", Standard(requests))
    monkeypatch.setattr("sys.stdout", sink)
    serve(kind, run)
    return ran, inputs, sink.buffer.getvalue()


@given(st.binary(max_size=200))
def test_nothing_but_the_fixed_programs_is_ever_run(request_bytes: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ran, inputs, _ = answers(Pf("mx-white"), request_bytes, patch)
    for words, text in zip(ran, inputs, strict=True):
        assert words[0] == "pfctl"
        assert all(word.isascii() and "\n" not in word for word in words)
        assert not set(text) - set("0123456789abcdef.:\n")


def test_what_is_no_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, answer = answers(Pf("mx-white"), REQUEST.pack(99, 0), monkeypatch)
    status, length = ANSWER.unpack_from(answer)
    assert (status, len(answer)) == (1, ANSWER.size + length)


def test_a_program_that_is_not_there_or_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "PATH", str(tmp_path))
    monkeypatch.setattr(helper, "TIMEOUT_S", 0.2)
    with pytest.raises(helper.Failed, match="the program pfctl is not there"):
        helper.run_program(["pfctl"], "")
    for body, reason in (("exec /bin/sleep 5", "pfctl: .*timed out"), ("echo full >&2; exit 1", "^full$"),
                         ("exit 3", "pfctl ended with status 3")):
        (tmp_path / "pfctl").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "pfctl").chmod(0o755)
        with pytest.raises(helper.Failed, match=reason):
            helper.run_program(["pfctl"], "")


def test_it_serves_no_table_that_it_does_not_know() -> None:
    for kind in (["nft"], ["ipset"], ["pf"], ["pf", "mx", "white"]):
        words = child.command("mxallowd.mirrors.kernel.helper", *kind)
        assert subprocess.run(words, input=REQUEST.pack(Verb.READ, 0), capture_output=True).returncode == 2


def test_a_helper_runs_from_this_tree_and_from_nowhere_else(tmp_path: Path) -> None:
    evil = tmp_path / "mxallowd" / "mirrors" / "kernel"
    evil.mkdir(parents=True)
    packages = (evil.parent.parent, evil.parent, evil)
    for place in (*(one / "__init__.py" for one in packages), evil / "helper.py", tmp_path / "runpy.py"):
        place.write_text("print('taken over')", encoding="utf-8")
    done = subprocess.run(child.command("mxallowd.mirrors.kernel.helper", "pf", "mx"), cwd=tmp_path, input=b"",
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_helper_that_was_killed_is_started_again(pf: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileged, "START_AGAIN_S", 0.5)
    one = Privileged("pf", "mx-white")
    one.start()
    assert one.ask(Verb.INSPECT) == "mx-white\n"
    assert one._process
    one._process.kill()
    one._process.wait()
    with pytest.raises(TargetError, match="the helper of pf has ended"):
        one.ask(Verb.INSPECT)
    time.sleep(0.6)
    assert one.ask(Verb.INSPECT) == "mx-white\n"
    one.close()


def test_a_helper_that_hangs_is_given_up(pf: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileged, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(privileged, "LONG_TIMEOUT_S", 0.3)
    one = Privileged("pf", "mx-white")
    one.start()
    assert one._process
    subprocess.run(["kill", "-STOP", str(one._process.pid)], check=True)
    started = time.monotonic()
    # More than a pipe holds.
    with pytest.raises(TargetError, match="it takes nothing"):
        one.ask(Verb.REPLACE, [(1, FOUR)] * 10_000)
    assert time.monotonic() - started < 2
    assert one._process is None
