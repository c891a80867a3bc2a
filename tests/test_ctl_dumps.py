"""The lines that import reads: each format, how it is recognized, and what is left out with which reason."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.ctl.dumps import FORMATS, Item, Left, reader, recognize

HOST = "203.0.113.7"


def read(name: str, text: str) -> list[Item | Left]:
    read_line = reader(name)
    return [found for line in text.split("\n") if (found := read_line(line)) is not None]


def reasons(found: list[Item | Left]) -> list[str]:
    return [one.reason for one in found if isinstance(one, Left)]


def test_a_list_of_addresses_and_networks() -> None:
    found = read("list", f"# head\n{HOST} # the bank\n\n 2001:db8::1\n203.0.113.0/24#net\n{HOST}/32\n::1/128\n")
    assert found == [
        Item(HOST, note="the bank"), Item("2001:db8::1"), Item("203.0.113.0/24", "allow", note="net"), Item(HOST),
        Item("::1")]
    assert reasons(read("list", "example.org\n203.0.113.1/24\n10.1\n203.0.113.300\nfe80::1%eth0\n1.2.3.4/\n/8")) == [
        '"example.org" is neither an address nor a network',
        '"203.0.113.1/24" has bits behind its prefix; the network is 203.0.113.0/24',
        '"10.1" is neither an address nor a network', '"203.0.113.300" is neither an address nor a network',
        '"fe80::1%eth0" is neither an address nor a network', '"1.2.3.4/" is not a network', '"/8" is not a network']


def test_output_of_spamdb() -> None:
    found = read("spamdb", (
        f"WHITE|{HOST}|||1764220000|1764221501|1767332501|3|17\n"
        "GREY|203.0.113.8|mail.example.org|<a@example.org>|<b@example.com>|1|2|3|1|0\n"
        "TRAPPED|203.0.113.9|1764300000\nSPAMTRAP|trap@example.com\nWHITE|203.0.113.7|||1\nWHITE|x|||1|2|3|4|5"))
    assert found[0] == Item(HOST, until_s=1767332501)
    assert [one.expected for one in found[1:] if isinstance(one, Left)] == [True, True, True, False, False]


def test_a_table_of_postscreen() -> None:
    found = read("postscreen", (
        f"# by postwhite\n{HOST} permit\n2001:db8::/32\tPERMIT\n203.0.113.9 reject\n203.0.113.8/29 reject\n"
        "203.0.113.5 dunno\n[2001:db8::5] permit\n[2001:db9::/32] permit\n[2001:dba::]/32 reject"))
    assert found == [
        Item(HOST), Item("2001:db8::/32", "allow"), Item("203.0.113.9", "deny"), Item("203.0.113.8/29", "deny"),
        Item("203.0.113.5", "dunno"), Item("2001:db8::5"), Item("2001:db9::/32", "allow"),
        Item("2001:dba::/32", "deny")]
    for line in ("203.0.113.7", "203.0.113.7 permit_mynetworks", "203.0.113.7 permit, reject", " 203.0.113.7 permit",
                 "!203.0.113.7 permit", "mail.example.org permit", "203.0.113.7/24 permit", "[::1 permit",
                 "[]/8 permit"):
        assert reasons(read("postscreen", line)), line


def test_what_a_table_says_of_some_clients_is_not_taken() -> None:
    found = read("postscreen", f"if 203.0.113.0/24\n{HOST} permit\nif !::/0\n::1 permit\nendif\n::2 permit\nendif\n"
                               "::3 permit\nendif\n::4 permit")
    assert [one for one in found if isinstance(one, Item)] == [Item("::3"), Item("::4")]
    assert len(reasons(found)) == 8


def test_clients_of_postgrey() -> None:
    found = read("postgrey", (f"# greylisting.org\nsouthwest.com\n{HOST}\n195.235.39\n10.\n/^mail\\d+\\.rr\\.com$/\n"
                              "193.191.218.0/24 # mil\nlocalhost\n2001:db8::/32"))
    assert [one for one in found if isinstance(one, Item)] == [
        Item(HOST), Item("195.235.39.0/24", "allow"), Item("10.0.0.0/8", "allow"),
        Item("193.191.218.0/24", "allow", note="mil"), Item("2001:db8::/32", "allow")]
    assert reasons(found) == [
        '"southwest.com" is a name: import its addresses', '"/^mail\\\\d+\\\\.rr\\\\.com$/" is an expression for names',
        '"localhost" is neither an address nor a network']


def test_an_old_export() -> None:
    found = read("export", (
        f'{{"kind": "entry", "address": "{HOST}", "until": "2026-11-27T06:00:00Z", "note": "bank", "used": true}}\n'
        '{"kind": "network", "verdict": "deny", "network": "203.0.113.0/24", "note": null, "until": null}\n'
        '{"kind": "network", "verdict": "allow", "network": "203.0.113.9", "until": "1970-01-01T00:01:00Z"}\n'
        '{"address": "::1", "until": "2026-11-27T06:00:00Z", "origin": "child", "proven": true, "since": null}'))
    assert found == [
        Item(HOST, until_s=1795759200, note="bank"), Item("203.0.113.0/24", "deny"),
        Item("203.0.113.9", "allow", until_s=60), Item(
                "::1", until_s=1795759200, kept={"origin": "child", "proven": True})]
    for line in ("[]", "{", '{"kind": "entry"}', '{"kind": ["entry"]}', '{"kind": "network", "address": "::1"}',
                 '{"address": "::1", "until": "soon"}', '{"address": "::1", "note": 5}', '{"address": 5}',
                 '{"kind": "network", "network": "::1", "verdict": "maybe"}', "1" * 5000, "[" * 4000):
        assert reasons(read("export", line)), line


@pytest.mark.parametrize(("first", "name"), [
    ("203.0.113.7\n203.0.113.0/24", "list"), ("", "list"), ("# WHITE|\n203.0.113.7", "list"),
    ("10.1\nnonsense", "list"), ("\nGREY|203.0.113.7|x", "spamdb"),
    ("# c\n203.0.113.7/32 permit", "postscreen"), ("[::1]/128 Reject", "postscreen"),
    ("203.0.113.7\namazon.com", "postgrey"), ("/^a$/", "postgrey"), ('{"kind": "entry"}', "export"),
])
def test_a_format_is_recognized_by_its_first_lines(first: str, name: str) -> None:
    assert recognize(first.split("\n")) == name


@given(st.sampled_from(FORMATS), st.text(st.characters(), max_size=80))
def test_no_line_is_too_strange(name: str, line: str) -> None:
    found = reader(name)(line)
    recognize([line])
    if isinstance(found, Left):
        assert found.reason.isprintable()
    elif found:
        assert found.note.isprintable()
        assert found.what.isascii()
        assert found.verdict in ("", "allow", "deny", "dunno")
