"""mxallowctl doctor: each finding is provoked in a real network, and its command mends it."""
import errno
import ipaddress
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Lab
from mxallowd.ctl.doctor import process, queues, records, system, told
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding, as_json, status
from mxallowd.ctl.doctor.records import Exchange, compare
from tests.control_client import ask
from tests.daemon_process import SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.ports import free_port
from tests.ways import NFT

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
Findings = dict[str, list[dict[str, Any]]]


class Scene:
    """A gateway with a daemon, and doctor there."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.socket = directory / "control.sock"
        self.state = directory / "state"
        self.status = -1
        self.text = ""

    @contextmanager
    def daemon(self, *arguments: str) -> Iterator[DaemonProcess]:
        self.state.mkdir(exist_ok=True)
        words = ["-c", "/dev/null", "--control", str(self.socket), "--state-dir", str(self.state), *SERVERS, *arguments]
        with DaemonProcess(self.lab.gateway, words) as process:
            process.wait_for("start ")
            yield process

    def doctor(self, *arguments: str, prefix: Sequence[str] = ()) -> Findings:
        """The findings, by check."""
        done = self.lab.gateway.run(
            [*prefix, sys.executable, "-m", "mxallowd.ctl", "doctor", "--json", "--socket", str(self.socket),
             *arguments],
            capture_output=True, text=True)
        self.status, self.text = done.returncode, done.stdout + done.stderr
        found: Findings = {}
        for one in json.loads(done.stdout)["findings"]:
            found.setdefault(one["check"], []).append(one)
            assert (one["state"] == "ok") == (one["command"] is None), one
        return found

    def worst(self, check: str, *arguments: str) -> dict[str, Any]:
        """The first finding of this check that is not well."""
        found = self.doctor(*arguments)
        bad = [one for one in found.get(check, []) if one["state"] != "ok"]
        assert bad, found
        return bad[0]

    def is_well(self, check: str) -> bool:
        found = self.doctor()[check]
        return all(one["state"] == "ok" for one in found)

    def mend(self, finding: dict[str, Any]) -> None:
        """Run what it says."""
        self.lab.gateway.run(["sh", "-ec", finding["command"]], check=True, capture_output=True)


@pytest.fixture
def scene(served: Lab, tmp_path: Path) -> Scene:
    return Scene(served, tmp_path)


def rule(lab: Lab, *words: str, programs: Sequence[str] = ("iptables", "ip6tables")) -> None:
    lab.input_rule("-p", "tcp", "-m", "tcp", "--dport", "25", *words, programs=programs)


SYN = ("--tcp-flags", "FIN,SYN,RST,ACK", "SYN")
QUEUE = ("-j", "NFQUEUE", "--queue-num", "23", "--queue-bypass")


def test_the_rule_is_missing_late_open_and_without_bypass(scene: Scene) -> None:
    with scene.daemon("-n", "23", "-b"):
        found = scene.worst("rule-present")
        assert scene.status == 2
        assert found["what"] == "no rule of the firewall feeds queue 23 with IPv4"
        scene.mend(found)
        found = scene.worst("rule-present")
        assert "IPv6" in found["what"]
        scene.mend(found)
        assert scene.is_well("rule-present")
        # A rule that accepts mail comes before it.
        scene.lab.gateway.run(["iptables", "-I", "INPUT", "-p", "tcp", "--dport", "20:30", "-j", "ACCEPT"], check=True)
        found = scene.worst("rule-first")
        assert found["state"] == "broken"
        assert "20:30" in found["what"]
        assert f"fake {FAKE4} and real {REAL4} are accepted before mxallowd sees them" in found["what"]
        scene.mend(found)
        assert scene.is_well("rule-first")
        assert len(scene.doctor()["rule-first"]) == 2
        # Dropped before; a large network exempt; no RST gets out: each has one finding, whose command mends it.
        for words in ("INPUT -p tcp --dport 25 -j DROP", "INPUT -s 203.0.0.0/8 -j ACCEPT",
                      "OUTPUT -p tcp --tcp-flags RST RST -j DROP"):
            scene.lab.gateway.run(["iptables", "-I", *words.split()], check=True)
        for check in ("fake-answers", "rule-exempt", "rule-first"):
            [found] = [one for one in scene.doctor()[check] if one["state"] != "ok"]
            scene.mend(found)
        found = scene.doctor()
        assert [one["state"] for check in ("rule-reached", "rule-first", "syn") for one in found[check]] == ["ok"] * 6
        assert "rule-exempt" not in found
        assert "fake-answers" not in found
        # Other packets than SYNs; and no bypass.
        scene.lab.flush_rules()
        rule(scene.lab, "-m", "state", "--state", "NEW", "-j", "NFQUEUE", "--queue-num", "23")
        before = scene.doctor()
        for syn, bypass in zip(before["syn"], before["bypass"], strict=True):
            # One command mends both, so that the second one does not undo the first.
            assert (syn["state"], bypass["state"], syn["command"]) == ("warning", "warning", bypass["command"])
            scene.mend(syn)
        assert scene.is_well("syn")
        assert scene.is_well("bypass")
        assert scene.is_well("queue-bound")
        assert scene.is_well("queue-length")
        text = scene.lab.gateway.run(["iptables", "-S", "INPUT"], capture_output=True, text=True).stdout
        assert "state" not in text
        assert text.count("NFQUEUE") == 1


def test_the_projects_ruleset_is_well(scene: Scene) -> None:
    scene.lab.load_ruleset("queue-set-ipset.sh")
    with scene.daemon("-n", "23", "-b", "--ipset", "--deny", "203.0.113.0/24") as daemon:
        daemon.wait_for("kernel-lists-filled ")
        found = scene.doctor()
        for check in ("daemon", "families", "fake-refuses", "real-answers", "rule-present", "rule-first", "syn",
                      "bypass", "queue-bound", "queue-length", "state", "sets", "kernel", "version", "mx"):
            assert all(one["state"] == "ok" for one in found[check]), found[check]
        assert "user" in found
        assert scene.status == (1 if any(one["state"] == "warning" for row in found.values() for one in row) else 0)
        # In words for people, the same.
        done = scene.lab.gateway.run([sys.executable, "-m", "mxallowd.ctl", "doctor", "--socket", str(scene.socket)],
                                     capture_output=True, text=True)
        assert "ok       a rule feeds queue 23 with IPv6" in done.stdout
        assert done.stderr == ""
        assert daemon.stop() == 0


def test_listeners_sets_and_state(scene: Scene) -> None:
    with scene.daemon("-p", "nflog:5", "-b", *NFT, "--nft-setup", "--no-sandbox", "--deny", "203.0.113.0/24") as daemon:
        daemon.wait_for("kernel-lists-filled ")
        assert "fake" in scene.worst("sandbox")["why"] or scene.status == 2
        with scene.lab.gateway.serve(FAKE4):
            found = scene.worst("fake-refuses")
            assert FAKE4 in found["what"]
            scene.mend(found)  # it shows the program
        assert scene.is_well("fake-refuses")
        # The group has no rule.
        assert "NFLOG group 5" in scene.worst("rule-present")["what"]
        scene.lab.gateway.run(["nft", "add chain inet mxallowd in { type filter hook input priority 0; }; "
                               "add rule inet mxallowd in tcp dport 25 log group 5"], check=True)
        assert scene.is_well("rule-present")
        # The state directory is gone.
        shutil.rmtree(scene.state)
        found = scene.worst("state")
        assert "No such file" in found["what"]
        scene.lab.gateway.run(["sh", "-ec", found["command"].partition(" && ")[0]], check=True)
        assert scene.is_well("state")
        scene.socket.chmod(0o666)
        scene.mend(scene.worst("control"))
        assert scene.socket.stat().st_mode & 0o777 == 0o660
        assert scene.worst("user")["what"] == "mxallowd runs as root"
        # The ruleset was loaded anew without the sets.
        scene.lab.gateway.run(["nft", "delete", "set", "inet", "mxallowd", "mx_deny4"], check=True)
        daemon.wait_for("kernel-lists-filled table=.* set=mx_deny4", times=2, timeout=8)
        assert daemon.stop() == 0


def test_a_real_server_that_does_not_answer(lab: Lab, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)
    with scene.daemon("-n", "23", "-b"):
        assert REAL4 in scene.worst("real-answers")["what"]
        with lab.gateway.serve(REAL4), lab.gateway.serve(REAL6):
            assert scene.is_well("real-answers")


def test_a_set_of_the_ruleset_is_missing(scene: Scene) -> None:
    scene.lab.gateway.run(["ipset", "create", "mx_white6", "hash:ip", "family", "inet6", "timeout", "9"], check=True)
    with scene.daemon("-n", "23", "-b", "--ipset", "--deny", "203.0.113.0/24") as daemon:
        daemon.wait_for("kernel-table-broken ")
        daemon.wait_for("kernel-lists-missing ")
        found = scene.worst("sets")
        assert "mx_white4" in found["what"]
        assert scene.status == 2
        scene.mend(found)
        scene.mend(scene.worst("sets-lists"))
        daemon.wait_for("kernel-table-filled ")
        daemon.wait_for("kernel-lists-filled .* set=mx_deny4")
        findings = scene.doctor()
        assert "sets-lists" not in findings
        # And those of hosts that try the first MX alone, with the rule that leads them.
        assert "direct-rule" not in findings
        ask(scene.socket, "POST", "/v1/lists/direct", {"network": "203.0.113.7"})
        daemon.wait_for("kernel-lists-missing .*set=mx_direct4")
        assert len(scene.doctor()["direct-rule"]) == 2
        # Who is direct is allowed, too.
        for finding in scene.doctor()["sets-lists"]:
            scene.mend(finding)
        daemon.wait_for("kernel-lists-filled .* set=mx_direct4")
        scene.lab.gateway.run(
            ["iptables", "-t", "nat", "-A", "PREROUTING", "-d", FAKE4, "-m", "set", "--match-set", "mx_direct4", "src",
             "-p", "tcp", "-j", "DNAT", "--to-destination", REAL4], check=True)
        assert [one["state"] for one in scene.doctor()["direct-rule"]] == [OK, WARNING]
        assert all(one["state"] == "ok" for one in findings["sets"]), findings["sets"]

def test_without_a_daemon_that_is_the_first_finding(scene: Scene, tmp_path: Path) -> None:
    config = tmp_path / "mxallowd.conf"
    config.write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nreal-mailserver {REAL6}\nqueue-num 23\n"
                      "no-rdns-whitelist\n", encoding="ascii")
    rule(scene.lab, *SYN, *QUEUE)
    found = scene.doctor("--config", str(config))
    assert scene.status == 2
    assert next(iter(found)) == "daemon"
    assert found["daemon"][0]["state"] == "broken"
    assert [one["state"] for one in found["rule-present"]] == ["ok", "ok"]
    assert [one["what"] for one in found["queue-bound"]] == ["nobody serves queue 23"]
    assert found["families"][0]["what"] == "the real server has an IPv6 address, the fake one has none"
    config.write_text("real-mailserver 192.0.2.20\nqueue-num x\n", encoding="ascii")
    found = scene.doctor("--config", str(config))
    assert list(found) == ["daemon", "configuration"]
    assert "queue-num" in found["configuration"][0]["what"]


def test_who_is_not_root_gets_no_false_alarm(scene: Scene) -> None:
    rule(scene.lab, *SYN, *QUEUE)
    with scene.daemon("-n", "23", "-b"), TemporaryDirectory() as readable:
        found = scene.doctor("example.org", prefix=NOBODY)
        assert scene.status == 1, found
        for check, word in (("daemon", "may not ask the daemon"), ("configuration", "cannot be read")):
            assert (found[check][0]["state"], word in found[check][0]["what"]) == ("warning", True), found
            assert found[check][0]["command"] == f"sudo mxallowctl doctor --socket {scene.socket} example.org"
        # With a configuration that may be read, all that may be seen is looked at.
        Path(readable).chmod(0o755)
        config = Path(readable, "mxallowd.conf")
        config.write_text("".join(f"{word} {value}\n" for word, value in (
            ("fake-mailserver", FAKE4), ("fake-mailserver", FAKE6), ("real-mailserver", REAL4),
            ("real-mailserver", REAL6), ("queue-num", 23), ("state-dir", scene.state))) + "no-rdns-whitelist\n")
        config.chmod(0o644)
        found = scene.doctor("--config", str(config), prefix=NOBODY)
        assert not [one for row in found.values() for one in row if one["state"] == "broken"], found
        assert found["real-answers"][0]["state"] == "ok"
        assert "cannot be seen" in found["rule-present"][0]["what"]
        assert "cannot be seen" in found["queue-bound"][0]["what"]


RECORDS = (
    "example.org MX 10 fake.example.org", "example.org MX 20 real.example.org", f"fake.example.org A {FAKE4}",
    f"fake.example.org AAAA {FAKE6}", f"real.example.org A {REAL4}", f"real.example.org AAAA {REAL6}",
    "turned.example.org MX 20 fake.example.org", "turned.example.org MX 10 real.example.org",
    "null.example.org MX 0 .", "alias.example.org MX 10 mail.alias.example.org",
    "mail.alias.example.org CNAME fake.example.org", "alias.example.org MX 20 real.example.org",
    "broken.example.org FAULT servfail", "half.example.org MX 10 broken.example.org",
    "half.example.org MX 20 real.example.org", "others.example.org MX 10 other.example.org",
    "more.example.org MX 10 fake.example.org", "more.example.org MX 20 real.example.org",
    "more.example.org MX 30 other.example.org", "other.example.org A 192.0.2.77",
    "xn--bcher-kva.example.org MX 10 fake.example.org", "xn--bcher-kva.example.org MX 20 real.example.org",
    "lacking.example.org MX 10 four.example.org", "lacking.example.org MX 20 real.example.org",
    f"four.example.org A {FAKE4}")


def test_name_servers_of_the_daemon(scene: Scene) -> None:
    with scene.daemon("-n", "23", "--dns-server", "127.0.0.1:5353"):
        found = scene.worst("name-servers")
        assert "127.0.0.1:5353" in found["what"]
        assert found["command"].startswith("dig @127.0.0.1 -p 5353 localhost.invalid")
        with NameServerProcess(scene.lab.gateway, RECORDS):
            found = scene.doctor("example.org")
            assert [one["state"] for one in found["mx"]] == ["ok"], found["mx"]
            assert [one["state"] for one in found["name-servers"]] == ["ok"]
            found = ask(scene.socket, "GET", "/v1/explain/real.example.org")[1]
            assert {one["address"] for one in found["addresses"]} == {REAL4, REAL6}


def test_mx_records_as_a_name_server_has_them() -> None:
    port = free_port()
    with NameServerProcess(None, RECORDS, port):
        for domain, check, word, wanted in (
                ("example.org", "mx", "fit the servers: 10 fake.example.org, 20 real.example.org", 0),
                ("Example.ORG.", "mx", "fit the servers", 0), ("bücher.example.org", "mx", "xn--bcher-kva", 0),
                ("turned.example.org", "mx-order", "does not stand behind", 2),
                ("none.example.org", "mx", "there is no domain none", 2),
                ("other.example.org", "mx", "has no MX record", 2), ("not..a..domain", "mx", "is no name of a", 2),
                ("null.example.org", "mx", "RFC 7505", 2),
                ("alias.example.org", "mx-alias", "mail.alias.example.org is an alias", 1),
                ("broken.example.org", "mx", "cannot be looked up", 2),
                ("half.example.org", "mx-address", "broken.example.org", 2),
                ("others.example.org", "mx-other", "lead to other servers alone: 192.0.2.77", 2),
                ("more.example.org", "mx-other", "192.0.2.77, which is neither", 1),
                ("lacking.example.org", "mx-families", "four.example.org has none", 2),
                ("", "mx", "is no name of a domain", 2), ("a b", "mx", "is no name of a domain", 2),
                ("x" * 64 + ".org", "mx", "cannot be looked up", 2), ("ü" * 64, "mx", "is no name of a domain", 2)):
            findings = records.check(facts(), domain, [f"127.0.0.1:{port}"])
            assert any(one.check == check and word in one.what for one in findings), (domain, findings)
            assert status(findings) == wanted, findings
            # Of what cannot be looked up nothing is concluded.
            assert domain != "half.example.org" or not {"mx-fake", "mx-families"} & {one.check for one in findings}


def facts(**settings: Any) -> Facts:
    fake, real = (tuple(ipaddress.ip_address(one) for one in servers) for servers in ((FAKE4, FAKE6), (REAL4, REAL6)))
    return Facts(fake, real, {"queues": [23], "capture": None, "rdns": False, "dns_servers": []} | settings, None)


def test_mx_records_that_do_not_fit() -> None:
    fake4, fake6, real4, real6 = map(ipaddress.ip_address, (FAKE4, FAKE6, REAL4, REAL6))
    for exchanges, wanted in (
            ([Exchange(10, "f", (fake4, fake6)), Exchange(20, "r", (real4, real6))], {"mx"}),
            ([Exchange(10, "f", (fake4, fake6)), Exchange(10, "r", (real4, real6))], {"mx-order"}),
            ([Exchange(10, "f", (fake4,)), Exchange(20, "r", (real4, real6))], {"mx-fake", "mx-families"}),
            ([Exchange(10, "f", (fake4, fake6))], {"mx-real"}),
            ([Exchange(10, "b", (fake4, fake6, real4, real6))], {"mx-order"}),
            ([Exchange(10, "f", (fake4, fake6)), Exchange(20, "r", (real4, real6)), Exchange(30, "n", ())],
             {"mx-address"}),
            # A fake one behind the real one does no harm where another stands before it.
            ([Exchange(10, "f", (fake4, fake6)), Exchange(20, "r", (real4, real6)), Exchange(30, "g", (fake4,))],
             {"mx"}),
            ([Exchange(10, "f", (fake4,)), Exchange(11, "g", (fake6,)), Exchange(20, "r", (real4, real6))], {"mx"})):
        assert {one.check for one in compare(facts(), "example.org", exchanges)} == wanted
    # A second pair on this gateway, which is that of another domain.
    exchanges = [Exchange(10, "f", (fake4,)), Exchange(20, "r", (real4,))]
    two = facts()._replace(fake=(fake4, ipaddress.ip_address("192.0.2.11")), real=(real4, real6))
    assert [one.check for one in compare(two, "example.org", exchanges)] == ["mx-real"]
    found = compare(two._replace(real=(real4,)), "example.org", exchanges)
    assert [(one.check, "of other domains: 192.0.2.11" in one.what) for one in found] == [("mx", True)]


def test_a_name_of_the_dns_is_no_command() -> None:
    """Whoever owns the zone writes the name; the operator pastes the command."""
    other = ipaddress.ip_address("192.0.2.77")
    name = "a;touch$IFS$(reboot)'.example.org"
    findings = [*compare(facts(), "example.org", [Exchange(10, name, (), alias=True), Exchange(20, name, (other,))]),
                *compare(facts(), name, [Exchange(10, name, (other,))]), *compare(facts(), name, [])]
    for one in findings:
        if one.command:
            assert set(shlex.split(one.command, comments=True)) <= {
                "dig", "+short", "MX", "A", "AAAA", "CNAME", "example.org", name}, one


def test_queues_that_are_full_or_lost_packets() -> None:
    """Rows as the kernel has them: number, port, waiting, mode, range, two kinds of drops."""
    known = facts(queue_length=100, config="/etc/mxallowd.conf")
    for row, state, word in (
            (None, BROKEN, "nobody serves queue 23"), ([23, 1, 0, 2, 96, 0, 0, 5, 1], OK, "lost nothing"),
            ([23, 1, 90, 2, 96, 0, 0, 5, 1], WARNING, "90 packets wait"),
            ([23, 1, 100, 2, 96, 0, 0, 5, 1], BROKEN, "takes 100"),
            ([23, 1, 0, 2, 96, 3, 4, 5, 1], WARNING, "dropped 7 packets")):
        last = queues._of(23, row, known)[-1]
        assert (last.state, word in last.what) == (state, True), last


def test_sets_of_nft_are_made_by_the_command(lab: Lab) -> None:
    settings = {"nft_table": "inet mx_other", "ipset": False, "queues": [23]}
    for command in (told.make_sets(settings), told.make_list("lists in nft inet mx_other", "mx_deny6")):
        lab.gateway.run(["sh", "-ec", command], check=True)
    # Sets of way c) would keep door-raw.nft from being loaded, which goes without --door.
    assert told.make_sets({**settings, "queues": []}) == (
        "rules=$(mxallowd --print-ruleset c) && printf '%s\\n' \"$rules\" | nft -f -  # or d, at the door")
    listed = lab.gateway.run(["nft", "list", "table", "inet", "mx_other"], capture_output=True, text=True).stdout
    assert [word in listed for word in ("mx_white4", "mx_white6", "mx_deny6")] == [True] * 3


@pytest.mark.parametrize(("table", "mend"), [("inet mxallowd", "c) && "), (None, "c --iptables) && ")])
def test_sets_of_networks_are_no_need(table: str | None, mend: str) -> None:
    lacking = {"name": "networks in nft inet mxallowd", "in_step": False, "lacking": [], "decides": False,
               "fault": "there is no set mx_net4 or mx_net6"}
    [found] = told.sets({"kernel_tables": [], "network_sets": [lacking], "settings": {"nft_table": table}})
    assert (found.check, found.state, "one by one" in found.why, mend in found.command) == (
        "sets-networks", WARNING, True, True)


def test_a_full_disk_is_no_reason_for_a_restart(tmp_path: Path) -> None:
    state = {"fault": f"journal.3: {os.strerror(errno.ENOSPC)}"}
    known = facts(state_dir=str(tmp_path))._replace(daemon={"user_id": 0, "state": state})
    [found] = process._state(known)
    assert (found.state, "do not restart" in found.why, "restart" in found.command) == (BROKEN, True, False)
    state["fault"] = "Permission denied"
    [found] = process._state(known)
    assert "install -d -o root -m 0700" in found.command


def test_clock_and_kernel() -> None:
    def states(findings: Iterator[Finding]) -> list[str]:
        return [one.state for one in findings]

    assert states(system.clock(now_s=0, status=0)) == [BROKEN]
    assert states(system.clock(now_s=1_800_000_000, status=0x40)) == [WARNING]
    assert states(system.clock(now_s=1_800_000_000, status=0)) == [OK]
    several = facts(queues=[23, 24])
    assert states(system.versions(several, "6.19.3-1-amd64")) == [WARNING]
    assert states(system.versions(several, "6.1.0-40-amd64")) == [OK]
    assert states(system.versions(facts(), "6.19.3-1-amd64")) == [OK]


def test_status_and_document() -> None:
    findings = [Finding("one", OK, "well"), Finding("two", WARNING, "odd", "since", "true")]
    assert (status([]), status(findings), status([*findings, Finding("x", BROKEN, "y", "z", "w")])) == (0, 1, 2)
    assert as_json(findings)["status"] == WARNING
    done = subprocess.run([sys.executable, "-m", "mxallowd.ctl", "doctor", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "mxallowctl doctor example.org" in done.stdout


def test_a_name_server_that_answers_with_an_error() -> None:
    """It answers REFUSED to all; dig is to ask it as the daemon does."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::1", 0))
        port = server.getsockname()[1]

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    question, whence = server.recvfrom(512)
                    if not question:
                        return
                    server.sendto(question[:2] + b"\x81\x05" + question[4:], whence)

        thread = Thread(target=refuse)
        thread.start()
        [found] = system.name_servers(facts(rdns=True, dns_servers=[f"[::1]:{port}"]))
        server.sendto(b"", ("::1", port))
        thread.join()
    assert f"answer with an error ([::1]:{port}): " in found.what
    assert found.command == f"dig @::1 -p {port} localhost.invalid  # then correct dns-server"
    for text, arguments in (("192.0.2.1", "@192.0.2.1"), ("::1", "@::1"), ("192.0.2.1:54", "@192.0.2.1 -p 54"),
                            ("[fe80::53]:53%eth0", "@fe80::53%eth0 -p 53")):
        assert system.for_dig(text) == arguments
