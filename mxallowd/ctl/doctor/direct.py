"""Whether a rule leads hosts of mx_direct4 and mx_direct6 from the fake server to the real one, where there are any."""
import re
import shlex
from collections.abc import Iterator, Mapping

from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.shipped import load, way
from mxallowd.ctl.doctor.walk import Packet, Ruleset, Step, stranger
from mxallowd.mirrors.kernel import NO_DIRECT

CHECK = "direct-rule"


def of_settings(facts: Facts) -> Iterator[Finding]:
    """Whether there is a place for the sets of these hosts, where there are any, or are to be learned."""
    if _wanted(facts) and not facts.settings.get("direct_sets", True):
        yield Finding(CHECK, BROKEN, f"nobody can be led from the fake server to the real one: {NO_DIRECT}",
                      "mail of hosts that try the first mail exchanger alone is lost, those with direct-after, "
                      "first-mx-only or by hand",
                      f"echo 'direct-table inet mxallowd' >>{shlex.quote(str(facts.settings['config']))} && systemctl "
                      "restart mxallowd  # the table with the sets; docs/direct.md says what it needs")


def _wanted(facts: Facts) -> bool:
    lists = facts.daemon.get("lists") if facts.daemon else None
    return bool(facts.settings.get("direct_after")) or (isinstance(lists, dict) and bool(lists.get("direct")))


def of_rules(
    nft: str, saved: Mapping[str, str], facts: Facts, version: int, rules: Ruleset,
) -> Iterator[Finding]:
    """Findings for a version of IP; the rules as the programs list them, and as chains."""
    if not _wanted(facts) or not facts.settings.get("direct_sets", True):
        return
    name = f"mx_direct{version}"
    leads = re.search(rf"@{name}\b.* dnat ", nft) or any(
        re.search(rf"--match-set {name} src .*-j DNAT", text) for text in saved.values())
    dead = next((step for step in rules.steps() if _untracks(step, rules, facts, version)), None) if leads else None
    if dead:
        yield Finding(CHECK, WARNING, f"what leads hosts of {name} to the real server sees no packet: connections to "
                      f"the fake one are not tracked, by {dead}", "NAT needs connection tracking: their mail is lost",
                      "# take the addresses of the fake server out of the rules with notrack (docs/direct.md)")
    elif leads:
        yield Finding(CHECK, OK, f"a rule leads hosts of {name} to the real server")
    else:
        yield Finding(CHECK, WARNING, f"no rule leads hosts of {name} to the real server",
                      "their mail is lost, since they never try a second mail exchanger",
                      "mxallowd --print-ruleset ...  # the letter of your way; docs/direct.md says what else it needs"
                      if facts.queues else f"{load(facts.settings, facts.pid, way(rules, facts.settings))}"
                      "  # docs/direct.md says what else it needs")


def _untracks(step: Step, rules: Ruleset, facts: Facts, version: int) -> bool:
    """Whether a rule keeps packets to the fake server out of connection tracking, and so from NAT."""
    if not re.search(r"\bnotrack\b|-j NOTRACK\b", step.text):
        return False
    # By whichever interface they come: a rule for all but lo takes them.
    packets = [Packet(stranger(version, ()), one, interfaces=frozenset({""})) for one in facts.fake
               if one.version == version]
    return any(base.hook == "prerouting" and all(rule.takes(packet) for rule in path)
               for base, path in rules.paths_to(step) for packet in packets)
