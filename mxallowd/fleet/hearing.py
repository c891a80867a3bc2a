"""What becomes of what is heard: from messages of the stream to the whitelist, within all bounds.

Nothing here trusts a message: not its form (batch.py), not that it is new (peers.py), not that its gateway means well.
A gateway that was taken over has the key; so each one has so many records, removals and flushes a second, and so many
entries at a time: its older ones make room for its newer ones then, and for those of others (engine/_shard.pxd). What
others say never takes the place of an entry of this gateway's own (Whitelist.told).

Lifetimes go by the engine's clock alone: an entry has what it had left when its message came into the stream, less the
age of the message. The clock of the gateway that said it is signed. A message that came later by it than others of the
gateway has waited on its way, and is so much older: else an entry would come behind its own removal. Where it came
later by more than LATE_MS, its age is counted from there: old messages that an engine brings up again gain nothing.

What this gateway said before its last start comes back with the load, as entries of its own; they are collected, and
given away at its end (own_records). What it said since is passed over.
"""
import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mxallowd.fleet.batch import FLUSH, NAME, RECORD, RECORD_SIZE, REMOVE, WAY, BadBatch, Batch, unseal
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import Id, Peer, Peers
from mxallowd.fleet.returned import Returned
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
    epoch: int  # its run
    longest_us: int  # no entry lasts longer (Settings.longest_time)
    most_told: int  # how many told entries there can be (Table.most_told)
    engine_us: Callable[[], int]  # the engine's clock now, in microseconds


# A batch that is to be taken: when it was said, by the engine's clock, and whether that was by an earlier run of this
# gateway, in the load. A plain tuple: there are hundreds of thousands in a load.
_Said = tuple[Peer, Batch, int, bool]


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

    def __init__(  # noqa: PLR0913, PLR0917  # what it is between
        self, whitelist: Whitelist, keys: Keys, peers: Peers, saying: Saying, terms: Terms, returned: Returned,
    ) -> None:
        """`saying` is not told of what comes of it, but for removals."""
        self.keys = keys
        """May be replaced at any time."""
        self.terms = terms
        """The same."""
        self.peers = peers
        self.returned = returned
        """What the load brings of this gateway's own."""
        self.own_heard = 0
        """Messages of this run of this gateway."""
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
                    said[0].forget(said[1].epoch, said[1].sequence)
                    raise
            if self.returned.is_full:
                await self.returned.merge(self._whitelist.now_us())
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

    async def loaded(self) -> bytes:
        """The load is complete. Own entries that it brought back, as records of the whitelist, in restore()'s order."""
        self._loaded_ms = self._now_ms = self.terms.engine_us() // 1000
        self.lost()
        return await self.returned.merge(self._whitelist.now_us())

    def lost(self) -> None:
        """The connection was lost: who follows the whitelist hears of what the load has brought so far."""
        if self._untold:
            self._untold = False
            self._whitelist.missed()

    def tick(self) -> None:
        """Called about once a second: entries whose time is over do not count for their gateway for long."""
        self._whitelist.sweep_told(SWEPT)

    def is_twin(self) -> bool:
        """Whether another gateway that runs has this one's name."""
        return len(self._twins) == TWINS and self.peers.now_ms - self._twins[0] <= TWIN_MS

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
                peers.strange(bad.claimed, bad.reason)
            return None
        id_ms = id_[0]
        # Whoever can write the stream can make up any place of it.
        peers.now_ms = max(peers.now_ms, min(id_ms, self._now_ms + AHEAD_MS))
        own = batch.origin == terms.origin
        if own and batch.epoch == terms.epoch:
            self.own_heard += 1
            return None
        peer = peers.get(batch.origin)
        count = len(batch.records) // RECORD_SIZE
        if peer is None:
            peers.refuse(None, "too-many", max(count, 1))
            return None
        new = peer.is_new(batch.epoch, batch.sequence, id_)
        if not new:
            if new is None:
                peers.refuse(peer, "replayed", max(count, 1))
            return None
        peer.heard_ms = id_ms
        if self._loaded_ms is not None:
            peer.lag_ms = max(0, self._now_ms - id_ms)
        peer.time_s = batch.time_s
        peer.batches += 1
        back = own and self._loaded_ms is None
        if own and self._loaded_ms is not None and id_ms > self._loaded_ms + TWIN_AFTER_MS:
            self._twins.append(id_ms)
        if not back and not peer.rate.take(count, peers.now_ms):
            peers.refuse(peer, "too-fast", count)
            return None
        peer.records += count
        at_ms = id_ms - peer.waiting.of(id_ms, batch.wall_ms)
        if at_ms - batch.wall_ms > LATE_MS:
            # Places of a stream that is ahead of the engine's clock are late for everybody.
            if min(at_ms, self._now_ms + AHEAD_MS) - batch.wall_ms > LATE_MS:
                peers.refuse(peer, "late", max(count, 1))
            at_ms = batch.wall_ms
        return peer, batch, at_ms, back

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
        peer, batch, at_ms, back = said
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
                await self._flush(peer, before_us, back=back)
            else:
                self._end(peer, host, before_us)
        self._take_entries(said, bytes(run))
        if batch.notes:
            self._take_notes(said)

    def _since_us(self, at_ms: int) -> int:
        """That time of the engine, on the whitelist's clock; never later than now."""
        return self._whitelist.now_us() - max(0, self.terms.engine_us() - 1000 * at_ms)

    def _end(self, peer: Peer, host: bytes, before_us: int) -> None:
        if not peer.removal_rate.take(1, self.peers.now_ms):
            self.peers.refuse(peer, "too-fast")
            return
        peer.removals += 1
        if self._loaded_ms is None:
            self.returned.end(host)
        if self._whitelist.told_end(host, before_us, teller=self._saying):
            self._saying.ended_elsewhere(host, before_us)

    async def _flush(self, peer: Peer, before_us: int, *, back: bool) -> None:
        if back:
            self.returned.flush()
        elif not peer.flush_rate.take(1, self.peers.now_ms):
            self.peers.refuse(peer, "too-fast")
        else:
            peer.flushes += 1
            # It looks through the whole table, so not where there is nothing.
            if peer.told:
                peer.told = 0
                await self._whitelist.told_flush(peer.number, before_us, teller=self._saying)

    def _take_entries(self, said: _Said, records: bytes) -> None:
        peer, _, at_ms, back = said
        if not records:
            return
        if back:
            age_us = max(0, self.terms.engine_us() - 1000 * at_ms)
            self.returned.take(records, age_us, self._whitelist.now_us())
            return
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
        peer, batch, at_ms, back = said
        group = self._groups.get(peer.number)
        since_s = int(time.time()) - max(0, self.terms.engine_us() // 1000 - at_ms) // 1000
        for note in batch.notes:
            host = batch.records[note.record * RECORD_SIZE:][:16]
            # A backslash that an operator has noted stays one.
            text = (note.text if note.text.isprintable() else printable(note.text))[:MAX_TEXT]
            if note.kind == WAY:
                if back:
                    self.returned.note(host, text, since_s)
                elif group is not None:
                    group.notes[host] = text
            elif note.kind == NAME and group is not None:
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
