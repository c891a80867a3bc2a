"""How the documents take rules out of the firewall: nothing of ours stays, and what is not ours does."""
import re
from pathlib import Path

import pytest

from lab.hosts import Host, Lab
from tests.test_printing import command

DOCS = Path(__file__).parent.parent / "docs"
SERVERS = ("-f", "192.0.2.10", "-f", "2001:db8::10", "-r", "192.0.2.20", "-r", "2001:db8::20", "--learn-outbound",
           "nflog:6", "--direct-after", "6/6h")
IPTABLES = ("iptables-save -c", "ip6tables-save -c")
OTHERS = "INPUT -p tcp -m tcp --dport 22 -j ACCEPT"


def commands(page: str, *beginnings: str) -> str:
    """The commands of a page that begin so, each once."""
    lines = re.findall(r"^ {4}(\S.*)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    found = [line for line in dict.fromkeys(lines) if line.startswith(beginnings)]
    assert len(found) >= len(beginnings), found
    return "\n".join(found)


def left(host: Host) -> str:
    """All rules and sets of the host, the counters aside."""
    script = "iptables-save; ip6tables-save; ipset list -n; nft list tables"
    text = str(host.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout)
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def runs(host: Host, script: str) -> None:
    done = host.run(["sh", "-ec", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [
    ("a", "-n", "23", "--direct-table", "ipset"), ("b", "-n", "23", "--ipset"), ("c", "-p", "nflog:5", "--ipset"),
    ("b", "-n", "23", "--nft-table", "inet mxallowd")], ids=["a", "b", "c", "b-mark"])
@pytest.mark.parametrize("page", ["firewall.md", "install.md"])
def test_rules_of_iptables_go(lab: Lab, page: str, words: tuple[str, ...]) -> None:
    host = lab.gateway
    runs(host, f"iptables -A {OTHERS}; ip6tables -A {OTHERS}")
    printed = command(*SERVERS, "--print-ruleset", *words, "--iptables")
    assert printed.returncode == 0, printed.stderr
    runs(host, printed.stdout)
    sets = "nft delete table inet mxallowd" if "--nft-table" in words else "ipset list"
    before = left(host)
    assert ("table inet mxallowd" if sets.startswith("nft") else "mx_direct4") in before
    assert "MXALLOWD_OUT" in before
    runs(host, commands(page, *IPTABLES))
    runs(host, commands(page, sets).splitlines()[0])
    now = left(host)
    assert "mx" not in now.lower(), now
    assert now.count(f"-A {OTHERS}") == 2


def test_the_page_on_going_back_has_the_same_commands() -> None:
    assert commands("arm.md", *IPTABLES) == commands("firewall.md", *IPTABLES) == commands("install.md", *IPTABLES)


def test_rules_of_nft_go(lab: Lab) -> None:
    host = lab.gateway
    printed = command(*SERVERS, "--print-ruleset", "c", "-p", "nflog:5", "--nft-table", "inet mxallowd")
    host.run(["nft", "-f", "-"], input=printed.stdout, text=True, check=True)
    assert "mxallowd_outbound" in left(host)
    runs(host, commands("firewall.md", "nft delete table"))
    assert "mx" not in left(host)
