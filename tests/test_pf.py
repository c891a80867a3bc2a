"""pf without a BSD: captures with pf's headers and a live interface, and the table by a stand-in for pfctl."""
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.engine.events import address_text
from mxallowd.mirrors import Listed, TargetError, TargetFull, TargetRejects, rejection
from mxallowd.mirrors.kernel import privileged
from mxallowd.mirrors.kernel.pf import PfTable
from mxallowd.process import child
from tests.control_client import ask
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.links import LINKS, pcap
from tests.strategies import listing, packed, syn

SPAMMER4 = "192.0.2.66"
CLIENT = (SENDER4, SENDER6, SPAMMER4)
STANDIN = Path(__file__).parent / "pfctl_standin.py"
SYSTEMS = [name for name in LINKS if name.startswith("pflog-")]


class Pf:
    """A directory with pf's tables, and a mount namespace in which pfctl is the stand-in."""

    def __init__(self, directory: Path) -> None:
        programs = directory / "sbin"
        programs.mkdir()
        self.state = directory / "state"
        self.state.mkdir()
        self.declare()
        (programs / "pfctl").write_text(
            f'#!/bin/sh\nexec {sys.executable} {STANDIN} {self.state} "$@"\n', encoding="utf-8")
        (programs / "pfctl").chmod(0o755)
        # The helper looks where the systems have it, whatever its environment says.
        mount = 'mount --bind "$0" /usr/local/sbin && exec "$@"'
        self.prefix = ["unshare", "--mount", "sh", "-c", mount, str(programs)]

    def declare(self, *addresses: str) -> None:
        """The table as pf.conf declares it."""
        (self.state / "mx-white").write_text("\n".join(addresses), encoding="ascii")

    def limit(self, entries: int) -> None:
        """What all its tables may hold."""
        (self.state / "limit").write_text(str(entries), encoding="ascii")

    def table(self) -> set[str]:
        """Its addresses."""
        return set((self.state / "mx-white").read_text(encoding="ascii").split())

    def calls(self) -> list[tuple[list[str], list[str]]]:
        """Every call so far: arguments and addresses."""
        path = self.state / "calls"
        return [tuple(json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()] \
            if path.exists() else []

    def changes(self) -> list[tuple[str, list[str]]]:
        """The calls that change the table, but for the probe."""
        return [(words[4], given) for words, given in self.calls() if words[:2] == ["-q", "-t"]
                and words[4] in ("add", "delete", "replace", "flush") and given != ["255.255.255.255"]]

    def wait_for(self, *addresses: str, limit_s: float = 5.0) -> None:
        """Wait until the table holds just these."""
        deadline = time.monotonic() + limit_s
        while self.table() != set(addresses):
            assert time.monotonic() < deadline, self.table()
            time.sleep(0.02)


@pytest.fixture
def pf(tmp_path: Path) -> Pf:
    """pf with an empty table."""
    return Pf(tmp_path)


@pytest.fixture
def table(pf: Pf, monkeypatch: pytest.MonkeyPatch) -> Iterator[PfTable]:
    """The target, by itself."""
    monkeypatch.setattr(privileged, "command", lambda *words: [*pf.prefix, *child.command(*words)])
    made = PfTable("mx-white")
    made.open()
    yield made
    made.close()


def daemon(lab: Lab, pf: Pf, *arguments: str) -> DaemonProcess:
    """The daemon without lookups."""
    return DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-b", "--pf-table", "mx-white", *arguments],
                         prefix=pf.prefix)


TALK = [syn(packed(SENDER4), packed(FAKE4)), syn(packed(SENDER4), packed(REAL4)), syn(packed(SPAMMER4), packed(REAL4)),
        syn(packed(SENDER6), packed(FAKE6)), syn(packed(SENDER6), packed(REAL6))]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_capture_of_each_system(lab: Lab, pf: Pf, tmp_path: Path, system: str) -> None:
    link_type, wrap = LINKS[system]
    capture = pcap(tmp_path / "pflog.pcap", link_type, [wrap(packet) for packet in TALK])
    with daemon(lab, pf, "-p", f"file:{capture}") as process:
        assert process.process.wait(10) == 0
        words = [line.split()[0] for line in process.messages()]
    assert words.count("whitelisted") == words.count("accepted") == 2
    assert words.count("refused") == 1
    assert pf.table() == {SENDER4, SENDER6}
    # One change, sorted by nothing but time, and never anything that is not whitelisted.
    assert {address for _, given in pf.changes() for address in given} == {SENDER4, SENDER6}


