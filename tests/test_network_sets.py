"""Sets of allowed and denied networks: targets on the real kernel, the rulesets that use them, and their keeper."""
import asyncio
import ipaddress
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from lab.namespaces import visit
from mxallowd.mirrors import TargetError, TargetWrong
from mxallowd.mirrors.kernel.ipsetnetworks import IpsetNetworks, declaration
from mxallowd.mirrors.kernel.nftnetworks import NftNetworks, steps
from mxallowd.mirrors.mirror import CHECK_S
from mxallowd.mirrors.networks import BITS, PLACES, Networks, NetworkTarget, Place, Range, prefixes
from tests.recorder import Recorder
from tests.test_settings import MINIMUM, good
from tests.ways import Way, family, in_set, start, ways_with_set

ALLOW4, ALLOW6, DENY4, DENY6 = PLACES
kinds = pytest.mark.parametrize("kind", ["nft", "ipset"])


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in as few ranges as can be."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


class There:
    """A target in another network, where each call is made: a socket that is opened again must be of that network."""

    def __init__(self, lab: Lab, target: NetworkTarget) -> None:
        self._lab = lab
        self._target = target

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any) -> Any:
            with visit(self._lab.gateway.name):
                return getattr(self._target, name)(*words)

        return call


Opener = Callable[..., There]


@pytest.fixture
def opened(lab: Lab) -> Iterator[Opener]:
    """Opens a target in the gateway."""
    made: list[There] = []

    def open_it(kind: str, *, setup: bool = True) -> There:
        target = There(lab, NftNetworks("inet mxallowd", setup=setup) if kind == "nft" else IpsetNetworks())
        for place in PLACES if kind == "ipset" and setup else ():
            lab.gateway.run(declaration(place).split(), check=True)
        target.open()
        made.append(target)
        return target

    yield open_it
    for target in made:
        target.close()


def shown(lab: Lab, kind: str, place: Place) -> list[Range]:
    """What the operator's own program lists."""
    if kind == "nft":
        text = lab.gateway.run(["nft", "list", "set", "inet", "mxallowd", place.name], capture_output=True, text=True,
                               check=True).stdout
        words = text.partition("elements = {")[2].partition("}")[0].replace(",", " ").split()
    else:
        words = lab.gateway.run(["ipset", "list", place.name], capture_output=True, text=True,
                                check=True).stdout.partition("Members:")[2].split()
    found = []
    for word in words:
        if "-" in word:
            found.append(tuple(int(ipaddress.ip_address(one)) for one in word.split("-")))
        else:
            network = ipaddress.ip_network(word)
            found.append((int(network[0]), int(network[-1])))
    return merged((one[0], one[1]) for one in found)


def some_ranges(rng: random.Random, version: int, count: int) -> list[Range]:
    """Many, of every size, at both ends of all addresses as well."""
    top = (1 << BITS[version]) - 1
    cuts = sorted({0, top, *(rng.randrange(top) for _ in range(2 * count)), *(rng.randrange(512) for _ in range(9))})
    return merged(zip(cuts[::2], cuts[1::2], strict=False))


@kinds
def test_a_set_holds_what_it_is_filled_with(lab: Lab, opened: Opener, kind: str) -> None:
    rng = random.Random(5)
    target = opened(kind)
    for place in (ALLOW4, DENY6):
        top = (1 << BITS[place.version]) - 1
        for ranges in ([(0, top)], [], [(0, 0)], [(top, top)], [(5, 9), (11, 11), (top - 2, top)],
                       *(some_ranges(rng, place.version, count) for count in (3, 40, 41))):
            assert place in target.present()
            target.fill(place, ranges)
            assert shown(lab, kind, place) == ranges
            target.present()
            assert not target.lacks(place, ranges, len(ranges))


