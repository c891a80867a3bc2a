"""Trusted senders in the running daemon: verdicts, explain, SIGHUP, and what a restart without name servers knows."""
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import REAL4, Attempt, Host, Lab
from mxallowd.cli import main
from mxallowd.ctl.__main__ import main as ctl
from tests.control_client import ask, raw
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess, serving
from tests.name_server_process import NameServerProcess
from tests.test_list_files import old

NETWORK, SPF, LISTED, NAMED, STRANGER = CLIENT = [f"192.0.2.{last}" for last in range(101, 106)]
RECORDS = [
    "example.org TXT v=spf1 include:spf.example.org ptr -all", f"spf.example.org TXT v=spf1 ip4:{SPF} ~all",
    "103.2.0.192.list.example A 127.0.5.2", "104.2.0.192.in-addr.arpa PTR out.mx.example.net",
    f"out.mx.example.net A {NAMED}", "105.2.0.192.in-addr.arpa PTR forged.mx.example.net",
    "forged.mx.example.net A 203.0.113.9"]


@pytest.fixture
def trust(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "trust"
    path.write_text(f"network {NETWORK}\nspf example.org # the bank\ndnswl list.example 1\ndomain mx.example.net\n",
                    encoding="utf-8")
    yield old(path)


def arguments(trust: Path, *more: str) -> list[str]:
    return ["--trust", str(trust), "--dns-server", "127.0.0.1:5353", "--state-dir", str(trust.parent / "state"),
            "--control", str(trust.parent / "control.sock"), *more]


def told(trust: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What mxallowctl prints."""
    ctl(["--socket", str(trust.parent / "control.sock"), *words])
    said = capsys.readouterr()
    return said.out + said.err


def soon(client: Host, source: str) -> bool:
    """Whether it gets in within some seconds, as a sender that tries again."""
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        if client.attempt(REAL4, source=source) is Attempt.CONNECTED:
            return True
    return False


def test_each_line_lets_its_hosts_in(
    guarded: Lab, client: Host, trust: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["-c", "/dev/null", *SERVERS, "-n", QUEUE, *arguments(trust)]
    with NameServerProcess(guarded.gateway, RECORDS) as names, DaemonProcess(guarded.gateway, command) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(REAL4, source=NETWORK) is Attempt.CONNECTED
        daemon.wait_for(rf'allowed \[{NETWORK}\] real={REAL4} times=1 by="trusted {trust}:1"')
        daemon.wait_for(rf"trust where={trust}:2 domain=example.org networks=1 seconds=3600")
        daemon.wait_for(rf'trust-left-out where={trust}:2 term="example.org: ptr" terms=1')
        for source in (SPF, LISTED, NAMED):
            assert soon(client, source), source
        # A name that does not lead back is nobody's.
        assert client.attempt(REAL4, source=STRANGER) is Attempt.DROPPED
        assert "1.0.0.127.list.example A" in names.questions
        for source, line, words in [
                (NETWORK, 1, f"network {NETWORK}"), (SPF, 2, "spf example.org, by spf.example.org, the bank"),
                (LISTED, 3, "dnswl list.example 1, score 2"),
                (NAMED, 4, "domain mx.example.net, out.mx.example.net")]:
            ctl(["--socket", str(trust.parent / "control.sock"), "explain", source])
            said = capsys.readouterr().out
            assert f"  why: trusted {source}/32, {trust}:{line}\n" in said, said
            assert f"  note of the trusted line: {words}\n" in said, said
        said = told(trust, capsys, "trust")
        assert re.search(r": 2 networks, 2 hosts by dnswl and domain, \d+ questions to name servers\n", said), said
        # Each was let in once.
        said, hits = re.subn(r", 1 hits, last \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "", said)
        assert hits == 4
        assert "    1 network 192.0.2.101: holds\n" in said
        assert re.search(r"    2 spf example.org: 1 network, learned \d+ s ago for 1 h 0 min, again in 59 min"
                         r"  # the bank\n"
                         r"      left out: example.org: ptr\n    3 dnswl list.example 1: 1 host\n"
                         r"    4 domain mx.example.net: 1 host\n", said), said
        assert f"trust      {trust}, 4 lines: 2 networks, 2 hosts\n" in told(trust, capsys, "status")
        assert told(trust, capsys, "allow", "list") == f"{trust}: 4 networks of trusted senders\n"
        # The file is read again; what stays keeps its answer.
        trust.write_text("spf example.org\nspf nowhere.example\n", encoding="utf-8")
        old(trust)
        assert told(trust, capsys, "reload") == f"trust {trust}: 1 networks, before 2\n"
        daemon.wait_for(r"trust-failed where=\S+:2 domain=nowhere.example")
        fault = f"{trust}:2: spf nowhere.example: it names no network; nowhere.example has no SPF record"
        assert f"trust      {fault}\n" in told(trust, capsys, "status")
        assert "      fault: it names no network; nowhere.example" in told(trust, capsys, "trust")
        assert ask(trust.parent / "control.sock", "GET", "/readyz")[1]["warnings"] == [
            "1 faults of trusted senders, and what was learned before holds; mxallowctl status names them"]
        metrics = raw(trust.parent / "control.sock", b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for wanted in (b'trust_line_networks{line="2"} 0', b'trust_answer_age_seconds{line="1"} ', b"trust_faults 1"):
            assert b"\nmxallowd_" + wanted in metrics
        # A domain that was asked for just now is not asked for again.
        assert ctl(["--socket", str(trust.parent / "control.sock"), "trust", "refresh", "example.org"]) == 1
        assert "too soon: it was asked for less than 30 s ago; again in " in capsys.readouterr().err
        assert ctl(["--socket", str(trust.parent / "control.sock"), "trust", "refresh", "other.example"]) == 1
        capsys.readouterr()
        assert client.attempt(REAL4, source=SPF) is Attempt.CONNECTED
        deadline = time.monotonic() + 5
        while client.attempt(REAL4, source=NETWORK) is not Attempt.DROPPED:
            assert time.monotonic() < deadline
        # A broken one changes nothing.
        trust.write_text("spf nonsense\n", encoding="utf-8")
        old(trust)
        assert told(trust, capsys, "reload") == (
            f"trust {trust}: not read, the 1 networks from before hold\n"
            f'mxallowctl: {trust}:1: "nonsense" is no domain name\n')
        assert f'trust      {trust}:1: "nonsense" is no domain name\n' in told(trust, capsys, "status")
        daemon.wait_for(rf"list-failed where={re.escape(str(trust))}:1")
        assert client.attempt(REAL4, source=SPF) is Attempt.CONNECTED
    trust.write_text("spf example.org\n", encoding="utf-8")
    old(trust)
    # No name server is there any more.
    with serving(guarded, *arguments(trust)):
        assert client.attempt(REAL4, source=SPF) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=STRANGER) is Attempt.DROPPED


def test_a_dead_name_server_holds_up_nobody(guarded: Lab, client: Host, trust: Path) -> None:
    with serving(guarded, *arguments(trust)) as daemon:
        started = time.monotonic()
        assert client.attempt(REAL4, source=NETWORK) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=SPF) is Attempt.DROPPED
        assert time.monotonic() - started < 5
        daemon.wait_for(rf'trust-wrong where={trust}:4 reason="a domain line lets nobody in')
        daemon.wait_for(r"trust-failed \S+ domain=example.org reason=.* holds=no")


def test_check_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trust"
    path.write_text("spf example\n", encoding="utf-8")
    old(path)
    assert main(["--check", "-f", "192.0.2.1", "-r", "192.0.2.2", "-n", "1", "--trust", str(path)]) == 1
    assert f'{path}:1: "example" is no domain name' in capsys.readouterr().out
