"""Sets of nft on the real kernel: the library and the program, single elements, times, room, and the operator's own."""
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.mirrors import Listed, TargetError, TargetFull
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.kernel.nft import NftTable
from tests.strategies import listing, packed

FOUR, OTHER, SIX = packed("192.0.2.1"), packed("192.0.2.2"), packed("2001:db8::1")


@pytest.fixture
def table(lab: Lab) -> Iterator[NftTable]:
    """A table that was set up by itself, in a namespace of its own."""
    with visit(lab.gateway.name):
        made = NftTable("inet mx", setup=True, max_entries=1000)
        made.open()
        made.inspect()
        yield made
        made.close()


def run(lab_text: str) -> None:
    """Commands of nft, in the namespace of the caller."""
    subprocess.run(["nft", "-f", "-"], input=lab_text, text=True, check=True)


def held(table: NftTable) -> dict[bytes, tuple[int | None, bool]]:
    """What it holds, times to the nearest ten seconds."""
    return {one.host: (None if one.remaining_s is None else round(one.remaining_s, -1), one.used)
            for one in table.read()[0]}


def test_changes_and_what_is_read_back(table: NftTable) -> None:
    table.change([Listed(FOUR, 100, used=False), Listed(SIX, 200, used=True)], [])
    assert held(table) == {FOUR: (100, False), SIX: (200, True)}
    assert table.missing({FOUR: False, OTHER: False, SIX: True}) == {OTHER}
    assert table.missing({FOUR: True}) == {FOUR}
    # A time is set anew, longer or shorter; what is not there can be taken out.
    table.change([Listed(FOUR, 50, used=True)], [OTHER, SIX])
    assert held(table) == {FOUR: (50, True)}
    table.change([Listed(FOUR, 500, used=True)], [])
    assert held(table) == {FOUR: (500, True)}
    table.change([], [])
    assert held(table) == {FOUR: (500, True)}


def test_the_time_is_the_kernels(table: NftTable) -> None:
    table.change([Listed(FOUR, 1, used=True)], [])
    time.sleep(1.1)
    assert held(table) == {}
    # An element that has just ended is in nobody's way.
    table.change([Listed(FOUR, 30, used=True)], [OTHER])
    assert held(table) == {FOUR: (30, True)}


def test_a_filling_adds_and_leaves_the_operators_own(table: NftTable) -> None:
    own = packed("192.0.2.7")
    run("add element inet mx mx_white4 { 192.0.2.7, 192.0.2.2 timeout 1h }\nadd element inet mx mx_used6 { ::7 }")
    assert held(table)[own] == (None, False)
    assert table.refill(listing(Listed(FOUR, 100, used=True), Listed(own, 100, used=False))) == 0
    # What was there beyond it ends by itself.
    assert held(table) == {FOUR: (100, True), own: (None, False), OTHER: (3600, False)}
    with_own = subprocess.run(["nft", "list", "set", "inet", "mx", "mx_used6"], capture_output=True, text=True).stdout
    assert "elements = { ::7 }" in with_own
    # Nor does a single change touch them.
    table.change([Listed(own, 10, used=False)], [own])
    assert held(table)[own] == (None, False)
    # One that came while the daemon ran is found before the sets are emptied; one that went stays away.
    run("add element inet mx mx_white4 { 192.0.2.8 }\ndelete element inet mx mx_white4 { 192.0.2.7 }")
    table.flush()
    assert held(table) == {packed("192.0.2.8"): (None, False)}


def test_who_is_taken_out_is_not_met_any_more(table: NftTable) -> None:
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        run(f"add set inet mx mx_met{version} {{ type {kind}; flags dynamic,timeout; timeout 1m; }}")
    run("add element inet mx mx_met4 { 192.0.2.1, 192.0.2.2 }\nadd element inet mx mx_met6 { 2001:db8::1 }")
    table.change([], [FOUR, SIX])
    assert [table.sets_of(host)["mx_met4"] for host in (FOUR, OTHER)] == [False, True]
    assert not table.sets_of(SIX)["mx_met6"]


def test_a_set_without_room(table: NftTable) -> None:
    run("delete table inet mx\nadd table inet mx\n"
        "add set inet mx mx_white4 { type ipv4_addr; flags timeout; size 2; }\n"
        "add set inet mx mx_white6 { type ipv6_addr; flags timeout; }")
    table._setup = False
    table.inspect()
    hosts = [packed(f"192.0.2.{number}") for number in range(1, 6)]
    table.change([Listed(host, 100, used=False) for host in hosts[:2]], [])
    with pytest.raises(TargetFull, match="the set is full"):
        table.change([Listed(hosts[2], 100, used=False)], [])
    assert held(table).keys() == set(hosts[:2])
    # One transaction exchanges all; the last ones are left out.
    assert table.refill(listing(Listed(hosts[4], 50, used=True), *(Listed(host, 100 - place, used=False)
                                                                 for place, host in enumerate(hosts[:4])))) == 3
    assert held(table).keys() == {hosts[4], hosts[0]}
    table.change([], [hosts[0]])
    table.change([Listed(hosts[1], 100, used=False)], [])
    assert held(table).keys() == {hosts[4], hosts[1]}


