"""Pools: who founds a registered domain's, who comes in by it, and what nobody can make of it."""
import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.resolver import PTR, A
from mxallowd.dns.zones import owned_domain
from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, PATIENCE, RESTORED, TRUSTED
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Kind
from mxallowd.provenance import MAX_TEXT, Pool, pool_of
from mxallowd.sinks import pools as pools_module
from mxallowd.sinks.grants import MOST_OF_A_POOL
from mxallowd.sinks.pools import MOST_FOUNDERS, Pools
from tests.strategies import packed
from tests.test_rdns_sink import Scene, run
from tests.test_settings import good, settings_of

FOUNDER, MEMBER, OTHER = "192.0.2.101", "192.0.2.202", "192.0.2.203"
OPTIONS = "-t 1000 --dns-zone-rate 1000"


def scene(words: str = "--pool-domain") -> Scene:
    made = Scene(f"{OPTIONS} {words}")
    made.zone.add(FOUNDER, "mx-out-a.example.org")
    made.zone.add(MEMBER, "mx-out-b.example.org")
    made.zone.add(OTHER, "out.pool.example.org")
    return made


async def founded(made: Scene, *addresses: str) -> None:
    made.contact(*addresses or (FOUNDER,))
    await made.settle()


async def admit(made: Scene, address: str, origin: int, note: str = "") -> None:
    now = boottime_us()
    assert made.whitelist.admit(packed(address), now + 9_000_000, now, origin=origin, note=note)
    await made.settle()


async def admit_unseen(made: Scene, address: str, origin: int) -> None:
    """As the packet path does."""
    now = boottime_us()
    assert made.table.admit(packed(address), now + 9_000_000, now, origin)
    await made.settle()


async def refused(made: Scene, *addresses: str) -> list[bool]:
    made.refuse(*addresses)
    await made.settle()
    return [made.listed(address) for address in addresses]


def test_a_refused_host_below_the_domain_of_a_contact() -> None:
    async def tell() -> None:
        made = scene()
        assert await refused(made, MEMBER) == [False]
        # It is asked about again as soon as the domain is founded, and needs no second refusal.
        await founded(made)
        assert made.listed(MEMBER)
        assert await refused(made, OTHER) == [True]
        entry = made.whitelist.entry(packed(OTHER))
        assert entry is not None
        assert entry.note is not None
        assert (entry.origin, entry.note.text) == (
            "child", "pool example.org by 192.0.2.101 as out.pool.example.org")
        assert 990_000_000 < entry.until_us - boottime_us() <= 1_000_000_000
        counters = made.sink.counters()
        assert (counters["children"], counters["pool-children"]) == (2, 2)
    run(tell)


def test_off_is_off() -> None:
    async def tell() -> None:
        made = scene("")
        await founded(made)
        assert await refused(made, MEMBER, OTHER) == [False, False]
        # Not even asked for: its name is nobody's.
        assert "mx-out-b.example.org" not in made.zone.asked
    run(tell)


@pytest.mark.parametrize(("origin", "note", "founds"), [
    (BY_HAND, "a customer", True), (CONTACT, "", True), (PATIENCE, "", False), (RESTORED, "", False),
    (CHILD, "pool example.org by 192.0.2.7 as mx-out-a.example.org", False)])
def test_who_founds(origin: int, note: str, founds: bool) -> None:
    """And whoever does not, does when he has met the fake server himself."""
    async def tell() -> None:
        made = scene()
        await admit(made, FOUNDER, origin, note)
        assert await refused(made, MEMBER) == [founds]
        made.tell(Kind.RENEWED, FOUNDER)
        await made.settle()
        assert made.listed(MEMBER)
    run(tell)


def test_nobody_who_came_in_so_lets_in_further_ones() -> None:
    """A member with a second name elsewhere, used and renewed at the real server as often as it likes."""
    async def tell() -> None:
        made = scene("--pool-domain --renew both")
        made.zone.add(MEMBER, "mail.elsewhere.example")
        made.zone.add(OTHER, "mail-b.elsewhere.example")
        made.zone.records[reverse_name(packed(OTHER)), PTR] = ["mail-b.elsewhere.example"]
        await founded(made)
        assert await refused(made, MEMBER) == [True]
        made.tell(Kind.ACCEPTED, MEMBER)
        made.tell(Kind.RENEWED, MEMBER, server=packed("192.0.2.20"))
        await made.settle()
        assert await refused(made, OTHER) == [False]
        made.tell(Kind.RENEWED, MEMBER)
        await made.settle()
        assert await refused(made, OTHER) == [True]
    run(tell)


