"""The privileged helper: its border, its end, and where its code comes from."""
import io
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts import FAKE4, Attempt, Lab
from lab.namespaces import visit
from mxallowd.mirrors import Listed, TargetError
from mxallowd.mirrors.kernel import helper, privileged
from mxallowd.mirrors.kernel.helper import ANSWER, RECORD, REQUEST, SETS, Ipset, Pf, Verb, serve, set_headers
from mxallowd.mirrors.kernel.ipset import IpsetTable
from mxallowd.mirrors.kernel.privileged import Privileged
from mxallowd.process import child
from tests.daemon_process import SERVERS, DaemonProcess
from tests.strategies import listing, packed

FOUR, SIX = packed("192.0.2.1"), packed("2001:db8::1")


class Standard:
    """A standard stream with a buffer of bytes."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)


def answers(
    kind: Pf | Ipset, requests: bytes, monkeypatch: pytest.MonkeyPatch,
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
    for kind, program in ((Pf("mx-white"), "pfctl"), (Ipset(), "ipset")):
        with pytest.MonkeyPatch.context() as patch:
            ran, inputs, _ = answers(kind, request_bytes, patch)
        for words, text in zip(ran, inputs, strict=True):
            assert words[0] == program
            assert all(word.isascii() and "\n" not in word for word in words)
            for line in text.splitlines():
                assert not set(line) - set("0123456789abcdef.: adelmxtimouhw_sn")


def test_a_change_of_ipset_is_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [RECORD.pack(2, 0, 0, FOUR), RECORD.pack(1, 3, 60, SIX)]
    ran, inputs, answer = answers(Ipset(), REQUEST.pack(Verb.CHANGE, 2) + b"".join(records), monkeypatch)
    assert ran == [["ipset", "restore", "-exist"]]
    assert inputs == ["del mx_white4 192.0.2.1\nadd mx_used6 2001:db8::1 timeout 60\n"]
    assert answer == ANSWER.pack(0, 0)


class Sets:
    """ipset that fails at its so-many-th restore."""

    def __init__(self, failing: int) -> None:
        self._failing = failing
        self.restored: list[str] = []
        self.twins: set[str] = set()

    def run(self, words: list[str], text: str) -> str:
        if words[1] == "restore":
            self.restored.append(text)
            self.twins |= {line.split()[1] for line in text.splitlines() if line.startswith("create ")}
            if len(self.restored) == self._failing:
                raise helper.Failed("no memory")
        elif words[1] == "destroy":
            self.twins.discard(words[2])
        return "".join(f"Name: {name}\nType: hash:ip\nHeader: family inet timeout 60\n" for name in SETS)


EACH_SET = [(0, number, 60, FOUR) for number in range(4)]


@pytest.mark.parametrize("failing", [1, 4])
def test_a_filling_of_ipset_is_all_or_nothing(failing: int) -> None:
    sets = Sets(failing)
    with pytest.raises(helper.Failed, match="no memory"):
        Ipset().serve(Verb.REPLACE, EACH_SET, sets.run)
    assert "swap" not in "".join(sets.restored)
    assert sets.twins == set()


def test_sets_are_exchanged_when_the_last_is_filled() -> None:
    sets = Sets(0)
    assert Ipset().serve(Verb.REPLACE, EACH_SET, sets.run) == ""
    assert sets.restored.pop() == "".join(f"swap {name} {name}.new\n" for name in SETS)
    assert sets.restored == [f"create {name}.new hash:ip family inet timeout 60\nadd {name}.new 192.0.2.1 timeout 60\n"
                             for name in SETS]
    assert sets.twins == set()


def test_what_is_no_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, answer = answers(Ipset(), REQUEST.pack(99, 0), monkeypatch)
    status, length = ANSWER.unpack_from(answer)
    assert (status, len(answer)) == (1, ANSWER.size + length)


def test_a_program_that_is_not_there_or_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "PATH", str(tmp_path))
    monkeypatch.setattr(helper, "TIMEOUT_S", 0.2)
    with pytest.raises(helper.Failed, match="the program ipset is not there"):
        helper.run_program(["ipset"], "")
    for body, reason in (("exec /bin/sleep 5", "ipset: .*timed out"), ("echo full >&2; exit 1", "^full$"),
                         ("exit 3", "ipset ended with status 3")):
        (tmp_path / "ipset").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "ipset").chmod(0o755)
        with pytest.raises(helper.Failed, match=reason):
            helper.run_program(["ipset"], "")


def test_it_serves_no_table_that_it_does_not_know() -> None:
    words = child.command("mxallowd.mirrors.kernel.helper", "nft")
    assert subprocess.run(words, input=REQUEST.pack(Verb.READ, 0), capture_output=True).returncode == 2


def test_headers_of_sets() -> None:
    assert set_headers("Name: a\nType: hash:ip\nRevision: 6\nHeader: family inet maxelem 9\nSize in memory: 2\n\n"
                       "Name: b\nType: hash:net\nHeader: family inet6\n") == {
        "a": "hash:ip family inet maxelem 9", "b": "hash:net family inet6"}


def test_a_helper_runs_from_this_tree_and_from_nowhere_else(tmp_path: Path) -> None:
    evil = tmp_path / "mxallowd" / "mirrors" / "kernel"
    evil.mkdir(parents=True)
    packages = (evil.parent.parent, evil.parent, evil)
    for place in (*(one / "__init__.py" for one in packages), evil / "helper.py", tmp_path / "runpy.py"):
        place.write_text("print('taken over')", encoding="utf-8")
    done = subprocess.run(child.command("mxallowd.mirrors.kernel.helper", "ipset"), cwd=tmp_path, input=b"",
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_helper_that_was_killed_is_started_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileged, "START_AGAIN_S", 0.5)
    with visit(lab.gateway.name):
        one = Privileged("ipset")
        one.start()
        assert one.ask(Verb.INSPECT) == ""
        assert one._process
        one._process.kill()
        one._process.wait()
        with pytest.raises(TargetError, match="the helper of ipset has ended"):
            one.ask(Verb.INSPECT)
        time.sleep(0.6)
        assert one.ask(Verb.INSPECT) == ""
        one.close()


def test_a_helper_that_hangs_is_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileged, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(privileged, "LONG_TIMEOUT_S", 0.3)
    with visit(lab.gateway.name):
        one = Privileged("ipset")
        one.start()
        assert one._process
        subprocess.run(["kill", "-STOP", str(one._process.pid)], check=True)
        started = time.monotonic()
        # More than a pipe holds.
        with pytest.raises(TargetError, match="it takes nothing"):
            one.ask(Verb.REPLACE, [(1, 0, 1, FOUR)] * 10_000)
        assert time.monotonic() - started < 2
        assert one._process is None


def test_a_twin_that_an_earlier_filling_left_behind(lab: Lab) -> None:
    with visit(lab.gateway.name):
        for name, more in (("mx_white4", "family inet timeout 60"), ("mx_white6", "family inet6 timeout 60"),
                           ("mx_white4.new", "family inet timeout 9 maxelem 5")):
            subprocess.run(["ipset", "create", name, "hash:ip", *more.split()], check=True)
        table = IpsetTable()
        table.open()
        assert table.refill(listing(Listed(FOUR, 50, used=False), Listed(SIX, 50, used=True))) == 0
        held, whole = table.read()
        assert ({one.host for one in held}, whole) == ({FOUR, SIX}, True)
        table.close()


def test_a_daemon_survives_the_death_of_its_helper(lab: Lab) -> None:
    client = lab.client("client", "192.0.2.101")
    lab.load_ruleset("queue-set-ipset.sh")
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--ipset", "-b"]) as daemon:
        daemon.wait_for("start ")
        time.sleep(10)
        pid = daemon.process.pid
        for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            if b"helper" in Path(f"/proc/{one}/cmdline").read_bytes():
                subprocess.run(["kill", "-KILL", one], check=True)
        assert client.attempt(FAKE4) is Attempt.REFUSED
        deadline = time.monotonic() + 20
        while "192.0.2.101" not in lab.gateway.run(["ipset", "save"], capture_output=True, text=True).stdout:
            assert time.monotonic() < deadline, "\n".join(daemon.messages())
            time.sleep(0.2)
        assert daemon.stop() == 0
