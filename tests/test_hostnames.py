"""Host names from the DNS: which texts count, and the names of the reverse tree."""
import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.dns.hostnames import normal_name, reverse_name, valid_names
from mxallowd.engine.events import packed


@pytest.mark.parametrize(("text", "name"), [
    ("mail.example.org", "mail.example.org"), ("Mail.EXAMPLE.org.", "mail.example.org"), ("a.b", "a.b"),
    ("1-2-3-4.dyn.example.net", "1-2-3-4.dyn.example.net"), ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
    (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ("a_b.example.org", "a_b.example.org"), ("_mail._out.example.org", "_mail._out.example.org"),
])
def test_host_names(text: str, name: str) -> None:
    assert normal_name(text) == name


@pytest.mark.parametrize("text", [
    "", ".", "localhost", "mail", "192.0.2.1", "-a.example.org", "a-.example.org", "a..b", ".a.b",
    "a.b..", "a b.example.org", "a\n.example.org", "mail.example.org\n", "a\0.example.org", "\udcff.example.org",
    "münchen.example", "a\\.b.example", f"{'a' * 64}.example", ".".join(["a" * 63] * 4), "*.example.org", "a.123"])
def test_what_is_no_host_name(text: str) -> None:
    assert normal_name(text) is None


@given(st.text(max_size=80) | st.from_regex(r"[a-zA-Z0-9.-]{1,70}", fullmatch=True) | st.from_regex(
    r"([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.){1,9}[a-z]{2,9}\.?", fullmatch=True))
def test_a_name_is_harmless_and_stays_what_it_is(text: str) -> None:
    """Whatever counts is letters, digits, hyphens, underscores and dots, not too long, and its own normal form."""
    name = normal_name(text)
    if name is not None:
        assert re.fullmatch(r"[a-z0-9._-]{3,253}", name)
        assert normal_name(name) == name
        assert text.lower().rstrip(".") == name
        assert all(0 < len(label) <= 63 for label in name.split("."))


@given(st.ip_addresses())
def test_reverse_names_are_those_of_the_library(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert reverse_name(packed(str(address))) == (mapped or address).reverse_pointer


def test_names_of_one_address() -> None:
    bad: list[str] = []
    written = ["A.example.org.", "a.example.org", "b+c.example.org", "b.example.org", "c.example.org", "d.example.org",
               "e.example.org", "f.example.org", "g.example.org"]
    assert valid_names(written, bad.append) == ["a.example.org", "b.example.org", "c.example.org", "d.example.org"]
    assert bad == ["b+c.example.org"]
