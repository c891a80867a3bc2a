"""The whitelist as people and programs see it: entries as objects, and a whole whitelist in slices.

A million entries are looked at in some seconds, of which no turn of the main loop takes more than a few milliseconds.
"""
import asyncio
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from mxallowd.control.answers.since import Since
from mxallowd.control.exchange import timestamp
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.settings.values import Network
from mxallowd.whitelist import RECORD_SIZE, Entry, Whitelist, unpack

# Between two turns of the loop: records looked at, and entries made of them; each a millisecond.
SLICE, STEP = 2048 * RECORD_SIZE, 100


class Wanted(NamedTuple):
    """Which entries are asked for; None: all are."""

    origin: str | None = None
    used: bool | None = None
    proven: bool | None = None
    note: str | None = None  # stands in the note, upper or lower case; as casefold() has it
    gateway: str | None = None  # its name: another gateway, which told of it first
    network: tuple[bytes, bytes] | None = None  # the first and the last host

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


async def hosts(whitelist: Whitelist, network: tuple[bytes, bytes] | None) -> AsyncIterator[list[bytes]]:
    """All listed hosts of a network, at most STEP at a time; what changes meanwhile may be missed."""
    # ::/0 has no IPv4 address in it, although the form in which hosts stand here would have it so.
    four = network is not None and network[0].startswith(MAPPED)
    for records in whitelist.records():
        for at in range(0, len(records), SLICE):
            found = [host for host, _, _ in unpack(records[at : at + SLICE])
                     if network is None or (network[0] <= host <= network[1] and host.startswith(MAPPED) == four)]
            for first in range(0, len(found), STEP):
                yield found[first : first + STEP]
                await asyncio.sleep(0)
            await asyncio.sleep(0)


async def lines(
    whitelist: Whitelist, since: Since, wanted: Wanted, limit: int,
    more: Callable[[dict[str, object]], dict[str, object]],
) -> AsyncIterator[bytes]:
    """The entries that are wanted, at most `limit`, as pieces of a stream; `more` may add keys to each."""
    left = limit
    async for some in hosts(whitelist, wanted.network):
        now_us, now_s = whitelist.now_us(), time.time()
        found = [entry for host in some if (entry := whitelist.entry(host)) is not None and wanted.takes(entry)]
        if found:
            yield b"".join(line(more(shown(entry, now_us, now_s, since))) for entry in found[:left])
        left -= len(found)
        if left <= 0:
            return
