"""Sets of ipset on the real kernel: sets that cannot be used, the operator's own entries, and fillings."""
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.mirrors import Copied, Listed, TargetError, TargetFull, TargetRejects
from mxallowd.mirrors.kernel import ipset, ipsetquery
from mxallowd.mirrors.kernel.ipset import IpsetTable
from tests.strategies import listing, packed
from tests.target_conformance import many

FOUR, OTHER, SIX = packed("192.0.2.1"), packed("192.0.2.2"), packed("2001:db8::1")
NULL4, NULL6 = packed("0.0.0.0"), packed("::")
HOST4, HOST6 = "192.0.2.1", "2001:db8::1"


@pytest.fixture
def table(lab: Lab) -> Iterator[IpsetTable]:
    """Six sets, in a namespace of their own."""
    with visit(lab.gateway.name):
        for name in ("mx_white", "mx_used", "mx_fresh"):
            for version, family in ((4, "inet"), (6, "inet6")):
                run("create", f"{name}{version}", "hash:ip", "family", family, "timeout", "60")
        made = IpsetTable()
        made.open()
        made.inspect()
        yield made
        made.close()


def run(*words: str) -> None:
    """ipset(8), in the namespace of the caller."""
    subprocess.run(["ipset", *words], check=True)


def members(name: str) -> dict[str, list[str]]:
    """What a set holds, as ipset(8) shows it: address, and time and the rest."""
    text = subprocess.run(["ipset", "save", name], capture_output=True, text=True, check=True).stdout
    return {words[2]: words[4:] for line in text.splitlines() if (words := line.split())[0] == "add"}


def sets() -> set[str]:
    return set(subprocess.run(["ipset", "list", "-n"], capture_output=True, text=True, check=True).stdout.split())


def test_a_null_address_is_passed_over(table: IpsetTable) -> None:
    """No set takes 0.0.0.0 or ::, and a name that has it brings it in: it must not cost the others their entry."""
    entries = [Listed(host, 50, used=True) for host in (NULL4, FOUR, NULL6, SIX)]
    table.change(entries, [])
    assert {one.host for one in table.read()[0]} == {FOUR, SIX}
    assert table.missing(dict.fromkeys((NULL4, FOUR, NULL6, SIX), True)) == set()
    table.change([], [NULL4, NULL6, FOUR])
    assert [one.host for one in table.read()[0]] == [SIX]
    # They are not left out for want of room.
    assert table.refill(listing(*entries)) == 0
    assert {one.host for one in table.read()[0]} == {FOUR, SIX}


def test_one_entry_that_is_refused_costs_no_other(table: IpsetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipset, "NULL", frozenset())
    with pytest.raises(TargetRejects, match="does not take this address"):
        table.change([Listed(host, 50, used=True) for host in (NULL4, FOUR, NULL6, SIX)], [])
    assert {(one.host, one.used) for one in table.read()[0]} == {(FOUR, True), (SIX, True)}
    with pytest.raises(TargetRejects, match="does not take this address"):
        table.refill(listing(Listed(FOUR, 50, used=False), Listed(NULL4, 50, used=False)))
    assert not {name for name in sets() if name.endswith(".new")}
    assert {(one.host, one.used) for one in table.read()[0]} == {(FOUR, True), (SIX, True)}


def test_a_change_of_sets_that_went_away_fails(table: IpsetTable) -> None:
    run("destroy")
    with pytest.raises(TargetError, match="set mx_white4 is missing: run `ipset create mx_white4 hash:ip family inet "):
        table.inspect()
    with pytest.raises(TargetError, match="does not exist"):
        table.change([Listed(FOUR, 50, used=True)], [])
    with pytest.raises(TargetError, match="does not exist"):
        table.change([], [SIX])
    with pytest.raises(TargetError, match="does not exist"):
        table.probe()


@pytest.mark.parametrize(("words", "reason"), [
    ("hash:ip family inet timeout 60 netmask 24", "has netmask 24, so that one entry lets a whole network in"),
    ("hash:ip family inet timeout 60 bitmask 255.255.0.255", "has a bitmask, so that one entry lets"),
    ("hash:ip family inet", "has no timeouts"),
    ("hash:ip family inet6 timeout 60", "is of another type, it must be hash:ip family inet"),
    ("hash:net family inet timeout 60", "is of another type"),
    ("bitmap:ip range 192.0.2.0/24 timeout 60", "is of another type"),
    ("list:set timeout 60", "is of another type")])
def test_a_set_that_cannot_be_used_is_refused_with_advice(table: IpsetTable, words: str, reason: str) -> None:
    run("destroy", "mx_white4")
    run("create", "mx_white4", *words.split())
    with pytest.raises(TargetError) as error:
        table.inspect()
    assert f"set mx_white4 {reason}" in str(error.value)
    *_, destroy, create = str(error.value).split("`")[1::2]
    for line in (destroy, create):
        subprocess.run(line.split(), check=True)
    table.inspect()


