"""Neighbours: hosts that a contact of another host lets in, since both are of one network (--network-key).

The packet path notes the network of each contact and lets unknown hosts of it reach the real server
(engine/_meetings.pxd). It makes no entry for them, since a SYN may be made up. What is left to do stands
here:

- Who has completed a handshake gets an entry of his own, which does not depend on the network any more. Its origin is
  `child`, its note begins with the network. In a way without a queue the kernel decides, so there the first SYN makes
  the entry, for --whitelist-time at most: the kernel knows the host when the SYN comes again.
- A network is let in until the latest end of an entry of a contact in it. What the main thread does to such an entry is
  passed on from here; after a restart all of them fill the memory again.
- The first handshake of a neighbour is the proof of the contact, which another host of the pool may have made, and lets
  the network in for the time of a proven host. His later connections prolong his own entry alone: else a network that
  spammers share would never end.
- Who is removed by hand takes his network along: other hosts of it keep their own entries, and the network is let in
  again by the next contact. What lets it in as well is the entry of another contact, when that is renewed and after a
  restart. Neighbours do not: their notes say that the network is a former one, and after a restart notes of a network
  of which a host was removed let nothing in, as long as that removal is kept.

Bounded: of a network, MOST_PROVEN neighbours have entries of their own, and MOST_UNPROVEN without a handshake. Further
ones come in as long as the network does. The whitelist removes nobody for them.
"""
import asyncio
import time
from collections.abc import Sequence
from ipaddress import ip_network
from typing import NamedTuple

from mxallowd.engine._meetings import Meetings
from mxallowd.engine._table import CHILD, CONTACT, ORIGINS
from mxallowd.engine.events import MAPPED, Event, Kind
from mxallowd.settings import Settings
from mxallowd.sinks.hostlog import HostLog
from mxallowd.whitelist import GONE, Change, Follower, Whitelist

MOST_PROVEN, MOST_UNPROVEN = 256, 64
MOST_COUNTED = 65_536  # neighbours, some 15 MB; of more, those of the network whose first one came first are forgotten
NOTED = "network "  # how the note of a neighbour begins; no name of a host has a blank
FORMER = "former network "  # of one whose network was removed since: it lets the network in no more
CLEARED = 65_536  # places of the memory between two turns of the loop: 0.2 ms
NOTES_A_TURN = 2048
REWRITES = 1024  # notes between two ticks, or so: 2 ms


class _Neighbour(NamedTuple):
    until_us: int
    proven: bool


