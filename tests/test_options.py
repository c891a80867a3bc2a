"""The table of options holds the contract, and its converters say what they expect."""
import ipaddress

import pytest

from mxallowd.settings import Settings
from mxallowd.settings.options import BY_NAME, OPTIONS, Kind
from mxallowd.settings.values import MAX_QUEUES

# Name, letters, kind, default: the options of mxallowd 1.9.
CONTRACT = {
    "config": (("c",), Kind.SINGLE, "/etc/mxallowd.conf"),
    "fake-mailserver": (("f",), Kind.LIST, None),
    "real-mailserver": (("r",), Kind.LIST, None),
    "queue-num": (("n",), Kind.SINGLE, None),
    "whitelist-time": (("t",), Kind.SINGLE, "28800"),
    "renew": ((), Kind.SINGLE, "contact"),
    "no-rdns-whitelist": (("b", "d"), Kind.FLAG, "False"),
    "stdout": (("s",), Kind.FLAG, "False"),
    "quiet": (("q",), Kind.FLAG, "False"),
    "foreground": (("F",), Kind.FLAG, "False"),
    "pflog-interface": (("p",), Kind.SINGLE, None),  # pflog0 on a BSD: settings.py
    "pcap-filter": (("l",), Kind.SINGLE, "port 25"),
    "help": (("h",), Kind.ACTION, None),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_the_table_holds_the_contract(name: str) -> None:
    option = BY_NAME[name]
    default = None if option.default is None else str(option.default)
    assert (option.short, option.kind, default) == CONTRACT[name]


def test_names_and_letters_are_unique() -> None:
    letters = [letter for option in OPTIONS for letter in option.short]
    assert len(letters) == len(set(letters))
    assert len(BY_NAME) == len(OPTIONS)


def test_every_setting_is_an_option_and_every_option_a_setting() -> None:
    fields = set(Settings.__dataclass_fields__)
    assert fields == {option.field for option in OPTIONS if option.kind is not Kind.ACTION}


@pytest.mark.parametrize(("text", "expected"), [
    ("192.0.2.1", "192.0.2.1"),
    ("2001:DB8::1", "2001:db8::1"),
    ("2001:db8:0:0::1", "2001:db8::1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
])
def test_addresses_are_numbers_not_text(text: str, expected: str) -> None:
    assert BY_NAME["fake-mailserver"].convert(text) == ipaddress.ip_address(expected)


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("fake-mailserver", "192.0.2.256", "is not an IPv4 or IPv6 address"),
    ("fake-mailserver", "192.0.2.0/24", "is not an IPv4 or IPv6 address"),
    ("real-mailserver", "mx.example.org", "is not an IPv4 or IPv6 address"),
    ("real-mailserver", "fe80::1%eth0", "has a zone"),
    ("real-mailserver", "", "is not an IPv4 or IPv6 address"),
    ("queue-num", "65536", "neither a queue number"),
    ("queue-num", "-1", "neither a queue number"),
    ("queue-num", "0x17", "neither a queue number"),
    ("queue-num", "1:", "neither a queue number"),
    ("queue-num", "1:2:3", "neither a queue number"),
    ("queue-num", "5:4", "ends before it begins"),
    ("queue-num", f"0:{MAX_QUEUES}", "more than 64 queues"),
    ("whitelist-time", "0", "out of range: 1 to"),
    ("whitelist-time", "1h", "is not a number"),
    ("whitelist-time", "٣", "is not a number"),
    ("whitelist-time", "9" * 5000, "out of range"),
    ("queue-length", "65536", "out of range: 1 to 65535"),
    ("max-entries", "100000001", "out of range"),
    ("pid-file", "", "is not a path"),
    ("pflog-interface", "", "neither an interface nor nflog:GROUP nor file:PATH"),
    ("pflog-interface", "a b", "neither an interface"),
    ("pflog-interface", "nflog", "neither an interface"),
    ("pflog-interface", "nfqueue", "neither an interface"),
    ("verdict-mark", "0", "is the mark 0"),
    ("verdict-mark", "0/0x10", "is the mark 0"),
    ("verdict-mark", "0x100000000", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "1/2/3", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "-1", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "010", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "0x", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "4294967296", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "1/", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "1 ", "is neither MARK nor MARK/MASK"),
    ("verdict-mark", "0x3/0x1", "has bits that its mask leaves out"),
    ("verdict-mark", "1/0", "has bits that its mask leaves out"),
    ("on-overload", "ignore", "is not accept or drop"),
    ("user", "a:b", "is not the name or number of a user"),
    ("pflog-interface", "nflog:65536", "out of range"),
    ("pflog-interface", "file:", "is not a path"),
    ("nft-table", "inet a b", "is not a table of nft"),
    ("nft-table", "inet4 a", "is not a table of nft"),
    ("nft-table", "inet a;flush", "is not a table of nft"),
    ("nft-table", "inet " + "a" * 32, "longer than 31 characters"),
    ("pf-table", "<mx-white>", "is not a table of pf"),
    ("pf-table", "-a", "is not a table of pf"),
    ("door", "", "is not the name of an interface: 1 to 15 bytes"),
    ("door", "..", "is not the name of an interface: no interface may have it"),
    ("door", "eth0@s0", "is not the name of an interface: ip shows NAME@OTHER, and NAME is 'eth0'"),
    ("door", "ä" * 8, "is not the name of an interface: 1 to 15 bytes"),
    ("door", "a/b", "a character that none should have"),
    ("door", "eth0 ", "it has a blank"),
    ("door", "eth0;drop", "a character that none should have"),
    ("door", "lo", "is this host itself"),
])
def test_a_value_that_cannot_be_used_says_why(name: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BY_NAME[name].convert(text)


@pytest.mark.parametrize(("text", "expected"), [
    ("192.0.2.53", "192.0.2.53"), ("192.0.2.53:5353", "192.0.2.53:5353"), ("2001:DB8::53", "2001:db8::53"),
    ("[2001:db8::53]:5353", "[2001:db8::53]:5353"), ("::ffff:192.0.2.53", "192.0.2.53"),
    ("[::ffff:192.0.2.53]:53", "192.0.2.53:53"), ("fe80::53%br0", "[fe80::53]:53%br0"),
    ("[fe80::53%br0]:5353", "[fe80::53]:5353%br0"), ("fe80::53%eth0.7", "[fe80::53]:53%eth0.7")])
def test_name_servers_as_the_resolver_takes_them(text: str, expected: str) -> None:
    assert BY_NAME["dns-server"].convert(text) == expected


@pytest.mark.parametrize(("text", "reason"), [
    ("fe80::53", "is link-local, so it needs its interface"), ("fe80::53%", "has a zone that is no interface"),
    ("fe80::53%a b", "has a zone that is no interface"), ("2001:db8::53%eth0", "which only a link-local"),
    ("192.0.2.53%eth0", "which only a link-local"), ("[fe80::53%br0]:0", "out of range"),
    ("[fe80::53", "is neither ADDRESS nor")])
def test_what_is_no_name_server_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BY_NAME["dns-server"].convert(text)


def test_queues() -> None:
    convert = BY_NAME["queue-num"].convert
    assert convert("23") == range(23, 24)
    assert convert("0:3") == range(4)
    assert convert(f"65472:{65535}") == range(65472, 65536)


@pytest.mark.parametrize(("text", "expected"), [
    ("0x10000000", (0x10000000, 0xFFFFFFFF)), ("1", (1, 0xFFFFFFFF)), ("0X1F/0xff", (0x1F, 0xFF)),
    ("16/16", (16, 16)), ("4294967295/0xffffffff", (0xFFFFFFFF, 0xFFFFFFFF)),
])
def test_a_mark_as_iptables_writes_it(text: str, expected: tuple[int, int]) -> None:
    assert BY_NAME["verdict-mark"].convert(text) == expected