def test_a_connection_of_a_member_is_the_proof_of_its_founder() -> None:
    """The host that met the fake server need not be the one that connects, and its entry ends then."""
    async def tell() -> None:
        made = scene()
        await founded(made)
        assert await refused(made, MEMBER) == [True]
        assert made.whitelist.prove(packed(MEMBER))
        assert made.whitelist.end(packed(FOUNDER))
        assert await refused(made, OTHER) == [True]
    run(tell)


def test_the_last_founder_takes_the_domain_with_it() -> None:
    async def tell() -> None:
        made = scene()
        await founded(made)
        assert made.whitelist.end(packed(FOUNDER))
        # Nor does it found when it comes back in another way.
        await admit(made, FOUNDER, TRUSTED)
        assert await refused(made, MEMBER) == [False]
        assert made.whitelist.end(packed(FOUNDER))
        await founded(made)
        made.table.end(packed(FOUNDER), boottime_us())
        await admit_unseen(made, FOUNDER, PATIENCE)
        made.tell(Kind.PATIENT, FOUNDER)
        assert await refused(made, OTHER) == [False]
    run(tell)


def test_sixty_four_of_a_domain() -> None:
    async def tell() -> None:
        made = scene()
        hosts = [f"198.51.{100 + number // 200}.{number % 200 + 1}" for number in range(MOST_OF_A_POOL + 10)]
        for number, host in enumerate(hosts):
            made.zone.add(host, f"mail-{'abcdefghij'[number % 10] * (1 + number // 10)}.example.org")
        await founded(made)
        for host in hosts:
            made.now += 1
            await refused(made, host)
        assert sum(map(made.listed, hosts)) == MOST_OF_A_POOL
        assert made.sink.counters()["children-left-out"] == 10
        # Who meets the fake server has a place of its own, and leaves this one to another.
        made.tell(Kind.RENEWED, hosts[0])
        await made.settle()
        assert await refused(made, hosts[-1]) == [True]
        assert await refused(made, hosts[-2]) == [False]
    run(tell)


@pytest.mark.parametrize(("founder", "member"), [
    # Names that a rule has made, on either side.
    ("mx.isp.example", "192-0-2-202.isp.example"), ("dsl-192-0-2-101.isp.example", "mx.isp.example"),
    ("mx.isp.example", "pool-7.isp.example"), ("mx.isp.example", "2-202.isp.example"),
    # Other owners: below a public suffix, in either section of the list; and names that are one.
    ("mail.a.co.uk", "mail.b.co.uk"), ("mail.a.github.io", "mail.b.github.io"), ("a.dyndns.org", "b.dyndns.org"),
    ("co.uk", "co.uk"), ("github.io", "mail.github.io"), ("mail.xn--p1ai", "mx.xn--p1ai"),
    ("mail.example.org", "mailexample.org"), ("mail.example.org", "example.org.example.net"),
    ("a.1.168.192.in-addr.arpa", "b.1.168.192.in-addr.arpa")])
def test_names_that_are_no_pool(founder: str, member: str) -> None:
    async def tell() -> None:
        made = Scene(f"{OPTIONS} --pool-domain")
        made.zone.add(FOUNDER, founder)
        made.zone.add(MEMBER, member)
        await founded(made)
        # The same name lets its other addresses in, as ever.
        assert await refused(made, MEMBER) == [founder == member]
        assert made.sink.counters()["pool-children"] == 0
    run(tell)


@pytest.mark.parametrize(("founder", "member"), [
    ("MX-Out-A.Example.ORG.", "mx-out-b.example.org"), ("mx-out-a.example.org", "MX-OUT-B.EXAMPLE.ORG."),
    ("a.xn--bcher-kva.example", "b.xn--bcher-kva.example"), ("a.mail.xn--p1ai", "b.mail.xn--p1ai"),
    ("example.org", "out.example.org"), ("out.example.org", "example.org"),
    ("mail." + ".".join(["x" * 60] * 3) + ".example.org", "a." + ".".join(["x" * 60] * 3) + ".example.org")])