def test_one_address_that_pf_does_not_take(pf: Pf, table: PfTable) -> None:
    hosts = [packed(f"192.0.2.{number}") for number in range(1, 200)]
    (pf.state / "rejects").write_text("192.0.2.77", encoding="ascii")
    entries = [Listed(host, 100, used=False) for host in hosts]
    found = rejection.change(table, entries, [])
    assert found.rejected.keys() == {packed("192.0.2.77")}
    assert found.unsettled == []
    assert pf.table() == {address_text(host) for host in hosts} - {"192.0.2.77"}
    # 1 + 2 log2(199) at the most
    assert len(pf.changes()) <= 17
    with pytest.raises(TargetRejects):
        table.refill(listing(*entries))


def test_pf_that_may_not_be_changed(lab: Lab, pf: Pf, table: PfTable) -> None:
    (pf.state / "read-only").touch()
    with pytest.raises(TargetError, match="Permission denied") as error:
        rejection.change(table, [Listed(packed(SENDER4), 100, used=False)] * 2, [])
    assert not isinstance(error.value, TargetRejects)
    assert len(pf.changes()) == 1
    with daemon(lab, pf, "-p", "br0") as process:
        assert process.process.wait(10) == 1
        process.wait_for('start-failed reason="pf mx-white cannot be written, so nobody new would get in: .*Permission')


@pytest.mark.parametrize("system", SYSTEMS)
def test_truncated_records_are_counted_and_said(lab: Lab, pf: Pf, tmp_path: Path, system: str) -> None:
    link_type, wrap = LINKS[system]
    whole = wrap(TALK[0])
    cut = [whole[:end] for end in range(len(whole) - 7)]
    capture = pcap(tmp_path / "pflog.pcap", link_type, [*cut, wrap(TALK[3])])
    with daemon(lab, pf, "-p", f"file:{capture}") as process:
        assert process.process.wait(10) == 0
        counters = dict(pair.split("=") for pair in process.wait_for("counters ").split()[1:])
        assert int(counters["broken"]) == len(cut)
        process.wait_for(f"lost-packets by-kernel=0 broken={len(cut)}")
    assert pf.table() == {SENDER6}


def test_a_live_interface_keeps_the_table(lab: Lab, pf: Pf, client: Host) -> None:
    """Contacts enter in order, and leave when their time is over; the firewall, not the daemon, would refuse."""
    with lab.gateway.serve(REAL4), daemon(lab, pf, "-p", "br0", "-l", "tcp port 25", "-t", "3") as process:
        process.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        pf.wait_for(SENDER4)
        # A whole conversation at the real server is one connection attempt.
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=SPAMMER4) is Attempt.CONNECTED
        assert client.attempt(FAKE6) is Attempt.REFUSED
        pf.wait_for(SENDER4, SENDER6)
        process.wait_for(r"refused \[192.0.2.66\]")
        # What explain says comes of the table of pf.
        for host, verdict in ((SENDER4, "accept"), (SPAMMER4, "drop")):
            found = ask(process.control, "GET", f"/v1/explain/{host}")[1]
            assert (found["way"], found["next"][-1]["verdict"], found["next"][-1]["by"]) == ("pf", verdict, "kernel")
            assert found["kernel"][0]["sets"] == {"mx-white": verdict == "accept"}
            assert "pf.conf may exempt" in found["not_asked"]
        counters = process.counters()
        assert (counters["real-first"], counters["real-refused"], counters["fake-new"]) == (1, 1, 2)
        pf.wait_for(limit_s=8)
        assert [change for change, _ in pf.changes()][:2] == ["add", "add"]
        assert {address for change, given in pf.changes() if change == "delete" for address in given} == {
            SENDER4, SENDER6}
        assert process.stop() == 0
    assert pf.calls()[0][0] == ["-s", "Tables"]