@pytest.mark.parametrize(("version", "other", "lone"), [(4, 6, FOUR), (6, 4, SIX)])
def test_a_family_that_no_server_has_needs_no_set(table: IpsetTable, version: int, other: int, lone: bytes) -> None:
    for name in ("mx_white", "mx_used", "mx_fresh"):
        run("destroy", f"{name}{other}")
    with pytest.raises(TargetError, match=f"set mx_white{other} is missing"):
        table.inspect()
    alone = IpsetTable(ipv4=version == 4, ipv6=version == 6)
    alone.open()
    alone.inspect()
    both = [Listed(FOUR, 50, used=True), Listed(SIX, 50, used=True)]
    alone.probe()
    alone.change(both, [])
    assert [one.host for one in alone.read()[0]] == [lone]
    assert alone.missing({FOUR: True, SIX: True}) == set()
    assert alone.refill(listing(*both)) == 0
    alone.change([], [FOUR, SIX])
    assert alone.read()[0] == []
    alone.close()


def test_the_sets_of_used_hosts_may_come_and_go(table: IpsetTable) -> None:
    run("destroy", "mx_used4")
    table.inspect()
    table.change([Listed(FOUR, 50, used=True), Listed(SIX, 50, used=True)], [])
    assert {(one.host, one.used) for one in table.read()[0]} == {(FOUR, False), (SIX, True)}
    run("create", "mx_used4", "hash:ip", "timeout", "60")
    table.inspect()
    assert table.missing({FOUR: True, SIX: True}) == {FOUR}
    table.change([Listed(FOUR, 50, used=True)], [])
    assert all(one == Copied(one.host, one.remaining_s, used=True, fresh_s=0) for one in table.read()[0])


def test_fresh_hosts_stand_in_a_set_of_their_own(table: IpsetTable) -> None:
    table.change([Listed(FOUR, 50, used=False, fresh_s=40), Listed(SIX, 50, used=False, fresh_s=30)], [])
    found = {one.host: one.fresh_s for one in table.read()[0]}
    # The second may end between the two.
    assert found[FOUR] in (40, 39)
    assert found[SIX] in (30, 29)
    table.change([Listed(FOUR, 50, used=False), Listed(SIX, 80, used=False, fresh_s=70)], [])
    assert members("mx_fresh4") == {}
    assert int(members("mx_fresh6")[HOST6][0]) in range(68, 71)
    # Never missing; full or not there, it costs nothing else.
    run("flush", "mx_fresh6")
    assert table.missing({FOUR: False, SIX: False}) == set()
    run("destroy", "mx_fresh4")
    run("create", "mx_fresh4", "hash:ip", "timeout", "60", "maxelem", "1")
    table.change([Listed(FOUR, 50, False, 40), Listed(OTHER, 50, False, 40)], [])
    assert len(members("mx_fresh4")) == 1
    run("destroy", "mx_fresh4")
    table.inspect()
    table.change([Listed(FOUR, 50, False, 40)], [])
    table.refill(listing(Listed(FOUR, 50, False)))
    assert members("mx_fresh6") == {}
    table.change([Listed(SIX, 50, False, 40)], [])
    table.flush()
    assert (members("mx_white6"), members("mx_fresh6")) == ({}, {})


# ---- the operator's own

def test_an_entry_that_becomes_endless_stays_so(table: IpsetTable) -> None:
    """Of a host that was entered by us, and by nobody before."""
    table.change([Listed(FOUR, 50, used=True), Listed(SIX, 50, used=True)], [])
    for name in ("mx_white", "mx_used"):
        run("add", "-exist", f"{name}4", HOST4, "timeout", "0")
        run("add", "-exist", f"{name}6", HOST6, "timeout", "0")
    for change in (lambda: table.change([Listed(FOUR, 500, True, 30), Listed(SIX, 5, False)], []),
                   lambda: table.change([], [FOUR, SIX]), table.flush, table.probe,
                   lambda: table.refill(listing(Listed(FOUR, 50, used=True), Listed(OTHER, 50, used=True)))):
        change()
        for name in ("mx_white", "mx_used"):
            assert members(f"{name}4")[HOST4] == ["0"]
            assert members(f"{name}6") == {HOST6: ["0"]}


def test_own_entries_keep_their_comments_and_counters(table: IpsetTable) -> None:
    run("destroy", "mx_white4")
    run("create", "mx_white4", "hash:ip", "timeout", "60", "comment", "counters", "skbinfo")
    table.inspect()
    run("add", "mx_white4", HOST4, "timeout", "0", "comment", "partner", "packets", "7", "bytes", "700", "skbmark",
        "0x1")
    before = members("mx_white4")
    table.refill(listing(Listed(FOUR, 50, used=False), Listed(OTHER, 50, used=False)))
    after = members("mx_white4")
    assert after[HOST4] == before[HOST4]
    assert "partner" in " ".join(before[HOST4])
    assert after.keys() == {HOST4, "192.0.2.2"}
    assert {one.remaining_s for one in table.read()[0] if one.host == FOUR} == {None}


