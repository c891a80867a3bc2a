"""Networks of contacts in the firewall: what reaches the sets, and sets that are missing or of another kind."""
import asyncio
import subprocess

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.engine._table import CHILD
from mxallowd.engine.clock import boottime_us
from mxallowd.mirrors import Listed, TargetError, TargetLacking, TargetWrong
from mxallowd.mirrors.contactnetworks import ContactNetworks, NetworkMirror
from mxallowd.mirrors.kernel.ipset import IpsetTable
from mxallowd.mirrors.kernel.nft import NftContactNetworks
from mxallowd.mirrors.kernel.nftset import OF_NETWORKS
from tests.memory_target import HOUR_US, MemoryTarget
from tests.recorder import Recorder
from tests.strategies import listing, packed
from tests.test_neighbours import CAPTURE, HOST, NETWORK, Scene
from tests.test_settings import good
from tests.test_told import wire

STALE = packed("203.0.113.0")


class Copied:
    """A scene whose networks are copied into a target in memory."""

    def __init__(self) -> None:
        self.scene = Scene(CAPTURE, now_us=boottime_us())
        self.target, self.recorder, self.clock = MemoryTarget(), Recorder(), 0.0
        networks = ContactNetworks(self.scene.neighbours, self.scene.meetings, lambda: self.scene.now_us)
        self.mirror = NetworkMirror(self.target, networks, self.recorder.log, good(CAPTURE))
        self.mirror._clock = lambda: self.clock

    async def until(self, *networks: bytes) -> None:
        """Wait until these are in the target, and no other."""
        for _ in range(500):
            if self.target.copied.keys() == set(networks):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.target.copied)

    async def look(self) -> None:
        """Let the mirror inspect its target once more."""
        self.clock += 100
        calls = len(self.target.calls)
        self.mirror.tick()
        for _ in range(500):
            if len(self.target.calls) > calls:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


def test_the_target_holds_what_contacts_let_in() -> None:
    async def story() -> None:
        copied = Copied()
        scene, other = copied.scene, packed("198.51.101.9")
        # What is there from before is no proof of a contact.
        copied.target.copied[STALE] = 500, False
        copied.mirror.open()
        assert scene.meetings.find(STALE, scene.now_us) is None
        copied.mirror.start()
        await copied.until(NETWORK)
        assert copied.target.copied[NETWORK] == (8 * 3600, False)
        scene.enter(other, 2)
        scene.whitelist.renew(other, scene.now_us + 3 * HOUR_US, scene.now_us)
        await copied.until(NETWORK, packed("198.51.101.0"))
        assert copied.target.copied[packed("198.51.101.0")] == (3 * 3600, False)
        scene.whitelist.end(HOST)
        await copied.until(packed("198.51.101.0"))
        await copied.look()
        assert copied.mirror.status() == {
            "name": "networks in memory", "in_step": True, "fault": None, "lacking": [], "decides": False}
        copied.mirror.close()

    asyncio.run(story())


def test_sets_that_are_missing_are_said_once() -> None:
    async def story() -> None:
        copied = Copied()
        copied.target.fault = TargetLacking("there is no set mx_net4 or mx_net6")
        copied.mirror.open()
        copied.mirror.start()
        for _ in range(3):
            await copied.look()
        said = copied.recorder.take()
        assert len(said) == 1
        assert said[0].startswith('kernel-networks-missing table=memory reason="there is no set mx_net4 or mx_net6: ')
        assert copied.mirror.status()["fault"] == "there is no set mx_net4 or mx_net6"
        assert copied.mirror.counters()["kernel-table-failed"] == 0
        # Another fault is a fault, and does not end a start either.
        copied.target.fault = TargetError("no answer")
        await copied.look()
        assert copied.recorder.take() == ['kernel-table-broken table=memory reason="no answer"']
        copied.target.fault = None
        await copied.look()
        await copied.until(NETWORK)
        copied.mirror.close()

    asyncio.run(story())


def test_sets_of_another_kind_are_named(lab: Lab) -> None:
    with visit(lab.gateway.name):
        table = IpsetTable(roles=OF_NETWORKS, key=(24, 64))
        table.open()
        with pytest.raises(TargetLacking, match="no set mx_net4"):
            table.inspect()
        make = ["ipset", "create", "mx_net4", "hash:ip", "family", "inet", "timeout", "60"]
        subprocess.run(make, check=True)
        with pytest.raises(TargetWrong, match=r"no netmask, and network-key wants netmask 24: .* netmask 24 "):
            table.inspect()
        subprocess.run(["ipset", "destroy", "mx_net4"], check=True)
        subprocess.run([*make, "netmask", "24"], check=True)
        table.inspect()
        table.change([Listed(STALE, 50, used=False)], [])
        # It masks by itself what it is asked for.
        assert table.missing({packed("203.0.113.77"): False, HOST: False}) == {HOST}
        table.close()
        nft = NftContactNetworks("inet mxallowd", setup=True, max_entries=100)
        nft.open()
        nft.inspect()
        assert nft.refill(listing(Listed(STALE, 50, used=False))) == 0
        nft.network_key = (24, 64)
        assert nft.sets_of(packed("203.0.113.77")) == {"mx_net4": True}
        assert nft.sets_of(packed("203.0.114.77")) == {"mx_net4": False}
        nft.change([], [STALE])
        assert nft.missing({STALE: False}) == {STALE}
        nft.close()




def test_a_contact_of_another_gateway_lets_in_its_network() -> None:
    async def story() -> None:
        copied = Copied()
        scene = copied.scene = Scene(CAPTURE, told=100, now_us=boottime_us())
        networks = ContactNetworks(scene.neighbours, scene.meetings, lambda: scene.now_us)
        copied.mirror = NetworkMirror(copied.target, networks, copied.recorder.log, good(CAPTURE))
        copied.mirror.open()
        copied.mirror.start()
        elsewhere = packed("203.0.113.9")
        scene.whitelist.told(wire(elsewhere) + wire(packed("203.0.112.9"), origin=CHILD), age_us=0, longest_us=HOUR_US,
                             gateway=1, teller=None)
        assert scene.neighbours.let_in(packed("203.0.113.77")) == ("203.0.113.0/24", scene.now_us + HOUR_US)
        await copied.until(NETWORK, STALE)
        assert copied.target.copied[STALE] == (3600, False)
        # What is removed there takes its network along here, as it does there.
        scene.whitelist.told_end(elsewhere, scene.now_us, teller=None)
        assert scene.neighbours.let_in(packed("203.0.113.77")) is None
        await copied.until(NETWORK)
        copied.mirror.close()

    asyncio.run(story())
