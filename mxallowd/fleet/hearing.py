"""What becomes of what is heard: from messages of the stream to the whitelist, within all bounds.

Nothing here trusts a message: not its form (batch.py), not that it is new (peers.py), not that its gateway means well.
A gateway that was taken over has the key; so each one has so many records, removals and flushes a second, and so many
entries at a time: its older ones make room for its newer ones then, and for those of others (engine/_shard.pxd). What
others say never takes the place of an entry of this gateway's own (Whitelist.told).

Lifetimes go by the engine's clock alone: an entry has what it had left when its message came into the stream, less the
age of the message. The clock of the gateway that said it is signed. A message that came later by it than others of the
gateway has waited on its way, and is so much older: else an entry would come behind its own removal. Where it came
later by more than LATE_MS, its age is counted from there: old messages that an engine brings up again gain nothing.

What this gateway said since its start is passed over. What is said in its name otherwise is told as by any other one:
an earlier run has said it, or whoever has the key. In the load it spares saying the same again (earlier.py). Behind
that, a removal or a flush in its name may have ended elsewhere what it let in, so it says all again (run.py).
"""
import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mxallowd.fleet.batch import FLUSH, NAME, RECORD, RECORD_SIZE, REMOVE, WAY, BadBatch, Batch, key_of, unseal
from mxallowd.fleet.earlier import Earlier
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import Id, Peer, Peers
from mxallowd.fleet.saying import MOST_NAMES, Saying
from mxallowd.provenance import MAX_TEXT
from mxallowd.text import printable
from mxallowd.whitelist import Whitelist

LATE_MS = 900_000
NEAR_MS = 250  # in a load, messages so near to each other are given to the whitelist at once, as old as the oldest
AHEAD_MS = 2000  # so far may a place of the stream be ahead of the engine's clock, for the clock of IDs
MOST_AT_ONCE = 2048  # records
SWEPT = 1 << 15  # entries that are looked at for expired ones each second
HOLD_S = 0.002  # so long the loop is held; then others have their turn
SHARE = 3, 4  # of the told places, that one gateway may have where it is not the only one; then its oldest entries go
# A batch of another run of this gateway, from after the load: two of them are no late message of the run before.
TWINS, TWIN_MS, TWIN_AFTER_MS = 2, 600_000, 10_000
_FLAGS = 20  # where a record has its flags
_MOST_ID = 1 << 64


class Terms(NamedTuple):
    """By what this gateway hears."""

    origin: str  # its name
    longest_us: int  # no entry lasts longer (Settings.longest_time)
    most_told: int  # how many told entries there can be (Table.most_told)
    engine_us: Callable[[], int]  # the engine's clock now, in microseconds


# A batch that is to be taken, and when it was said, by the engine's clock. A plain tuple: there are hundreds of
# thousands in a load.
_Said = tuple[Peer, Batch, int]


class _Group:
    """Entries that one gateway said within NEAR_MS."""

    __slots__ = ("count", "names", "notes", "oldest_ms", "parts", "peer")

    def __init__(self, peer: Peer, oldest_ms: int) -> None:
        self.peer, self.oldest_ms, self.count = peer, oldest_ms, 0
        self.parts: list[bytes] = []
        self.notes: dict[bytes, str] = {}
        self.names: dict[bytes, list[str]] = {}


