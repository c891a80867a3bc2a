"""MX records of a domain against the configured servers: the fake one first, the real one behind it, and no other.

Names come from the DNS, where anybody may write what he likes: in a command for a shell they are quoted.
"""
import ipaddress
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from mxallowd.ctl.doctor.dns import Asking, Failed
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.settings.values import Address
from mxallowd.text import quoted


class Exchange(NamedTuple):
    """A mail server of the domain."""

    preference: int
    name: str  # "" is the null MX of RFC 7505
    addresses: tuple[Address, ...]
    alias: bool = False  # the name is one, which RFC 2181 (10.3) forbids
    fault: str = ""  # why the addresses are not known, or not all


def check(facts: Facts, domain: str, servers: Sequence[str]) -> list[Finding]:
    """Ask, and compare."""
    try:
        name = (domain if domain.isascii() else domain.encode("idna").decode("ascii")).rstrip(".")
    except UnicodeError:
        name = ""
    if not name.isprintable() or " " in name or not all(name.split(".")):
        return [Finding("mx", BROKEN, f"{quoted(domain)} is no name of a domain", "nothing can be asked about it",
                        "mxallowctl doctor --help")]
    try:
        with Asking(servers) as asking:
            found = sorted(asking.exchanges(name))
            if asking.no_such_name:
                return [Finding("mx", BROKEN, f"there is no domain {name} in the DNS", "nobody can send mail to it; or "
                                "its name is another one", _look(name))]
            exchanges = [_exchange(asking, *one) for one in found]
    except Failed as error:
        return [Finding("mx", BROKEN, f"the MX records of {name} cannot be looked up: {error}",
                        "senders find no mail server, or the name servers of this host do not work", _look(name))]
    return compare(facts, name, exchanges)


def _exchange(asking: Asking, preference: int, name: str) -> Exchange:
    name = name.rstrip(".")
    if not name:
        return Exchange(preference, "", ())
    addresses: list[Address] = []
    fault, alias = "", False
    for kind in ("A", "AAAA"):
        try:
            addresses += map(ipaddress.ip_address, asking.addresses(name, kind))
            alias = alias or asking.is_alias(name)
        except Failed as error:
            fault = str(error)
    return Exchange(preference, name, tuple(addresses), alias, fault)


def compare(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> list[Finding]:
    """What is wrong with them. A pure function."""
    if not exchanges:
        return [Finding("mx", BROKEN, f"{domain} has no MX record", "senders take the domain's own address, so nobody "
                        "meets the fake server first", _look(domain))]
    if any(not one.name for one in exchanges):
        return [Finding("mx", BROKEN, f"{domain} says that it takes no mail (a null MX, RFC 7505)",
                        "senders do not even try", f"{_look(domain)}  # take that record out of the zone")]
    known = not any(one.fault for one in exchanges)
    ours = {*facts.fake, *facts.real}
    if known and any(one.addresses for one in exchanges) and not any(ours & set(one.addresses) for one in exchanges):
        return [Finding(
            "mx-other", BROKEN, f"the MX records of {domain} lead to other servers alone: "
            f"{', '.join(sorted({str(address) for one in exchanges for address in one.addresses}))}",
            "its mail does not come here; or the configuration has other addresses than the zone", _look(domain))]
    found = [finding for look in (_lacking, _order, _addresses) for finding in look(facts, domain, exchanges)
             if known or finding.check not in ("mx-fake", "mx-real", "mx-families")]
    if not found:
        order = ", ".join(f"{one.preference} {one.name}" for one in exchanges)
        led = {address for one in exchanges for address in one.addresses}
        left = ", ".join(str(server) for server in (*facts.fake, *facts.real) if server not in led)
        found.append(Finding("mx", OK, f"the MX records of {domain} fit the servers: {order}"
                             + (f" (not among them, maybe of other domains: {left})" if left else "")))
    return found


def _look(domain: str) -> str:
    return f"dig +short MX {quote(domain)}"


def _look_at(name: str) -> str:
    return f"dig +short {quote(name)} A {quote(name)} AAAA"


def _lacking(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    for servers, role, why in (
            (facts.fake, "fake", "no sender tries it, so nobody is let in by it"),
            (facts.real, "real", "mail does not come there")):
        led = {address for one in exchanges for address in one.addresses} & set(servers)
        for server in (one for one in servers if one not in led):
            # Where the records have another one of its role and family, this one may be there for other domains.
            if server.version not in {one.version for one in led}:
                yield Finding(
                    f"mx-{role}", BROKEN, f"no MX record of {domain} leads to the {role} address {server}", why,
                    f"{_look(domain)}  # add its name to the zone, or correct the configuration")


def _order(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    fakes = [one for one in exchanges if set(one.addresses) & set(facts.fake)]
    for real in (one for one in exchanges if set(one.addresses) & set(facts.real)):
        if real in fakes:
            yield Finding("mx-order", BROKEN, f"{real.name} leads to both servers", "a sender may try the real address "
                          "first, and is refused", _look_at(real.name))
            continue
        # One may stand behind it as well: it is there for those who try the last server first.
        before = [one for one in fakes if one.preference < real.preference]
        if not before and fakes:
            fake = fakes[0]
            yield Finding(
                "mx-order", BROKEN, f"the real server {real.name} ({real.preference}) does not stand behind the "
                f"fake one {fake.name} ({fake.preference})", "good senders come to the real server first and are "
                "refused there", f"{_look(domain)}  # give the fake server a lower number than the real one")
        met = {address.version for one in before or fakes for address in one.addresses}
        for version in sorted({one.version for one in real.addresses} - met) if fakes else ():
            name = (before or fakes)[0].name
            yield Finding(
                "mx-families", BROKEN, f"{real.name} has an IPv{version} address, {name} has none",
                "a sender that uses it cannot meet the fake server", _look_at(name))


def _addresses(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    for one in exchanges:
        if one.fault:
            yield Finding("mx-address", BROKEN, f"the addresses of {one.name} cannot be looked up: {one.fault}",
                          "senders wait with their mail, or pass this server by", _look_at(one.name))
        elif not one.addresses:
            yield Finding("mx-address", WARNING, f"{one.name} has no address", "senders lose time with it",
                          _look_at(one.name))
        if one.alias:
            yield Finding("mx-alias", WARNING, f"{one.name} is an alias (CNAME); no MX record may name one (RFC 2181)",
                          "some senders pass such a server by", f"dig +short CNAME {quote(one.name)}")
        for address in sorted(set(one.addresses) - {*facts.fake, *facts.real}, key=lambda found: found.packed):
            yield Finding(
                "mx-other", WARNING, f"{one.name} has the address {address}, which is neither of the servers",
                "mxallowd does not guard it: who delivers there passes it by",
                f"{_look(domain)}  # add it as a server to the configuration, or take it out of the zone")
