"""One host that a target does not take: found by halves, left out, said, counted, and nobody else is kept out by it."""
import subprocess

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.mirrors import Listed, TargetError, TargetFull, TargetRejects, mirror, rejection
from mxallowd.mirrors.kernel.nft import NftTable
from tests.memory_target import MemoryTarget, Scene, run
from tests.strategies import HOSTS, listing, packed
from tests.target_conformance import many


def entries(hosts: list[bytes]) -> list[Listed]:
    return [Listed(host, 100, used=False) for host in hosts]


@pytest.mark.parametrize("place", [0, 1, 2047, 2048, 4095])
def test_one_among_4096_is_found_by_few_changes(place: int) -> None:
    target = MemoryTarget()
    hosts = many(4096)
    target.rejects = {hosts[place]}
    found = rejection.change(target, entries(hosts), [])
    assert found == ({hosts[place]: "no such host"}, [])
    assert target.copied.keys() == set(hosts) - target.rejects
    # 1 + 2 log2(4096)
    assert target.calls.count("change") == 25


def test_work_is_bounded_and_goes_on() -> None:
    target = MemoryTarget()
    hosts = many(1024)
    target.rejects = set(hosts[::2])
    rejected: set[bytes] = set()
    waiting = hosts
    for _ in range(60):
        target.calls.clear()
        found = rejection.change(target, entries(waiting), [])
        assert target.calls.count("change") <= 1 + rejection.MOST_CHANGES
        assert found.rejected
        rejected |= found.rejected.keys()
        waiting = found.unsettled
        if not waiting:
            break
    assert not waiting
    assert rejected == target.rejects
    assert target.copied.keys() == set(hosts[1::2])


def test_hosts_that_go_are_halved_as_well() -> None:
    class Stuck(MemoryTarget):
        def change(self, listed: object, unlisted: object) -> None:
            super().change(listed, unlisted)  # type: ignore[arg-type]
            if HOSTS[1] in unlisted:  # type: ignore[operator]
                raise TargetRejects("it stays")

    target = Stuck()
    target.copied = dict.fromkeys(HOSTS, (50, False))
    found = rejection.change(target, entries([packed("192.0.2.77")]), HOSTS[:4])
    assert found.rejected == {HOSTS[1]: "it stays"}
    assert HOSTS[0] not in target.copied
    assert HOSTS[3] not in target.copied
    assert packed("192.0.2.77") in target.copied


@pytest.mark.parametrize("error", [TargetError("set mx_white4 is missing"), TargetFull("the set is full")])
def test_what_concerns_all_is_not_halved(error: TargetError) -> None:
    target = MemoryTarget()
    target.unwritable = error
    with pytest.raises(type(error)):
        rejection.change(target, entries(HOSTS), [])
    assert target.calls == ["change"]


def test_a_target_of_another_kind_is_not_halved() -> None:
    target = MemoryTarget()
    target.unwritable = TargetRejects("Invalid argument")

    def inspect() -> None:
        raise TargetError("set mx_white4 is a map")

    target.inspect = inspect  # type: ignore[method-assign]
    with pytest.raises(TargetError, match="is a map"):
        rejection.change(target, entries(HOSTS), [])
    assert target.calls == ["change"]


