"""The rulesets loaded again after an edit: what was edited holds, or nothing changes and a line says what to do."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, RULESETS, Attempt, Host, Lab
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.ways import WAYS, Way, start

SHELL = ("queue.sh", "queue-set-mark.sh", "queue-set-ipset.sh", "set-ipset.sh")
NFT = ("set.nft", "queue-set-mark.nft")
NOTRACK = {"\t#notrack ": "\t"}
DOOR = ("door.nft", "door-raw.nft")
BESIDE = ("outbound.sh", "outbound.nft")
# Not in this kernel, and what stands in its place: the rest of the file is tried.
NFT_QUEUE, INSTEAD = "queue num 23 bypass", "counter accept"
JUMP = "-A INPUT -p tcp -m tcp --dport 25 --tcp-flags FIN,SYN,RST,ACK SYN -j MXALLOWD"
ADD_ELEMENT = ("nft", "add", "element", "inet", "mxallowd", "mx_white4")
shell = pytest.mark.parametrize("name", SHELL)
with_ipset = pytest.mark.parametrize("name", SHELL[2:])


def saved(lab: Lab, program: str = "iptables") -> list[str]:
    """All rules, without comments and counters of packets."""
    text = lab.gateway.run([f"{program}-save"], capture_output=True, text=True, check=True).stdout
    return [re.sub(r"\[\d+:\d+\]", "[]", line) for line in text.splitlines() if not line.startswith("#")]


def everything(lab: Lab) -> list[str]:
    """What must stay when an edit is refused."""
    sets = lab.gateway.run(["ipset", "save"], capture_output=True, text=True, check=True).stdout
    nft = lab.gateway.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return [*saved(lab), *saved(lab, "ip6tables"), re.sub(r"(add .*) timeout \d+", r"\1", sets),
            *sorted(re.sub(r" expires \w+", "", nft).splitlines())]


def load_nft(lab: Lab, name: str, **keywords: dict[str, str]) -> None:
    """Load one for nft, without the statement that this kernel lacks."""
    text = (RULESETS / name).read_text(encoding="utf-8")
    edits = keywords.get("edits", {}) | ({NFT_QUEUE: INSTEAD} if NFT_QUEUE in text else {})
    lab.load_ruleset(name, edits=edits)


def test_what_all_have_in_common_is_the_same() -> None:
    for names, first in ((SHELL, "# ---- What follows"), (("queue.nft", "queue-set.nft", *NFT), "define fake4")):
        texts = [(RULESETS / name).read_text(encoding="utf-8") for name in names]
        parts = {text[text.index(first):].partition("\tset mx_white4")[0].partition("\tchain input {\n\t\t")[0]
                 .strip() for text in texts}
        assert len(parts) == 1
    assert {path.name for path in RULESETS.iterdir()} == {*SHELL, "queue.nft", "queue-set.nft", *NFT, *DOOR, *BESIDE}


@shell
def test_loaded_again_it_changes_nothing(lab: Lab, name: str) -> None:
    if name == "queue-set-mark.sh":
        lab.load_ruleset("queue-set-mark.nft")
    assert lab.load_ruleset(name) == ""
    before = everything(lab)
    assert before.count(JUMP) == 2
    assert lab.load_ruleset(name) == ""
    assert everything(lab) == before


@pytest.mark.parametrize("name", ["queue.nft", "queue-set.nft", *NFT])
def test_loaded_again_with_nft_it_changes_nothing(lab: Lab, name: str) -> None:
    load_nft(lab, name)
    before = everything(lab)
    load_nft(lab, name)
    assert everything(lab) == before


@pytest.mark.parametrize("name", [*NFT, "queue.nft", *DOOR])
def test_notrack_with_nft_is_taken_back(lab: Lab, name: str) -> None:
    load_nft(lab, name)
    before = everything(lab)
    for _ in range(2):
        load_nft(lab, name, edits=NOTRACK)
        assert "\n".join(everything(lab)).count(" notrack") == 4
    load_nft(lab, name)
    assert everything(lab) == before


def test_a_word_that_track_does_not_know(lab: Lab) -> None:
    with pytest.raises(RuntimeError, match="nothing was changed: track=never is none of yes, no and notrack"):
        lab.load_ruleset("queue.sh", edits={"track=yes": "track=never"})


@pytest.mark.parametrize("name", ["queue.nft", "queue-set.nft"])
def test_this_kernel_lacks_the_queue_statement_alone(lab: Lab, name: str) -> None:
    done = lab.gateway.run(["nft", "-f", str(RULESETS / name)], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        assert len(lines) == 2
        assert all("Could not process rule: No such file or directory" in line for line in lines)
        assert done.stderr.count(NFT_QUEUE) == 2


EDITS = {
    "queue number": ({"--queue-num 23": "--queue-num 24"}, SHELL[:3], "--queue-num 24 ", "--queue-num 23 "),
    "balance": ({"--queue-num 23": "--queue-balance 23:24"}, SHELL[:3], "--queue-balance 23:24", "--queue-num 23"),
    "bypass": ({" --queue-bypass": ""}, SHELL[:3], "-j NFQUEUE --queue-num 23", "--queue-bypass"),
    "group": ({"--nflog-group 5": "--nflog-group 6"}, SHELL[3:], "--nflog-group 6", "--nflog-group 5"),
    "real": ({'real4="192.0.2.20"': 'real4="192.0.2.21 192.0.2.22"'}, SHELL, "192.0.2.22/32", "192.0.2.20/32"),
    "fake": ({'fake4="192.0.2.10"': 'fake4="192.0.2.11"'}, SHELL, "192.0.2.11/32", "192.0.2.10/32"),
    "exempt": ({'exempt4=""': 'exempt4="203.0.113.7 10.0.0.0/8"'}, SHELL, "-s 10.0.0.0/8 -j RETURN", "-s 10.1.0.0/8"),
    "mark": ({'mark=""': 'mark="0x4/0x4"'}, SHELL, "-m mark --mark 0x4/0x4 -j RETURN", "-m mark --mark 0x5"),
    "untracked": ({"track=yes": "track=no"}, SHELL, "MXALLOWD", "--ctstate"),
    "notrack": ({"track=yes": "track=notrack"}, ("queue.sh", "set-ipset.sh"), "-j CT --notrack", "--ctstate"),
}


@pytest.mark.parametrize(("edit", "name"), [(edit, name) for edit, row in EDITS.items() for name in row[1]])
def test_an_edit_holds_and_the_old_rule_is_gone(lab: Lab, edit: str, name: str) -> None:
    edits, _, there, gone = EDITS[edit]
    lab.load_ruleset(name)
    lab.load_ruleset(name, edits=edits)
    rules = saved(lab)
    assert rules.count(JUMP) == 1
    assert any(there in rule for rule in rules)
    assert not any(gone in rule for rule in rules), rules
    # The first one is what it was, with all that belongs to it.
    lab.load_ruleset(name)
    assert not any(there in rule for rule in saved(lab)) or edit in ("bypass", "untracked")


@shell
def test_another_table_or_chain_leaves_nothing_behind(lab: Lab, name: str) -> None:
    tables = []
    for place in ("table=filter chains=INPUT", 'table=filter chains="INPUT FORWARD"', "table=filter chains=FORWARD",
                  "table=security chains=INPUT", "table=mangle chains=PREROUTING", "table=filter chains=INPUT"):
        lab.load_ruleset(name, edits={"table=filter chains=INPUT": place})
        found, table = [], ""
        for line in saved(lab):
            table = line if line.startswith("*") else table
            if line.endswith("-j MXALLOWD"):
                found.append(f"{table[1:]} {line.split()[1]}")
            assert "MXALLOWD" not in line or table[1:] in place
        tables.append(found)
    assert tables == [["filter INPUT"], ["filter INPUT", "filter FORWARD"], ["filter FORWARD"], ["security INPUT"],
                      ["mangle PREROUTING"], ["filter INPUT"]]


def test_the_jump_stays_where_the_operator_put_it(lab: Lab) -> None:
    lab.load_ruleset("queue.sh")
    lab.input_rule("-s", "203.0.113.7", "-j", "DROP", programs=["iptables"])
    lab.load_ruleset("queue.sh", edits={"--queue-num 23": "--queue-num 24"})
    rules = [line for line in saved(lab) if line.startswith("-A INPUT")]
    assert rules == [JUMP, "-A INPUT -s 203.0.113.7/32 -j DROP"]


def test_another_way_takes_the_place_of_the_first(lab: Lab) -> None:
    lab.load_ruleset("set-ipset.sh")
    lab.load_ruleset("queue.sh")
    rules = saved(lab)
    assert rules.count(JUMP) == 1
    assert not any("NFLOG" in rule or "MXALLOWD_" in rule for rule in rules)


def test_a_rule_of_an_earlier_release_is_said(lab: Lab) -> None:
    old = ("-p", "tcp", "-m", "tcp", "--dport", "25", "-m", "state", "--state", "NEW", "-j", "NFQUEUE", "--queue-num",
           "23", "--queue-bypass")
    lab.input_rule(*old)
    said = lab.load_ruleset("queue.sh").splitlines()
    assert len(said) == 2
    for line, program in zip(said, ("iptables", "ip6tables"), strict=True):
        assert line.startswith("mxallowd: another rule sends port 25 to a queue.")
        # What it says is what helps.
        command = line.partition("of mxallowd: ")[2]
        assert command.startswith(f"{program} -t filter -D INPUT ")
        lab.gateway.run(command.split(), check=True)
    assert lab.load_ruleset("queue.sh") == ""


@shell
def test_the_legacy_programs_take_them_as_well(lab: Lab, tmp_path: Path, name: str) -> None:
    """On hosts whose iptables does not speak to nf_tables, loaded twice, then in another table."""
    programs = [f"{program}{end}" for program in ("iptables", "ip6tables") for end in ("", "-save", "-restore")]
    if not shutil.which("iptables-legacy"):
        pytest.skip("iptables-legacy is not installed")
    environment = without(tmp_path, *programs)
    for program in programs:
        legacy = shutil.which(program.replace("tables", "tables-legacy"))
        assert legacy
        (tmp_path / program).symlink_to(legacy)
    if lab.gateway.run([str(tmp_path / "iptables"), "-S"], capture_output=True).returncode:
        pytest.skip("this kernel has no legacy tables")
    text = (RULESETS / name).read_text(encoding="utf-8").replace("table=filter", "table=security")
    (tmp_path / "edited.sh").write_text(text, encoding="utf-8")
    for path, table in ((name, "filter"), (name, "filter"), (str(tmp_path / "edited.sh"), "security")):
        done = run(lab, path, environment)
        assert (done.returncode, done.stderr) == (0, "")
        for program in ("iptables", "ip6tables"):
            output = lab.gateway.run([str(tmp_path / f"{program}-save")], capture_output=True, text=True).stdout
            for part in output.split("*")[1:]:
                assert part.count(JUMP) == part.startswith(table)
                assert ("MXALLOWD" in part) == part.startswith(table)


@with_ipset
@pytest.mark.parametrize("edit", [
    {"maxelem 2000000": "maxelem 1000"}, {"timeout 28800": "timeout 7200"}, {"timeout 28800 ": ""},
    {"maxelem 2000000": "maxelem 2000000 counters"}, {"maxelem 2000000": "maxelem 2000000 netmask 24"},
], ids=["maxelem", "timeout", "no timeout", "flags", "netmask"])
def test_what_an_ipset_cannot_change_is_refused(lab: Lab, name: str, edit: dict[str, str]) -> None:
    lab.load_ruleset(name)
    lab.gateway.run(["ipset", "add", "mx_white4", SENDER4], check=True)
    before = everything(lab)
    edits = edit | {"192.0.2.20": "192.0.2.21"}
    # Each set is exchanged by the command that the line says, and then the file is loaded.
    for version in ("4", "6") * 3:
        with pytest.raises(RuntimeError) as caught:
            lab.load_ruleset(name, edits=edits)
        said = str(caught.value)
        assert said.count("\n") == 0
        assert "mxallowd: nothing was changed: the set mx_" in said
        if version == "4" and "mx_white4" in said:
            assert everything(lab) == before
        commands = said.partition("fills it again: ")[2]
        lab.gateway.run(["sh", "-ec", commands], check=True)
    lab.load_ruleset(name, edits=edits)
    assert any("192.0.2.21" in rule for rule in saved(lab))


@with_ipset
def test_a_set_of_another_type_is_refused(lab: Lab, name: str) -> None:
    lab.gateway.run(["ipset", "create", "mx_used6", "hash:net", "family", "inet6", "timeout", "3600"], check=True)
    before = everything(lab)
    with pytest.raises(RuntimeError, match=r"nothing was changed: the set mx_used6 has .*hash:net"):
        lab.load_ruleset(name)
    assert everything(lab) == before


@shell
def test_a_mistake_in_one_family_changes_neither(lab: Lab, name: str) -> None:
    lab.load_ruleset(name)
    before = everything(lab)
    for wrong in ({'real6="2001:db8::20"': 'real6="2001:db8::2g"', "192.0.2.10": "192.0.2.11"},
                  {'real4="192.0.2.20"': 'real4="mx.example.org."'}):
        with pytest.raises(RuntimeError, match="nothing was changed: "):
            lab.load_ruleset(name, edits=wrong)
        assert everything(lab) == before


@pytest.mark.parametrize("name", NFT)
def test_an_edit_with_nft_holds_and_the_elements_stay(lab: Lab, name: str) -> None:
    lab.load_ruleset(name)
    lab.gateway.run([*ADD_ELEMENT, f"{{ {SENDER4} timeout 1h }}"], check=True)
    edits = {"fake4 = 192.0.2.10": "fake4 = { 192.0.2.11, 192.0.2.12 }", "real6 = 2001:db8::20": "real6 = 2001:db8::21",
             "# elements = { 203.0.113.7,": "elements = { 203.0.113.7,", "priority filter - 5": "priority filter - 6",
             "priority security": "priority filter + 20"}
    text = (RULESETS / name).read_text(encoding="utf-8")
    lab.load_ruleset(name, edits={old: new for old, new in edits.items() if old in text})
    listing = lab.gateway.run(["nft", "list", "table", "inet", "mxallowd"], capture_output=True, text=True).stdout
    assert SENDER4 in listing
    for there in ("192.0.2.12", "2001:db8::21", "203.0.113.64/26"):
        assert there in listing
    assert f"priority {'20' if name == 'set.nft' else 'filter - 6'};" in listing
    assert not re.search(r"192\.0\.2\.10\b", listing)
    # Who is exempt is what the file says.
    lab.load_ruleset(name)
    listing = lab.gateway.run(["nft", "list", "table", "inet", "mxallowd"], capture_output=True, text=True).stdout
    assert "203.0.113.64/26" not in listing
    assert SENDER4 in listing


@pytest.mark.parametrize("name", NFT)
@pytest.mark.parametrize("flags", ["flags timeout,dynamic", "flags timeout,interval", "flags constant"])
def test_what_an_nft_set_cannot_change_is_refused(lab: Lab, name: str, flags: str) -> None:
    lab.load_ruleset(name)
    lab.gateway.run([*ADD_ELEMENT, f"{{ {SENDER4} timeout 1h }}"], check=True)
    before = everything(lab)
    with pytest.raises(RuntimeError, match=r"Error: Could not process rule: File exists\n.*set mx_white4 .*: "
                       "nft delete table inet mxallowd, load again"):
        lab.load_ruleset(name, edits={"flags timeout": flags, "192.0.2.20": "192.0.2.21"})
    assert everything(lab) == before
    # What the file says of it.
    lab.gateway.run(["nft", "delete", "table", "inet", "mxallowd"], check=True)
    if flags != "flags constant":
        lab.load_ruleset(name, edits={"flags timeout": flags, "192.0.2.20": "192.0.2.21"})


@pytest.mark.parametrize("name", NFT)
def test_a_set_of_nft_grows_in_use(lab: Lab, name: str) -> None:
    lab.load_ruleset(name, edits={"size 2000000": "size 1"})
    lab.gateway.run([*ADD_ELEMENT, "{ 192.0.2.1 timeout 1h }"], check=True)
    assert lab.gateway.run([*ADD_ELEMENT, "{ 192.0.2.2 timeout 1h }"], capture_output=True).returncode != 0
    lab.load_ruleset(name, edits={"size 2000000": "size 2"})
    listing = lab.gateway.run(["nft", "list", "set", "inet", "mxallowd", "mx_white4"], capture_output=True, text=True)
    assert "192.0.2.1" in listing.stdout
    # Kernels before 6.5 keep the size, and say nothing: docs/firewall.md.
    if "size 2" in listing.stdout:
        lab.gateway.run([*ADD_ELEMENT, "{ 192.0.2.2 timeout 1h }"], check=True)


def without(tmp_path: Path, *missing: str) -> dict[str, str]:
    """An environment whose PATH has all programs but these."""
    places = [Path(place) for place in ("/usr/sbin", "/sbin", "/usr/bin", "/bin")]
    for place in places:
        for program in place.iterdir():
            link = tmp_path / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return os.environ | {"PATH": str(tmp_path)}


def run(lab: Lab, name: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a ruleset in this environment."""
    ip = shutil.which("ip")
    assert ip
    return subprocess.run([ip, "netns", "exec", lab.gateway.name, "/bin/sh", str(RULESETS / name)], env=environment,
                          capture_output=True, text=True, check=False)


