"""Doctor on the rulesets of ways c and d, as the kernel lists them: they are loaded again, never taken apart."""
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, RULESETS, Lab
from mxallowd.ctl.doctor import direct, rules, shipped
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from tests.test_doctor_rules import facts

FILES = {"set.nft": "c", "door.nft": "d", "door-raw.nft": "d"}
DROPS = re.compile(r"((?:counter name mx_\w+ )+)drop")


@pytest.fixture(scope="module")
def one_lab() -> Iterator[Lab]:
    with Lab("ship") as lab:
        yield lab


@pytest.fixture
def lab(one_lab: Lab) -> Iterator[Lab]:
    yield one_lab
    for command in ("nft flush ruleset", "iptables -P INPUT ACCEPT", "iptables -F", "iptables -t raw -F", "iptables -X",
                    "ip6tables -F; ip6tables -X; ipset destroy"):
        one_lab.gateway.run(["sh", "-c", command], check=True)


def load(lab: Lab, name: str, *, dry: str = "") -> None:
    """A shipped ruleset; `dry`: which of its drops accept: all, flood, others."""
    def changed(found: re.Match[str]) -> str:
        line = text[: found.start()].rpartition("\n")[2]
        kind = "flood" if "mx_flood" in line else "others"
        return found[0] if line.lstrip().startswith("#") or dry not in (kind, "all") else f"{found[1]}accept"

    text = (RULESETS / name).read_text(encoding="utf-8").replace("eth0", lab.gateway.interface)
    lab.load_texts({name: DROPS.sub(changed, text) if dry else text})


def wrong(lab: Lab, version: int = 4, *, dry: bool = False, ipset: bool = False) -> list[Finding]:
    nft = lab.gateway.run(["nft", "-a", "-t", "list", "ruleset"], capture_output=True, text=True).stdout
    saved = {name: lab.gateway.run([f"{name}-save"], capture_output=True, text=True).stdout
             for name in rules.PROGRAMS[version]}
    known = facts(queues=[], capture="nflog:5", dry_run=dry, ipset=ipset, config="/etc/a b.conf",
                  nft_table=None if ipset else "inet mxallowd")
    return [one for one in rules.of_ruleset(
        rules.read(nft, saved, version), known, version, frozenset({lab.gateway.interface}), lambda _: True)
        if one.state != OK]


@pytest.mark.parametrize("name", FILES)
def test_they_are_loaded_again_as_a_whole(name: str, lab: Lab) -> None:
    command = (f"rules=$(mxallowd -c '/etc/a b.conf' --print-ruleset {FILES[name]}) && printf '%s\\n' \"$rules\" | "
               "nft -f -")
    for rules_are, daemon_is, check in (("", False, None), ("all", True, None), ("all", False, "rule-first"),
                                        ("others", False, "rule-first"), ("flood", False, "rule-first"),
                                        ("", True, "rule-dry-run"), ("flood", True, "rule-dry-run"),
                                        ("others", True, "rule-dry-run")):
        if FILES[name] == "c" and (rules_are == "flood" or (rules_are, daemon_is) == ("others", True)):
            continue
        load(lab, name, dry=rules_are)
        for version in (4, 6):
            found = wrong(lab, version, dry=daemon_is)
            assert [one.check for one in found] == ([check] if check else []), (rules_are, daemon_is, found)
            assert {one.command for one in found} <= {command}
            if name != "set.nft" and daemon_is and found:
                assert "of door.nft" in found[0].why
    # A rule that drops known hosts is found.
    for change in ("insert rule inet mxallowd mx_new ip saddr @mx_used4 drop",
                   "insert rule inet mxallowd mx_first drop" if FILES[name] == "d" else
                   "insert rule inet mxallowd mx_real ip saddr @mx_white4 drop"):
        load(lab, name)
        lab.gateway.run(["nft", change], check=True)
        [one] = wrong(lab)
        assert (one.state, one.command) == (BROKEN, command)
        assert f"packets of known hosts to real {REAL4} are dropped" in one.what


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", [
    "iptables -P INPUT DROP", "iptables -t raw -A PREROUTING -p tcp --dport 25 -j DROP",
    "nft 'add table inet o; add chain inet o i { type filter hook input priority 0; policy drop; }'",
    "nft 'add table inet o; add chain inet o i { type filter hook input priority 0; }; "
    f"add rule inet o i ip daddr {REAL4} tcp dport 25 drop'"])
def test_drops_around_the_kernels_decision_are_found(name: str, command: str, lab: Lab) -> None:
    load(lab, name)
    lab.gateway.run(["sh", "-ec", command], check=True)
    [found] = wrong(lab)
    assert (found.state, f"real {REAL4}" in found.what) == (BROKEN, True)
    if name == "door.nft":
        assert found.check == "rule-behind"
    lab.gateway.run(["sh", "-ec", found.command], check=True)
    assert wrong(lab) == []


