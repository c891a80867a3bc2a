"""Reverse DNS against real name servers: a dead zone is in nobody's way, and no third party is flooded.

The sink runs in a thread of this process, in the lab's gateway, with the real resolver.
"""
import asyncio
import logging
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.resolver import Resolver
from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.log import Log
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.rdns import RdnsSink
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist
from tests.name_server_process import NameServerProcess
from tests.test_settings import good

SERVER = packed("192.0.2.10")
RATE, STEP_S = 800, 0.05


class Scene:
    """The sink with a whitelist, and the ticks of a main loop."""

    def __init__(self, words: str = "") -> None:
        settings = good(f"-f 192.0.2.10 -r 192.0.2.20 -n 1 --dns-server 127.0.0.1:5353 {words}")
        self.table = Table(100_000, 1, main=25_000)
        log = Log(logging.getLogger("test-rdns-limits"))
        self.sink = RdnsSink(
            settings, HostLog(log, lambda _: None, Stress(log)), Whitelist(self.table),
            Resolver(asyncio.get_running_loop(), settings.dns_server))

    def tell(self, kind: Kind, *addresses: str) -> None:
        """Hosts met the fake server, or were refused."""
        now = boottime_us()
        if kind is Kind.WHITELISTED:
            for address in addresses:
                self.table.add(packed(address), now + 3_600_000_000, now)
        self.sink.handle([Event(kind, 0, 0, 0, now, packed(one), SERVER, 0) for one in addresses])

    def listed(self, address: str) -> bool:
        """Whether the host may pass now."""
        return self.table.find(packed(address), boottime_us()) is not None

    async def flood(self, kind: Kind, seconds: float, address: Callable[[int], str]) -> None:
        """So many hosts a second, one after the other."""
        begun, number = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * RATE)
            self.tell(kind, *(address(one) for one in range(number, due)))
            number = due
            if int(passed / STEP_S) % 20 == 0:
                self.sink.tick()
            await asyncio.sleep(STEP_S)


def run(lab: Lab, story: Callable[[], Awaitable[None]]) -> None:
    with visit(lab.gateway.name):
        asyncio.run(story())  # type: ignore[arg-type]


def dead4(number: int) -> str:
    """In 10.0.0.0/8."""
    return f"10.{number * 7 % 256}.{number >> 8 & 255}.{number & 255}"


def dead4_narrow(number: int) -> str:
    """In 10.9.0.0/16."""
    return f"10.9.{number >> 8 & 255}.{number & 255}"


def dead6(number: int) -> str:
    """In 2001:db8::/32, each in a network of its own."""
    return f"2001:db8:{number & 0xffff:x}::1"


def good_host(number: int) -> tuple[str, str, list[str]]:
    """Contact, child, and their records."""
    contact, child, name = f"198.51.{number}.1", f"203.0.{number}.1", f"mail.good{number}.example"
    return contact, child, [f"{reverse_name(packed(contact))} PTR {name}.", f"{name} A {contact}", f"{name} A {child}"]


@pytest.mark.parametrize(("dead", "tree", "kind"), [
    (dead4, "10.in-addr.arpa", Kind.WHITELISTED), (dead4_narrow, "10.in-addr.arpa", Kind.WHITELISTED),
    (dead6, "8.b.d.0.1.0.0.2.ip6.arpa", Kind.WHITELISTED), (dead4, "10.in-addr.arpa", Kind.REFUSED)],
    ids=["8-bits", "16-bits", "ipv6", "refused"])
def test_a_dead_zone_is_in_nobodys_way(
        lab: Lab, dead: Callable[[int], str], tree: str, kind: Kind) -> None:
    """800 hosts a second whose zone never answers: a good host's family is in within two seconds."""
    good_hosts = [good_host(number) for number in range(4)]
    took: list[float] = []

    async def story() -> None:
        scene = Scene()
        began = time.monotonic()
        flood = asyncio.create_task(scene.flood(kind, 6, dead))
        for contact, child, _ in good_hosts:
            await asyncio.sleep(1.5)
            begun = time.monotonic()
            scene.tell(Kind.WHITELISTED, contact)
            while not scene.listed(child) and time.monotonic() - begun < 5:
                await asyncio.sleep(0.005)
            took.append(time.monotonic() - begun)
        await flood
        # On a busy machine the questions were sent later, and so their time is over later.
        while not scene.sink.counters()["zones-set-aside"] and time.monotonic() - began < 30:
            scene.sink.tick()
            await asyncio.sleep(0.1)
        assert scene.sink.counters()["zones-set-aside"] > 0
        scene.sink.close()

    records = [f"{tree} DEAD all", *(record for _, _, records in good_hosts for record in records)]
    with NameServerProcess(lab.gateway, records):
        run(lab, story)
    print(f"median {statistics.median(took):.3f} s, worst {max(took):.3f} s")
    assert max(took) < 2


def test_a_refused_host_costs_a_named_victim_nothing(lab: Lab) -> None:
    """Its PTR records name hosts of a victim's domain: none of them is asked about."""
    async def story() -> None:
        scene = Scene("--dns-rate 100000 --dns-query-rate 100000 --dns-zone-rate 1000")
        await scene.flood(Kind.REFUSED, 3, lambda number: f"10.{number % 200}.0.{number // 200 + 1}")
        scene.sink.close()

    with NameServerProcess(lab.gateway, ["10.in-addr.arpa LIES victim.example"]) as names:
        run(lab, story)
        asked = Counter(question.split()[1] for question in names.questions)
    assert asked["PTR"] > 1000
    assert set(asked) == {"PTR"}


@pytest.mark.parametrize("alias", [False, True], ids=["names", "aliases"])
def test_a_contacts_victim_is_asked_at_its_rate(lab: Lab, alias: bool) -> None:
    rate, took = 20, [0.0]
    records = ["10.in-addr.arpa LIES victim.example"]
    if alias:
        records = ["10.in-addr.arpa LIES attacker.example", "attacker.example ALIASES victim.example"]

    async def story() -> None:
        scene = Scene("--dns-query-rate 100000")
        began = time.monotonic()
        await scene.flood(
            Kind.WHITELISTED, 5, lambda number: f"10.{number % 4}.{number >> 2 & 255}.{number >> 10}")
        scene.sink.close()
        took[0] = time.monotonic() - began

    with NameServerProcess(lab.gateway, records) as names:
        run(lab, story)
        forward = [question for question in names.questions if not question.endswith("PTR")]
        reverse = Counter(question.split()[0].split(".")[2] for question in names.questions
                          if question.endswith("PTR"))
    print(len(forward), "forward,", max(reverse.values()), "to the reverse zone that was asked most")
    # A burst is what the rate gives in a second.
    assert 2 * 10 <= len(forward) <= rate * (took[0] + 1) + 2
    assert max(reverse.values()) <= rate * (took[0] + 1) + 1
