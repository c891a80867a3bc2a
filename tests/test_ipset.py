"""Sets of ipset on the real kernel, by the privileged helper: hosts that it cannot hold, and sets that went away."""
import subprocess
from collections.abc import Iterator

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.mirrors import Copied, Listed, TargetError
from mxallowd.mirrors.kernel.ipset import IpsetTable
from tests.strategies import listing, packed

FOUR, SIX = packed("192.0.2.1"), packed("2001:db8::1")
NULL4, NULL6 = packed("0.0.0.0"), packed("::")


@pytest.fixture
def table(lab: Lab) -> Iterator[IpsetTable]:
    """Four sets, in a namespace of their own."""
    with visit(lab.gateway.name):
        for name in ("mx_white", "mx_used"):
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


def test_a_change_of_sets_that_went_away_fails(table: IpsetTable) -> None:
    run("destroy")
    with pytest.raises(TargetError, match="set mx_white4 is missing"):
        table.inspect()
    with pytest.raises(TargetError, match="does not exist"):
        table.change([Listed(FOUR, 50, used=True)], [])
    with pytest.raises(TargetError, match="does not exist"):
        table.change([], [SIX])


def test_the_sets_of_used_hosts_may_come_and_go(table: IpsetTable) -> None:
    run("destroy", "mx_used4")
    table.inspect()
    table.change([Listed(FOUR, 50, used=True), Listed(SIX, 50, used=True)], [])
    assert {(one.host, one.used) for one in table.read()[0]} == {(FOUR, False), (SIX, True)}
    run("create", "mx_used4", "hash:ip", "timeout", "60")
    table.inspect()
    assert table.missing({FOUR: True, SIX: True}) == {FOUR}
    table.change([Listed(FOUR, 50, used=True)], [])
    assert all(one == Copied(one.host, one.remaining_s, used=True) for one in table.read()[0])
