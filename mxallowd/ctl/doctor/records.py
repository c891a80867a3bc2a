"""MX records of a domain against the configured servers: the fake one first, the real one behind it, and no other."""
import ipaddress
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mxallowd.ctl.doctor.dns import Asking, Failed
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.settings.options import Address


class Exchange(NamedTuple):
    """A mail server of the domain."""

    preference: int
    name: str
    addresses: tuple[Address, ...]


def check(facts: Facts, domain: str, servers: Sequence[str]) -> list[Finding]:
    """Ask, and compare."""
    try:
        with Asking(servers) as asking:
            exchanges = [
                Exchange(preference, name, tuple(
                    ipaddress.ip_address(one) for kind in ("A", "AAAA") for one in asking.addresses(name, kind)))
                for preference, name in sorted(asking.exchanges(domain))]
    except Failed as error:
        return [Finding("mx", BROKEN, f"the MX records of {domain} cannot be looked up: {error}",
                        "senders find no mail server, or the name servers of this host do not work",
                        f"dig +short MX {domain}")]
    return compare(facts, domain, exchanges)


def compare(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> list[Finding]:
    """What is wrong with them. A pure function."""
    if not exchanges:
        return [Finding("mx", BROKEN, f"{domain} has no MX record", "senders take the domain's own address, so nobody "
                        "meets the fake server first", _look(domain))]
    found = [finding for look in (_lacking, _order, _addresses) for finding in look(facts, domain, exchanges)]
    if not found:
        order = ", ".join(f"{one.preference} {one.name}" for one in exchanges)
        found.append(Finding("mx", OK, f"the MX records of {domain} fit the servers: {order}"))
    return found


def _look(domain: str) -> str:
    return f"dig +short MX {domain}"


def _lacking(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    for servers, role, why in (
            (facts.fake, "fake", "no sender tries it, so nobody is let in by it"),
            (facts.real, "real", "mail does not come there")):
        for server in servers:
            if not any(server in one.addresses for one in exchanges):
                yield Finding(
                    f"mx-{role}", BROKEN, f"no MX record of {domain} leads to the {role} address {server}", why,
                    f"{_look(domain)}  # add its name to the zone, or correct the configuration")


def _order(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    fakes = [one for one in exchanges if set(one.addresses) & set(facts.fake)]
    reals = [one for one in exchanges if set(one.addresses) & set(facts.real)]
    for fake, real in ((fake, real) for fake in fakes for real in reals):
        if fake is real:
            yield Finding("mx-order", BROKEN, f"{real.name} leads to both servers", "a sender may try the real address "
                          "first, and is refused", f"dig +short {real.name} A {real.name} AAAA")
            continue
        if fake.preference >= real.preference:
            yield Finding(
                "mx-order", BROKEN, f"the real server {real.name} ({real.preference}) does not stand behind the "
                f"fake one {fake.name} ({fake.preference})", "good senders come to the real server first and are "
                "refused there", f"{_look(domain)}  # give {fake.name} a lower number than {real.name}")
        for version in sorted({one.version for one in real.addresses} - {one.version for one in fake.addresses}):
            yield Finding(
                "mx-families", BROKEN, f"{real.name} has an IPv{version} address, {fake.name} has none",
                "a sender that uses it cannot meet the fake server", f"dig +short {fake.name} A {fake.name} AAAA")


def _addresses(facts: Facts, domain: str, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    for one in exchanges:
        if not one.addresses:
            yield Finding("mx-address", WARNING, f"{one.name} has no address", "senders lose time with it",
                          f"dig +short {one.name} A {one.name} AAAA")
        for address in sorted(set(one.addresses) - {*facts.fake, *facts.real}, key=lambda found: found.packed):
            yield Finding(
                "mx-other", WARNING, f"{one.name} has the address {address}, which is neither of the servers",
                "mxallowd does not guard it: who delivers there passes it by",
                f"{_look(domain)}  # add it as a server to the configuration, or take it out of the zone")
