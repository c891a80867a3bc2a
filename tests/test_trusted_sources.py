"""What trusted senders become: sources of the allow list, by line, and which of them have the flag first-mx-only."""
from ipaddress import ip_network

from mxallowd.daemon.trustsources import Host, made
from mxallowd.lists.composition import DENY, Composition, Source, disjoint_of, record
from mxallowd.trust.answers import Answer, records_of
from mxallowd.trust.lines import parse
from tests.strategies import packed

FILE = "trust.conf"
LINES = parse(
    b"network 192.0.2.0/28\nnetwork 192.0.2.16/28 first-mx-only # the shop\nspf example.org\n"
    b"spf example.com first-mx-only\ndnswl list.example\ndomain mx.example.net first-mx-only\n", FILE)
BY_NUMBER = {line.number: line for line in LINES}


def composed(*more: Source) -> Composition:
    answers = [(BY_NUMBER[number], Answer(records_of([ip_network(network)]), 1_800_000_000, 3600))
               for number, network in ((3, "198.51.100.0/25"), (4, "2001:db8::/48"))]
    hosts = [(packed("203.0.113.5"), Host(BY_NUMBER[5].text, "score 2", 2_000_000_000)),
             (packed("203.0.113.6"), Host(BY_NUMBER[6].text, "a.mx.example.net", 2_000_000_000))]
    return Composition.of([*made(FILE, LINES, hosts, answers), *more])


def test_each_row_knows_its_line() -> None:
    composition = composed()
    for address, line, note in [
            ("192.0.2.1", 1, "network 192.0.2.0/28"), ("192.0.2.17", 2, "network 192.0.2.16/28, the shop"),
            ("198.51.100.1", 3, "spf example.org"), ("2001:db8::1", 4, "spf example.com"),
            ("203.0.113.5", 5, "dnswl list.example 0, score 2"),
            ("203.0.113.6", 6, "domain mx.example.net, a.mx.example.net")]:
        match = composition.find(packed(address))
        assert match is not None
        assert (match.where, match.verdict, match.note) == (f"{FILE}:{line}", "allow", note)


def test_which_networks_have_the_flag() -> None:
    denied = Source("deny.list", DENY, record(ip_network("192.0.2.20/32"), DENY))
    direct = composed(denied).direct
    assert direct
    ranges = disjoint_of(direct.networks, denied=False)
    numbers = [(int(packed(first)[-4:].hex(), 16), int(packed(last)[-4:].hex(), 16)) for first, last in (
        ("192.0.2.16", "192.0.2.19"), ("192.0.2.21", "192.0.2.31"), ("203.0.113.6", "203.0.113.6"))]
    assert ranges.allow4 == numbers
    assert ranges.allow6 == [(int(packed("2001:db8::").hex(), 16), int(packed("2001:db8::").hex(), 16) + (1 << 80) - 1)]
    # Without a flagged line there is nothing, whatever is denied.
    assert Composition.of([denied]).direct is None