@shell
def test_without_ip6tables_the_half_for_ipv4_is_loaded(lab: Lab, tmp_path: Path, name: str) -> None:
    done = run(lab, name, without(tmp_path, "ip6tables", "ip6tables-save", "ip6tables-restore"))
    assert (done.returncode, done.stderr) == (
        0, "mxallowd: the program ip6tables is not installed: the rules are those for IPv4 alone\n")
    assert JUMP in saved(lab)
    assert not any("MXALLOWD" in line for line in saved(lab, "ip6tables"))
    # Nothing is said where nothing of IPv6 was asked for.
    text = re.sub(r'6="2001:db8::[12]0"', '6=""', (RULESETS / name).read_text(encoding="utf-8"))
    (tmp_path / "edited.sh").write_text(text, encoding="utf-8")
    done = run(lab, str(tmp_path / "edited.sh"), os.environ | {"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")


@shell
def test_a_kernel_without_ipv6_gets_the_half_for_ipv4(lab: Lab, tmp_path: Path, name: str) -> None:
    """ip6tables is there and says what the legacy one says on such a kernel."""
    environment = without(tmp_path, "ip6tables")
    reason = "ip6tables v1.8.9 (legacy): can't initialize ip6tables table `filter': Address family not supported"
    said = reason.replace("`", "\\`")
    (tmp_path / "ip6tables").write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 3\n', encoding="utf-8")
    (tmp_path / "ip6tables").chmod(0o755)
    done = run(lab, name, environment)
    assert (done.returncode, done.stderr) == (
        0, f"mxallowd: no rules for IPv6, those for IPv4 alone: {reason}\n")
    assert JUMP in saved(lab)


@pytest.mark.parametrize(("name", "missing"), [("queue.sh", "iptables"), *((name, "ipset") for name in SHELL[2:])])
def test_a_program_that_it_needs_is_missing(lab: Lab, tmp_path: Path, name: str, missing: str) -> None:
    before = everything(lab)
    done = run(lab, name, without(tmp_path, missing, f"{missing}-restore", f"{missing}-save"))
    assert (done.returncode, done.stderr) == (
        1, f"mxallowd: nothing was changed: the program {missing} is not installed\n")
    assert everything(lab) == before


def test_addresses_of_ipv6_that_are_taken_out_leave_no_rule(lab: Lab) -> None:
    lab.load_ruleset("queue.sh")
    lab.load_ruleset("queue.sh", edits={'fake6="2001:db8::10"': 'fake6=""', 'real6="2001:db8::20"': 'real6=""'})
    assert not any("MXALLOWD" in line for line in saved(lab, "ip6tables"))
    assert JUMP in saved(lab)


@pytest.mark.parametrize("way", ["queue", "queue-set-ipset"], indirect=True)
def test_an_edited_queue_number_moves_a_running_way(served: Lab, client: Host, way: Way) -> None:
    """The new daemon serves the new number, then the rules follow; the old one gets nothing any more."""
    served.load_ruleset(*way.rulesets)
    with start(served, way) as old, DaemonProcess(
            served.gateway, ["-c", "/dev/null", *SERVERS, "-n", "24", "-b"]) as new:
        new.wait_for("start ")
        served.load_ruleset(*way.rulesets, edits={"--queue-num 23": "--queue-num 24"})
        for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert client.attempt(real, source=sender) is Attempt.CONNECTED
        assert (old.counters()["received"], new.counters()["received"]) == (0, 4)


@pytest.mark.parametrize("name", [name for name in WAYS if name.startswith("queue-set") or name == "set"])
def test_several_addresses_of_a_kind(served: Lab, client: Host, name: str) -> None:
    way = WAYS[name]
    edits = {'fake4="192.0.2.10"': 'fake4="192.0.2.11 192.0.2.10"',
             'real4="192.0.2.20"': 'real4="192.0.2.20 192.0.2.21"',
             "fake4 = 192.0.2.10": "fake4 = { 192.0.2.11, 192.0.2.10 }",
             "real4 = 192.0.2.20": "real4 = { 192.0.2.20, 192.0.2.21 }"}
    text = "".join(way.text())
    served.gateway.add_address("192.0.2.11/24", "192.0.2.21/24")
    served.load_ruleset(*way.rulesets, edits={old: new for old, new in edits.items() if old in text})
    with served.gateway.serve("192.0.2.21"), start(served, way, "-f", "192.0.2.11", "-r", "192.0.2.21"):
        for real in ("192.0.2.21", REAL4):
            assert client.attempt(real, timeout=0.3) is Attempt.DROPPED
        assert client.attempt("192.0.2.11") is Attempt.REFUSED
        for real in ("192.0.2.21", REAL4):
            assert client.attempt(real, timeout=4) is Attempt.CONNECTED