def test_the_table_stays_and_is_taken_over(lab: Lab, pf: Pf, client: Host) -> None:
    pf.declare(SENDER4, "10.0.0.0/8")
    with daemon(lab, pf, "-p", "br0", "-t", "4") as process:
        assert process.wait_for("kernel-table-read ") == (
            'kernel-table-read table="pf mx-white" entries=1 adopted=1 complete=yes')
        assert process.counters()["entries"] == 1
        assert process.stop() == 0
    assert pf.table() == {SENDER4, "10.0.0.0/8"}
    with daemon(lab, pf, "-p", "br0", "-t", "2") as process:
        # It does not forget by itself, so the daemon does it.
        pf.wait_for("10.0.0.0/8", limit_s=8)
        assert process.stop() == 0
    with daemon(lab, pf, "-p", "br0", "--flush-on-exit") as process:
        process.wait_for("start ")
        assert process.stop() == 0
    assert pf.table() == set()


def test_a_flushed_table_is_filled_and_a_missing_one_is_said(lab: Lab, pf: Pf, client: Host) -> None:
    with daemon(lab, pf, "-p", "br0") as process:
        process.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        pf.wait_for(SENDER4)
        time.sleep(1.2)
        pf.declare()
        pf.wait_for(SENDER4, limit_s=10)
        assert ("replace", [SENDER4]) in pf.changes()
        (pf.state / "mx-white").unlink()
        assert "table <mx-white> is missing" in process.wait_for("kernel-table-broken .*missing", timeout=10)
        pf.declare()
        pf.wait_for(SENDER4, limit_s=12)
        assert process.stop() == 0


@pytest.mark.parametrize(("limit", "held"), [(25, 25), (24, 12), (10, 6), (1, 1)])
def test_a_table_that_is_too_small_holds_the_best(pf: Pf, table: PfTable, limit: int, held: int) -> None:
    entries = [Listed(packed(f"192.0.2.{number}"), 100 + number, used=number % 5 == 0) for number in range(1, 26)]
    pf.limit(limit)
    assert table.refill(listing(*entries)) == 25 - held
    best = sorted(entries, key=lambda one: (not one.used, -one.remaining_s))[:held]
    assert pf.table() == {address_text(one.host) for one in best}
    # An inspection knows who had no room: others may be missing for another reason.
    assert table.missing({one.host: True for one in entries}) == {one.host for one in entries} - {
        one.host for one in best}
    # A change for which there is no room leaves it as it is, and room can be made.
    if held == limit:
        with pytest.raises(TargetFull, match="Cannot allocate memory"):
            table.change([Listed(packed(SENDER6), 1, used=True)], [])
        assert len(pf.table()) == held
    # Where there is none at all, those that are there stay.
    before = pf.table()
    pf.limit(0)
    with pytest.raises(TargetFull):
        table.refill(listing(*entries[:7]))
    assert pf.table() == before
    table.flush()
    assert pf.table() == set()


def test_without_pfctl_it_is_said_and_the_daemon_goes_on(lab: Lab, client: Host) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-b", "--pf-table", "mx-white", "-p", "br0"]
    with DaemonProcess(lab.gateway, arguments) as process:
        assert process.wait_for("kernel-table-broken ") == (
            'kernel-table-broken table="pf mx-white" reason="the program pfctl is not there"')
        process.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        process.wait_for(r"whitelisted \[192.0.2.101\]")
        assert process.stop() == 0


def test_the_helper_ends_with_the_daemon(lab: Lab, pf: Pf) -> None:
    with daemon(lab, pf, "-p", "br0") as process:
        process.wait_for("start ")
        helpers = lab.gateway.run(["pgrep", "-f", "kernel.helper pf mx-white"], capture_output=True, text=True)
        [helper] = [pid for pid in helpers.stdout.split() if f"\nPPid:\t{process.process.pid}\n" in
                    Path(f"/proc/{pid}/status").read_text(encoding="utf-8")]
        process.process.kill()
        process.process.wait(5)
        deadline = time.monotonic() + 5
        while Path(f"/proc/{helper}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