class Hearing:
    """Of one gateway. All calls come from the main thread."""

    def __init__(self, whitelist: Whitelist, keys: Keys, peers: Peers, saying: Saying, terms: Terms) -> None:
        """`saying` is not told of what comes of it, but for removals and for what is said in this gateway's name."""
        self.keys = keys
        """May be replaced at any time."""
        self.terms = terms
        """The same."""
        self.peers = peers
        self.earlier = Earlier()
        """What the load shows of earlier runs of this gateway."""
        self.started_ms = 0
        """The time with which this gateway signed at the end of the load."""
        self.own_heard = 0
        """Messages of this run of this gateway."""
        self.removed: Callable[[bytes, str], object] = lambda host, gateway: None
        """Told of hosts that another gateway has ended here, after the load."""
        self.flushed: Callable[[str, int], object] = lambda gateway, count: None
        """Told of flushes of other gateways, and how many entries they have ended here."""
        self._whitelist = whitelist
        self._saying = saying
        self._groups: dict[int, _Group] = {}
        self._named: deque[tuple[bytes, list[str]]] = deque()
        self._loaded_ms: int | None = None  # when the load was complete, by the engine's clock
        self._twins: deque[int] = deque(maxlen=TWINS)
        # Nobody is told of single hosts during the load, but of all of it once.
        self._untold = False
        self._now_ms = 0

    async def hear(self, messages: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Take messages of the stream, in its order: ID, and the field `d` (None: it has none). Never raises for them.

        It lets others have the loop each HOLD_S.
        """
        until_s = self._turn()
        for place, data in messages:
            said = self._new(place, data)
            if said is not None and not self._take(said):
                try:
                    await self._take_apart(said)
                except asyncio.CancelledError:
                    said[0].forget(said[1].epoch, said[1].sequence, key_of(data or b""))
                    raise
            if time.perf_counter() > until_s:
                self._give_all()
                await asyncio.sleep(0)
                until_s = await self._give_names(self._turn())
        self._give_all()
        await self._give_names(until_s)

    async def _give_names(self, until_s: float) -> float:
        """Give the whitelist names of hosts that it has: there may be thousands in a moment. When this turn ends."""
        while self._named:
            self._whitelist.told_names(*self._named.popleft())
            if time.perf_counter() > until_s:
                await asyncio.sleep(0)
                until_s = self._turn()
        return until_s

    def _turn(self) -> float:
        """Until when this turn of the loop lasts; the engine's clock is asked once for it."""
        now_ms = self.terms.engine_us() // 1000
        if self._loaded_ms is not None:
            # The IDs of an engine whose clock is behind stand still until it has caught up.
            self.peers.now_ms += max(0, now_ms - self._now_ms)
        self._now_ms = now_ms
        return time.perf_counter() + HOLD_S

    def loaded(self) -> None:
        """The load is complete."""
        self._loaded_ms = self._now_ms = self.terms.engine_us() // 1000
        self.started_ms = self._saying.wall_ms()
        self.lost()

    def lost(self) -> None:
        """The connection was lost: who follows the whitelist hears of what the load has brought so far."""
        if self._untold:
            self._untold = False
            self._whitelist.missed()

    def tick(self) -> None:
        """Called about once a second: entries whose time is over do not count for their gateway for long."""
        self._whitelist.sweep_told(SWEPT)
        self._saying.tick()

    def is_twin(self) -> bool:
        """Whether another gateway that runs has this one's name, or somebody speaks in it."""
        contested_us = self._saying.run.contested_us
        return (len(self._twins) == TWINS and self.peers.now_ms - self._twins[0] <= TWIN_MS) or (
            contested_us is not None and self._whitelist.now_us() - contested_us <= 1000 * TWIN_MS)

    # ---- a message

    def _new(self, place: bytes, data: bytes | None) -> _Said | None:
        """What a message says, if it is to be taken."""
        terms, peers = self.terms, self.peers
        try:
            batch = unseal(data or b"", self.keys)
            id_ = id_of(place)
        except BadBatch as bad:
            peers.refuse(None, bad.reason)
            if bad.claimed:
                peers.strange(bad.claimed, bad.reason, self._came_ms(place))
            return None
        id_ms = id_[0]
        # Whoever can write the stream can make up any place of it.
        peers.now_ms = max(peers.now_ms, min(id_ms, self._now_ms + AHEAD_MS))
        own = batch.origin == terms.origin
        if own and batch.epoch in self._saying.run.epochs:
            self.own_heard += 1
            self._saying.run.heard(batch.epoch, batch.sequence, id_, self._whitelist.now_us())
            return None
        peer = peers.get(batch.origin)
        count = len(batch.records) // RECORD_SIZE
        if peer is None:
            peers.refuse(None, "too-many", max(count, 1))
            return None
        new = peer.is_new(batch.epoch, batch.sequence, id_, key_of(data or b""))
        if not new:
            if new is None:
                peers.refuse(peer, "replayed", max(count, 1))
            return None
        peer.heard_ms = id_ms
        if self._loaded_ms is not None:
            peer.lag_ms = max(0, self._now_ms - id_ms)
        peer.time_s = batch.time_s
        peer.batches += 1
        if own and self._loaded_ms is not None:
            self._meet_twin(batch, id_ms, self._loaded_ms)
        if not peers.spend(peer.rate, peers.rate, count):
            peers.refuse(peer, "too-fast", count)
            return None
        peer.records += count
        at_ms = id_ms - peer.waiting.of(id_ms, batch.wall_ms)
        if at_ms - batch.wall_ms > LATE_MS:
            # Places of a stream that is ahead of the engine's clock are late for everybody.
            if min(at_ms, self._now_ms + AHEAD_MS) - batch.wall_ms > LATE_MS:
                peers.refuse(peer, "late", max(count, 1))
            at_ms = batch.wall_ms
        return peer, batch, at_ms

    def _meet_twin(self, batch: Batch, id_ms: int, loaded_ms: int) -> None:
        """Somebody speaks in our name: the run before, which has ended; another gateway; or who has the key."""
        if max(batch.records[_FLAGS::RECORD_SIZE], default=0) >= REMOVE:
            self._saying.run.contested(self._whitelist.now_us())
        # One from before our start is of an earlier run, which somebody has kept.
        if id_ms > loaded_ms + TWIN_AFTER_MS and batch.wall_ms > self.started_ms:
            self._twins.append(id_ms)

    def _came_ms(self, place: bytes) -> int:
        """When a message came, for people; the place of one that nobody has sealed may be none."""
        try:
            return min(id_of(place)[0], self._now_ms)
        except BadBatch:
            return self._now_ms

    def _take(self, said: _Said) -> bool:
        """Take a batch of entries alone. False: there is something else in it."""
        batch = said[1]
        flags = batch.records[_FLAGS::RECORD_SIZE]
        if max(flags, default=0) >= REMOVE:
            return False
        self._take_entries(said, batch.records)
        if batch.notes:
            self._take_notes(said)
        return True

    async def _take_apart(self, said: _Said) -> None:
        """Take a batch record by record: the order of removals and of entries counts."""
        peer, batch, at_ms = said
        run = bytearray()
        for at in range(0, len(batch.records), RECORD_SIZE):
            record = batch.records[at:at + RECORD_SIZE]
            host, ago_ms, flags, _, _ = RECORD.unpack(record)
            if flags < REMOVE:
                run += record
                continue
            self._take_entries(said, bytes(run))
            run.clear()
            # What was said before it, by whomever.
            self._give_all()
            before_us = self._since_us(at_ms) - 1000 * ago_ms
            if flags & FLUSH:
                await self._flush(peer, before_us)
            else:
                self._end(peer, host, before_us)
        self._take_entries(said, bytes(run))
        if batch.notes:
            self._take_notes(said)

    def _since_us(self, at_ms: int) -> int:
        """That time of the engine, on the whitelist's clock; never later than now."""
        return self._whitelist.now_us() - max(0, self.terms.engine_us() - 1000 * at_ms)

    def _end(self, peer: Peer, host: bytes, before_us: int) -> None:
        if not self.peers.spend(peer.removal_rate, self.peers.removal_rate, 1):
            self.peers.refuse(peer, "too-fast")
            return
        peer.removals += 1
        if self._loaded_ms is None:
            self.earlier.end(host)
        if self._whitelist.told_end(host, before_us, teller=self._saying):
            self._saying.ended_elsewhere(host, before_us)
            if self._loaded_ms is not None:
                self.removed(host, peer.name)

    async def _flush(self, peer: Peer, before_us: int) -> None:
        if self._loaded_ms is None and peer.name == self.terms.origin:
            self.earlier.flush()
        if not self.peers.spend(peer.flush_rate, self.peers.flush_rate, 1):
            self.peers.refuse(peer, "too-fast")
        else:
            peer.flushes += 1
            # It looks through the whole table, so not where there is nothing.
            if peer.told:
                peer.told = 0
                ended = await self._whitelist.told_flush(peer.number, before_us, teller=self._saying)
                for _ in range(2 * self.terms.most_told // SWEPT + 2 if ended else 0):
                    # Else they count for their gateway until their turn comes.
                    self._whitelist.sweep_told(SWEPT)
                    await asyncio.sleep(0)
                if ended and self._loaded_ms is not None:
                    self.flushed(peer.name, ended)

    def _take_entries(self, said: _Said, records: bytes) -> None:
        peer, _, at_ms = said
        if not records:
            return
        if self._loaded_ms is None and peer.name == self.terms.origin:
            age_us = max(0, self.terms.engine_us() - 1000 * at_ms)
            self.earlier.take(records, age_us, self._whitelist.now_us())
        count = len(records) // RECORD_SIZE
        group = self._groups.get(peer.number)
        near_ms = NEAR_MS if self._loaded_ms is None else 0
        if group is not None and not (
                0 <= at_ms - group.oldest_ms <= near_ms and group.count + count <= MOST_AT_ONCE):
            self._give(group)
            group = None
        if group is None:
            group = self._groups[peer.number] = _Group(peer, at_ms)
        group.parts.append(records)
        group.count += count

    def _take_notes(self, said: _Said) -> None:
        peer, batch, _ = said
        group = self._groups.get(peer.number)
        for note in batch.notes:
            host = batch.records[note.record * RECORD_SIZE:][:16]
            # A backslash that an operator has noted stays one.
            text = (note.text if note.text.isprintable() else printable(note.text))[:MAX_TEXT]
            if group is not None and note.kind == WAY:
                group.notes[host] = text
            elif group is not None and note.kind == NAME:
                names = group.names.setdefault(host, [])
                if len(names) < MOST_NAMES:
                    names.append(text)

    def _give_all(self) -> None:
        for group in self._groups.values():
            self._give(group)
        self._groups.clear()

    def _give(self, group: _Group) -> None:
        """Give the whitelist what was gathered."""
        peer, peers, terms = group.peer, self.peers, self.terms
        most = terms.most_told
        if peers.others(terms.origin) > 1:
            most = most * SHARE[0] // SHARE[1]
        age_us = max(0, terms.engine_us() - 1000 * group.oldest_ms)
        found = self._whitelist.told(
            b"".join(group.parts), age_us=age_us, longest_us=terms.longest_us, gateway=peer.number,
            teller=self._saying, notes=group.notes, quiet=self._loaded_ms is None, most=most)
        self._untold |= self._loaded_ms is None
        peer.told += group.count
        peer.entered += found.entered
        peer.renewed += found.renewed
        peer.known += found.known
        peer.over += found.over
        if found.left_out:
            peers.refuse(peer, "left-out", found.left_out)
        for number, count in found.made_room.items():
            peers.refuse(peers.numbered(number), "too-many", count)
        if found.no_hosts:
            peers.refuse(peer, "no-host", found.no_hosts)
        self._named += group.names.items()


def id_of(place: bytes) -> Id:
    """A place of the stream by its text, MILLISECONDS-NUMBER. Raises BadBatch."""
    try:
        first, _, second = place.partition(b"-")
        id_ = int(first), int(second)
    except ValueError:
        raise BadBatch("broken") from None
    if not 0 <= id_[0] < _MOST_ID or not 0 <= id_[1] < _MOST_ID:
        raise BadBatch("broken")
    return id_