def test_a_host_that_is_rejected_keeps_nobody_out() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        scene.target.rejects = {HOSTS[1], HOSTS[4]}
        for host in HOSTS:
            scene.contact(host)
        await scene.until(lambda: scene.target.copied.keys() == set(HOSTS) - scene.target.rejects)
        await scene.until(lambda: scene.mirror.counters()["kernel-table-rejected"] == 2)
        said = [line for line in scene.lines if line.startswith("kernel-table-rejected")]
        assert len(said) == 1
        assert said[0].endswith('table=memory count=2 reason="no such host"')
        assert not [line for line in scene.lines if line.startswith("kernel-table-broken")]
        assert (scene.mirror.counters()["kernel-table-failed"], scene.mirror.counters()["kernel-table-changed"]) == (
            0, len(HOSTS) - 2)
        # It is no host that is missing, a filling leaves it out, and it is not tried at each contact.
        calls = len(scene.target.calls)
        scene.contact(HOSTS[1])
        scene.whitelist.missed()
        scene.later(10)
        await scene.until(lambda: scene.mirror.counters()["kernel-table-filled"] == 1)
        scene.later(10)
        await scene.until(lambda: scene.target.calls[calls:].count("totals") >= 1)
        assert scene.mirror.counters()["kernel-table-filled"] == 1
        # After some time it is: the target may be another one.
        scene.target.rejects = set()
        scene.later(rejection.AGAIN_S)
        await scene.until(lambda: scene.target.copied.keys() == set(HOSTS))
        scene.mirror.close()

    run(story)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_filling_that_is_rejected_finds_whom(at_the_end: bool) -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)
        scene.target.rejects = {HOSTS[2]}
        scene.mirror._dirty.clear()
        now = scene.whitelist.now_us()
        for host in HOSTS:
            scene.table.add(host, now + 3_600_000_000, now)
        if at_the_end:
            scene.mirror._stale = True
            scene.mirror.close()
        else:
            scene.whitelist.missed()
            await scene.until(lambda: scene.mirror.counters()["kernel-table-filled"] == 1)
        assert scene.target.copied.keys() == set(HOSTS) - {HOSTS[2]}
        assert scene.mirror.counters()["kernel-table-rejected"] == 1
        assert scene.mirror.counters()["kernel-table-failed"] == 0
        scene.mirror.close()

    run(story)


def test_a_filling_that_no_host_is_to_blame_for() -> None:
    """A set of nft with `policy memory` takes no element in a filling that is there already; single changes work."""
    async def story() -> None:
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.target.calls)

        def refill(_: object) -> int:
            raise TargetRejects("File exists")

        scene.target.refill = refill  # type: ignore[method-assign,assignment]
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.target.copied)
        scene.target.copied.clear()
        scene.whitelist.missed()
        await scene.until(lambda: scene.mirror.counters()["kernel-table-filled"] == 1)
        assert scene.target.copied.keys() == {HOSTS[0]}
        assert scene.mirror.counters()["kernel-table-failed"] == 0
        scene.mirror.close()

    run(story)


def test_the_memory_of_rejected_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "MOST_REMEMBERED", 3)
    scene = Scene()
    scene.mirror._rejected.add(dict.fromkeys(HOSTS[:5], "no such host"))
    assert scene.mirror._rejected.hosts() == set(HOSTS[2:5])
    scene.later(rejection.AGAIN_S)
    assert scene.mirror._rejected.hosts() == set()
    assert mirror.BATCH == 4096


def test_the_kernel_rejects_one_element_of_nft(lab: Lab) -> None:
    """An interval of the operator's that a host lies in: the set is of the wrong kind, which an inspection says.

    Until then, and wherever the kernel says so of single elements, the others are entered.
    """
    with visit(lab.gateway.name):
        table = NftTable("inet mx", setup=True, max_entries=1000)
        table.open()
        table.inspect()
        subprocess.run(["nft", "-f", "-"], text=True, check=True, input=(
            "delete set inet mx mx_white4\n"
            "add set inet mx mx_white4 { type ipv4_addr; flags timeout, interval; }\n"
            "add element inet mx mx_white4 { 192.0.2.0/28 }\n"))
        table.inspect = lambda: None  # type: ignore[method-assign]
        with pytest.raises(TargetRejects):
            table.change(entries([packed("192.0.2.7")]), [])
        hosts = [packed(f"2001:db8::{number:x}") for number in range(1, 200)]
        found = rejection.change(table, entries([*hosts[:99], packed("192.0.2.7"), *hosts[99:]]), [])
        assert found.rejected.keys() == {packed("192.0.2.7")}
        assert table.missing(dict.fromkeys(hosts, False)) == set()
        with pytest.raises(TargetRejects):
            table.refill(listing(*entries([packed("192.0.2.7")])))
        table.close()
