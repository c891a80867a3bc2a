"""Whose name servers a question is for."""
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.zones import networks, registered_domain, zones_of
from tests.strategies import packed


@pytest.mark.parametrize(("name", "domain"), [
    ("a.b.victim.example", "victim.example"), ("a.victim.co.uk", "victim.co.uk"), ("co.uk", "co.uk"),
    ("me.dyndns.org", "dyndns.org"), ("x.github.io", "github.io"), ("a.b.internal.lan", "internal.lan"),
    ("a_b.example.org", "example.org"), ("a.mail.xn--p1ai", "mail.xn--p1ai")])
def test_registered_domains(name: str, domain: str) -> None:
    assert registered_domain(name) == domain
    assert zones_of(name) == (domain,)


@given(st.ip_addresses())
def test_a_reverse_name_is_of_the_networks_of_its_address(
        address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    host = packed(str(getattr(address, "ipv4_mapped", None) or address))
    assert zones_of(reverse_name(host)) == networks(host)[1:]


@pytest.mark.parametrize("name", [
    "in-addr.arpa", "ip6.arpa", "1.in-addr.arpa", "x.in-addr.arpa", "999.0.in-addr.arpa", "f.ip6.arpa", "zz.ip6.arpa"])
def test_odd_names_of_the_reverse_tree_have_some_zone(name: str) -> None:
    assert zones_of(name)


def test_a_delegation_within_a_network_is_of_that_network() -> None:
    """RFC 2317."""
    assert zones_of("1.0-127.2.0.192.in-addr.arpa") == networks(packed("192.0.2.1"))[1:]
