"""Founding: which whitelisted hosts found pools (pools.py), as events, changes, lookups and a restart tell it.

A host founds if it met the fake server, was let in by hand, or has the name of a host that did or was; with --fleet the
fake server may be that of another gateway. Who came in by a pool founds once it has completed a handshake with the real
server: the contact of a pool is often made by another host than the connection. Any other that is listed founds as soon
as it meets the fake server.

After a start, and when --pool-domain is switched on, what the state directory has is read first: the note of a child is
its name, which founds, or says by which pool it came in, which counts among those of its domain. The names of other
hosts are on no disk. Of those that found, MOST_LOOKED_UP are looked up, within all limits and when nobody else waits.
How a host came in that only a table of the kernel remembers, nobody knows: it is not among them.
"""
import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from mxallowd.dns.hostnames import normal_name
from mxallowd.dns.zones import read_suffixes, registered_domain
from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, ORIGINS
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.errors import StartError
from mxallowd.lists.beside import beside
from mxallowd.provenance import MAX_TEXT, pool_of, way_in
from mxallowd.settings import Settings
from mxallowd.sinks.grants import Grant, Grants
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.lookups import Lookup, Lookups
from mxallowd.sinks.pools import Pools
from mxallowd.whitelist import GONE, Change, Whitelist, unpack

MOST_LOOKED_UP = 65_536  # hosts; at the default --dns-rate some five minutes
SLICE = 128  # hosts between two turns of the main loop: less than a millisecond
MOST_WAITING = 64  # so that a queue of thousands never stands before a host that comes later
PAUSE_S = 0.2
FOUNDING = (ORIGINS[CONTACT], ORIGINS[BY_HAND])
MEETING = frozenset(map(int, (Kind.RENEWED, Kind.MET)))
TELLING = MEETING | {int(Kind.PATIENT), int(Kind.EVICTED)}


