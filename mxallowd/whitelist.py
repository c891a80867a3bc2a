"""The whitelist as the main loop uses it: what sinks may ask and change, and the one stream of changes.

It is based on the table that the packet path reads and writes. A mirror keeps a copy elsewhere (mirrors/) and follows
the whitelist: it gets one call for each change, whether the change came from the packet path, a sink or another copy.
Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form; times are microseconds of the packet path's clock.
"""
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, NoReturn, Protocol

from mxallowd.engine._table import CHILD, CONTACT, ORIGINS, RESTORED, Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind
from mxallowd.engine.hosts import is_host
from mxallowd.provenance import Note, Provenance, way_in, with_note, with_way

# An entry as Table.entries gives it (_records.pxd): host, until_us, origin, used. This is the only place that knows the
# layout; a field that nobody reads here is padding (x).
_RECORD = struct.Struct("=16sQxB6x")
_WHOLE = struct.Struct("=16sQBB6x")
RECORD_SIZE = _RECORD.size
ALL = bytes(16)  # no host has this address
ROUNDED_US = 2_000_000  # times of a copy may be rounded
READ_ENTRIES = 1 << 14  # entries looked at between two chances for other threads: less than a millisecond


class Change(Enum):
    """What happened to the entry of a host. That its time is over is no change: everybody knows when that is."""

    CONTACT = 1  # entered by the packet path: it met a fake server
    ADMITTED = 2  # entered by a sink, or by the packet path for its patience
    ADOPTED = 3  # entered at the start: another copy has it from before
    USED = 4  # it reached a real server for the first time
    RENEWED = 5  # it ends later than it would have
    ENDED = 6  # ended by the main thread, before its time
    EVICTED = 7  # taken out to make room for another
    PROVEN = 8  # it has completed a handshake with a real server for the first time


_OF_EVENT: dict[int, Change] = {
    Kind.WHITELISTED: Change.CONTACT, Kind.ACCEPTED: Change.USED, Kind.RENEWED: Change.RENEWED,
    Kind.EVICTED: Change.EVICTED, Kind.PATIENT: Change.ADMITTED}

_CHILD = ORIGINS[CHILD]


class Entry(NamedTuple):
    """What is known of a listed host."""

    host: bytes
    until_us: int
    used: bool  # a SYN of it reached the real server
    proven: bool  # it has completed a handshake with the real server
    origin: str  # one of ORIGINS
    note: Note | None  # of one that came in by a contact: what an operator noted, if he did

    @property
    def way(self) -> str:
        """How a child came in: its name, its pool or its network. Empty of any other, and where it is not known."""
        return way_in(self.note.text) if self.note and self.origin == _CHILD else ""


class Follower(Protocol):
    """Somebody who is told of every change, on the main thread, after it happened. Must not block."""

    def changed(self, host: bytes, change: Change) -> None:
        """This happened to the entry of the host; more may have happened to it since, so ask the whitelist."""

    def missed(self) -> None:
        """Changes have happened of which nobody can tell: look at the whole whitelist."""


class Copier(Follower, Protocol):
    """A follower that need not know what the packet path did, only to whom: 20,000 changes a second cost it little."""

    def touched(self, hosts: list[bytes]) -> None:
        """Something happened to the entries of these hosts. It is not told of them by changed()."""


_TOUCHING = frozenset(map(int, _OF_EVENT))
_PATIENT, _WHITELISTED = int(Kind.PATIENT), int(Kind.WHITELISTED)


def unpack(records: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Host, until when, and whether it reached the real server (0 or 1), of each record. Raises struct.error."""
    return _RECORD.iter_unpack(records)


def pack(host: bytes, until_us: int, *, used: bool, origin: int = CONTACT) -> bytes:
    """The record of one entry, as records() has it."""
    return _WHOLE.pack(host, until_us, origin, used)


def _raise(error: Exception) -> NoReturn:
    raise error


class Whitelist:
    """The table with a clock and followers. All calls come from the main thread, but for records()."""

    def __init__(
        self, table: Table, clock_us: Callable[[], int] = boottime_us, *, threads: int = 1,
        defect: Callable[[Exception], object] = _raise,
    ) -> None:
        """`threads` is the number of queue threads; `defect` is told of errors of followers."""
        self._table = table
        self._threads = threads
        self._defect = defect
        self._followers: list[Follower] = []
        self._copiers: list[Copier] = []
        self.servers: frozenset[bytes] = frozenset()
        self.hears_handshakes = False
        """Whether somebody calls prove() for all hosts that connect to a real server."""
        self._no_hosts = 0
        self._barred: Mapping[bytes, int] = {}
        self._all_barred_us = 0
        self.ended_until_us = 0  # until when the entry that was ended last would have been there
        self.provenance = Provenance()
        self.now_us = clock_us
        self.before_end: Callable[[bytes], object] = lambda host: None
        """Called with each host before its entry is ended, if it has one."""

    def set_servers(self, servers: Iterable[bytes]) -> None:
        """From now on these addresses, our own fake and real servers, are never entered."""
        self.servers = frozenset(servers)

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

    # ---- who follows, and what is told

    def follow(self, follower: Follower) -> None:
        """Tell this one of every change from now on."""
        self._followers.append(follower)

    def follow_as_copier(self, copier: Copier) -> None:
        """Tell this one of every change from now on, and of those of the packet path by their hosts."""
        self._copiers.append(copier)

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
        hosts = [event[5] for event in events if event[0] in _TOUCHING] if self._copiers else []
        for copier in self._copiers if hosts else ():
            copier.touched(hosts)
        if self._followers:
            self._tell([(event.source, _OF_EVENT[kind]) for event in events if (kind := event.kind) in _OF_EVENT],
                       self._followers)

    def missed(self) -> None:
        """Events of the packet path are lost that tell of changes."""
        for follower in (*self._followers, *self._copiers):
            self._tell_missed(follower)

    def _tell(self, changes: Sequence[tuple[bytes, Change]], followers: Sequence[Follower] | None = None) -> None:
        # A mistake of one follower harms neither the others nor the sink that made the change.
        for follower in (*self._followers, *self._copiers) if followers is None else followers:
            try:
                for host, change in changes:
                    follower.changed(host, change)
            except Exception as error:  # noqa: BLE001
                self._defect(error)
                # It does not know what it could not take, nor what came after it.
                self._tell_missed(follower)

    def _tell_missed(self, follower: Follower) -> None:
        try:
            follower.missed()
        except Exception as error:  # noqa: BLE001
            self._defect(error)

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
        for copier in self._copiers:
            copier.touched([host])

    def end(self, host: bytes) -> bool:
        """Let a listed host's entry end now, whoever entered it. False: it is not listed."""
        now_us = self.now_us()
        found = self._table.find(host, now_us)
        # Else its next SYN would find what let it in before.
        self.before_end(host)
        if not self._table.end(host, now_us):
            return False
        self.ended_until_us = found[0] if found else 0
        self.provenance.forget(host)
        self._tell([(host, Change.ENDED)])
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
        note = self.provenance.find(host)
        return Entry(host, until_us, used, self._table.is_proven(host, now_us), ORIGINS[origin], note)

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

    def __len__(self) -> int:
        """Entries, those included that have expired and not been removed yet; not those that were ended."""
        return len(self._table)