@kinds
def test_what_another_changes_is_noticed(lab: Lab, opened: Opener, kind: str) -> None:
    target = opened(kind)
    ranges = [(10 << 24, (10 << 24) + 255), (11 << 24, (11 << 24) + 255)]
    target.present()
    target.fill(ALLOW4, ranges)
    lab.gateway.run(["nft", "delete", "element", "inet", "mxallowd", "mx_allow4", "{ 10.0.0.0/24 }"] if kind == "nft"
                    else ["ipset", "del", "mx_allow4", "10.0.0.0/24"], check=True)
    target.present()
    assert target.lacks(ALLOW4, ranges, 2)
    target.fill(ALLOW4, ranges)
    lab.gateway.run(["nft", "add", "element", "inet", "mxallowd", "mx_deny4", "{ 192.0.2.0/24 }"] if kind == "nft"
                    else ["ipset", "add", "mx_deny4", "192.0.2.0/24"], check=True)
    target.present()
    assert target.lacks(DENY4, [], 0)
    target.fill(DENY4, [])
    assert shown(lab, kind, DENY4) == []
    assert shown(lab, kind, ALLOW4) == ranges


@kinds
def test_a_set_of_another_kind_is_refused(lab: Lab, opened: Opener, kind: str) -> None:
    target = opened(kind, setup=False)
    if kind == "nft":
        lab.gateway.run(["nft", "add table inet mxallowd; add set inet mxallowd mx_deny4 { type ipv4_addr; }"],
                        check=True)
    else:
        lab.gateway.run(["ipset", "create", "mx_deny4", "hash:ip"], check=True)
    with pytest.raises(TargetWrong, match="mx_deny4"):
        target.present()


def test_an_ipset_without_room_stays_as_it_is(lab: Lab, opened: Opener) -> None:
    target = opened("ipset", setup=False)
    lab.gateway.run(["ipset", "create", "mx_allow4", "hash:net", "maxelem", "2"], check=True)
    assert target.present() == {ALLOW4}
    target.fill(ALLOW4, [(256, 511)])
    with pytest.raises(TargetError, match="room for 2 networks and would need 3"):
        target.fill(ALLOW4, [(1, 1), (4, 4), (6, 6)])
    assert shown(lab, "ipset", ALLOW4) == [(256, 511)]


@kinds
def test_100_000_networks_in_bounded_time(lab: Lab, opened: Opener, kind: str) -> None:
    rng = random.Random(7)
    target = opened(kind)
    for place in (ALLOW4, DENY6):
        bits = BITS[place.version]
        ranges = merged((at, at + 255) for at in (rng.getrandbits(bits - 8) << 8 for _ in range(50_000)))
        for wanted in (ranges, ranges[500:], []):
            target.present()
            started = time.monotonic()
            target.fill(place, wanted)
            assert time.monotonic() - started < 10
            target.present()
            assert not target.lacks(place, wanted[:30], len(wanted))


@kinds
def test_what_stays_is_there_all_the_time(
        served: Lab, client: Host, opened: Opener, kind: str) -> None:
    """Connections go on from an allowed address, while all around it changes, and its own network, too."""
    target = opened(kind)
    target.present()
    host = int(ipaddress.ip_address("192.0.2.101"))
    target.fill(ALLOW4, [(host, host)])
    served.gateway.run(["sh", "-c", (
        "nft 'add chain inet mxallowd in { type filter hook input priority 0; }; "
        "add rule inet mxallowd in tcp dport 25 ip saddr != @mx_allow4 drop'") if kind == "nft" else
        "iptables -A INPUT -p tcp --dport 25 -m set ! --match-set mx_allow4 src -j DROP"], check=True)
    rng, ended, failed = random.Random(3), threading.Event(), []

    def exchange() -> None:
        try:
            while not ended.is_set():
                around = some_ranges(rng, 4, 2000)
                width = rng.choice((0, 3, 200))
                target.present()
                target.fill(ALLOW4, merged([*around, (host - width, host + width)]))
        except Exception as error:  # noqa: BLE001  # told to the test
            failed.append(error)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(400):
            assert client.attempt(REAL4) is Attempt.CONNECTED
    finally:
        ended.set()
        thread.join()
    assert not failed


