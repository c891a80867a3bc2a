"""Questions of the trusted senders within the limits of zones, and a record that is really asked for."""
import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.dns.limits import Limits
from mxallowd.dns.resolver import TXT, LookupFailed, Records, Resolver
from mxallowd.sinks.bucket import Bucket
from mxallowd.trust.asking import SHARE, SLOTS, Asking, Budget
from mxallowd.trust.flatten import flatten
from tests.name_server_process import NameServerProcess


class Scripted:
    """A resolver that fails, and one that takes a moment."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.now = self.most = self.asked = 0

    async def records(self, name: str, kind: int, aliased: Callable[[str], object]) -> Records:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        if self.fails:
            raise LookupFailed("Timeout", timed_out=True)
        return Records(["x"], 60)


def budget(limits: Limits, clock: Callable[[], float] = time.monotonic, per_s: float = 1000) -> Budget:
    return Budget(limits, Bucket(per_s, per_s, clock), Bucket(per_s / SHARE, per_s / SHARE, clock))


def test_some_questions_at_a_time_go_to_a_zone() -> None:
    resolver = Scripted(fails=False)

    async def story() -> None:
        asking = Asking(resolver, budget(Limits(1000)))  # type: ignore[arg-type]
        await asyncio.gather(*(asking.records(f"{number}.example.org", TXT) for number in range(3 * SLOTS)))

    asyncio.run(story())
    assert (resolver.asked, resolver.most) == (3 * SLOTS, SLOTS)


def test_all_questions_together_have_a_bound() -> None:
    """Of a rate of 40, trusted senders get 10 a second, and lookups of names what they leave."""
    resolver = Scripted(fails=False)
    now = 0.0
    shared = budget(Limits(1_000_000, lambda: now), lambda: now, per_s=40)
    asking = Asking(resolver, shared, lambda: now)  # type: ignore[arg-type]

    async def story() -> None:
        nonlocal now
        tasks = [asyncio.ensure_future(asking.records(f"{number}.example", TXT)) for number in range(1, 60)]
        asked = []
        for second in range(3):
            now = float(second)
            await asyncio.sleep(0.2)
            asked.append(resolver.asked)
            while shared.queries.take():  # type: ignore[attr-defined]
                asked[-1] += 1
        for task in tasks:
            task.cancel()
        assert asked == [40, 50, 60], "10 of trusted senders, and 30 of others, each second"
        assert asking.questions == resolver.asked == 30

    asyncio.run(story())


def test_a_zone_that_does_not_answer_is_given_up() -> None:
    resolver = Scripted(fails=True)
    now = 0.0

    async def story() -> None:
        nonlocal now
        asking = Asking(resolver, budget(Limits(1000, lambda: now), lambda: now), lambda: now)  # type: ignore[arg-type]
        for _ in range(3):
            with pytest.raises(LookupFailed, match="Timeout"):
                await asking.records("a.example.org", TXT)
        held = asyncio.ensure_future(asking.records("b.example.org", TXT))
        await asyncio.sleep(0.05)
        assert not held.done()
        now += 100
        with pytest.raises(LookupFailed):
            await held

    asyncio.run(story())
    assert resolver.asked == 4


def test_a_record_over_the_wire(lab: Lab) -> None:
    async def story() -> None:
        resolver = Resolver(asyncio.get_running_loop(), ["127.0.0.1:5353"])
        try:
            found = await flatten("example.org", Asking(resolver, budget(Limits(100))).records)
        finally:
            resolver.close()
        assert [str(one) for one in found.networks] == [
            "192.0.2.7/32", "192.0.2.9/32", "198.51.100.0/24", "2001:db8::7/128"]
        assert (found.ttl_s, found.left_out, found.wrong) == (60, ["spf.example.net: exists:%{i}.x.example.net"], [])

    records = ["example.org TXT v=spf1 mx include:spf.|example.net -all", "example.org TXT something else",
               "example.org MX 10 mx.example.org", "mx.example.org A 192.0.2.7", "mx.example.org AAAA 2001:db8::7",
               "spf.example.net TXT v=spf1 ip4:198.51.100.0/24 a:x.example.net exists:%{i}.x.example.net ~all",
               "x.example.net CNAME y.example.net", "y.example.net A 192.0.2.9"]
    with NameServerProcess(lab.gateway, records), visit(lab.gateway.name):
        asyncio.run(story())


def test_hostile_answers_over_the_wire(lab: Lab) -> None:
    """As many records as a message has room for, texts of 60 kB, and names that lead to themselves."""
    text = "v=spf1" + "".join(f" ip4:198.18.{number // 250}.{number % 250}" for number in range(0, 6800, 2))
    records = [
        *(f"mx.example MX 10 m{number}.example" for number in range(2500)),
        "mx.example TXT v=spf1 ip4:192.0.2.1 mx -all",
        "text.example TXT " + "|".join(text[at : at + 250] for at in range(0, len(text), 250)),
        *(f"texts.example TXT {number}" for number in range(3000)), "texts.example TXT v=spf1 a:a.texts.example",
        "a.texts.example A *2000", "loop.example TXT v=spf1 ip4:192.0.2.1 include:to.loop.example",
        "to.loop.example TXT v=spf1 redirect=loop.example", "alias.example CNAME of.alias.example",
        "of.alias.example CNAME alias.example", "odd.example TXT v=spf1 ip4:192.0.2.1 a:\x1b[2J.example"]

    async def story() -> None:
        resolver = Resolver(asyncio.get_running_loop(), ["127.0.0.1:5353"])
        found: dict[str, tuple[Any, ...]] = {}
        try:
            asking = Asking(resolver, budget(Limits(1000)))
            for name in ("mx", "text", "texts", "loop", "alias", "odd"):
                one = await flatten(f"{name}.example", asking.records)
                found[name] = len(one.networks), *one.wrong
        finally:
            resolver.close()
        many = "mx.example asks for more than 10 mail exchangers, of mx.example"
        # Nothing of a record with an error counts (4.6); and the terminal is safe.
        count, wrong = found.pop("odd")
        assert count == 0
        assert wrong == 'odd.example has characters that may not be there: "a:\\x1b[2J.example"'
        assert found == {
            "mx": (1, many), "text": (3400,), "texts": (0,), "loop": (1, "loop.example asks more than 10 questions"),
            "alias": (0, "alias.example has no SPF record")}

    with NameServerProcess(lab.gateway, records), visit(lab.gateway.name):
        asyncio.run(story())
