"""The reverse DNS sink by itself: the name rule, and its bounds, with a resolver that the test holds in its hands."""
import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.resolver import AAAA, PTR, A, LookupFailed
from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.log import Log
from mxallowd.metrics.counters import Part
from mxallowd.metrics.counters import names as names_of
from mxallowd.settings import Settings
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.lookups import MAX_FORWARD, MAX_LOOKUPS
from mxallowd.sinks.rdns import RdnsSink
from mxallowd.sinks.stress import Stress
from mxallowd.sinks.waiting import BURST_S, FAILED_S, MAX_WAITING
from mxallowd.whitelist import Whitelist
from tests.test_settings import good

SERVER = packed("192.0.2.10")


class Zone:
    """A resolver that answers from dicts when it is let, and remembers what is asked."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[str]] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.flying = self.most_flying = self.reloads = self.ticks = 0
        self.let = asyncio.Event()
        self.let.set()

    async def ask(self, name: str, kind: int, aliased: object = None) -> list[str]:
        """One answer."""
        self.asked.append(name)
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        await self.let.wait()
        await asyncio.sleep(0)
        self.flying -= 1
        if name in self.broken:
            raise LookupFailed("broken", timed_out=True)
        return self.records.get((name, kind), [])

    def reload(self, servers: Sequence[str]) -> None:
        """Counted."""
        self.reloads += 1
        self.servers = list(servers)

    def tick(self) -> None:
        """Counted."""
        self.ticks += 1

    def close(self) -> None:
        """Nothing to close."""

    def add(self, address: str, name: str) -> None:
        """A host whose name is confirmed."""
        self.records.setdefault((reverse_name(packed(address)), PTR), []).append(name)
        self.records.setdefault((name, A), []).append(address)


class Scene:
    """A sink with its table, zone and clock."""

    def __init__(self, words: str = "", told: int = 0) -> None:
        self.zone = Zone()
        self.table = Table(1000 + told, 1, main=500 + told, told=told)
        self.now = 0.0
        self.suppressed = 0
        self.settings: Settings = good(f"-f 192.0.2.10 -r 192.0.2.20 -n 1 {words}")
        whitelist = self.whitelist = Whitelist(self.table)
        log = Log(logging.getLogger("test-rdns"))
        self.stress = Stress(log, lambda: self.now)
        hostlog = HostLog(log, self.count_suppressed, self.stress, lambda: self.now)
        self.sink = RdnsSink(self.settings, hostlog, whitelist,
                             self.zone, lambda: self.now)  # type: ignore[arg-type]
        self.stress.watch("lookups-waiting", self.sink.fill)

    def count_suppressed(self, lines: int) -> None:
        """Counted."""
        self.suppressed += lines

    def contact(self, *addresses: str) -> None:
        """Hosts meet the fake server."""
        now = boottime_us()
        until = now + 1_000_000
        for address in addresses:
            self.table.add(packed(address), until, now)
        self.sink.handle([Event(Kind.WHITELISTED, 0, 0, 0, now, packed(one), SERVER, until) for one in addresses])

    def refuse(self, *addresses: str) -> None:
        """Hosts are refused by the real server."""
        self.sink.handle([Event(Kind.REFUSED, 0, 0, 0, boottime_us(), packed(one), SERVER, 0) for one in addresses])

    def tell(self, kind: Kind, *addresses: str, server: bytes = SERVER) -> None:
        """Something else happens to hosts."""
        self.sink.handle([Event(kind, 0, 0, 0, boottime_us(), packed(one), server, 0) for one in addresses])

    def is_stressed(self) -> bool:
        """A look of stress mode."""
        self.stress.look()
        return self.stress.on

    def listed(self, address: str) -> bool:
        """Whether the host may pass now."""
        return self.table.find(packed(address), boottime_us()) is not None

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(200):
            await asyncio.sleep(0)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_a_family() -> None:
    async def story() -> None:
        scene = Scene("-t 100")
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            scene.zone.add(address, "mail.example.org")
        scene.contact("192.0.2.1")
        await scene.settle()
        assert all(map(scene.listed, ("192.0.2.1", "192.0.2.2", "192.0.2.3")))
        # The contact's clock was restarted: a hundred seconds in place of the one that it had.
        found = scene.table.find(packed("192.0.2.1"), boottime_us())
        assert found is not None
        assert 99_000_000 < found[0] - boottime_us() <= 100_000_000
        assert scene.sink.counters() == dict.fromkeys(names_of(Part.RDNS), 0) | {
            "looked-up": 1, "confirmed": 1, "children": 2, "dns-queries": 3}
    run(story)


def test_a_refused_host_of_a_whitelisted_name() -> None:
    async def story() -> None:
        scene = Scene()
        scene.zone.add("192.0.2.1", "mail.example.org")
        scene.zone.add("192.0.2.9", "other.example.org")
        scene.contact("192.0.2.1")
        await scene.settle()
        scene.zone.add("192.0.2.2", "mail.example.org")
        scene.refuse("192.0.2.2", "192.0.2.9")
        await scene.settle()
        assert scene.listed("192.0.2.2")
        assert not scene.listed("192.0.2.9")
    run(story)


def test_one_lookup_for_an_address_at_a_time() -> None:
    async def story() -> None:
        scene = Scene()
        scene.zone.let.clear()
        for _ in range(5):
            scene.refuse("192.0.2.1", "192.0.2.1")
            await scene.settle()
        assert len(scene.zone.asked) == 1
    run(story)


def test_a_failure_is_remembered() -> None:
    async def story() -> None:
        scene = Scene()
        scene.zone.broken.add(reverse_name(packed("192.0.2.1")))
        for now, times in ((0.0, 1), (FAILED_S - 0.1, 1), (FAILED_S, 2)):
            scene.now = now
            scene.refuse("192.0.2.1")
            await scene.settle()
            assert len(scene.zone.asked) == scene.sink.counters()["timed-out"] == times
    run(story)


def test_a_refused_host_comes_in_with_the_first_of_its_name() -> None:
    """The packet path tells of it once a minute: it need not be asked about again."""
    async def story() -> None:
        scene = Scene("-t 100")
        scene.zone.add("192.0.2.1", "mail.example.org")
        scene.zone.add("192.0.2.9", "mail.example.org")
        # Behind as many addresses of that name as count.
        scene.zone.records["mail.example.org", A] = [
            "192.0.2.1", *(f"198.51.100.{number}" for number in range(1, 40)), "192.0.2.9"]
        scene.refuse("192.0.2.9")
        await scene.settle()
        assert not scene.listed("192.0.2.9")
        asked = len(scene.zone.asked)
        scene.contact("192.0.2.1")
        await scene.settle()
        assert scene.listed("192.0.2.9")
        assert scene.zone.asked.count("9.2.0.192.in-addr.arpa") == 1
        assert len(scene.zone.asked) > asked

    run(story)


def test_a_contact_while_it_is_asked_about_as_a_refused_one() -> None:
    async def story() -> None:
        scene = Scene()
        for address in ("192.0.2.1", "192.0.2.2"):
            scene.zone.add(address, "mail.example.org")
        scene.zone.let.clear()
        scene.refuse("192.0.2.1")
        await scene.settle()
        scene.contact("192.0.2.1")
        scene.zone.let.set()
        await scene.settle()
        assert scene.listed("192.0.2.2")
        # One lookup for an address at a time: PTR, A and AAAA once.
        assert len(scene.zone.asked) == 3
    run(story)


def test_failures_of_contacts_are_remembered_by_themselves() -> None:
    async def story() -> None:
        scene = Scene()
        reverse = reverse_name(packed("192.0.2.1"))
        scene.zone.broken.add(reverse)
        scene.refuse("192.0.2.1")
        await scene.settle()
        # A refused host's failure does not keep the family of a contact out.
        for times in (2, 2):
            scene.contact("192.0.2.1")
            await scene.settle()
            assert scene.zone.asked == [reverse] * times
        scene.now = 60.0
        scene.contact("192.0.2.1")
        await scene.settle()
        assert len(scene.zone.asked) == 3
    run(story)


def test_one_name_that_fails_does_not_take_the_others_away() -> None:
    async def story() -> None:
        scene = Scene()
        for name in ("dead.example.org", "mail.example.org", "dead2.example.org"):
            scene.zone.add("192.0.2.1", name)
        scene.zone.add("192.0.2.2", "mail.example.org")
        scene.zone.broken |= {"dead.example.org", "dead2.example.org"}
        scene.contact("192.0.2.1")
        await scene.settle()
        assert scene.listed("192.0.2.2")
        assert scene.sink.counters()["timed-out"] == 0
    run(story)


def test_a_refused_host_needs_a_confirmed_name() -> None:
    """Else anybody could let himself in by a PTR record that names a whitelisted host."""
    async def story() -> None:
        scene = Scene("--rdns-unconfirmed")
        scene.zone.add("192.0.2.1", "mail.example.org")
        scene.contact("192.0.2.1")
        await scene.settle()
        scene.zone.records[reverse_name(packed("192.0.2.66")), PTR] = ["mail.example.org"]
        scene.refuse("192.0.2.66")
        await scene.settle()
        assert scene.sink.counters()["unconfirmed"] == 1
        assert not scene.listed("192.0.2.66")
    run(story)


def test_both_families_have_a_share_of_the_addresses() -> None:
    async def story() -> None:
        scene = Scene()
        for number in range(1, 41):
            scene.zone.records.setdefault(("mail.example.org", A), []).append(f"192.0.2.{number}")
            scene.zone.records.setdefault(("mail.example.org", AAAA), []).append(f"2001:db8::{number:x}")
        scene.zone.records[reverse_name(packed("192.0.2.40")), PTR] = ["mail.example.org"]
        scene.contact("192.0.2.40")
        await scene.settle()
        assert scene.sink.counters()["children"] == 31
        assert sum(scene.listed(f"2001:db8::{number:x}") for number in range(1, 41)) in (15, 16)
    run(story)


def test_the_rate() -> None:
    async def story() -> None:
        scene = Scene("--dns-rate 10")
        scene.refuse(*(f"10.{i}.0.1" for i in range(200)))
        await scene.settle()
        assert scene.sink.counters()["looked-up"] == 10 * BURST_S
        scene.now = 2.0
        scene.contact("10.201.1.1")
        await scene.settle()
        assert scene.sink.counters()["looked-up"] == 10 * BURST_S + 20
        # Contacts come first.
        assert reverse_name(packed("10.201.1.1")) in scene.zone.asked
    run(story)


def test_the_rate_alone_holds_nobody_back_for_ever() -> None:
    """Nothing happens any more, and they are asked about as the rate allows it."""
    async def story() -> None:
        scene = Scene("--dns-rate 50")
        scene.refuse(*(f"{i}.1.0.1" for i in range(1, 50 * BURST_S + 3)))
        for looked_up in range(50 * BURST_S, 50 * BURST_S + 3):
            await scene.settle()
            assert scene.sink.counters()["looked-up"] == looked_up
            scene.now += 0.02
            await asyncio.sleep(0.03)
    run(story)


def test_queries_in_flight_and_waiting_hosts_are_bounded() -> None:
    async def story() -> None:
        scene = Scene("--dns-rate 100000 --dns-query-rate 1000000")
        scene.zone.let.clear()
        many = [f"{i >> 8 & 63}.{i & 255}.{i >> 14}.1" for i in range(65_536, 65_536 + 10_000)]
        scene.refuse(*many)
        await scene.settle()
        # Refused hosts leave a part of the places to contacts.
        assert scene.zone.flying == MAX_LOOKUPS * 3 // 4
        many = [f"{i >> 8 & 63}.{i & 255}.77.1" for i in range(20_000, 20_500)]
        scene.contact(*many)
        await scene.settle()
        assert scene.zone.flying == MAX_LOOKUPS
        # What does not fit into the line is counted; the oldest goes.
        assert scene.sink.counters()["limited"] == 10_000 - MAX_WAITING
        scene.zone.let.set()
        for _ in range(50):
            scene.now += 0.5
            scene.sink.tick()
            await scene.settle()
        assert scene.zone.most_flying <= MAX_LOOKUPS + 2 * MAX_FORWARD
        assert scene.sink.counters()["looked-up"] == MAX_WAITING + 500
    run(story)


def test_stress_mode_leaves_refused_hosts_out() -> None:
    async def story() -> None:
        scene = Scene("--dns-rate 1")
        spent = [f"10.0.0.{i}" for i in range(BURST_S)]
        scene.contact(*spent)
        await scene.settle()
        assert len(scene.zone.asked) == len(spent)
        many = [f"10.1.{i >> 8}.{i & 255}" for i in range(MAX_WAITING)]
        scene.refuse(*many[: MAX_WAITING * 8 // 10])
        assert not scene.is_stressed()
        scene.refuse(*many)
        assert scene.is_stressed()
        # Who was refused waits, and is not asked about; who met the fake server is, who was used first.
        scene.contact("10.2.0.1", "10.2.0.2", "10.2.0.3")
        scene.tell(Kind.ACCEPTED, "10.2.0.3")
        for second in range(1, 6):
            scene.now = second
            scene.refuse("10.3.0.1")
            await scene.settle()
        first_of_all, *others = scene.zone.asked[len(spent) :]
        assert first_of_all == reverse_name(packed("10.2.0.3"))
        assert others == [reverse_name(packed(host)) for host in ("10.2.0.1", "10.2.0.2")]
        # They leave the queue second by second, and once stress mode is over the others are asked about.
        seconds = 5
        while scene.is_stressed():
            seconds += 1
            scene.now = seconds
            scene.sink.tick()
            assert seconds < MAX_WAITING * 4 // 10
        scene.sink.tick()
        await scene.settle()
        assert len(scene.zone.asked) > len(spent) + 3
    run(story)


def test_reload_and_close() -> None:
    async def story() -> None:
        scene = Scene()
        before = scene.zone.reloads
        scene.sink.reload(scene.settings)
        assert scene.zone.reloads == before + 1
        scene.zone.let.clear()
        scene.contact("192.0.2.1")
        await scene.settle()
        scene.sink.close()
        await scene.settle()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    run(story)


def test_a_tick_is_the_resolvers_as_well() -> None:
    async def story() -> None:
        scene = Scene()
        scene.sink.tick()
        assert scene.zone.ticks == 1
    run(story)


hosts = st.sampled_from([f"192.{i}.2.1" for i in range(1, 9)])
names = st.sampled_from([f"n{i}.example.org" for i in range(4)])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(hosts, names), max_size=12), st.lists(st.tuples(names, hosts), max_size=12),
       st.lists(hosts, max_size=5, unique=True), st.booleans())
def test_the_name_rule(
        pointers: list[tuple[str, str]], forward: list[tuple[str, str]], contacts: list[str], believe: bool) -> None:
    """A host is listed if and only if it made contact, or shares a name that counts with one that did."""
    async def story() -> None:
        scene = Scene("--rdns-unconfirmed" if believe else "")
        for host, name in pointers:
            written = scene.zone.records.setdefault((reverse_name(packed(host)), PTR), [])
            if name not in written:
                written.append(name)
        for name, host in forward:
            scene.zone.records.setdefault((name, A), []).append(host)
        scene.contact(*contacts)
        await scene.settle()
        expected = set(contacts)
        for contact in contacts:
            for host, name in pointers:
                addresses = {one for other, one in forward if other == name}
                if host == contact and (believe or contact in addresses):
                    expected |= addresses
        assert {f"192.{i}.2.1" for i in range(1, 9) if scene.listed(f"192.{i}.2.1")} == expected
    run(story)
