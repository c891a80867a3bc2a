"""Names over a real engine: one host meets the fake server of one gateway, another of its name comes to another one."""
import asyncio
import logging
from collections.abc import Callable

import pytest

from mxallowd.engine.events import Event, Kind, packed
from mxallowd.log import Log
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.rdns import RdnsSink
from mxallowd.sinks.stress import Stress
from tests.test_fleet_member import LONGEST_S, Gateway, S, Stage, Story, engine, play, until
from tests.test_rdns_sink import SERVER, Zone
from tests.test_settings import good

__all__ = ["engine", "play"]
FIRST, SECOND, NAME = "203.0.113.1", "203.0.113.2", "mail.example.org"


def sink_of(gateway: Gateway, zone: Zone, words: str) -> RdnsSink:
    """What looks up names for it."""
    log = Log(logging.getLogger("test-fleet-names"))
    hostlog = HostLog(log, lambda lines: None, Stress(log))
    return RdnsSink(good(f"-f 192.0.2.10 -r 192.0.2.20 -n 1 {words}"), hostlog, gateway.whitelist,
                    zone)  # type: ignore[arg-type]


def happens(gateway: Gateway, sink: RdnsSink, kind: Kind, address: str) -> None:
    """A contact, or a refusal."""
    now_us = gateway.whitelist.now_us()
    if kind is Kind.WHITELISTED:
        gateway.table.add(packed(address), now_us + LONGEST_S * S, now_us)
    events = [Event(kind, 0, 0, 0, now_us, packed(address), SERVER, 0)]
    gateway.whitelist.take(events)
    sink.handle(events)


@pytest.mark.parametrize(("words", "second"), [("", NAME), ("--pool-domain", "out7.example.org")])
@pytest.mark.parametrize("refused_first", [False, True])
def test_a_host_of_a_name_that_another_gateway_knows(
        play: Callable[[Story], None], words: str, second: str, refused_first: bool) -> None:
    async def story(stage: Stage) -> None:
        one, other = await stage.joins("mx1"), await stage.joins("mx2")
        zone = Zone()
        zone.add(SECOND, second)
        there = sink_of(other, zone, words)
        if refused_first:
            happens(other, there, Kind.REFUSED, SECOND)
            await until(lambda: there.counters()["looked-up"])
        # The first address is known to the name server of the first gateway alone.
        elsewhere = Zone()
        elsewhere.add(FIRST, NAME)
        happens(one, sink_of(one, elsewhere, words), Kind.WHITELISTED, FIRST)
        await until(lambda: other.whitelist.find(packed(FIRST)))
        if not refused_first:
            await asyncio.sleep(0.1)
            happens(other, there, Kind.REFUSED, SECOND)
        await until(lambda: other.whitelist.find(packed(SECOND)))
        # And it is said, with how it came in.
        await until(lambda: one.whitelist.find(packed(SECOND)))
        entry = one.whitelist.entry(packed(SECOND))
        assert entry is not None and entry.note is not None
        assert (entry.origin, entry.gateway, second in entry.note.text) == ("peer", "mx2", True)
    play(story)
