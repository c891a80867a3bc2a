"""What doctor reads of rules of nft, in the words of several versions; this kernel may lack the queue statement."""
import ipaddress
import shlex
from typing import Any

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Lab
from mxallowd.ctl.doctor import rules
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding

# As nft 1.0.6 lists queue-set.nft with `nft -a list ruleset`, shortened.
LISTED = """table inet mxallowd { # handle 7
\tset mx_used4 { # handle 3
\t\ttype ipv4_addr
\t\tflags timeout
\t}

\tchain input { # handle 1
\t\ttype filter hook input priority security; policy accept;
\t\ttcp dport 25 tcp flags & (fin | syn | rst | ack) == syn goto mx_new # handle 19
\t}

\tchain mx_new { # handle 2
\t\tip saddr @mx_used4 accept # handle 20
\t\tip daddr { 192.0.2.10, 192.0.2.20 } queue flags bypass to 23 # handle 21
\t\tip6 daddr { 2001:db8::10, 2001:db8::20 } queue flags bypass to 23 # handle 22
\t}
}
table ip other { # handle 8
\tchain input { # handle 1
\t\ttcp dport 8025 queue to 99 # handle 4
\t}
}
"""


def facts(**settings: Any) -> Facts:
    fake, real = (tuple(map(ipaddress.ip_address, servers)) for servers in ((FAKE4, FAKE6), (REAL4, REAL6)))
    return Facts(fake, real, {"queues": [23], "capture": None, "pf_table": None} | settings, None)


def findings(nft: str = "", number: int = 23, version: int = 4, **saved: str) -> list[Finding]:
    return rules.of_ruleset(rules.read(nft, saved, version), facts(queues=[number]), version, frozenset({"eth0"}),
                            lambda _: True)


def states(listing: str, number: int = 23) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for version in (4, 6):
        for one in findings(listing, number, version):
            found.setdefault(one.check, set()).add(one.state)
    return found


WELL = {check: {OK} for check in ("rule-present", "rule-reached", "rule-first", "syn", "bypass")}


def test_a_ruleset_that_is_well() -> None:
    assert states(LISTED) == WELL
    assert states(LISTED.replace("flags & (fin | syn | rst | ack) == syn", "flags syn / fin,syn,rst,ack")) == WELL
    # Another queue's rule is nobody's business.
    assert states(LISTED, 24) == {"rule-present": {BROKEN}}
    assert states(LISTED, 99) == {"rule-present": {BROKEN, OK}, "rule-reached": {BROKEN}, "syn": {OK}}


@pytest.mark.parametrize(("statement", "mended"), [
    ("queue to 23", "queue flags bypass to 23"), ("queue num 23", "queue num 23 bypass"),
    ("queue flags fanout to 23-25", "queue flags fanout,bypass to 23-25"),
    ("queue num 20-25", "queue num 20-25 bypass")])
def test_a_queue_statement_without_bypass(statement: str, mended: str, lab: Lab) -> None:
    listing = LISTED.replace("queue flags bypass to 23", statement)
    [found] = [one for one in findings(listing, 23, 6) if one.state != OK and "ip6" in one.what]
    words = shlex.split(found.command)
    assert words[:7] == ["nft", "replace", "rule", "inet", "mxallowd", "mx_new", "handle"]
    assert words[7:] == ["22", f"ip6 daddr {{ 2001:db8::10, 2001:db8::20 }} {mended}"]
    # What comes of it is well, and nft can read it, whatever this kernel has.
    assert states(listing.replace(statement, mended)) == WELL
    text = f"table inet t {{\nchain c {{\n{words[8]}\n}}\n}}\n"
    assert "syntax error" not in lab.gateway.run(["nft", "-c", text], capture_output=True, text=True).stderr


