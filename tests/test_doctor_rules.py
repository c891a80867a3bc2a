"""What doctor reads of rules of nft, in the words of several versions; this kernel may lack the queue statement."""
import ipaddress
import shlex
from typing import Any

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Lab
from mxallowd.ctl.doctor import rules
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import OK, WARNING

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


def states(listing: str, number: int = 23) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for version in (4, 6):
        for one in rules.of_nft(listing, number, version):
            found.setdefault(one.check, set()).add(one.state)
    return found


def test_a_ruleset_that_is_well() -> None:
    assert states(LISTED) == {"bypass": {OK}, "syn": {OK}}
    assert states(LISTED.replace("flags & (fin | syn | rst | ack) == syn", "flags syn / fin,syn,rst,ack")) == {
        "bypass": {OK}, "syn": {OK}}
    # Another queue's rule is nobody's business.
    assert states(LISTED, 24) == {}
    assert states(LISTED, 99) == {"bypass": {WARNING}, "syn": {WARNING}}


@pytest.mark.parametrize(("statement", "mended"), [
    ("queue to 23", "queue flags bypass to 23"), ("queue num 23", "queue num 23 bypass"),
    ("queue flags fanout to 23-25", "queue flags fanout,bypass to 23-25"),
    ("queue num 20-25", "queue num 20-25 bypass")])
def test_a_queue_statement_without_bypass(statement: str, mended: str, lab: Lab) -> None:
    listing = LISTED.replace("queue flags bypass to 23", statement)
    [found] = [one for one in rules.of_nft(listing, 23, 6) if one.state != OK and "ip6" in one.what]
    words = shlex.split(found.command)
    assert words[:7] == ["nft", "replace", "rule", "inet", "mxallowd", "mx_new", "handle"]
    assert words[7:] == ["22", f"ip6 daddr {{ 2001:db8::10, 2001:db8::20 }} {mended}"]
    # What comes of it is well, and nft can read it, whatever this kernel has.
    assert states(listing.replace(statement, mended)) == {"bypass": {OK}, "syn": {OK}}
    text = f"table inet t {{\nchain c {{\n{words[8]}\n}}\n}}\n"
    assert "syntax error" not in lab.gateway.run(["nft", "-c", text], capture_output=True, text=True).stderr


def test_a_rule_of_nft_that_takes_other_packets_than_syns() -> None:
    listing = LISTED.replace("tcp flags & (fin | syn | rst | ack) == syn ", "")
    *_, found = rules.of_nft(listing, 23, 6)
    assert (found.check, found.state) == ("syn", WARNING)
    assert "handle 22 'tcp flags & (fin | syn | rst | ack) == syn ip6 daddr" in found.command


def test_rules_that_doctor_does_not_read() -> None:
    [found] = rules.check(facts(queues=[], capture="pflog0", pf_table="mx"))
    assert (found.state, found.command) == (WARNING, "pfctl -s rules")
    assert "not checked" in found.what
    [found] = rules.check(facts(queues=[], capture="eth0"))
    assert (found.state, "eth0" in found.what) == (WARNING, True)
