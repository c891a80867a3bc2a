"""Whether rules that look up mx_net4 and mx_net6 mask the source as --network-key does, where nft shows the mask.

With ipset the set has the mask, and the daemon itself sees whether it is the right one.
"""
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import OK, WARNING, Finding
from mxallowd.ctl.doctor.shipped import load

CHECK = "network-mask"


def of_rules(nft: str, facts: Facts, version: int) -> Iterator[Finding]:
    """Findings for a version of IP; the rules as nft lists them."""
    key = facts.settings.get("network_key")
    if not key or not facts.settings["nft_table"]:
        return
    bits, whole = key[version == 6], 32 if version == 4 else 128
    wanted = str((IPv4Address if version == 4 else IPv6Address)(((1 << bits) - 1) << (whole - bits)))
    masks = set(re.findall(rf"\bip6? saddr & ([0-9a-f.:]+) (?:== )?@mx_net{version}\b", nft))
    # nft writes addresses in their usual form, as ipaddress does.
    wrong = sorted(masks - {wanted})
    way = "d" if facts.settings.get("door") or "quota mx_flood" in nft else "c"
    if wrong:
        yield Finding(CHECK, WARNING, f"a rule asks mx_net{version} with the mask {wrong[0]}, and --network-key has "
                      f"{bits} bits", "neighbours of a contact are not found there, and come in one by one",
                      f"{load(facts.settings, facts.pid, way)}  # it has mask{version} = {wanted}")
    elif masks:
        yield Finding(CHECK, OK, f"rules ask mx_net{version} with the mask of --network-key")