class Founding:
    """Fills `pools`; part of the reverse DNS sink, with its lookups. Hosts are 16 bytes."""

    def __init__(
        self, settings: Settings, whitelist: Whitelist, grants: Grants, lookups: Lookups, clock: Callable[[], float],
    ) -> None:
        self.pools = Pools(lambda host: whitelist.find(host) is not None, clock)
        self._whitelist = whitelist
        self._grants = grants
        self._lookups = lookups
        self._waiting = lookups.waiting
        self._task: asyncio.Task[None] | None = None
        self._wanted = settings.pool_domain
        if settings.pool_domain:
            # Here it may take its time, and the file can be read in any case.
            read_suffixes()
            self.pools.on = True
        whitelist.follow_as_copier(self)

    # ---- what the sink calls

    def reload(self, settings: Settings) -> None:
        """Take over the settings that can change."""
        self._fakes = {packed(str(server)) for server in settings.fake_mailserver}
        if self._wanted and not settings.pool_domain:
            self.close()
            self._task = None
            self.pools.on = False
            self.pools.clear()
        self._wanted = settings.pool_domain

    def tick(self, hostlog: HostLog) -> None:
        """What is due by time."""
        self.pools.tick()
        if self._wanted and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._begin(hostlog))

    def close(self) -> None:
        """End what is under way."""
        if self._task:
            self._task.cancel()

    def take(self, events: Sequence[Event]) -> None:
        """See what the packet path has done with founders, and who met the fake server."""
        if not self.pools.on:
            return
        for event in [event for event in events if event[0] in TELLING]:
            # By their places, which takes half the time: there may be 20,000 a second.
            kind, source = event[0], event[5]
            if kind not in MEETING:
                self.pools.drop(source)
            elif event[6] in self._fakes:
                # With --renew use an entry is renewed at the real server as well.
                self.pools.note_met(source)
                grant = self._grants.find(source)
                if grant and grant.pool:
                    # It has a place of its own now.
                    self._grants.drop(source)

    def take_lookup(self, lookup: Lookup) -> None:
        """A listed host has been looked up."""
        entry = self._whitelist.entry(lookup.host) if self.pools.on else None
        if entry is None or not (entry.origin in FOUNDING or self.pools.has_met(lookup.host)):
            return
        for name, addresses in lookup.found.items():
            # Whatever else may be believed unconfirmed.
            if lookup.host in addresses:
                self.found(lookup.host, name)

    def found_too(self, child: bytes, name: str, contact: bytes | None) -> None:
        """This child came in by the name of that contact: it founds if the contact does."""
        if contact is not None and self.pools.has(contact):
            self.found(child, name)

    def found_elsewhere(self, host: bytes, name: str) -> None:
        """This host met the fake server of another gateway, which has confirmed this name."""
        if self.pools.on:
            for waiting in self.pools.found(host, name, told=True):
                self._waiting.queue_refused(waiting)

    def found(self, host: bytes, name: str) -> None:
        """This host, which may, founds with this confirmed name. Who was refused and waits for it is asked about."""
        for waiting in self.pools.found(host, name):
            self._waiting.queue_refused(waiting)

    # ---- what the whitelist tells

    def touched(self, hosts: list[bytes]) -> None:
        """What the packet path does comes as events."""

    def missed(self) -> None:
        """A founder that was lost sight of founds as long as it is listed, however it came in since."""

    def changed(self, host: bytes, change: Change) -> None:
        """Somebody else let a host in, or ended its entry."""
        if not self.pools.on or change not in (Change.ADMITTED, *GONE, Change.PROVEN):
            return
        if change is Change.PROVEN:
            grant = self._grants.find(host)
            if grant and grant.pool:
                # Not by the name: of one that a note told after a restart the end may be missing, which is what counts.
                self.found(host, grant.pool)
            return
        self.pools.drop(host)
        entry = self._whitelist.entry(host) if change is Change.ADMITTED else None
        if entry is not None and entry.origin in FOUNDING:
            self._waiting.queue_listed(host)
            self._lookups.start()

    # ---- after a start

    async def _begin(self, hostlog: HostLog) -> None:
        try:
            # In a thread: the main loop would wait for 30 ms. Where there can be none, it does.
            with suppress(StartError):
                if not self.pools.on:
                    await beside(read_suffixes)
            read_suffixes()
        except OSError as error:
            hostlog.log.warning("degraded", reason=f"pool-domain: {error.strerror}: until a restart nobody comes in so")
            return
        self.pools.on = True
        await self._read_notes()
        await self._look_up()

    async def _read_notes(self) -> None:
        for number, (host, (_, text)) in enumerate(self._whitelist.provenance.copy().items()):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            entry = self._whitelist.entry(host)
            if entry is None or entry.origin != ORIGINS[CHILD]:
                continue
            if (pool := pool_of(text)) is not None:
                if self._grants.find(host) is None:
                    self._grants.note(host, Grant(
                        entry.until_us, None, pool.name, registered_domain(pool.domain), pool.domain))
                if entry.proven:
                    self.found(host, pool.domain)
            # Of a longer name the end is missing, which is what counts.
            elif len(way := way_in(text)) < MAX_TEXT and (name := normal_name(way)):
                self.found(host, name)

    async def _look_up(self) -> None:
        looked_up = seen = 0
        for records in self._whitelist.records():
            for host, _, _ in unpack(records):
                seen += 1
                if seen % SLICE == 0:
                    await asyncio.sleep(0)
                entry = self._whitelist.entry(host)
                if entry is None or entry.origin not in FOUNDING or self.pools.has(host):
                    continue
                while self._waiting.listed() >= MOST_WAITING:
                    self._lookups.start()
                    await asyncio.sleep(PAUSE_S)
                if looked_up == MOST_LOOKED_UP:
                    return
                self._waiting.queue_listed(host)
                looked_up += 1
            self._lookups.start()
            await asyncio.sleep(0)
