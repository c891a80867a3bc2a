"""The whitelist as the main loop uses it: what sinks may ask and change, and the one stream of changes.

It is based on the table that the packet path reads and writes. A mirror keeps a copy elsewhere (mirrors/) and follows
the whitelist: it gets one call for each change, whether the change came from the packet path, a sink or another copy.
Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form; times are microseconds of the packet path's clock.
"""
import asyncio
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mxallowd.engine._table import CHILD, CONTACT, LATEST_US, ORIGINS, PEER, RESTORED, Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind
from mxallowd.engine.hosts import is_host
from mxallowd.following import GONE, Change, Copier, Followed, Follower, raise_it
from mxallowd.provenance import Note, Provenance, way_in, with_note, with_way
from mxallowd.telling import ALL, ENDED_US, FLUSH_SLICE, ROUNDED_US, Tellings, Told, changes_of, met_of, replaced_of

__all__ = [
    "ALL", "GONE", "RECORD_SIZE", "Change", "Copier", "Entry", "Follower", "Told", "Whitelist", "pack", "unpack"]

# An entry as Table.entries gives it (_records.pxd): host, until_us, origin, used. This is the only place that knows the
# layout; a field that nobody reads here is padding (x).
_RECORD = struct.Struct("=16sQxB6x")
_WHOLE = struct.Struct("=16sQBB6x")
RECORD_SIZE = _RECORD.size
READ_ENTRIES = 1 << 14  # entries looked at between two chances for other threads: less than a millisecond
_OF_EVENT: dict[int, Change] = {
    Kind.WHITELISTED: Change.CONTACT, Kind.ACCEPTED: Change.USED, Kind.RENEWED: Change.RENEWED,
    Kind.EVICTED: Change.EVICTED, Kind.PATIENT: Change.ADMITTED}
_TOUCHING = frozenset(map(int, _OF_EVENT))
_PATIENT, _WHITELISTED = int(Kind.PATIENT), int(Kind.WHITELISTED)
_MEETING = frozenset(map(int, (Kind.RENEWED, Kind.MET, Kind.AGAIN)))
# Contacts that have changed nothing here, and may elsewhere: another gateway may have forgotten the host.
_CONTACTS = frozenset(map(int, (Kind.MET, Kind.AGAIN)))
_CHILD = ORIGINS[CHILD]


class Entry(NamedTuple):
    """What is known of a listed host."""

    host: bytes
    until_us: int
    used: bool  # a SYN of it reached the real server
    proven: bool  # it has completed a handshake with the real server
    origin: str  # one of ORIGINS
    note: Note | None  # of one that came in by a contact: what an operator noted, if he did
    gateway: str = ""  # of one that another gateway told of: its name; empty where that is not known

    @property
    def way(self) -> str:
        """How a child came in: its name, its pool or its network. Empty of any other, and where it is not known."""
        return way_in(self.note.text) if self.note and self.origin == _CHILD else ""