# ---- the rulesets

def address_range(address: str) -> Range:
    return int(ipaddress.ip_address(address)), int(ipaddress.ip_address(address))


@ways_with_set
@pytest.mark.parametrize(("version", "fake", "real"), [(4, FAKE4, REAL4), (6, FAKE6, REAL6)])
def test_the_rulesets_ask_the_lists_first(
        served: Lab, way: Way, opened: Opener, version: int, fake: str, real: str) -> None:
    allowed, denied, other = (f"{'192.0.2.' if version == 4 else '2001:db8::'}{last}" for last in (131, 132, 133))
    client = served.client("client", allowed, denied, other)
    served.load_ruleset(*way.rulesets)
    target = opened(way.sets, setup=False)
    assert target.present() == set(PLACES)
    with start(served, way) as daemon:
        # Known as a good sender: the lists come first all the same.
        way.add(served, family("mx_white", denied), denied)
        way.add(served, family("mx_used", denied), denied)
        assert client.attempt(real, source=denied, timeout=2) is Attempt.CONNECTED
        assert client.attempt(real, source=allowed) is Attempt.DROPPED
        target.fill(Place("allow", version), [address_range(allowed)])
        target.fill(Place("deny", version), [address_range(denied)])
        assert client.attempt(real, source=allowed) is Attempt.CONNECTED
        assert client.attempt(real, source=denied) is Attempt.DROPPED
        assert client.attempt(real, source=other) is Attempt.DROPPED
        before = daemon.counters()["fake-new"]
        assert client.attempt(fake, source=denied) is Attempt.REFUSED
        assert client.attempt(fake, source=other) is Attempt.REFUSED
        assert in_set(served, way, family("mx_white", other), other)
        assert daemon.counters()["fake-new"] == before + 1
        assert client.attempt(real, source=denied) is Attempt.DROPPED
        if way.sets == "nft":
            daemon.wait_for("counters ")
            assert served.gateway.run(["nft", "list", "counter", "inet", "mxallowd", "mx_denied"], capture_output=True,
                                      text=True).stdout.count("packets 0 ") == 0
        assert daemon.stop() == 0


# ---- the keeper

class Memory:
    """A target that holds sets in memory."""

    name = "memory"
    places: Sequence[Place] = PLACES

    def __init__(self, *places: Place) -> None:
        self.sets: dict[Place, list[Range]] = {place: [] for place in places}
        self.fault = ""
        self.fills = 0

    def open(self) -> None:
        pass

    def present(self) -> set[Place]:
        if self.fault:
            raise TargetError(self.fault)
        return set(self.sets)

    def fill(self, place: Place, ranges: Any) -> None:
        self.fills += 1
        self.sets[place] = list(ranges)

    def lacks(self, place: Place, ranges: Any, total: int) -> bool:
        return len(self.sets[place]) != total or not set(ranges) <= set(self.sets[place])

    def remedy(self, place: Place) -> str:
        return f"make {place.name}"

    def close(self) -> None:
        self.fault = "closed"


class Story:
    """A keeper over memory, with a clock of its own."""

    def __init__(self, *places: Place, **options: Any) -> None:
        self.target = Memory(*places)
        self.lists: dict[Place, list[Range]] = {place: [] for place in PLACES}
        self.now = 0.0
        self._recorder = Recorder()
        self.keeper = Networks(self.target, lambda: list(self.lists.values()),
                               self._recorder.log, replace(good(MINIMUM), **options), clock=lambda: self.now)
        self.keeper.open()
        self.keeper.start()

    @property
    def lines(self) -> list[str]:
        """What was logged, but for the fillings."""
        return [line for line in self._recorder.lines if not line.startswith("kernel-lists-filled")]

    async def look(self) -> None:
        """The next look, and wait until it is over."""
        self.now += CHECK_S
        self.keeper.tick()
        await asyncio.sleep(0.1)