def test_what_comes_in_the_middle_of_a_filling_stays(table: IpsetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator enters, and removes, between our reading and the exchange."""
    run("add", "mx_white4", "198.51.100.1", "timeout", "0")
    exchange = IpsetTable._exchange

    def later(table: IpsetTable, present: list[ipset.IpsetSet]) -> None:
        run("add", "mx_white4", "198.51.100.2", "timeout", "0")
        run("add", "-exist", "mx_white4", HOST4, "timeout", "0")
        run("del", "mx_white4", "198.51.100.1")
        exchange(table, present)

    monkeypatch.setattr(IpsetTable, "_exchange", later)
    table.change([Listed(FOUR, 50, used=False)], [])
    table.refill(listing(Listed(FOUR, 50, used=False)))
    assert members("mx_white4") == {HOST4: ["0"], "198.51.100.2": ["0"]}


def test_endless_entries_that_come_all_the_time(table: IpsetTable) -> None:
    """While sets are filled and changed as fast as it goes; each of them by ipset(8)."""
    hosts = many(2000)
    ended = threading.Event()

    def fill() -> None:
        while not ended.is_set():
            table.refill(listing(*(Listed(host, 50, used=False) for host in hosts)))
            table.change([Listed(host, 500, used=True) for host in hosts[:100]], hosts[100:200])

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        for number in range(1, 41):
            run("add", "-exist", "mx_white4", f"198.51.100.{number}", "timeout", "0")
    finally:
        ended.set()
        filler.join()
    assert {f"198.51.100.{number}" for number in range(1, 41)} <= {
        host for host, rest in members("mx_white4").items() if rest == ["0"]}


# ---- fillings

def test_a_twin_that_an_earlier_filling_left_behind(table: IpsetTable) -> None:
    run("create", "mx_white4.new", "hash:ip", "timeout", "9", "maxelem", "5")
    assert table.refill(listing(Listed(FOUR, 50, used=False), Listed(SIX, 50, used=True))) == 0
    held, whole = table.read()
    assert ({one.host for one in held}, whole) == ({FOUR, SIX}, True)
    assert not {name for name in sets() if name.endswith(".new")}


def test_a_filling_that_fails_changes_nothing(table: IpsetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.change([Listed(FOUR, 50, used=True)], [])
    exchange = IpsetTable._exchange

    def destroyed(table: IpsetTable, present: list[ipset.IpsetSet]) -> None:
        run("destroy", "mx_used6.new")
        exchange(table, present)

    monkeypatch.setattr(IpsetTable, "_exchange", destroyed)
    with pytest.raises(TargetError):
        table.refill(listing(Listed(SIX, 50, used=True)))
    assert {(one.host, one.used) for one in table.read()[0]} == {(FOUR, True)}
    assert not {name for name in sets() if name.endswith(".new")}


def test_a_set_that_somebody_reads_is_filled_a_moment_later(table: IpsetTable) -> None:
    table.change([Listed(host, 50, used=False) for host in many(5000)], [])
    reading = ipsetquery.IpsetQuery()
    parts = reading.entries("mx_white4")
    next(parts)
    ender = threading.Timer(0.2, lambda: list(parts))
    ender.start()
    started = time.monotonic()
    assert table.refill(listing(Listed(FOUR, 50, used=False))) == 0
    assert time.monotonic() - started > 0.15
    ender.join()
    reading.close()
    assert [one.host for one in table.read()[0]] == [FOUR]


def test_a_full_set_says_which_it_is(table: IpsetTable) -> None:
    run("destroy", "mx_used4")
    run("create", "mx_used4", "hash:ip", "timeout", "60", "maxelem", "1")
    table.inspect()
    with pytest.raises(TargetFull, match="the set mx_used4 is full"):
        table.change([Listed(FOUR, 50, used=True), Listed(OTHER, 50, used=True)], [])


@pytest.mark.parametrize("number", [1, 4097, 4100, 4108, 5000, 1 << 31, -5])
def test_every_error_has_words(number: int) -> None:
    assert ipsetquery.said(number).isprintable()


def test_who_is_taken_out_is_not_met_any_more(table: IpsetTable) -> None:
    # Without such sets there is nothing to be done.
    table.change([], [FOUR])
    run("create", "mx_met4", "hash:ip", "timeout", "60")
    run("add", "mx_met4", "192.0.2.1")
    run("add", "mx_met4", "192.0.2.99")
    table.change([], [FOUR, SIX, NULL4])
    assert members("mx_met4").keys() == {"192.0.2.99"}