class Neighbours:
    """Follows the whitelist, takes events as a sink does, and is told of handshakes."""

    def __init__(self, settings: Settings, meetings: Meetings | None, whitelist: Whitelist, hostlog: HostLog) -> None:
        """`meetings` is None where no network is let in: then nothing is done."""
        self._meetings = meetings
        self._bits = settings.network_key or (32, 128)
        self._whitelist = whitelist
        self._hostlog = hostlog
        # Without a queue the kernel lets in whom it knows.
        self._enters_at_once = not settings.queue_num
        self._known: dict[bytes, dict[bytes, _Neighbour]] = {}  # by network
        self._disarmed: set[bytes] = set()  # networks of these of which no note lets its network in any more
        self._closing: dict[bytes, None] = {}  # networks of these whose notes shall not do so any more
        self._rewrites = REWRITES
        self._counted = 0
        self._followers: list[Follower] = []
        self.reload(settings)
        if meetings is not None:
            whitelist.follow(self)
            whitelist.tellings.meetings = meetings
            whitelist.tellings.met = self._met_elsewhere

    # ---- what is told

    def follow(self, follower: Follower) -> None:
        """Tell this one of changes to networks, by their first addresses."""
        self._followers.append(follower)

    def changed(self, host: bytes, change: Change) -> None:
        """An entry has changed, and with it, perhaps, until when its network is let in."""
        if self._meetings is None:
            return
        if change in GONE:
            self._meetings.forget(host)
            self._leave(host)
            self._disarm(host)
        elif change is Change.PROVEN and self._mark_proven(host):
            now_us = self._whitelist.now_us()
            self._meetings.note(host, now_us + self._longest_us, now_us, proven=True)
        elif change in (Change.RENEWED, Change.ADMITTED, Change.PROVEN):
            if not self._note(host):
                return
        elif change is not Change.CONTACT:
            return
        self._tell(host, change)

    def _tell(self, host: bytes, change: Change) -> None:
        if self._followers and self._meetings and (network := self._meetings.network(host)):
            for follower in self._followers:
                follower.changed(network, change)

    def _met_elsewhere(self, hosts: list[bytes]) -> None:
        """Contacts of another gateway have let in their networks."""
        for host in hosts if self._followers else ():
            self._tell(host, Change.CONTACT)

    def missed(self) -> None:
        """The packet path has noted its contacts by itself; who keeps a copy does not know them."""
        for follower in self._followers:
            follower.missed()

    def _is_neighbour(self, host: bytes) -> bool:
        entry = self._whitelist.entry(host)
        return entry is not None and entry.way.startswith(NOTED)

    def _note(self, host: bytes) -> bool:
        """Let the network in as long as this entry lasts, if it is one of those that count."""
        entry = self._whitelist.entry(host)
        if entry is None or entry.origin != ORIGINS[CONTACT]:
            return False
        assert self._meetings
        self._meetings.note(host, entry.until_us, self._whitelist.now_us(), proven=entry.proven)
        return True

    async def begin(self) -> None:
        """Note the networks of all entries, as after a restart."""
        if self._meetings is None:
            return
        for records in self._whitelist.records():
            self._meetings.fill(records, self._whitelist.now_us())
            await asyncio.sleep(0)
        removed = {self._meetings.network(host) for host in self._whitelist.barred()}
        for number, (host, (since_s, text)) in enumerate(self._whitelist.provenance.copy().items(), 1):
            network = self._meetings.network(host) if text.startswith((NOTED, FORMER)) else None
            if network and (entry := self._whitelist.entry(host)) and entry.way:
                self._remember(network, host, _Neighbour(entry.until_us, entry.proven))
                now_us, ago_us = self._whitelist.now_us(), max(0, int((time.time() - since_s) * 1e6))
                noted = entry.proven and text.startswith(NOTED) and network not in removed
                if noted and ago_us < self._longest_us:
                    self._meetings.note(host, now_us + self._longest_us - ago_us, now_us, proven=True)
            if number % NOTES_A_TURN == 0:
                await asyncio.sleep(0)
        self.missed()

    async def flush(self) -> None:
        """Let no network in any longer, whether or not an entry of it is left."""
        at = self._meetings.clear(0, CLEARED) if self._meetings else 0
        while at and self._meetings:
            await asyncio.sleep(0)
            at = self._meetings.clear(at, CLEARED)
        self._known.clear()
        self._disarmed.clear()
        self._closing.clear()
        self._counted = 0
        self.missed()

    # ---- who comes in

    def handle(self, events: Sequence[Event]) -> None:
        """In a way without a queue, enter the neighbours that have come to a real server."""
        if not self._enters_at_once or self._meetings is None:
            return
        for event in events:
            if event.kind == Kind.BY_NETWORK:
                now_us = self._whitelist.now_us()
                until_us = self._meetings.find(event.source, now_us)
                if until_us is not None:
                    # A network with a proven host lasts long; nobody has a place in it for so long for a mere SYN.
                    until_us = min(until_us, now_us + self._unproven_us)
                    self._enter(event.source, until_us, now_us, proven=False)

    def connected(self, host: bytes) -> bool:
        """An unlisted host has completed a handshake: whether it came in as a neighbour, and has an entry now."""
        now_us = self._whitelist.now_us()
        if self._meetings is None or self._meetings.find(host, now_us) is None:
            return False
        return self._enter(host, now_us + self._longest_us, now_us, proven=True)

    def until_us(self, host: bytes) -> int | None:
        """Until when a contact lets in the network of this host; None: it does not."""
        return None if self._meetings is None else self._meetings.find(host, self._whitelist.now_us())

    def let_in(self, host: bytes) -> tuple[str, int] | None:
        """The network of a host, for people, and until when a contact lets it in; None: it does not."""
        until_us = self.until_us(host)
        return None if until_us is None else (self.network_text(host), until_us)

    def network_text(self, host: bytes) -> str:
        """The network of a host, for people."""
        four = host.startswith(MAPPED)
        return str(ip_network((host[12:] if four else host, self._bits[0 if four else 1]), strict=False))

    def _enter(self, host: bytes, until_us: int, now_us: int, *, proven: bool) -> bool:
        assert self._meetings
        network = self._meetings.network(host)
        if network is None or not self._has_room(network, now_us, proven=proven):
            return False
        text = self.network_text(host)
        if not self._whitelist.admit(host, until_us, now_us, origin=CHILD, note=f"{NOTED}{text}"):
            return False
        self._remember(network, host, _Neighbour(until_us, proven))
        self._hostlog.info("neighbour", host, network=text, seconds=(until_us - now_us) // 1_000_000)
        return True

    def _mark_proven(self, host: bytes) -> bool:
        """It takes no place any more of those without a handshake. Whether its note lets its network in."""
        assert self._meetings
        network = self._meetings.network(host) or b""
        known = self._known.get(network, {})
        entry = self._whitelist.entry(host)
        if host in known and entry:
            known[host] = _Neighbour(entry.until_us, proven=True)
        return network not in self._closing and self._is_neighbour(host)

    def _leave(self, host: bytes) -> None:
        """It is not listed any more."""
        assert self._meetings
        known = self._known.get(self._meetings.network(host) or b"", {})
        self._counted -= known.pop(host, None) is not None

    def _disarm(self, host: bytes) -> None:
        """The network of this host was removed: no restart and no neighbour's handshake lets it in again."""
        assert self._meetings
        network = self._meetings.network(host)
        if network not in self._known or network in self._disarmed:
            return
        if self._rewrites <= 0:
            self._closing[network] = None
            return
        self._rewrites -= len(self._known[network])
        for neighbour in self._known[network]:
            if self._is_neighbour(neighbour):
                self._whitelist.came(neighbour, f"{FORMER}{self.network_text(neighbour)}")
        self._disarmed.add(network)

    def _has_room(self, network: bytes, now_us: int, *, proven: bool) -> bool:
        known = self._known.get(network, {})
        most = MOST_PROVEN if proven else MOST_UNPROVEN
        if sum(one.proven == proven for one in known.values()) < most:
            return True
        for host in [host for host, one in known.items() if one.until_us <= now_us]:
            found = self._whitelist.find(host)
            if found is None:
                del known[host]
                self._counted -= 1
            else:
                known[host] = known[host]._replace(until_us=found[0])
        return sum(one.proven == proven for one in known.values()) < most

    def _remember(self, network: bytes, host: bytes, neighbour: _Neighbour) -> None:
        known = self._known.setdefault(network, {})
        self._counted += host not in known
        known[host] = neighbour
        self._disarmed.discard(network)
        while self._counted > MOST_COUNTED:
            oldest = next(iter(self._known))
            self._counted -= len(self._known.pop(oldest))
            self._disarmed.discard(oldest)

    # ---- the rest of a sink

    def tick(self) -> None:
        """Rewrite notes that have not been rewritten yet."""
        self._rewrites = REWRITES
        while self._closing and self._rewrites > 0:
            self._disarm(self._closing.popitem()[0])

    def reload(self, settings: Settings) -> None:
        """Take over how long an entry lasts."""
        self._longest_us = settings.longest_time * 1_000_000
        self._unproven_us = settings.whitelist_time * 1_000_000

    def counters(self) -> dict[str, int]:
        """None of its own: the decision counts who comes in."""
        return {}

    def close(self) -> None:
        """Nothing to say."""
