"""Direct hosts in the lists: by hand, learned within bounds, under what is denied, and in the file over a restart."""
import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from mxallowd.lists import learned
from mxallowd.lists.composition import ALLOW, DENY, DIRECT, LEARNED, Composition, disjoint_of
from mxallowd.lists.learned import Learned
from mxallowd.lists.lists import Lists
from mxallowd.lists.own import OwnNetworks
from tests.recorder import Recorder
from tests.strategies import packed
from tests.test_settings import MINIMUM, good

HOST, NEAR, FAR, SIX = map(packed, ("203.0.113.7", "203.0.113.8", "198.51.100.7", "2001:db8::7"))


def lists_of(directory: Path | None, held: list[Composition] | None = None) -> Lists:
    made = Lists(good(MINIMUM), (held if held is not None else []).append, Recorder().log, OwnNetworks(directory))
    made.load()
    return made


def test_they_stay_over_a_restart_and_end(tmp_path: Path) -> None:
    async def story() -> None:
        lists = lists_of(tmp_path)
        some = Learned(lists)
        for host in (HOST, SIX):
            assert await some.add(host, "crm.example.org", 100)
        await lists.add_network(DIRECT, ip_network("198.51.100.0/24"), "scanners")
        again = lists_of(tmp_path)
        for one in (lists, again):
            assert [(match.where, match.note, match.verdict) for host in (HOST, SIX, FAR)
                    if (match := one.composition.find_direct(host))] == [
                ("learned", "crm.example.org", DIRECT), ("learned", "crm.example.org", DIRECT),
                ("by hand", "scanners", DIRECT)]
            found = one.composition.find(HOST)
            # Allowed as well.
            assert found
            assert (found.verdict, found.what) == (DIRECT, "direct 203.0.113.7/32")
            assert one.composition.find_direct(NEAR) is None
        # A use in time restarts the time; another one changes nothing.
        await Learned(again).prolong([HOST, NEAR, FAR], 1000, 90)
        assert again.own.seconds_left(again.own.networks[LEARNED, ip_network("203.0.113.7")]) <= 100
        await Learned(again).prolong([HOST], 1000, 100)
        own = again.own.networks[LEARNED, ip_network("203.0.113.7")]
        assert 900 < again.own.seconds_left(own) <= 1000
        assert own.note == "crm.example.org"
        assert await again.flush() == 3
        assert again.composition.direct is None

    asyncio.run(story())


def test_what_is_denied_is_not_led() -> None:
    async def story() -> None:
        lists = lists_of(None)
        await lists.add([(DIRECT, ip_network("203.0.113.0/24"), None, None),
                         (DENY, ip_network("203.0.113.7"), None, None), (DENY, ip_network("203.0.0.0/8", strict=False),
                                                                         None, None),
                         (ALLOW, ip_network("198.51.100.0/24"), None, None)])
        assert lists.composition.find_direct(HOST) is None
        assert lists.composition.find_direct(NEAR)
        assert lists.composition.find_direct(FAR) is None
        direct = lists.composition.direct
        assert direct
        first = int(ip_network("203.0.113.0/24").network_address)
        assert disjoint_of(direct.networks).allow4 == [(first, first + 6), (first + 8, first + 255)]

    asyncio.run(story())


def test_a_network_has_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MAX_OF_A_NETWORK", 3)
    monkeypatch.setattr(learned, "MAX_LEARNED", 7)

    async def story() -> None:
        some = Learned(lists_of(None))
        assert [await some.add(packed(f"203.0.113.{number}"), "a", 9) for number in range(4)] == [True] * 3 + [False]
        assert [await some.add(packed(f"2001:db8::{number}"), "a", 9) for number in range(4)] == [True] * 3 + [False]
        assert await some.add(FAR, "a", 9)
        assert not await some.add(packed("192.0.2.77"), "a", 9)

    asyncio.run(story())
