"""Outbound mail (`--learn-outbound`): whether a rule tells mxallowd of the own mail server's connections."""
from collections.abc import Iterator

from mxallowd import surroundings
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import AS_ROOT, OK, WARNING, Finding
from mxallowd.ctl.doctor.mending import joined


def check(facts: Facts) -> Iterator[Finding]:
    """All of it; nothing where the option is not given."""
    where = facts.settings.get("learn_outbound")
    if not where:
        return
    fed = surroundings.fed_by_rules()
    if fed is None:
        yield Finding("outbound", WARNING, "the rules cannot be seen", "whether outbound mail is learned from is not "
                      "known", AS_ROOT)
        return
    group = int(str(where).removeprefix("nflog:"))
    missing = [f"IPv{version}" for version in facts.versions if ("group", group, version) not in fed]
    if missing:
        yield Finding("outbound", WARNING, f"no rule of the firewall feeds NFLOG group {group} with {joined(missing)}",
                      "nobody is learned from outbound mail",
                      "nft -f rulesets/outbound.nft  # or rulesets/outbound.sh; its group is 6")
    else:
        yield Finding("outbound", OK, f"a rule feeds NFLOG group {group} for --learn-outbound")
