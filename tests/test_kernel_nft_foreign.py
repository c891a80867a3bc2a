"""What others put beside and into the sets of nft: a newer nft's sets, `typeof`, other kinds, the operator's own."""
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, Attempt, Host, Lab
from lab.namespaces import visit
from mxallowd.mirrors import Copied, Listed, TargetError
from mxallowd.mirrors.kernel import create
from mxallowd.mirrors.kernel.netlink import CREATE, Netlink, error_number, packed
from mxallowd.mirrors.kernel.nfmessages import NAME, NEWSET, NEWTABLE, Batch, number, text
from mxallowd.mirrors.kernel.nft import NftTable
from tests import strategies
from tests.daemon_process import SENDER4, SERVERS, DaemonProcess
from tests.strategies import HOSTS, listing
from tests.test_kernel_nft import run
from tests.test_settings import good

FOUR, OTHER, SIX = (strategies.packed(text) for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1"))
SETS = "".join(
    f"add set inet mx mx_white{version} {{ type ipv{version}_addr; flags timeout; }}\n" for version in (4, 6))
CLIENT = (SENDER4,)


@pytest.fixture
def table(lab: Lab) -> Iterator[NftTable]:
    """A target, and no table yet."""
    with visit(lab.gateway.name):
        made = NftTable("inet mx", setup=False, max_entries=1000)
        made.open()
        yield made
        made.close()


def forge() -> None:
    """A set in a table of somebody else's, as a newer nft declares it: with expressions that older ones do not know."""
    # NFTNL_UDATA_SET_KEY_TYPEOF, which is type and data of an expression; of this type there is none.
    typeof = bytes((0, 4)) + struct.pack("=I", 39) + bytes((1, 0))
    netlink = Netlink("forge")
    batch = Batch(netlink, 1, "newer", 100_000)
    batch.append(NEWTABLE, CREATE)
    batch.append(NEWSET, CREATE, text(NAME, "foreign"), number(3, 0), number(4, 7), number(5, 4), number(10, 1),
                 packed(13, bytes((3, len(typeof))) + typeof))
    batch.finish()
    for first, part in batch.parts(100_000):
        netlink.send(part)
        assert [error_number(body) for _, _, body in netlink.receive(first)] == [0]
    netlink.close()


def test_a_set_of_a_newer_nft_kills_nobody(lab: Lab, client: Host) -> None:
    lab.load_ruleset("set.nft")
    with visit(lab.gateway.name):
        forge()
        nft = subprocess.run(["nft", "list", "sets"], capture_output=True)
        # The harness: this is what happens to libnftables 1.0.6, of Debian 12.
        if b"v1.0.6 " in subprocess.run(["nft", "--version"], capture_output=True).stdout:
            assert nft.returncode == -11
    arguments = ["-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5", "--nft-table", "inet mxallowd", "--nft-setup"]
    with DaemonProcess(lab.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        daemon.wait_for(rf"whitelisted \[{SENDER4}\]")
        assert daemon.counters()["kernel-table-failed"] == 0
        for process in (daemon.process.pid, *children(daemon.process.pid)):
            assert "nftables" not in Path(f"/proc/{process}/maps").read_text(encoding="utf-8")
        assert daemon.stop() == 0
        assert not [line for line in daemon.messages() if line.split()[0] in ("defect", "kernel-table-broken")]
    with visit(lab.gateway.name):
        held = NftTable("inet mxallowd", setup=False, max_entries=1)
        held.open()
        assert [one.host for one in held.read()[0]] == [strategies.packed(SENDER4)]
        held.close()


def children(process: int) -> list[int]:
    """The processes that this one has started."""
    return [int(word) for file in Path(f"/proc/{process}/task").glob("*/children")
            for word in file.read_text(encoding="ascii").split()]


@pytest.mark.parametrize("words", ["typeof ip saddr; flags timeout;", "typeof ip daddr; flags timeout, dynamic;",
                                   "type ipv4_addr; flags timeout; timeout 1h;",
                                   "typeof ip saddr; timeout 1h; counter;",
                                   "type ipv4_addr; flags timeout; size 5000; gc-interval 10s;"])
def test_however_a_set_was_declared(table: NftTable, words: str) -> None:
    run(f"add table inet mx\nadd set inet mx mx_white4 {{ {words} }}\n"
        "add set inet mx mx_white6 { typeof ip6 saddr; flags timeout; }")
    table.inspect()
    table.probe()
    table.change([Listed(FOUR, 100, used=False), Listed(SIX, 200, used=True)], [])
    assert table.refill(listing(Listed(FOUR, 3600, used=False), Listed(OTHER, 300, used=False))) == 0
    found = {one.host: one.remaining_s for one in table.read()[0]}
    assert found.keys() == {FOUR, OTHER, SIX}
    assert 3590 < (found[FOUR] or 0) <= 3600
    table.flush()
    assert table.read() == ([], True)


@pytest.mark.parametrize("words, fault", [
    ("set inet mx mx_white4 { type ipv4_addr; }", "has no timeouts, declare it with flags timeout"),
    ("set inet mx mx_white4 { type ipv4_addr; flags timeout, interval; }",
     "holds intervals, declare it with flags timeout alone"),
    ("set inet mx mx_white4 { type ipv6_addr; flags timeout; }", "is of type ipv6_addr, it must be ipv4_addr"),
    ("set inet mx mx_white4 { type inet_service; flags timeout; }", "is of type inet_service, it must be ipv4_addr"),
    ("set inet mx mx_white4 { type ipv4_addr . inet_service; flags timeout; }",
     r"is of type ipv4_addr \. inet_service, it must be ipv4_addr"),
    ("map inet mx mx_white4 { type ipv4_addr : mark; flags timeout; }",
     "is a map, declare it as a set of type ipv4_addr with flags timeout"),
    ("set inet mx mx_fresh4 { type ether_addr; flags timeout; }", "is of type ether_addr, it must be ipv4_addr"),
    ("set inet mx mx_used6 { type ipv6_addr; }", "has no timeouts, declare it with flags timeout")])
def test_a_set_of_another_kind_is_refused_with_advice(table: NftTable, words: str, fault: str) -> None:
    name = words.split()[3]
    rest = "".join(line for line in SETS.splitlines(keepends=True) if name not in line)
    run(f"add table inet mx\nadd {words}\n{rest}")
    kind = f"ipv{name[-1]}_addr"
    with pytest.raises(TargetError, match=f"^set {name} {fault}$"):
        table.inspect()
    # The advice works.
    run(f"delete {words[:3]} inet mx {name}\nadd set inet mx {name} {{ type {kind}; flags timeout; }}")
    table.inspect()
    table.change([Listed(FOUR, 100, used=True, fresh_s=50)], [])


def test_without_a_server_of_ipv6_its_sets_may_be_missing(lab: Lab) -> None:
    run_in = "add table inet mx\nadd set inet mx mx_white4 { type ipv4_addr; flags timeout; }"
    with visit(lab.gateway.name):
        run(run_in)
        [table] = create(good("-f 192.0.2.10 -r 192.0.2.20 -n 23 --nft-table mx"))
        table.open()
        assert table.read() == ([], True)
        table.probe()
        # A child may have such an address; it is passed over.
        table.change([Listed(FOUR, 100, used=True), Listed(SIX, 100, used=True)], [OTHER])
        assert table.missing({FOUR: True, SIX: True}) == set()
        assert table.refill(listing(Listed(OTHER, 100, used=False), Listed(SIX, 100, used=False))) == 0
        assert {one.host for one in table.read()[0]} == {FOUR, OTHER}
        table.flush()
        table.close()
        [table] = create(good("-f 192.0.2.10 -r 2001:db8::20 -n 23 --nft-table mx"))
        table.open()
        with pytest.raises(TargetError, match="set mx_white6 is missing: add set inet mx mx_white6"):
            table.inspect()
        table.close()


# ---- the operator's own

def elements(name: str) -> str:
    return subprocess.run(["nft", "list", "set", "inet", "mx", name], capture_output=True, text=True).stdout


def test_what_the_operator_enters_meanwhile_stays_as_it_is(table: NftTable) -> None:
    """Of a listed host as well: since Linux 6.12 a filling would give it a time, after which it is gone."""
    run(f"add table inet mx\n{SETS}")
    table.read()
    table.change([Listed(FOUR, 100, used=False)], [])
    table.refill(listing(Listed(FOUR, 100, used=False)))
    run('add element inet mx mx_white4 { 192.0.2.2 comment "backup mx", 192.0.2.3 }')
    for _ in range(2):
        table.refill(listing(Listed(FOUR, 100, used=False), Listed(OTHER, 100, used=False)))
        assert {one.host: one.remaining_s is None for one in table.read()[0]} == {
            FOUR: False, OTHER: True, strategies.packed("192.0.2.3"): True}
    run('add element inet mx mx_white6 { 2001:db8::1 comment "six" }')
    table.flush()
    assert '192.0.2.2 comment "backup mx"' in elements("mx_white4")
    assert '2001:db8::1 comment "six"' in elements("mx_white6")
    assert {one.remaining_s for one in table.read()[0]} == {None}
    # And what he takes out stays out.
    run("delete element inet mx mx_white4 { 192.0.2.3 }")
    table.flush()
    assert "192.0.2.3" not in elements("mx_white4")


def test_a_filling_renews_an_entry_of_the_same_time(table: NftTable) -> None:
    """An element has the time that it was entered with, and what is left of it; the second is what counts."""
    run(f"add table inet mx\n{SETS}add element inet mx mx_white4 {{ 192.0.2.1 timeout 1h expires 9s }}")
    table.refill(listing(Listed(FOUR, 3600, used=False)))
    [one] = table.read()[0]
    if subprocess.run(["uname", "-r"], capture_output=True, text=True).stdout.split(".")[:2] >= ["6", "12"]:
        assert 3590 < (one.remaining_s or 0) <= 3600


# ---- hosts that no contact renews yet

def fresh(table: NftTable) -> dict[bytes, int | None]:
    return {one.host: one.fresh_s for one in table.read()[0]}


def test_fresh_hosts_stand_in_a_set_of_their_own(table: NftTable) -> None:
    run(f"add table inet mx\n{SETS}" + SETS.replace("mx_white", "mx_fresh"))
    table.inspect()
    table.change([Listed(FOUR, 800, used=False, fresh_s=100), Listed(OTHER, 700, used=True),
                  Listed(SIX, 800, used=True, fresh_s=50)], [])
    assert {host: None if seconds is None else round(seconds, -1) for host, seconds in fresh(table).items()} == {
        FOUR: 100, OTHER: 0, SIX: 50}
    # Renewed, ended, and grown old.
    table.change([Listed(OTHER, 800, used=True, fresh_s=100), Listed(SIX, 700, used=True)], [FOUR])
    assert {host: seconds and round(seconds, -1) for host, seconds in fresh(table).items()} == {OTHER: 100, SIX: 0}
    # Never missing, and no reason for a filling.
    run("flush set inet mx mx_fresh4")
    assert table.missing({OTHER: False, SIX: False}) == set()
    # A filling leaves nobody there who is not to be there, but for the operator's own.
    run("add element inet mx mx_fresh4 { 192.0.2.1 timeout 1h, 192.0.2.9 }")
    entries = listing(Listed(FOUR, 700, used=False), Listed(OTHER, 800, used=True))
    entries._renewable_s = 700
    table.refill(entries)
    assert {host: seconds and round(seconds, -1) for host, seconds in fresh(table).items()} == {
        FOUR: 0, OTHER: 100, SIX: 0}
    assert "192.0.2.9" in elements("mx_fresh4")
    table.flush()
    assert "192.0.2.2" not in elements("mx_fresh4")
    assert "192.0.2.9" in elements("mx_fresh4")


def test_without_room_for_fresh_hosts_others_are_entered(table: NftTable) -> None:
    run(f"add table inet mx\n{SETS}add set inet mx mx_fresh4 {{ type ipv4_addr; flags timeout; size 1; }}")
    table.inspect()
    listed = [Listed(host, 800, used=False, fresh_s=100) for host in HOSTS]
    table.change(listed, [])
    assert table.missing(dict.fromkeys(HOSTS, False)) == set()
    table.flush()
    entries = listing(*listed)
    entries._renewable_s = 700
    assert table.refill(entries) == 0
    assert sum(1 for seconds in fresh(table).values() if seconds) == 1


def test_setup_creates_what_nft_reads(table: NftTable) -> None:
    table._setup = True
    table.inspect()
    shown = subprocess.run(["nft", "list", "table", "inet", "mx"], capture_output=True, text=True, check=True).stdout
    for name in ("white", "used", "fresh"):
        for version in (4, 6):
            assert (f"\tset mx_{name}{version} {{\n\t\ttype ipv{version}_addr\n\t\tsize 2000\n"
                    "\t\tflags timeout\n") in shown
    assert "counter mx_accepted" in shown
    assert "counter mx_refused" in shown
    # It can be loaded as it is shown, used by rules, and filled by nft.
    run(shown)
    run("add chain inet mx c\nadd rule inet mx c ip saddr @mx_white4 accept\n"
        "add element inet mx mx_white4 { 192.0.2.1 timeout 1h }\nadd element inet mx mx_white6 { 2001:db8::1 }")
    assert {(one.host, one.remaining_s is None) for one in table.read()[0]} == {(FOUR, False), (SIX, True)}
    run("delete set inet mx mx_used4\ndelete counter inet mx mx_refused")
    table.inspect()
    assert "mx_used4" in elements("mx_used4")
    assert table.totals() == {"refused": 0, "accepted": 0, "denied": 0}
    assert table.read()[0] == [Copied(FOUR, 3599, False, 0), Copied(SIX, None, False, 0)]
