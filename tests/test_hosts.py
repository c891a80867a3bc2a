"""Which addresses can be a host's, beside what the library knows of them."""
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd._fastpath import Fastpath
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.hosts import is_host
from tests.strategies import FAKE, REAL, packed, syn


@pytest.mark.parametrize("text", [
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.0.1", "224.0.0.0", "239.255.255.255",
    "255.255.255.255", "::", "::1", "::192.0.2.1", "::ffff:0:192.0.2.1", "::ffff:0.0.0.0", "fe80::1", "febf::1",
    "ff00::", "ffff::1"])
def test_what_no_host_can_have(text: str) -> None:
    assert not is_host(packed(text))


@pytest.mark.parametrize("text", [
    "1.0.0.1", "10.0.0.1", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1", "172.16.0.1",
    "192.168.1.1", "192.0.2.1", "223.255.255.255", "240.0.0.1", "255.255.255.254", "2001:db8::1", "fd00::1",
    "fe00::1", "fec0::1", "64:ff9b::192.0.2.1", "::ffff:192.0.2.1"])
def test_what_a_host_can_have(text: str) -> None:
    assert is_host(packed(text))


@given(st.ip_addresses())
def test_it_is_as_the_library_says(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    one = getattr(address, "ipv4_mapped", None) or address
    never = (one.is_unspecified or one.is_loopback or one.is_link_local or one.is_multicast
             or str(one) == "255.255.255.255" or one in ipaddress.ip_network(
                 "0.0.0.0/8" if one.version == 4 else "::/64"))
    assert is_host(packed(str(one))) == (not never)


@given(st.ip_addresses())
def test_the_packet_path_says_the_same(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    table = Table(4)
    path = Fastpath(table, Ring(16, -1), Rules(FAKE, REAL, 60))
    path.decide([syn(packed(str(address)), FAKE[0] if address.version == 4 else FAKE[2])], 0)
    # An IPv4-mapped source in an IPv6 header is no host's, whatever it holds.
    mapped = address.version == 6 and address.ipv4_mapped is not None
    assert (len(table) == 1) == (is_host(packed(str(address))) and not mapped)


def test_another_length_is_no_address() -> None:
    assert not is_host(b"")
    assert not is_host(bytes([192, 0, 2, 1]))