def test_a_rule_of_nft_that_takes_other_packets_than_syns() -> None:
    listing = LISTED.replace("tcp flags & (fin | syn | rst | ack) == syn ", "")
    [found] = [one for one in findings(listing, 23, 6) if one.state != OK]
    assert (found.check, found.state) == ("syn", WARNING)
    assert "handle 19 'tcp flags & (fin | syn | rst | ack) == syn tcp dport 25 goto mx_new'" in found.command


def test_rules_that_doctor_does_not_read() -> None:
    [found] = rules.check(facts(queues=[], capture="pflog0", pf_table="mx"))
    assert (found.state, found.command) == (WARNING, "pfctl -s rules")
    assert "not checked" in found.what
    [found] = rules.check(facts(queues=[], capture="eth0"))
    assert (found.state, "eth0" in found.what) == (WARNING, True)


SYN = "--tcp-flags FIN,SYN,RST,ACK SYN"
BOTH = "".join(f"-A INPUT ! -i lo -p tcp -d {one}/32 -m tcp --dport 25 {SYN} -j NFQUEUE --queue-num 23 --queue-bypass\n"
               for one in (FAKE4, REAL4))
CHAINS = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"


def of_iptables(lines: str, chains: str = CHAINS, more: str = "") -> dict[str, Finding]:
    """What is not well, by check."""
    text = f"{more}*filter\n{chains}{lines}COMMIT\n"
    found = [one for one in findings(iptables=text) if one.state != OK]
    assert len(found) == len({(one.check, one.what) for one in found}), found
    assert all(one.command and one.why for one in found)
    return {one.check: one for one in found}


@pytest.mark.parametrize(("lines", "check", "words", "command"), [
    # (a) for the fake server alone, (b) another port: no rule takes a stranger's SYN to the real one.
    (BOTH.splitlines()[0] + "\n", "rule-reached", [f"packets to real {REAL4} are accepted, and no rule"],
     f"iptables -t filter -A INPUT ! -i lo -p tcp --dport 25 --syn -d {REAL4} -j NFQUEUE --queue-num 23"),
    (BOTH.replace("25", "24"), "rule-reached", [f"fake {FAKE4} and real {REAL4}", "--dport 24"],
     f"-d {FAKE4},{REAL4} -j"),
    # (c) dropped before, by a rule and by another table; (e) accepted before.
    (f"-A INPUT -p tcp --dport 25 -j DROP\n{BOTH}", "rule-first", ["are dropped before", "--dport 25 -j DROP"],
     f"iptables -t filter -I INPUT 1 ! -i lo -p tcp --dport 25 --syn -d {FAKE4},{REAL4} -j NFQUEUE"),
    (f"-A INPUT -j REJECT\n{BOTH}", "rule-first", ["are dropped before"], "-I INPUT 1 "),
    (f"-A INPUT -s 203.0.0.0/8 -j ACCEPT\n{BOTH}", "rule-exempt", ["hosts of 203.0.0.0/8 reach", "-s 203.0.0.0/8"],
     "iptables -t filter -D INPUT -s 203.0.0.0/8 -j ACCEPT"),
    (f"-A INPUT ! -s 10.0.0.0/8 -p tcp -m multiport --dports 22,25 -j ACCEPT\n{BOTH}", "rule-first",
     ["are accepted before"], "-I INPUT 1 "),
    (f"-A INPUT -p tcp --dport 25 -j mail\n-A mail -j ACCEPT\n{BOTH}", "rule-first",
     ["by iptables -A mail -j ACCEPT"], "-I INPUT 1 "),
    (f"-A INPUT -j NFQUEUE --queue-num 7\n{BOTH}", "rule-first", ["--queue-num 7"], "-I INPUT 1 "),
    # (d) the fake server's answer.
    (f"{BOTH}-A OUTPUT -p tcp -m tcp --tcp-flags RST RST -j DROP\n", "fake-answers",
     [f"RST of the fake server {FAKE4}"],
     "iptables -t filter -D OUTPUT -p tcp -m tcp --tcp-flags RST RST -j DROP"),
    ("-A mine -p tcp -j NFQUEUE --queue-num 23 --queue-bypass\n", "rule-reached", ["no rule leads to the chain mine"],
     "-j mine")])