def unpack(records: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Host, until when, and whether it reached the real server (0 or 1), of each record. Raises struct.error."""
    return _RECORD.iter_unpack(records)


def pack(host: bytes, until_us: int, *, used: bool, origin: int = CONTACT) -> bytes:
    """The record of one entry, as records() has it."""
    return _WHOLE.pack(host, until_us, origin, used)


class Whitelist(Followed):
    """The table with a clock and followers. All calls come from the main thread, but for records()."""

    def __init__(
        self, table: Table, clock_us: Callable[[], int] = boottime_us, *, threads: int = 1,
        defect: Callable[[Exception], object] = raise_it,
    ) -> None:
        """`threads` is the number of queue threads; `defect` is told of errors of followers."""
        super().__init__(defect)
        self._table = table
        self._threads = threads
        self._touching = _TOUCHING | _CONTACTS if table.most_told else _TOUCHING
        self.servers: frozenset[bytes] = frozenset()
        self._fakes: frozenset[bytes] = frozenset()
        self.hears_handshakes = False
        """Whether somebody calls prove() for all hosts that connect to a real server."""
        self._no_hosts = 0
        self._barred: Mapping[bytes, int] = {}
        self._all_barred_us = 0
        self.ended_until_us = 0  # until when the entry that was ended last would have been there
        self.ended_elsewhere = False  # whether it was another gateway that ended it
        self.provenance = Provenance()
        self.tellings = Tellings(table, self.provenance)
        self.now_us = clock_us
        self.before_end: Callable[[bytes], object] = lambda host: None
        """Called with each host before its entry is ended, if it has one."""
        self.before_flush: Callable[[], object] = lambda: None
        """Called before an operator's flush ends all entries."""
        self.gateway_name: Callable[[int], str] = lambda gateway: ""
        """The name of a gateway by its number; empty where there is none."""
        self.gateway_number: Callable[[str], int] = lambda name: 0
        """The number of a gateway of that name; 0 where there is none."""
        self.named: Callable[[bytes, Sequence[str]], object] = lambda host, names: None
        """Told of a contact's names that a lookup has confirmed."""

    def set_servers(self, servers: Iterable[bytes], fakes: Iterable[bytes] = ()) -> None:
        """From now on these addresses, our own fake and real servers, are never entered; `fakes` are some of them."""
        self.servers = frozenset(servers)
        self._fakes = frozenset(fakes)

    def set_lifetimes(self, lifetime_us: int, proven_us: int) -> None:
        """So long an entry lasts at most from now on, and that of a proven host."""
        self.tellings.lifetimes_us = (lifetime_us, max(lifetime_us, proven_us))

    def may_enter(self, host: bytes) -> bool:
        """Whether this can be an entry: the address of a host that is none of our servers. What cannot is counted."""
        if not self.why_no_entry(host):
            return True
        self._no_hosts += 1
        return False

    def why_no_entry(self, host: bytes) -> str:
        """Why this can be no entry, behind the address; empty where it can be one."""
        if not is_host(host):
            return "is no address that a host on another network can have"
        return "is one of the mail servers of the configuration" if host in self.servers else ""

    def bar(self, hosts: Mapping[bytes, int]) -> None:
        """These were ended before this start: no other copy may bring back an entry that ends by that time.

        What ends later was entered afterwards. Under ALL stands a time for every host.
        """
        self._barred = hosts
        self.tellings.bar(hosts, self.now_us())
        self._all_barred_us = hosts.get(ALL, 0)

    def is_barred(self, host: bytes, until_us: int | None) -> bool:
        """Whether a copy must not bring this entry back; None: the copy does not know when it ends."""
        barred_us = max(self._barred.get(host, 0), self._all_barred_us)
        return barred_us > 0 and (until_us is None or until_us <= barred_us + ROUNDED_US)

    def barred(self) -> list[bytes]:
        """The hosts that were ended before this start."""
        return [host for host in list(self._barred) if host != ALL]

    def counters(self) -> dict[str, int]:
        """Its counters, since the start; those of the table are the table's."""
        return {"no-hosts": self._no_hosts}

    # ---- what the packet path has done

    def take(self, events: Sequence[Event]) -> None:
        """Tell what the packet path has done, by its events, in their order."""
        for event in events:
            # By its place: by name it takes twice as long. Of most events that is all.
            if event[0] == _PATIENT:
                self.provenance.note(event.source, int(time.time()), "")
            elif event[0] == _WHITELISTED:
                # A note is about the entry that was, not about the next one of that host.
                self.provenance.forget(event.source)
        # The source is the sixth field.
        self._touch([event[5] for event in events if event[0] in self._touching] if self._copiers else [])
        if self._followers:
            self._tell_followers(
                [(event.source, _OF_EVENT[kind]) for event in events if (kind := event.kind) in _OF_EVENT],
                self._followers)
        if self._table.told:
            self._take_met(events)

    def _take_met(self, events: Sequence[Event]) -> None:
        """Whom another gateway told of, and who meets a fake server here, is a contact of this one from now on."""
        for event in events:
            if event[0] in _MEETING and event[6] in self._fakes and self._table.claim(event[5], self.now_us()):
                self.provenance.forget(event[5])
                self._tell([(event[5], Change.RENEWED)])

    # ---- what other gateways tell

    def told(  # noqa: PLR0913  # what the teller says of all records
        self, records: bytes, *, age_us: int, longest_us: int, gateway: int, teller: Follower | None,
        notes: Mapping[bytes, str] = {}, quiet: bool = False, most: int = 0,
    ) -> Told:
        """Enter what a gateway tells: records of _told.pyi, which were said `age_us` ago.

        No entry lasts longer than `longest_us` from then on, nor than set_lifetimes() has it. `gateway` is its number,
        0 where nobody knows it; of more than `most` entries of it (0: no bound) the oldest makes room. `notes` are of
        hosts that are among the records, or were before. `teller` is not told of the changes; with `quiet` nobody is,
        and who has told all calls missed(). Raises ValueError where the bytes are no records, or the table has no told
        places.
        """
        now_us = self.now_us()
        told, taken = self.tellings.take(
            records, now_us, age_us=age_us, longest_us=longest_us, gateway=gateway, most=most,
            servers=b"".join(self.servers))
        if quiet and not notes and not self.provenance:
            return told
        hosts = [taken.hosts[at : at + 16] for at in range(0, len(taken.hosts), 16)]
        self.tellings.note(notes, replaced_of(hosts, taken.became), now_us, age_us)
        if not quiet and hosts:
            self._touch(hosts, teller)
            self._tell_followers(changes_of(hosts, taken.became), self._followers, teller)
            if met := met_of(hosts, taken.became):
                self.tellings.met(met)
        return told

    def told_end(self, host: bytes, before_us: int, *, teller: Follower | None) -> bool:
        """End an entry because another gateway did, if it was told, or entered here before that time."""
        return self.tellings.is_older(host, before_us, self.now_us()) and self.end(
            host, teller=teller, ended_us=before_us)

    async def told_flush(self, gateway: int, before_us: int, *, teller: Follower | None) -> int:
        """End all that this gateway alone has told before that time; how many. Turns of the loop pass meanwhile."""
        return await self._end_told(
            gateway, before_us, lambda host: self.end(host, teller=teller, flush=True, ended_us=before_us))

    async def end_told(self, gateway: int) -> int:
        """End all that this gateway alone has told, as an operator does; how many. Turns of the loop pass meanwhile."""
        return await self._end_told(gateway, LATEST_US, self.end)

    async def _end_told(self, gateway: int, before_us: int, end: Callable[[bytes], bool]) -> int:
        ended, start = 0, -1
        while start and gateway:
            hosts, start = self.tellings.told_by(gateway, before_us, self.now_us(), max(start, 0))
            for number, host in enumerate(hosts, 1):
                ended += end(host)
                if number % FLUSH_SLICE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        return ended

    def told_names(self, host: bytes, names: Sequence[str]) -> None:
        """Another gateway has confirmed these names of a host; they count if it is listed."""
        if self.find(host) is not None:
            self.tellings.named(host, names)

    def sweep_told(self, budget: int) -> None:
        """Let expired told entries go, among the next `budget` ones: till then they count (told_by)."""
        self._table.sweep_told(self.now_us(), budget)

    def told_by(self, gateway: int) -> int:
        """How many entries there are of which this gateway told first."""
        return self._table.told_by(gateway) if gateway else 0

    # ---- changes by the main thread

    def admit(
        self, host: bytes, until_us: int, now_us: int, *, origin: int = CHILD, note: str = "",
    ) -> bool:
        """Enter a host, as a child if nothing else is said; `origin` is a number of the table's, `note` is for people.

        False: it is listed already, there is no room, or it is no host's address. Nobody is removed for it. Raises
        ValueError where there is no such origin.
        """
        if not self.may_enter(host) or not self._table.admit(host, until_us, now_us, origin):
            return False
        self.provenance.note(host, int(time.time()), note)
        self._tell([(host, Change.ADMITTED)])
        return True

    def prove(self, host: bytes) -> bool:
        """A host has completed a handshake with a real server: others make room before it. True the first time."""
        if not self._table.prove(host, self.now_us()):
            return False
        self._tell([(host, Change.PROVEN)])
        return True

    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let a listed host's entry end later. False: it is not listed, or ends later anyway."""
        if not self._table.renew(host, until_us, now_us):
            return False
        self._tell([(host, Change.RENEWED)])
        return True

    def claim(self, host: bytes, origin: int) -> bool:
        """Let a listed host that another gateway told of count as come in here, too, in this way. False: it is none."""
        if not self._table.told or not self._table.claim(host, self.now_us(), origin):
            return False
        self.provenance.note(host, int(time.time()), "")
        self._tell([(host, Change.RENEWED)])
        return True

    def entered(self, host: bytes, note: Note | None, *, proven: bool) -> None:
        """The entry of a host is there again, as it was elsewhere. What is noted of it here already stays."""
        if note is not None:
            self.provenance.recall({host: note})
        self._tell([(host, Change.ADMITTED)])
        if proven:
            self.prove(host)

    def annotate(self, host: bytes, note: str) -> None:
        """Let an operator note this of a listed host, in place of what he noted before; the rest stays."""
        entry = self.entry(host)
        if entry is not None and entry.origin == _CHILD:
            note = with_note(entry.note.text if entry.note else "", note)
        self._renote(host, note)

    def came(self, host: bytes, way: str) -> None:
        """Let a child count as come in this way; what an operator noted of it stays."""
        found = self.provenance.find(host)
        self._renote(host, with_way(found.text if found else "", way))

    def _renote(self, host: bytes, text: str) -> None:
        """Note this, in place of what was noted before; since when the host is listed stays."""
        found = self.provenance.find(host)
        self.provenance.note(host, found.since_s if found else int(time.time()), text)
        self._touch([host])

    def end(
        self, host: bytes, *, flush: bool = False, teller: Follower | None = None, ended_us: int | None = None,
    ) -> bool:
        """Let a listed host's entry end now, whoever entered it. False: it is not listed.

        `flush`: so do all others. `teller` is not told of it. `ended_us`: when another gateway has ended it.
        """
        now_us = self.now_us()
        found = self._table.find(host, now_us)
        # Else its next SYN would find what let it in before.
        self.before_end(host)
        if not self._table.end(host, now_us):
            return False
        self.ended_until_us = found[0] if found else 0
        self.ended_elsewhere = teller is not None
        self.provenance.forget(host)
        if ended_us is None:
            self.tellings.note_end(host, now_us)
        elif not flush:
            # What a flush of another gateway ends it has told itself, in the order of its stream.
            self.tellings.note_end(host, min(now_us, ended_us - ENDED_US), elsewhere=True)
        self._tell([(host, Change.FLUSHED if flush else Change.ENDED)], teller)
        return True

    def adopt(self, host: bytes, until_us: int, *, used: bool) -> bool:
        """Enter a host that was whitelisted before this start. Before any thread runs.

        False: there is no room, it is no host's address, or it is barred.

        One that is listed already keeps its time: who adopts first knows best. It is used if either says so.
        """
        if self.is_barred(host, until_us) or not self.may_enter(host):
            return False
        now_us = self.now_us()
        entered = self._table.find(host, now_us) is None
        if entered and not self._enter(host, until_us, now_us):
            return False
        marked = used and self._table.mark_used(host, now_us)
        if entered or marked:
            self._tell([(host, Change.ADOPTED if entered else Change.USED)])
        return True

    def _enter(self, host: bytes, until_us: int, now_us: int) -> bool:
        first = host[15] % self._threads
        shards = [*range(first, self._threads), *range(first)]
        shard = next((shard for shard in shards if self._table.free(shard)), None)
        if shard is not None:
            self._table.add(host, until_us, now_us, origin=RESTORED, shard=shard)
            return True
        return bool(self._table.shard_count > self._threads and self._table.free(self._threads)
                    and self._table.admit(host, until_us, now_us, RESTORED))

    # ---- what it holds

    def room(self) -> int:
        """How many hosts could be adopted."""
        return sum(self._table.free(shard) for shard in range(self._table.shard_count))

    def main_room(self) -> int:
        """How many hosts the main thread could admit."""
        return self._table.free(self._threads) if self._table.shard_count > self._threads else 0

    def find(self, host: bytes) -> tuple[int, bool] | None:
        """Until when a host is listed, and whether it reached the real server; None: it is not, or not any more."""
        found = self._table.find(host, self.now_us())
        return None if found is None else found[:2]

    def knows_real(self, host: bytes) -> bool:
        """Whether a listed host is known to have connected to a real server.

        A handshake shows it; a SYN may be made up. Where handshakes are not heard of, a SYN has to do.
        """
        if self.hears_handshakes:
            return self._table.is_proven(host, self.now_us())
        found = self.find(host)
        return found is not None and found[1]

    def entry(self, host: bytes) -> Entry | None:
        """All that is known of a listed host; None: it is not listed, or not any more."""
        now_us = self.now_us()
        found = self._table.find(host, now_us)
        if found is None:
            return None
        until_us, used, origin = found
        gateway = self.gateway_name(self._table.gateway(host, now_us)) if origin == PEER else ""
        return Entry(host, until_us, used, self._table.is_proven(host, now_us), ORIGINS[origin],
                     self.provenance.find(host), gateway)

    def sample(self, count: int) -> dict[bytes, tuple[int, bool]]:
        """Some listed hosts, at most `count`, chosen at random: until when, whether they reached the real server."""
        return self._table.sample(self.now_us(), count)

    def records(self) -> Iterator[bytes]:
        """All listed hosts, some thousand a string, which unpack() reads. Any thread may ask.

        What changes meanwhile may be missed.
        """
        start = 0
        while True:
            records, start = self._table.entries(self.now_us(), start, READ_ENTRIES)
            yield records
            if start == 0:
                return

    def chosen(  # noqa: PLR0913  # what Table.select() takes
        self, start: int, most: int, *, network: tuple[bytes, bytes] | None = None, origin: int | None = None,
        used: bool | None = None, proven: bool | None = None, gateway: int = 0,
    ) -> tuple[list[bytes], int]:
        """At most `most` hosts as Table.select() has them, from `start`; the next start. Takes 0.1 ms."""
        records, following = self._table.select(
            self.now_us(), start, READ_ENTRIES, most, network=network, origin=origin, used=used, proven=proven,
            gateway=gateway)
        return [host for host, _, _ in unpack(records)], following

    def survey(self, start: int, network: tuple[bytes, bytes]) -> tuple[list[int], int, int, int]:
        """How many entries of a network there are, as Table.survey() counts them. Takes 0.1 ms."""
        return self._table.survey(self.now_us(), start, READ_ENTRIES, network)

    def __len__(self) -> int:
        """Entries, those included that have expired and not been removed yet; not those that were ended."""
        return len(self._table)