def test_nat_behind_the_door_is_no_harm(lab: Lab) -> None:
    load(lab, "door-raw.nft")
    lab.gateway.run(["nft", "add table ip o; add chain ip o n { type nat hook prerouting priority dstnat; }; "
                     f"add rule ip o n ip daddr {REAL4} tcp dport 25 dnat to 10.0.0.1"], check=True)
    assert wrong(lab) == []


def test_those_of_iptables_are_loaded_by_the_shell(lab: Lab) -> None:
    lab.load_ruleset("set-ipset.sh")
    for version in (4, 6):
        assert wrong(lab, version, ipset=True) == []
        [found] = wrong(lab, version, dry=True, ipset=True)
        assert found.check == "rule-dry-run"
        assert found.command.endswith(" --print-ruleset c --iptables) && printf '%s\\n' \"$rules\" | sh")
    # A rule of the operator's in front of it is not the ruleset's: it alone is removed.
    lab.gateway.run(["iptables", "-I", "INPUT", "-p", "tcp", "--dport", "25", "-j", "DROP"], check=True)
    [found] = wrong(lab, ipset=True)
    lab.gateway.run(["sh", "-ec", found.command], check=True)
    assert wrong(lab, ipset=True) == []


def test_of_an_operators_rules_the_faulty_one_is_changed(lab: Lab) -> None:
    lab.gateway.run(["nft", "add table inet own; add chain inet own in { type filter hook input priority 50; }; "
                     "add set inet own mx_white4 { type ipv4_addr; flags timeout; }; "
                     "add rule inet own in tcp dport 25 ip saddr @mx_white4 accept; "
                     "add rule inet own in tcp dport 25 log group 5; "
                     "add rule inet own in ip daddr 192.0.2.10 reject with tcp reset; "
                     "add rule inet own in tcp dport 25 accept"], check=True)
    [found] = wrong(lab)
    assert found.command == "nft replace rule inet own in handle 6 'tcp dport 25 drop'"
    lab.gateway.run(["sh", "-ec", found.command], check=True)
    assert wrong(lab) == []
    [found] = wrong(lab, dry=True)
    assert found.command == "nft replace rule inet own in handle 6 'tcp dport 25 accept'"


def test_the_command_prints_for_the_daemon_as_it_runs(lab: Lab, tmp_path: Path) -> None:
    with lab.gateway.popen(["sleep", "9"]) as other:
        assert "mxallowd --print-ruleset c)" in shipped.load({}, other.pid, "c")
        other.kill()
    program = tmp_path / "mxallowd"
    program.write_text("import time\nprint(flush=True)\ntime.sleep(9)\n", encoding="ascii")
    words = [sys.executable, str(program), "-c", "a b", "--dry-run"]
    with lab.gateway.popen(words, stdout=-1) as process:
        assert process.stdout
        process.stdout.readline()
        assert "$(mxallowd -c 'a b' --dry-run --print-ruleset d) &&" in shipped.load({"config": "x"}, process.pid, "d")
        process.kill()
    command = shipped.load({"ipset": True, "nft_table": None, "config": "/nowhere"}, None, "c")
    assert command.startswith("rules=$(mxallowd -c /nowhere --print-ruleset c --iptables) && ")
    # Nothing is loaded where nothing was printed, and it shows.
    done = lab.gateway.run(["sh", "-c", command.replace("$(mxallowd", f"$({sys.executable} -m mxallowd")],
                           capture_output=True, text=True)
    assert (done.returncode != 0, "/nowhere" in done.stderr) == (True, True)


@pytest.mark.parametrize("name", ["set.nft", "door.nft"])
def test_direct_hosts_need_connection_tracking(name: str, lab: Lab) -> None:
    daemon = facts(queues=[])._replace(daemon={"lists": {"direct": 1}})
    states = []
    for words in (("#direct ",), ("#direct ", "#notrack ")):
        text = (RULESETS / name).read_text(encoding="utf-8").replace("eth0", lab.gateway.interface)
        for word in words:
            text = text.replace(word, "")
        lab.load_texts({name: text})
        nft = lab.gateway.run(["nft", "-a", "-t", "list", "ruleset"], capture_output=True, text=True).stdout
        states += [[one.state for one in direct.of_rules(nft, {}, daemon, version, rules.read(nft, {}, version))]
                   for version in (4, 6)]
    assert states == [[OK], [OK], [WARNING], [WARNING]]
    at_door = daemon._replace(settings={"queues": [], "door": ["eth0"]})
    [one] = direct.of_rules("", {}, at_door, 4, rules.read("", {}, 4))
    assert "mxallowd --print-ruleset d) && " in one.command
    saved = {"iptables": f"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d {FAKE4}/32 -p tcp --dport 25 -j CT "
             "--notrack\nCOMMIT\n*nat\n-A MX_DIRECT -m set --match-set mx_direct4 src -j DNAT\nCOMMIT\n"}
    [one] = direct.of_rules("", saved, daemon, 4, rules.read("", saved, 4))
    assert (one.state, "not tracked, by iptables -t raw" in one.what) == (WARNING, True)