def test_rules_that_keep_nolisting_from_working(lines: str, check: str, words: list[str], command: str) -> None:
    chains = CHAINS + ":mail - [0:0]\n:mine - [0:0]\n"
    found = of_iptables(lines, chains)
    if check != "rule-reached" or "mine" not in command:
        assert list(found) == [check], found
    assert command in found[check].command, found
    assert [word for word in words if word not in found[check].what] == [], found


def test_the_old_rule_beside_others_that_do_its_work_is_removed() -> None:
    """Whichever comes first; where the others are no better, or miss a server, it is mended."""
    old = "-p tcp -m tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num 23"
    chain = f"-A INPUT -p tcp -m tcp --dport 25 {SYN} -j mail\n{BOTH.replace('INPUT', 'mail')}"
    for lines in (f"-A INPUT {old}\n{chain}", f"{chain}-A INPUT {old}\n", f"-A INPUT {old}\n{BOTH}"):
        found = of_iptables(lines, CHAINS + ":mail - [0:0]\n")
        assert {check: one.command for check, one in found.items()} == dict.fromkeys(
            ("syn", "bypass"), f"iptables -t filter -D INPUT {old}")
    for lines in (f"-A INPUT {old}\n", f"-A INPUT {old}\n{BOTH.splitlines()[0]}\n"):
        assert all(" -I INPUT 1 " in one.command for one in of_iptables(lines).values())
    twice = of_iptables(f"-A INPUT {old}\n{BOTH.replace(' --queue-bypass', '')}")
    assert " -I INPUT 1 " in twice["syn"].command


