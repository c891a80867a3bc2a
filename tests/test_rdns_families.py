"""Who comes in by a name: how many, whose place they take, and which addresses never do."""
from collections.abc import Sequence

import pytest

from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.resolver import AAAA, PTR, A
from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Kind, packed
from mxallowd.sinks.grants import MOST_OF_A_DOMAIN
from tests.test_rdns_sink import Scene, run


def write(scene: Scene, contact: str, name: str, addresses: Sequence[str]) -> None:
    """A confirmed name with further addresses."""
    scene.zone.add(contact, name)
    scene.zone.records[name, A] = [contact, *addresses]


def children(scene: Scene) -> int:
    """Entries that are there by a name, as the table has them."""
    return scene.sink.counters()["children"]


@pytest.mark.parametrize(("words", "most"), [("", 31), ("--rdns-max-children 5", 5), ("--rdns-max-children 0", 0)])
def test_one_contact_with_many_names(words: str, most: int) -> None:
    async def story() -> None:
        scene = Scene(words)
        for number in range(4):
            write(scene, "192.0.2.1", f"n{number}.example.org", [f"10.{number}.0.{one}" for one in range(1, 60)])
        scene.contact("192.0.2.1")
        await scene.settle()
        assert children(scene) == most
        assert len(scene.table) == 1 + most
        # Each name has its share.
        shares = [sum(scene.listed(f"10.{number}.0.{one}") for one in range(1, 60)) for number in range(4)]
        assert max(shares) - min(shares) <= 1
        assert bool(scene.zone.asked) == bool(most)
    run(story)


def test_a_name_that_shows_others_each_time() -> None:
    """One contact has its number in all, however often it comes; so has each name and each domain."""
    async def story() -> None:
        scene = Scene()
        for turn in range(5):
            write(scene, "192.0.2.1", "mail.example.org", [f"10.{turn}.0.{one}" for one in range(1, 60)])
            scene.now += 1
            scene.contact("192.0.2.1")
            await scene.settle()
        assert children(scene) == 31
        for number in range(1, 60):
            contact = f"172.{16 + number % 16}.{number}.1"
            write(scene, contact, f"n{number}.example.org", [f"10.{number}.9.{one}" for one in range(1, 60)])
            scene.now += 1
            scene.contact(contact)
            await scene.settle()
        assert children(scene) == MOST_OF_A_DOMAIN
        assert scene.sink.counters()["children-left-out"] > 0
        # Another domain is not concerned.
        write(scene, "198.51.100.1", "mail.example.net", ["198.51.100.2"])
        scene.now += 1
        scene.contact("198.51.100.1")
        await scene.settle()
        assert scene.listed("198.51.100.2")
    run(story)


def test_children_take_nobodys_place() -> None:
    async def story() -> None:
        scene = Scene()
        scene.table = Table(1000, 1, main=10)
        scene.sink._whitelist._table = scene.table
        now = boottime_us()
        others = [f"198.51.100.{number}" for number in range(10)]
        for other in others[:7]:
            assert scene.table.admit(packed(other), now + 10**9, now)
        write(scene, "192.0.2.1", "mail.example.org", [f"10.0.0.{one}" for one in range(1, 20)])
        scene.contact("192.0.2.1")
        await scene.settle()
        assert all(map(scene.listed, others[:7]))
        assert children(scene) == 3
        assert scene.sink.counters()["children-left-out"] == 16
        assert scene.table.counters()["evicted"] == 0
    run(story)


def test_what_is_no_hosts_address_comes_in_by_no_name() -> None:
    async def story() -> None:
        scene = Scene()
        scene.sink._whitelist.set_servers([packed("192.0.2.10"), packed("192.0.2.20")])
        bad4 = ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "192.0.2.10", "192.0.2.20"]
        bad6 = ["::", "::1", "fe80::1", "ff02::1", "::198.51.100.9"]
        write(scene, "192.0.2.1", "mail.example.org", [*bad4, "192.168.0.7"])
        scene.zone.records["mail.example.org", AAAA] = [*bad6, "::ffff:198.51.100.66", "fd00::7"]
        scene.contact("192.0.2.1")
        await scene.settle()
        assert not any(map(scene.listed, (*bad4, *bad6, "198.51.100.66")))
        assert scene.listed("192.168.0.7")
        assert scene.listed("fd00::7")
        assert scene.sink._whitelist.counters() == {"no-hosts": len(bad4) + len(bad6)}
    run(story)


