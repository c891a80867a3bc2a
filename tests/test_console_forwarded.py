"""Whose request it is behind a proxy: only the word of a named one counts, and of it only the last address."""
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.console.forwarded import Client, Proxies, client_key, plain

PROXIES = Proxies(map(ip_network, ("10.0.0.0/24", "2001:db8::/64", "127.0.0.1/32")))
ADDRESSES = st.ip_addresses().map(str)


@pytest.mark.parametrize(("told", "client"), [
    ("192.0.2.7", "192.0.2.7"), ("198.51.100.1, 192.0.2.7", "192.0.2.7"), ("192.0.2.7,10.0.0.2", "192.0.2.7"),
    ("192.0.2.7 ,\t10.0.0.2 , 2001:db8::1", "192.0.2.7"), ("192.0.2.7, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
    ("2001:db8:1::5", "2001:db8:1::5"), ("::ffff:192.0.2.7", "192.0.2.7"), ("x, 192.0.2.7", "192.0.2.7"),
    # What cannot be read, or names proxies alone, is the proxy itself.
    ("", "10.0.0.1"), ("unknown", "10.0.0.1"), ("192.0.2.7, x", "10.0.0.1"), ("192.0.2.7:80", "10.0.0.1"),
    ("[2001:db8:1::5]", "10.0.0.1"), ("fe80::1%eth0", "10.0.0.1"), ("10.0.0.2", "10.0.0.1"), ("192.0.2.7,", "10.0.0.1"),
    ("192.0.2.7, " + ", ".join(["10.0.0.2"] * 40), "10.0.0.1"), ("192.0.2.07", "10.0.0.1"), ("3221225985", "10.0.0.1")])
def test_the_client_is_the_last_address_that_is_no_proxy(told: str, client: str) -> None:
    assert PROXIES.client("10.0.0.1", {"x-forwarded-for": told}) == Client(client, secure=False)
    # Of anybody else it is his own word about himself.
    assert PROXIES.client("203.0.113.9", {"x-forwarded-for": told}) == Client("203.0.113.9", secure=False)


@pytest.mark.parametrize(("told", "secure"), [
    ("https", True), ("HTTPS", True), ("http", False), ("", False), ("https, http", False), ("http, https", True),
    ("httpss", False), ("wss", False)])
def test_the_way_is_secure_if_the_proxy_says_so(told: str, secure: bool) -> None:
    assert PROXIES.client("10.0.0.1", {"x-forwarded-proto": told}).secure is secure
    assert not PROXIES.client("203.0.113.9", {"x-forwarded-proto": told}).secure


@given(ADDRESSES, st.lists(ADDRESSES | st.text(max_size=20), max_size=6), ADDRESSES)
def test_what_a_client_sends_himself_never_counts(client: str, sent: list[str], peer: str) -> None:
    mapped = plain(client)
    if PROXIES.named(client) or PROXIES.named(peer):
        return
    told = {"x-forwarded-for": ",".join([*sent, client])}
    assert PROXIES.client("10.0.0.1", told).address == mapped
    assert PROXIES.client(peer, told).address == peer


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_gives_an_address(told: str, scheme: str) -> None:
    found = PROXIES.client("10.0.0.1", {"x-forwarded-for": told, "x-forwarded-proto": scheme})
    assert ip_address(found.address)


def test_one_client_is_an_address_or_a_network_of_ipv6() -> None:
    assert client_key("192.0.2.7") == client_key("::ffff:192.0.2.7") == "192.0.2.7"
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:0:1") == "2001:db8::/64"
    assert client_key("2001:db8:0:1::1") == "2001:db8:0:1::/64"
    assert (plain("fe80::1%eth0"), plain("::ffff:192.0.2.7"), plain("x")) == ("fe80::1", "192.0.2.7", "x")
    assert not Proxies().named("127.0.0.1")