@pytest.mark.parametrize("lines", [
    BOTH, f"-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{BOTH}",
    f"-A INPUT -p udp -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -f -j DROP\n{BOTH}",
    f"-A INPUT -m conntrack --ctstate INVALID -j DROP\n-A INPUT -s 203.0.113.0/24 -j DROP\n{BOTH}",
    f"-A INPUT -m set --match-set good src -j ACCEPT\n-A INPUT -m limit --limit 5/min -j DROP\n{BOTH}",
    f"-A INPUT -s 203.0.113.7/32 -j ACCEPT\n-A INPUT -m mark --mark 0x5 -j ACCEPT\n-A INPUT -j LOG\n{BOTH}",
    f"-A INPUT -p tcp --dport 25 {SYN} -j mail\n-A mail -m addrtype --src-type LOCAL -j RETURN\n"
    "-A mail -m comment --comment \"it's mail\" -j NFQUEUE --queue-num 23 --queue-bypass\n",
    f"{BOTH}-A INPUT -j DROP\n-A OUTPUT -o lo -j DROP\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    "-A OUTPUT -j DROP\n"])
def test_rules_that_do_no_harm(lines: str) -> None:
    assert of_iptables(lines, CHAINS + ":mail - [0:0]\n") == {}


def test_tables_and_policies_around_the_queue() -> None:
    found = of_iptables(BOTH, more="*raw\n:PREROUTING DROP [0:0]\nCOMMIT\n")
    assert "by the policy of iptables raw PREROUTING" in found["rule-first"].what
    assert found["rule-first"].command == "iptables -t raw -A PREROUTING -p tcp --dport 25 -j ACCEPT"
    found = of_iptables(BOTH, more="*security\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 25 -j DROP\nCOMMIT\n")
    assert found["rule-behind"].command == "iptables -t security -D INPUT -p tcp --dport 25 -j DROP"
    found = of_iptables(BOTH, more="*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 25 -j DNAT "
                                   "--to-destination 10.0.0.1\nCOMMIT\n")
    assert "led elsewhere" in found["rule-away"].what


@pytest.mark.parametrize(("rule", "check"), [
    ("tcp dport { 22, 25 } accept", "rule-first"), ("tcp dport 20-30 drop", "rule-first"),
    ("ip saddr 203.0.0.0/8 accept", "rule-exempt"),
    ("ct state vmap { established : accept, new : drop }", "rule-first"),
    ("tcp dport vmap { 22 : accept, 25 : accept }", "rule-first"),
    ("ct state vmap { established : accept, invalid : drop }", None), ("ip saddr @good accept", None),
    ("iifname \"lo\" accept", None), ("ip daddr 192.0.2.77 drop", None), ("limit rate 5/second drop", None),
    ("meta l4proto udp drop", None), ("ip6 saddr ::/0 drop", None),
    ("ip saddr != 203.0.113.0/24 accept", "rule-first"),
    ("ct state established,related accept", None), ("counter packets 3 bytes 5 drop comment \"all\"", "rule-first")])
def test_rules_of_nft_before_it(rule: str, check: str | None) -> None:
    listing = LISTED.replace("\t\ttcp dport 25 tcp flags", f"\t\t{rule} # handle 9\n\t\ttcp dport 25 tcp flags", 1)
    found = [one for one in findings(listing) if one.state != OK]
    assert [one.check for one in found] == ([check] if check else []), found
    if check == "rule-first":
        assert found[0].command.startswith("nft insert rule inet mxallowd input position 9 'tcp dport 25 tcp flags")
        assert found[0].command.endswith(" && nft delete rule inet mxallowd input handle 19")


def test_the_rules_of_network_key_are_well(lab: Lab) -> None:
    lab.load_ruleset("set.nft", edits={"#net ": ""})
    listing = lab.gateway.run(["nft", "-a", "-t", "list", "ruleset"], capture_output=True, text=True).stdout
    assert "goto mx_network" in listing
    for version in (4, 6):
        known = facts(queues=[], capture="nflog:5", dry_run=False)
        found = rules.of_ruleset(rules.read(listing, {}, version), known, version, frozenset({"eth0"}), lambda _: True)
        assert [one for one in found if one.state != OK] == []


def one_of(lines: str, number: int, **more: Any) -> Finding:
    """The only thing that is not well, with rules of iptables for IPv4."""
    found = rules.of_ruleset(
        rules.read("", {"iptables": f"*filter\n{CHAINS}:MX_REAL - [0:0]\n{lines}COMMIT\n"}, 4),
        facts(**{"queues": [number]} | more), 4, frozenset({"eth0"}), lambda _: True, served={55})
    [bad] = [one for one in found if one.state != OK]
    return bad


def test_another_queue_before_it() -> None:
    found = one_of(f"-A INPUT -i lo -j ACCEPT\n{BOTH}", 55)
    assert "this one feeds a queue that nobody serves" in found.what
    lines = [line.removeprefix("-A INPUT ").replace(SYN, f"--tcp-flags {SYN.split(' ', 1)[1]}")
             for line in BOTH.splitlines()]
    assert found.command == " && ".join(
        f"iptables -t filter -D INPUT {line} && iptables -t filter -I INPUT {at} {line.replace('23', '55')}"
        for at, line in enumerate(lines, 2))
    # Another program serves it: in that case before all of its rules, whichever server comes first.
    for own in (BOTH.splitlines(keepends=True), BOTH.splitlines(keepends=True)[::-1]):
        found = one_of("-A INPUT -i lo -j ACCEPT\n" + "".join(own).replace("queue-num 23", "queue-num 55"), 23)
        assert found.command.startswith("iptables -t filter -I INPUT 2 "), found
        moved = of_iptables("".join(own).replace("queue-num 23", "queue-num 55")
                            + f"-A INPUT -p tcp --dport 25 {SYN} -j NFQUEUE --queue-num 23 --queue-bypass\n")
        assert " -I INPUT 1 " in moved["rule-first"].command


def test_several_queues_are_one_rule() -> None:
    queues = {"queues": [23, 24, 25, 26]}
    found = one_of("", 23, **queues)
    assert "queues 23, 24, 25 and 26" in found.what
    assert "-j NFQUEUE --queue-balance 23:26 --queue-bypass" in found.command
    # A rule that no packet comes to feeds nothing.
    late = BOTH + BOTH.replace("queue-num 23", "queue-num 24")
    found = one_of(late, 23, **queues)
    assert "queues 24, 25 and 26 with" in found.what
    assert found.command.count("--queue-balance 23:26 --queue-bypass") == 2
    listing = LISTED.replace("@mx_used4 accept", "@mx_used4 drop")
    wrong = [one for one in rules.of_ruleset(rules.read(listing, {}, 4), facts(**queues), 4, frozenset({"eth0"}),
                                             lambda _: True) if one.state != OK]
    assert "queue flags bypass to 23-26" in wrong[0].command


def test_the_mark_of_accepted_packets() -> None:
    mark = {"verdict_mark": "0x10/0x10"}
    assert " -m mark ! --mark 0x10/0x10 -j NFQUEUE --queue-num 23" in one_of("", 23, **mark).command
    line = BOTH.replace(f" -d {FAKE4}/32", "").splitlines()[0] + "\n"
    found = one_of(line, 23, **mark)
    assert found.check == "mark"
    after = found.command.rpartition(" -I INPUT 1 ")[2]
    assert "-m mark ! --mark 0x10/0x10 -j" in after
    for well in (f"-A INPUT {after}\n", f"-A INPUT -m mark --mark 0x10/0x10 -j ACCEPT\n{line}"):
        with pytest.raises(ValueError, match="not enough values"):
            one_of(well, 23, **mark)
    known = facts(queues=[23], **mark)
    [found, *_] = [one for one in rules.of_ruleset(rules.read(LISTED, {}, 4), known, 4, frozenset({"eth0"}),
                                                   lambda _: True) if one.state != OK]
    assert " meta mark & 0x10 != 0x10 queue flags bypass to 23" in found.command
    marked = LISTED.replace("queue flags", "meta mark & 0x00000010 != 0x00000010 queue flags")
    assert all(one.state == OK for one in rules.of_ruleset(
        rules.read(marked, {}, 4), known, 4, frozenset({"eth0"}), lambda _: True))


def test_the_mark_of_refused_packets() -> None:
    known = facts(queues=[23], refuse="reset", refuse_mark="0x40/0x40")

    def found(lines: str, nft: str = "") -> list[Finding]:
        text = f"*filter\n{CHAINS}{lines}COMMIT\n"
        return [one for one in rules.of_ruleset(
            rules.read(nft, {"iptables": text}, 4), known, 4, frozenset({"eth0"}), lambda _: True)
            if one.state != OK or one.check == "refuse"]

    rejects = "-p tcp -m mark --mark 0x40/0x40 -j REJECT --reject-with tcp-reset"
    [one] = found(f"-A INPUT {rejects}\n{BOTH}")
    assert (one.check, one.state) == ("refuse", OK)
    for lines in (BOTH, f"{BOTH}-A INPUT {rejects}\n"):
        [one] = found(lines)
        assert (one.check, one.state, one.command) == ("refuse", WARNING, f"iptables -I INPUT 1 {rejects}")
    [one] = found(f"-A INPUT -m mark --mark 0x40/0x40 -j ACCEPT\n{BOTH}")
    assert (one.check, one.state) == ("refuse", BROKEN)
    assert one.what.endswith("are accepted, by iptables -A INPUT -m mark --mark 0x40/0x40 -j ACCEPT")
    [one] = found("", LISTED)
    assert "nft insert rule inet mxallowd input 'meta mark & 0x40 == 0x40 reject with tcp reset'" in one.command
    assert found("", LISTED.replace("\t\tip saddr @mx", "\t\tmeta mark & 0x00000040 == 0x00000040 reject with tcp reset"
                                    " # handle 30\n\t\tip saddr @mx"))[0].state == OK
