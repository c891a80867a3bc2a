"""Tables of which the first line counts: after an import, mxallowd's lists decide as the table does."""
import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from mxallowd.ctl.dumps import Item, Left, reader
from mxallowd.ctl.firstmatch import settled


def taken(*lines: str) -> list[Item | Left]:
    read = reader("postscreen")
    found = [(number, one) for number, line in enumerate(lines) if (one := read(line)) is not None]
    return [one for _, one in settled(found)]


def test_who_is_permitted_before_a_rejected_network_is_allowed() -> None:
    assert taken("198.51.100.77 permit", "203.0.113.7 permit", "198.51.100.0/24 reject", "2001:db8::7 permit",
                 "2001:db8:0:1::/64 permit", "2001:db8::/32 reject") == [
        Item("198.51.100.77", "allow"), Item("203.0.113.7"), Item("198.51.100.0/24", "deny"),
        Item("2001:db8::7", "allow"), Item("2001:db8:0:1::/64", "allow"), Item("2001:db8::/32", "deny")]


def test_what_is_never_reached_is_left_out() -> None:
    otherwise = Left("lines before them decide otherwise, and the first one counts", expected=True)
    assert taken("198.51.100.0/24 reject", "198.51.100.77 permit", "198.51.100.0/25 permit", "198.51.100.0/26 reject",
                 "203.0.113.0/24 permit", "203.0.113.9 reject", "0.0.0.0/0 permit", "::/0 reject") == [
        Item("198.51.100.0/24", "deny"), otherwise, otherwise,
        Left("the lines before them say so already", expected=True), Item("203.0.113.0/24", "allow"), otherwise,
        Item("0.0.0.0/0", "allow"), Item("::/0", "deny")]


def test_a_network_with_a_part_of_dunno_is_named() -> None:
    found = taken("198.51.100.7 dunno", "198.51.100.7 reject", "198.51.100.0/24 reject", "198.51.101.0/24 reject")
    assert found[3] == Item("198.51.101.0/24", "deny")
    assert [isinstance(one, Left) and one.expected for one in found] == [True, True, False, False]
    assert found[2] == Left('"198.51.100.0/24" holds but for a part, which a dunno before it takes out: split it')


LINES = st.lists(st.tuples(st.integers(24, 32), st.integers(0, 7), st.sampled_from(["permit", "reject", "dunno"])),
                 max_size=8)


@given(LINES)
def test_the_longest_network_decides_as_the_first_line(lines: list[tuple[int, int, str]]) -> None:
    table = [(ipaddress.ip_network((f"192.0.2.{low}", bits), strict=False), verdict) for bits, low, verdict in lines]
    found = taken(*(f"{network} {verdict}" for network, verdict in table))
    if any(isinstance(one, Left) and not one.expected for one in found):
        return
    lists = [(ipaddress.ip_network(one.what), one.verdict) for one in found if isinstance(one, Item)]
    for last in range(8):
        host = ipaddress.ip_address(f"192.0.2.{last}")
        first = next((verdict for network, verdict in table if host in network), "dunno")
        _, verdict = max(((network.prefixlen, verdict) for network, verdict in lists if verdict and host in network),
                         default=(0, "dunno"))
        # An address that no list has is let in as an entry.
        entry = verdict == "dunno" and any(not verdict and host in network for network, verdict in lists)
        assert ("allow" if entry else verdict) == {"permit": "allow", "reject": "deny"}.get(first, first)