def test_spellings_of_a_pool(founder: str, member: str) -> None:
    async def tell() -> None:
        made = Scene(f"{OPTIONS} --pool-domain")
        made.zone.add(FOUNDER, founder)
        made.zone.add(MEMBER, member)
        for name, address in ((founder, FOUNDER), (member, MEMBER)):
            made.zone.records[name.lower().rstrip("."), A] = [address]
        await founded(made)
        assert await refused(made, MEMBER) == [True]
    run(tell)


def test_a_name_that_is_not_confirmed() -> None:
    """Anybody can write a PTR record below a domain; a founder is confirmed, even where --rdns-unconfirmed is set."""
    async def tell() -> None:
        made = scene("--pool-domain --rdns-unconfirmed")
        made.zone.records["mx-out-a.example.org", A] = ["192.0.2.7"]
        await founded(made)
        assert await refused(made, MEMBER) == [False]
        made.zone.records["mx-out-b.example.org", A] = ["192.0.2.7"]
        await founded(made, OTHER)
        assert await refused(made, MEMBER) == [False]
        assert made.sink.counters()["pool-children"] == 0
    run(tell)


def test_a_restart_reads_notes_and_looks_the_others_up() -> None:
    async def tell() -> None:
        made = scene()
        # As the state directory has them: a child by its name, one of a pool, a contact without a note.
        for address, origin, note in ((FOUNDER, CONTACT, ""), ("198.51.100.1", CHILD, "mail.known.example"),
                                      ("198.51.100.2", CHILD, "pool full.example by 192.0.2.9 as a.full.example")):
            now = boottime_us()
            made.table.admit(packed(address), now + 9_000_000, now, origin)
            if note:
                made.whitelist.provenance.note(packed(address), 1, note)
        made.zone.add("198.51.100.3", "out.known.example")
        assert await refused(made, MEMBER, "198.51.100.3") == [False, False]
        made.sink.tick()
        await asyncio.sleep(0.05)
        await made.settle()
        assert made.listed("198.51.100.3")
        assert made.listed(MEMBER)
        # The child of the pool counts among those of its domain, and founds nothing.
        assert sorted(one.pool for one in made.sink._grants._grants.values()) == [
            "example.org", "full.example", "known.example"]
        made.zone.add("198.51.100.4", "b.full.example")
        assert await refused(made, "198.51.100.4") == [False]
        made.sink.close()
    run(tell)


@pytest.mark.parametrize("late", [False, True])
def test_a_cut_name_founds_its_pool_and_no_other(late: bool) -> None:
    """Its note has room for the beginning alone, which may read as a name of somebody else. Proven before or after."""
    async def tell() -> None:
        made = scene()
        begin = "pool example.org by 192.0.2.101 as "
        name = f"{'a' * 48}.{'a' * 48}.{'a' * 48}.x.provider.example.example.org"
        note = f"{begin}{name}"[:MAX_TEXT]  # as it stood before cut names were marked
        assert note.endswith(".provider.example")
        assert Pool("example.org", FOUNDER, name).text == f"{note[:-3]}..."
        now = boottime_us()
        made.table.admit(packed("198.51.100.2"), now + 9_000_000, now, CHILD)
        made.whitelist.provenance.note(packed("198.51.100.2"), 1, note)
        if not late:
            made.table.prove(packed("198.51.100.2"), now)
        made.sink.tick()
        await asyncio.sleep(0.05)
        if late:
            assert made.whitelist.prove(packed("198.51.100.2"))
        made.zone.add("198.51.100.3", "out.provider.example")
        assert await refused(made, "198.51.100.3", MEMBER) == [False, True]
        assert [one.domain for one in made.sink._grants._grants.values()] == ["example.org"] * 2
        made.sink.close()
    run(tell)


