"""The whitelist as people and programs see it: entries as objects, and a whole whitelist in slices.

The table itself looks for what is wanted, so that a million entries are looked at in some milliseconds, in turns of the
main loop; an object is made of what was found alone.
"""
import asyncio
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from mxallowd.control.answers.since import Since
from mxallowd.control.exchange import timestamp
from mxallowd.engine._table import ORIGINS
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.process.turns import Turns
from mxallowd.settings.values import Network
from mxallowd.whitelist import Entry, Whitelist

# Between two turns of the loop: entries that are made of hosts, a millisecond; notes, between two looks at the clock.
STEP, NOTES = 100, 256


class Wanted(NamedTuple):
    """Which entries are asked for; None: all are."""

    origin: str | None = None
    used: bool | None = None
    proven: bool | None = None
    note: str | None = None  # stands in the note, upper or lower case; as casefold() has it
    gateway: str | None = None  # its name: another gateway, which told of it first
    network: tuple[bytes, bytes] | None = None  # the first and the last host

    def has(self, host: bytes) -> bool:
        """Whether a host is in the network."""
        # ::/0 has no IPv4 address in it, although the form in which hosts stand here would have it so.
        return self.network is None or (self.network[0] <= host <= self.network[1] and host.startswith(
            MAPPED) == self.network[0].startswith(MAPPED))

    def takes(self, entry: Entry) -> bool:
        """Whether it is one of them; its network was looked at before."""
        text = entry.note.text if entry.note else ""
        return ((self.origin is None or entry.origin == self.origin)
                and (self.proven is None or entry.proven == self.proven)
                and (self.used is None or entry.used == self.used)
                and (self.gateway is None or entry.gateway == self.gateway)
                and (self.note is None or self.note in text.casefold()))


def bounds(network: Network) -> tuple[bytes, bytes]:
    """The first and the last host of a network."""
    prefix = MAPPED if isinstance(network, ipaddress.IPv4Network) else b""
    return prefix + network.network_address.packed, prefix + network.broadcast_address.packed


def shown(entry: Entry, now_us: int, now_s: float, since: Since) -> dict[str, object]:
    """An entry as the API has it; the two times are the same moment, of the packet path's clock and since 1970."""
    left_us = entry.until_us - now_us
    note = entry.note
    return {
        "address": address_text(entry.host), "origin": entry.origin,
        "since": since.of(entry, now_us, now_s),
        "until": timestamp(now_s + left_us / 1_000_000), "seconds_left": max(0, -(-left_us // 1_000_000)),
        "used": entry.used, "proven": entry.proven, "note": (note.text or None) if note else None,
        **({"gateway": entry.gateway} if entry.gateway else {})}


def line(value: object) -> bytes:
    """A line of a stream."""
    return json.dumps(value).encode("ascii") + b"\n"


async def hosts(whitelist: Whitelist, wanted: Wanted) -> AsyncIterator[list[bytes]]:
    """The listed hosts that are wanted, at most STEP at a time; what changes meanwhile may be missed."""
    if wanted.note:
        async for found in _noted(whitelist, wanted):
            yield found
        return
    gateway = whitelist.gateway_number(wanted.gateway) if wanted.gateway else 0
    # Nobody here has heard of it.
    start = 0 if wanted.gateway and not gateway else -1
    origin = None if wanted.origin is None else ORIGINS.index(wanted.origin)
    turns = Turns()
    while start:
        found, start = whitelist.chosen(
            max(start, 0), STEP, network=wanted.network, origin=origin, used=wanted.used, proven=wanted.proven,
            gateway=gateway)
        if found:
            yield found
            await asyncio.sleep(0)
        else:
            await turns.give()


async def _noted(whitelist: Whitelist, wanted: Wanted) -> AsyncIterator[list[bytes]]:
    """The hosts with that text in their note, of that network; far fewer hosts have a note than are listed."""
    found, turns = list[bytes](), Turns()
    for number, one in enumerate(whitelist.provenance.texts(), 1):
        if one is None:
            await turns.pass_on()
            continue
        host, text = one
        if wanted.note and wanted.note in text.casefold() and wanted.has(host):
            found.append(host)
        if len(found) == STEP:
            # What is made of them has a turn of its own.
            await asyncio.sleep(0)
            yield found
            found = []
            await asyncio.sleep(0)
        elif number % NOTES == 0:
            await turns.give()
    if found:
        yield found


async def lines(
    whitelist: Whitelist, since: Since, wanted: Wanted, limit: int,
    more: Callable[[dict[str, object]], dict[str, object]],
) -> AsyncIterator[bytes]:
    """The entries that are wanted, at most `limit`, as pieces of a stream; `more` may add keys to each."""
    left = limit
    async for some in hosts(whitelist, wanted):
        now_us, now_s = whitelist.now_us(), time.time()
        found = [entry for host in some if (entry := whitelist.entry(host)) is not None and wanted.takes(entry)]
        if found:
            yield b"".join(line(more(shown(entry, now_us, now_s, since))) for entry in found[:left])
        left -= len(found)
        if left <= 0:
            return