def in_step(scene: Story) -> bool:
    return scene.keeper.status()["in_step"] is True


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 20))


def test_the_keeper_follows_the_lists_and_the_sets() -> None:
    async def story() -> None:
        scene = Story(*PLACES)
        scene.lists[ALLOW4] = [(1, 9)]
        await scene.look()
        assert scene.target.sets[ALLOW4] == [(1, 9)]
        assert in_step(scene)
        scene.target.sets[ALLOW4] = []  # the ruleset was loaded again
        await scene.look()
        assert scene.target.sets[ALLOW4] == [(1, 9)]
        fills = scene.target.fills
        await scene.look()
        assert scene.target.fills == fills
        scene.lists[DENY6] = [(7, 7)]
        scene.keeper.changed()
        assert not in_step(scene)
        await asyncio.sleep(0.1)  # at once
        assert scene.target.sets[DENY6] == [(7, 7)]
        assert scene.keeper.counters()["kernel-lists-filled"] == 3
        scene.keeper.close()
        assert scene.target.sets[ALLOW4] == [(1, 9)]

    run(story)


@pytest.mark.parametrize(("options", "said"), [
    ({"queue_num": None}, "so the lists do nothing there"), ({"queue_num": range(23, 24)}, "in the kernel")])
def test_a_set_that_lacks_is_said_once(options: dict[str, Any], said: str) -> None:
    async def story() -> None:
        scene = Story(ALLOW4, **options)
        for _ in range(3):
            await scene.look()
        # Nothing belongs there yet.
        assert not scene.lines
        scene.lists[DENY4] = [(1, 1)]
        scene.keeper.changed()
        for _ in range(3):
            await scene.look()
        [line] = scene.lines
        assert line.startswith("kernel-lists-missing table=memory set=mx_deny4 reason=")
        assert said in line
        assert "make mx_deny4" in line
        assert scene.keeper.status()["lacking"] == ["mx_deny4"]
        scene.target.sets[DENY4] = []
        await scene.look()
        assert scene.target.sets[DENY4] == [(1, 1)]
        assert scene.keeper.status()["lacking"] == []
        scene.keeper.close()

    run(story)


def test_a_fault_is_said_and_mended() -> None:
    async def story() -> None:
        scene = Story(*PLACES)
        scene.target.fault = "it is gone"
        for _ in range(3):
            await scene.look()
        assert sum("kernel-lists-broken" in line for line in scene.lines) == 1
        assert not in_step(scene)
        scene.lists[ALLOW6] = [(1, 2)]
        scene.keeper.changed()
        scene.target.fault = ""
        await scene.look()
        assert in_step(scene)
        assert scene.target.sets[ALLOW6] == [(1, 2)]
        scene.keeper.close()

    run(story)


def test_flush_on_exit_empties_them() -> None:
    async def story() -> None:
        scene = Story(*PLACES, flush_on_exit=True)
        scene.lists[DENY4] = [(1, 2)]
        await scene.look()
        assert scene.target.sets[DENY4] == [(1, 2)]
        scene.keeper.close()
        assert not any(scene.target.sets.values())

    run(story)


def test_ranges_become_networks_and_steps() -> None:
    rng = random.Random(1)
    for _ in range(50):
        ranges = some_ranges(rng, 4, 5)
        found = prefixes(ranges, 4, longest=1)
        assert merged((at, at + (1 << 32 - length) - 1) for at, length in found) == ranges
        assert all(at % (1 << 32 - length) == 0 and 1 <= length <= 32 for at, length in found)
        held = set(ranges)
        wanted = some_ranges(rng, 4, 5)
        for step in steps(ranges, wanted):
            held = held - set(step.gone) | set(step.new)
            # No state in between has ranges that overlap.
            assert len(merged(held)) >= 1
            rows = sorted(held)
            assert all(before[1] < after[0] for before, after in pairwise(rows))
        assert sorted(held) == wanted
