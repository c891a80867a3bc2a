"""Sets of nft whose listing lacks elements, as the kernel's does of a set that it rearranges meanwhile."""
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.mirrors import Listed
from mxallowd.mirrors.kernel.nfmessages import Remaining
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.kernel.nft import NftTable
from tests.strategies import listing, packed
from tests.test_kernel_nft import run

OWN, UNSEEN, KNOWN, OTHER = (packed(f"192.0.2.{number}") for number in (7, 8, 1, 2))


@pytest.fixture(params=["dynamic,timeout", "timeout"])
def table(lab: Lab, request: pytest.FixtureRequest) -> Iterator[NftTable]:
    """Sets that rules enter hosts into, and sets that they do not, with two elements of the operator's own."""
    with visit(lab.gateway.name):
        run("add table inet mx\n"
            f"add set inet mx mx_white4 {{ type ipv4_addr; size 4; flags {request.param}; }}\n"
            f"add set inet mx mx_white6 {{ type ipv6_addr; flags {request.param}; }}\n"
            "add set inet mx mx_used4 { type ipv4_addr; flags timeout; }\n"
            "add element inet mx mx_white4 { 192.0.2.7, 192.0.2.8 }\n")
        made = NftTable("inet mx", setup=False, max_entries=1000)
        made.open()
        made.inspect()
        yield made
        made.close()


def unseen(monkeypatch: pytest.MonkeyPatch, *hosts: bytes) -> None:
    """From now on, every listing of a whitelist lacks these and says that it is complete."""
    whole = NfQuery.dump

    def lacking(query: NfQuery, name: str, limit_s: float) -> tuple[dict[bytes, Remaining], bool]:
        held, complete = whole(query, name, limit_s)
        return {key: left for key, left in held.items()
                if not name.startswith("mx_white") or key not in {host[12:] for host in hosts}}, complete

    monkeypatch.setattr(NfQuery, "dump", lacking)


def white4() -> set[str]:
    """What stands there, as nft itself lists it."""
    shown = subprocess.run(["nft", "-j", "list", "set", "inet", "mx", "mx_white4"], capture_output=True, text=True)
    return {word for word in shown.stdout.replace('"', " ").split() if word.startswith("192.0.2.")}


def test_an_own_element_that_is_not_seen_is_not_lost(table: NftTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.change([Listed(KNOWN, 100, used=False), Listed(OTHER, 200, used=False)], [])
    unseen(monkeypatch, UNSEEN)
    # All have room but one, for whom another goes.
    entries = listing(*(Listed(packed(f"192.0.2.{number}"), 100 * number, used=False) for number in (2, 3)))
    assert table.refill(entries) == 0
    assert white4() == {"192.0.2.7", "192.0.2.8", "192.0.2.2", "192.0.2.3"}
    # Nor does a known host stay that is not seen.
    table.change([Listed(OTHER, 200, used=True)], [])
    unseen(monkeypatch, UNSEEN, OTHER)
    table.flush()
    assert white4() == {"192.0.2.7", "192.0.2.8"}


def test_an_element_that_ends_under_a_change_is_no_fault(table: NftTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each question, the first of the hosts that have a short time left ends before the transaction comes."""
    hosts = [packed(f"192.0.2.{number}") for number in (1, 2)]
    asked, ended = NfQuery.get, []

    def ends(query: NfQuery, name: str, keys: list[bytes]) -> dict[bytes, Remaining]:
        held = asked(query, name, keys)
        if name == "mx_used4":
            white = asked(query, "mx_white4", keys)
            for key in [key for key in keys if isinstance(left := white.get(key), float) and left <= 5][:1]:
                batch = query.batch()
                batch.remove("mx_white4", [key])
                query.commit(batch)
                ended.append(key)
        return held

    table.change([Listed(host, 5, used=False) for host in hosts], [])
    monkeypatch.setattr(NfQuery, "get", ends)
    table.change([Listed(host, 1000, used=True) for host in hosts], [])
    assert len(ended) == 2
    monkeypatch.undo()
    assert {one.host: (one.remaining_s or 0) > 990 for one in table.read()[0] if one.host in hosts} == dict.fromkeys(
        hosts, True)


def test_known_hosts_that_are_not_seen_are_read(table: NftTable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table.read()[1]
    table.change([Listed(KNOWN, 100, used=True), Listed(OTHER, 100, used=False)], [])
    assert table.read()[1]
    unseen(monkeypatch, KNOWN)
    held, complete = table.read()
    assert {(one.host, one.used) for one in held} == {(KNOWN, True), (OTHER, False), (OWN, False), (UNSEEN, False)}
    # Of hosts that have not been let in yet, some may not have been seen either.
    assert not complete
    # The listing takes all the time that it has: some is left for them.
    if table._sets[0].dynamic:
        slow = NfQuery.dump
        monkeypatch.setattr("mxallowd.mirrors.kernel.nft.READ_S", 0.2)

        def late(query: NfQuery, name: str, limit_s: float) -> tuple[dict[bytes, Remaining], bool]:
            time.sleep(limit_s if name == "mx_white4" else 0)
            return slow(query, name, limit_s)

        monkeypatch.setattr(NfQuery, "dump", late)
        assert (KNOWN, True) in {(one.host, one.used) for one in table.read()[0]}
    # There is none at all.
    monkeypatch.setattr("mxallowd.mirrors.kernel.nft.READ_S", 0)
    assert not table.read()[1]


def test_a_set_that_grows_while_it_is_read_is_not_whole(table: NftTable, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NfQuery.dump

    def grows(query: NfQuery, name: str, limit_s: float) -> tuple[dict[bytes, Remaining], bool]:
        if name == "mx_white4":
            # As a rule enters a newcomer.
            run("add element inet mx mx_white4 { 192.0.2.99 timeout 5s }")
        return whole(query, name, limit_s)

    monkeypatch.setattr(NfQuery, "dump", grows)
    [white, *_] = table._sets
    assert table.read()[1] is not white.dynamic