def test_a_refused_host_asks_for_listed_names_alone() -> None:
    async def story() -> None:
        scene = Scene()
        write(scene, "192.0.2.1", "mail.example.org", [])
        scene.contact("192.0.2.1")
        await scene.settle()
        names = [f"x{number}.victim.example" for number in range(3)]
        scene.zone.records[reverse_name(packed("10.0.0.1")), PTR] = ["mail.example.org", *names]
        scene.zone.asked.clear()
        scene.refuse("10.0.0.1")
        await scene.settle()
        assert set(scene.zone.asked) == {reverse_name(packed("10.0.0.1")), "mail.example.org"}
        # And nothing is believed of what was not asked: it is no address of its name.
        write(scene, "192.0.2.2", names[0], [])
        scene.contact("192.0.2.2")
        await scene.settle()
        assert not scene.listed("10.0.0.1")
    run(story)


def test_a_contact_again_renews_the_family() -> None:
    async def story() -> None:
        scene = Scene("-t 100")
        write(scene, "192.0.2.1", "mail.example.org", ["192.0.2.2", "192.0.2.3"])
        scene.contact("192.0.2.1")
        await scene.settle()
        scene.sink.reload(scene.settings.__class__(**{**vars(scene.settings), "whitelist_time": 500}))
        scene.tell(Kind.RENEWED, "192.0.2.1")
        await scene.settle()
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            found = scene.table.find(packed(address), boottime_us())
            assert found
            assert found[0] - boottime_us() > 400_000_000
        assert scene.sink.counters()["children-renewed"] == children(scene) == 2
    run(story)


@pytest.mark.parametrize("proven", ["192.0.2.1", "192.0.2.2", None], ids=["the contact", "its child", "nobody"])
def test_a_name_counts_while_one_of_it_is_listed(proven: str | None) -> None:
    """Connections prolong single hosts, and not their family: a sister that is refused days later comes in again."""
    async def story() -> None:
        scene = Scene("-t 100")
        write(scene, "192.0.2.1", "mail.example.org", ["192.0.2.2", "192.0.2.3"])
        for address in ("192.0.2.2", "192.0.2.3"):
            scene.zone.records[reverse_name(packed(address)), PTR] = ["mail.example.org"]
        scene.contact("192.0.2.1")
        await scene.settle()
        assert children(scene) == 2
        now_us = boottime_us()
        if proven:
            assert scene.table.renew(packed(proven), now_us + 3_000_000_000, now_us)

        def later() -> int:
            return boottime_us() + 1_000_000_000

        scene.whitelist.now_us = later
        scene.refuse("192.0.2.3")
        await scene.settle()
        found = scene.whitelist.find(packed("192.0.2.3"))
        assert (found is not None) == bool(proven)
        if found:
            assert 99_000_000 < found[0] - later() <= 100_000_000
    run(story)


def test_names_of_a_removed_contact_let_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither itself nor its children, until it meets the fake server again; the same where too many were removed."""
    async def story() -> None:
        scene = Scene("--whitelist-time 1000 --dns-zone-rate 1000")
        pair = ("198.51.100.7", "198.51.100.8")
        write(scene, pair[0], "mx.example.org", [pair[1]])
        scene.zone.add(pair[1], "mx.example.org")
        for most in (100, 0):
            monkeypatch.setattr(scene.sink._ended, "_most", most)
            scene.contact(pair[0])
            await scene.settle()
            assert [scene.listed(one) for one in pair] == [True, True]
            assert [scene.whitelist.end(packed(one)) for one in pair] == [True, True]
            scene.refuse(*pair)
            await scene.settle()
            assert [scene.listed(one) for one in pair] == [False, False]
    run(story)
