"""Whether a rule leads hosts of mx_direct4 and mx_direct6 from the fake server to the real one, where there are any."""
import re
from collections.abc import Iterator, Mapping

from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import OK, WARNING, Finding

CHECK = "direct-rule"


def of_rules(nft: str, saved: Mapping[str, str], facts: Facts, version: int) -> Iterator[Finding]:
    """Findings for a version of IP; the rules as the programs list them."""
    lists = facts.daemon.get("lists") if facts.daemon else None
    if not isinstance(lists, dict) or not lists.get("direct"):
        return
    name = f"mx_direct{version}"
    leads = re.search(rf"@{name}\b.* dnat ", nft) or any(
        re.search(rf"--match-set {name} src .*-j DNAT", text) for text in saved.values())
    if leads:
        yield Finding(CHECK, OK, f"a rule leads hosts of {name} to the real server")
    else:
        yield Finding(CHECK, WARNING, f"no rule leads hosts of {name} to the real server",
                      "their mail is lost, since they never try a second mail exchanger",
                      "mxallowd --print-ruleset ...  # the letter of your way; docs/direct.md says what else it needs")