def test_what_is_missing_or_wrong_is_said(table: NftTable, monkeypatch: pytest.MonkeyPatch) -> None:
    run("delete table inet mx")
    with pytest.raises(TargetError, match="No such file or directory"):
        table.change([Listed(FOUR, 100, used=False)], [])
    table._setup = False
    with pytest.raises(TargetError, match="table inet mx or its sets are missing"):
        table.inspect()
    run("add table inet mx\nadd set inet mx mx_white4 { type ipv4_addr; flags timeout, interval; }")
    with pytest.raises(TargetError, match="set mx_white4 holds intervals"):
        table.inspect()
    run("delete set inet mx mx_white4\nadd set inet mx mx_white4 { type ipv4_addr; flags timeout; }")
    with pytest.raises(TargetError, match="set mx_white6 is missing"):
        table.inspect()
    run("add set inet mx mx_white6 { type ipv6_addr . inet_service; flags timeout; }")
    with pytest.raises(TargetError, match=r"set mx_white6 is of type .*must be ipv6_addr"):
        table.inspect()
    run("delete set inet mx mx_white6\nadd set inet mx mx_white6 { type ipv6_addr; flags timeout; }")
    # The sets of used hosts are optional.
    table.inspect()
    table.change([Listed(FOUR, 100, used=True)], [])
    assert held(table) == {FOUR: (100, False)}


def test_counters_of_rules(table: NftTable) -> None:
    assert table.totals() == {"refused": 0, "accepted": 0, "denied": 0}
    run("delete counter inet mx mx_refused\nadd counter inet mx mx_refused { packets 7 bytes 280 }\n"
        "add counter inet mx another { packets 1 bytes 1 }")
    assert table.totals() == {"refused": 7, "accepted": 0, "denied": 0}


@pytest.mark.alone
def test_200_000_entries_are_filled_in_under_2_s(table: NftTable) -> None:
    run("delete table inet mx\nadd table inet mx\nadd set inet mx mx_white4 { type ipv4_addr; flags timeout; }\n"
        "add set inet mx mx_white6 { type ipv6_addr; flags timeout; }")
    table._setup = False
    table.inspect()
    prefix = packed("10.0.0.0")[:13]
    entries = [Listed(prefix + number.to_bytes(3, "big"), 3600, used=False) for number in range(200_000)]
    many = listing(*entries)
    taken = []
    for _ in range(2):
        started = time.monotonic()
        assert table.refill(many) == 0
        taken.append(time.monotonic() - started)
    assert table.missing({entries[0].host: False, entries[-1].host: True, FOUR: False}) == {FOUR}
    assert min(taken) < 2, taken
    started = time.monotonic()
    held_now, whole = table.read()
    assert (len(held_now), whole) == (200_000, True)
    assert time.monotonic() - started < 4
    # Over a full set as over an empty one, and emptied again.
    started = time.monotonic()
    assert table.refill(many) == 0
    assert time.monotonic() - started < 2
    table.flush()
    assert table.read() == ([], True)


def test_elements_are_asked_for_in_any_number(lab: Lab) -> None:
    with visit(lab.gateway.name):
        run("add table inet mx\nadd set inet mx a { type ipv4_addr; flags timeout; }\nadd element inet mx a { "
            + ",".join(f"10.0.0.{number} timeout 1h" for number in range(0, 250, 2)) + ", 10.1.1.1 }")
        elements = NfQuery("inet", "mx")
        keys = [bytes([10, 0, 0, number]) for number in range(250)]
        found = elements.get("a", keys)
        assert found.keys() == set(keys[::2])
        assert all(isinstance(remaining, float) and 3590 < remaining <= 3600 for remaining in found.values())
        [forever] = elements.get("a", [bytes([10, 1, 1, 1])]).values()
        assert isinstance(forever, bytes)
        everything, whole = elements.dump("a", 5)
        assert everything.keys() == {*found, bytes([10, 1, 1, 1])}
        assert whole
        # Given up at once, and good for further questions.
        assert elements.dump("a", 0) == ({}, False)
        assert len(elements.dump("a", 5)[0]) == 126
        assert elements.get("a", []) == {}
        # Neither the set nor the table: nothing is held.
        assert elements.get("b", keys[:2]) == {}
        with pytest.raises(TargetError, match="set b: No such file or directory"):
            elements.dump("b", 5)
        # An answer that nobody took is not taken for that of the next question.
        elements._netlink.send(elements._request("a", keys[0]))
        assert elements.get("a", keys[1:3]).keys() == {keys[2]}
        elements.close()


@pytest.mark.parametrize("answer, reason", [
    (struct.pack("=IHHII", 15, 0xa0d, 0, 1, 0), "impossible length"),
    (struct.pack("=IHHII", 64, 0xa0d, 0, 1, 0), "impossible length"),
    (None, "does not answer")])
def test_an_answer_that_is_none_is_said(answer: bytes | None, reason: str) -> None:
    """Lengths of the kernel are held against what is there, and a kernel that is silent holds nobody up."""
    elements = NfQuery("inet", "mx")
    elements.close()
    elements._netlink._socket, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    elements._netlink._socket.settimeout(0.05)
    if answer is not None:
        kernel.send(answer)
    with kernel, pytest.raises(TargetError, match=reason):
        elements.get("a", [bytes(4)])
    # Nobody is there any more.
    with pytest.raises(TargetError, match="nf_tables: "):
        elements.get("a", [bytes(4)])
    elements.close()


def test_a_large_interval_set_of_somebody_else_slows_no_change(table: NftTable) -> None:
    """A list of countries in another table: libnftables would read it before every change."""
    networks = ",".join(f"{first}.{second}.{third}.0/25" for first in (20, 21) for second in range(50)
                        for third in range(0, 256, 2))
    run("add table inet geo\nadd set inet geo countries { type ipv4_addr; flags interval; }\n"
        f"add element inet geo countries {{ {networks} }}")
    taken = []
    for number in range(20):
        started = time.monotonic()
        table.change([Listed(packed(f"192.0.2.{number + 1}"), 100, used=False)], [])
        taken.append(time.monotonic() - started)
    assert sorted(taken)[15] < 0.05
