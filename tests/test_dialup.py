"""Dial-up patterns, on forms of names in public use."""
import ipaddress
import time
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mxallowd.dns.dialup import carries_address
from tests.dialup_names import LINES4, LINES6, SERVERS, pairs
from tests.strategies import packed

LINES = [*pairs(LINES4), *pairs(LINES6)]
MAIL = pairs(SERVERS)


def test_the_list_has_both_kinds_and_both_families() -> None:
    assert len(pairs(LINES4)) >= 150
    assert len(pairs(LINES6)) >= 25
    assert len(MAIL) >= 100


def test_names_of_lines() -> None:
    assert [pair for pair in LINES if not carries_address(pair[0], packed(pair[1]))] == []


def test_names_of_mail_servers() -> None:
    assert [pair for pair in MAIL if carries_address(pair[0], packed(pair[1]))] == []


@pytest.mark.parametrize("spelled", [str.upper, str.title, "{}.".format, " {} ".format])
def test_any_spelling_is_the_same_name(spelled: Callable[[str], str]) -> None:
    for name, address in [*LINES, *MAIL]:
        host = packed(address)
        assert carries_address(spelled(name), host) == carries_address(name, host), name


@given(st.ip_addresses(v=4), st.permutations(range(4)), st.sampled_from("-._x"), st.sampled_from([1, 3]))
def test_octets_in_any_order_and_joiner(
        address: ipaddress.IPv4Address, order: list[int], joiner: str, width: int) -> None:
    octets = [f"{address.packed[place]:0{width}}" for place in order]
    assert carries_address(f"h{joiner.join(octets)}.isp.example", packed(str(address)))


@given(st.ip_addresses(), st.sampled_from(["", "p", "h-"]))
def test_hexadecimal_forms_of_both_families(
        address: ipaddress.IPv4Address | ipaddress.IPv6Address, before: str) -> None:
    host = packed(str(getattr(address, "ipv4_mapped", None) or address))
    digits = address.packed.hex()
    pairs_of_digits = [digits[start:start + 2] for start in range(0, len(digits), 2)]
    for form in (digits, "-".join(pairs_of_digits), ".".join(pairs_of_digits), digits.upper()):
        assert carries_address(f"{before}{form}.isp.example", host), form


@given(st.ip_addresses(v=6))
def test_groups_of_ipv6_written_whole_short_and_reversed(address: ipaddress.IPv6Address) -> None:
    assume(address.ipv4_mapped is None)
    groups = address.exploded.split(":")
    for form in (address.exploded.replace(":", "-"), ".".join(groups), "-".join(reversed(groups)),
                 ".".join(reversed(address.packed.hex())), address.packed.hex()):
        assert carries_address(f"{form}.isp.example", address.packed), form
    if sum(group != "0000" for group in groups) >= 3:
        assert carries_address(f"{str(address).replace(':', '-')}.isp.example", address.packed)


@given(st.text(max_size=300), st.binary(min_size=16, max_size=16))
def test_any_text_is_judged(name: str, host: bytes) -> None:
    assert carries_address(name, host) in (False, True)


@pytest.mark.parametrize("host", [b"", b"\xc0\x00\x02\x07", bytes(17)])
def test_what_is_no_host_is_refused(host: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(host)} bytes"):
        carries_address("mail.example.org", host)


def test_the_longest_names_take_little_time() -> None:
    """The main loop asks, and may be held for 5 ms."""
    hosts = [packed("192.0.2.7"), packed("2001:db8:1:2:3:4:5:6")]
    for name in ("1." * 127, "1-" * 126 + "1", "a" * 255, "dsl." * 63, "." * 255, "0" * 255, "1.0." * 4096):
        for host in hosts:
            start = time.thread_time()
            carries_address(name, host)
            assert time.thread_time() - start < 0.005, name