def test_a_reload_turns_it_on_and_off() -> None:
    async def tell() -> None:
        made = scene("")
        await founded(made)
        made.sink.reload(good(f"-f 192.0.2.10 -r 192.0.2.20 -n 1 {OPTIONS} --pool-domain"))
        made.sink.tick()
        # The list is read in a thread, and the contact's name looked up again.
        for _ in range(100):
            await asyncio.sleep(0.01)
            if (await refused(made, MEMBER))[0]:
                break
        assert made.listed(MEMBER)
        made.sink.reload(good(f"-f 192.0.2.10 -r 192.0.2.20 -n 1 {OPTIONS}"))
        made.sink.tick()
        assert await refused(made, OTHER) == [False]
    run(tell)


def test_a_host_that_is_listed_for_longer_still_lets_its_name_in() -> None:
    """A proven one is: its contact must not be passed over."""
    async def tell() -> None:
        made = scene("")
        made.zone.add(MEMBER, "mx-out-a.example.org")
        now = boottime_us()
        made.table.add(packed(FOUNDER), now + 5_000_000_000, now)
        made.tell(Kind.RENEWED, FOUNDER)
        await made.settle()
        assert made.listed(MEMBER)
    run(tell)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["found", "drop", "die", "ask"]), st.integers(0, 19), st.integers(0, 5)),
                max_size=120))
def test_founders_beside_a_plain_model(steps: list[tuple[str, int, int]]) -> None:
    """What is asked for is alive, founded that domain, and is found wherever the model has one within the bounds."""
    dead: set[bytes] = set()
    pools, model = Pools(lambda host: host not in dead, lambda: 0.0), dict[str, set[bytes]]()
    pools.on = True
    for step, number, domain in steps:
        host, name = packed(f"10.0.0.{number}"), f"mail.{'abcdef'[domain]}.example"
        if step == "found":
            if host in dead:
                # Whoever is whitelisted again has another entry, and founded nothing by it.
                dead.discard(host)
                pools.drop(host)
                for one in model.values():
                    one.discard(host)
            pools.found(host, name)
            founders = model.setdefault(str(owned_domain(name)), set())
            if len(founders - dead) < MOST_FOUNDERS and sum(host in one for one in model.values()) < MOST_FOUNDERS:
                founders.add(host)
        elif step == "drop":
            pools.drop(host)
            for one in model.values():
                one.discard(host)
        elif step == "die":
            dead.add(host)
        found = pools.founder(packed("10.1.0.1"), name)
        living = model.get(str(owned_domain(name)), set()) - dead
        assert (found is None) == (not living)
        if found:
            assert found[0] == owned_domain(name)
            assert found[1] in living
        assert all(0 < len(one) <= MOST_FOUNDERS for one in pools._founders.values())
        assert {(one, host) for one, hosts in pools._founders.items() for host in hosts} == {
            (one, host) for host, ones in pools._domains.items() for one in ones}


def test_the_oldest_domain_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_module, "MAX_DOMAINS", 3)
    pools = Pools(lambda _: True, lambda: 0.0)
    pools.on = True
    for name in ("mx.a.example", "mx.b.example", "mx.c.example", "mx.a.example", "mx.d.example"):
        pools.found(packed("192.0.2.1"), name)
    asked = {name: pools.founder(packed("192.0.2.9"), f"out.{name}.example") is not None for name in "abcd"}
    assert asked == {"a": True, "b": False, "c": True, "d": True}
    assert len(pools) == 3


def test_notes_of_pools_and_of_names_are_told_apart() -> None:
    whole = Pool("example.org", "2001:db8::7", "mail-a.example.org")
    assert pool_of(whole.text) == whole
    assert pool_of(Pool("x" * 120, "2001:db8:1111:2222:3333:4444:5555:6666", "m" * 253).text[:MAX_TEXT]) is not None
    for text in ("", "mail.example.org", "pool", "pool example.org", "let in by hand as asked"):
        assert pool_of(text) is None


@pytest.mark.parametrize(("words", "text"), [
    ("-b", "pool-domain does nothing: with no-rdns-whitelist no name is looked up"),
    ("--rdns-max-children 0", "pool-domain does nothing: with rdns-max-children 0 no name is looked up")])
def test_what_does_nothing_is_said(words: str, text: str) -> None:
    found, problems = settings_of(f"-f 192.0.2.10 -r 192.0.2.20 -n 1 --pool-domain {words}")
    assert found is not None
    assert [str(one) for one in problems] == [f"settings: warning: {text}"]
