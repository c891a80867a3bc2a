"""What is known of each gateway of the site that was heard: how far, how much, and what of it was refused.

All bounds of a gateway are counted on the clock of the stream's IDs, which is that of the engine: what is loaded in one
second is judged as when it was said. That clock never goes back here.

A batch is known by (origin, key, epoch, sequence). A gateway takes a new epoch at each start, and counts its batches
up. One that its gateway gave up, and that waited in an engine that was stopped, may come behind later ones: it is
passed over, since the later ones say the same as it was by then. So that this is told from a replay, the last WINDOW
sequences are remembered one by one. MOST_EPOCHS epochs of an origin are remembered. What was sealed with a key that is
not used any more changes nothing for what is sealed with another one.

A name costs nothing, for whoever has the key. So there are bounds of a gateway, and bounds of all of them together.

Two gateways of one name are told by their epochs: an epoch that was left comes back, again and again.
"""
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mxallowd.engine._told import MOST_GATEWAY

REASONS = (
    "broken", "version", "key", "forged", "replayed", "too-fast", "too-many", "late", "no-host", "left-out")
"""Why something that was heard was not taken, or (`late`) not as it was said. The first four are counted in messages,
all others in records. `too-many` are entries of a gateway that had more than it may have, and made room for newer ones;
of no gateway, those that came in a new name, of which there were too many."""

MOST_PEERS = 16_384  # 1.5 KB each
MOST_NAMED = 12_288  # names of gateways that are forgotten, and have entries; all of them are less than the numbers
NEW_PER_S, MOST_NEW = 200, 4096  # names that were not known
MOST_EPOCHS, FEW_EPOCHS, MANY_PEERS = 64, 8, 1024  # of one gateway, and where so many are known; 250 bytes each
MOST_STRANGERS = 32
WINDOW = 64
RECORDS_PER_S, MOST_RECORDS = 25_000, 50_000
REMOVALS_PER_S, MOST_REMOVALS = 100, 1000
FLUSHES_PER_S, MOST_FLUSHES = 1 / 60, 5
# Of all gateways together. When an engine came back empty, all say all that they have: twice the room at once.
ALL_RECORDS_PER_S, MOST_ALL_RECORDS, ROOMS = 100_000, 400_000, 2
ALL_REMOVALS_PER_S, MOST_ALL_REMOVALS = 400, 4000
ALL_FLUSHES_PER_S, MOST_ALL_FLUSHES = 1 / 6, 10
# Epochs that take turns so often within that time are two gateways. (One batch of a run that has ended may come late.)
RETURNS, RETURNED_MS = 8, 600_000
# The least of so long at least, and twice that at most.
LEAST_OF_MS = 120_000
MOST_WAITED_MS = 120_000
_WINDOW_BITS = (1 << WINDOW) - 1


class Spent:
    """A token bucket on a clock that its caller has, in milliseconds: `per_s` come in a second, at most `most` stay."""

    __slots__ = ("_at_ms", "_most", "_per_ms", "_tokens")

    def __init__(self, per_s: float, most: float, now_ms: int) -> None:
        self._per_ms, self._most = per_s / 1000, most
        self._tokens, self._at_ms = float(most), now_ms

    def take(self, count: int, now_ms: int) -> bool:
        """Take so many. False: there are not so many; none is taken then."""
        # As _fill(): of each batch there is one call less.
        if now_ms > self._at_ms:
            self._tokens = min(self._most, self._tokens + (now_ms - self._at_ms) * self._per_ms)
            self._at_ms = now_ms
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def some(self, count: int, now_ms: int) -> int:
        """Take as many as there are, at most so many; how many."""
        taken = min(count, int(self._fill(now_ms)))
        self._tokens -= taken
        return taken

    def give(self, count: int) -> None:
        """Put so many back."""
        self._tokens = min(self._most, self._tokens + count)

    def _fill(self, now_ms: int) -> float:
        if now_ms > self._at_ms:
            self._tokens = min(self._most, self._tokens + (now_ms - self._at_ms) * self._per_ms)
            self._at_ms = now_ms
        return self._tokens


class Waiting:
    """How long batches of a gateway waited on their way into the stream, as those do that a hanging engine finds.

    Clocks differ, so how much later than its own clock a batch comes is compared with the least of the last minutes.
    """

    __slots__ = ("_before_ms", "_began_ms", "_least_ms")

    def __init__(self) -> None:
        self._least_ms = self._before_ms = 1 << 63
        self._began_ms = 0

    def of(self, id_ms: int, wall_ms: int) -> int:
        """Of a batch that came then and was sealed then, by these two clocks; of more than MOST_WAITED_MS 0."""
        later_ms = id_ms - wall_ms
        if id_ms - self._began_ms > LEAST_OF_MS:
            self._before_ms, self._least_ms, self._began_ms = self._least_ms, later_ms, id_ms
        self._least_ms = min(self._least_ms, later_ms)
        waited_ms = later_ms - min(self._least_ms, self._before_ms)
        # Then its clock was set.
        return waited_ms if waited_ms <= MOST_WAITED_MS else 0


class _Epoch:
    """One run of a gateway."""

    __slots__ = ("highest", "last_id", "seen")

    def __init__(self) -> None:
        self.highest, self.seen, self.last_id = -1, 0, (0, 0)


Id = tuple[int, int]
"""A place in the stream: milliseconds of the engine's clock, and a number."""


class Peer:
    """One gateway."""

    __slots__ = (
        "_epochs", "_most_epochs", "_turns", "batches", "entered", "epoch", "flush_rate", "flushes", "heard_ms",
        "known", "lag_ms", "name", "number", "over", "rate", "records", "refused", "removal_rate", "removals",
        "renewed", "time_s", "told", "waiting")

    def __init__(self, name: str, number: int, now_ms: int, most_epochs: int = MOST_EPOCHS) -> None:
        self.name = name
        self.number = number
        """By which the whitelist knows it, in this process."""
        self.epoch = -1
        """That of the last new batch."""
        self.heard_ms = 0
        """When its last batch came into the stream, on the clock of IDs."""
        self.lag_ms: int | None = None
        """How old its last batch was when it was heard."""
        self.time_s = 0
        """Its whitelist-time."""
        self.batches = 0
        self.records = self.entered = self.renewed = self.known = self.over = 0
        self.removals = self.flushes = 0
        self.refused: dict[str, int] = {}
        self.told = 0  # records that were taken since its last flush
        self.rate = Spent(RECORDS_PER_S, MOST_RECORDS, now_ms)
        self.removal_rate = Spent(REMOVALS_PER_S, MOST_REMOVALS, now_ms)
        self.flush_rate = Spent(FLUSHES_PER_S, MOST_FLUSHES, now_ms)
        self.waiting = Waiting()
        self._epochs: OrderedDict[tuple[bytes, int], _Epoch] = OrderedDict()
        self._most_epochs = most_epochs
        self._turns: list[int] = []

    def is_new(self, epoch: int, sequence: int, id_: Id, key: bytes = b"") -> bool | None:
        """Whether to take this batch, which is noted then. None: it is a replay, at another place of the stream.

        `key`: the number of the one that sealed it.

        False: it was taken when it was read before; or it was overtaken, so its gateway has said it again meanwhile,
        and what it says may not be true any more.
        """
        one = self._epochs.get((key, epoch))
        if one is None:
            if len(self._epochs) >= self._most_epochs:
                self._epochs.popitem(last=False)
            one = self._epochs[key, epoch] = _Epoch()
        ahead = sequence - one.highest
        if ahead > 0:
            one.seen = (one.seen << ahead | 1) & _WINDOW_BITS if ahead < WINDOW else 1
            one.highest = sequence
        elif ahead <= -WINDOW or one.seen >> -ahead & 1:
            return None if id_ > one.last_id else False
        else:
            one.seen |= 1 << -ahead
        before, one.last_id = one.last_id, max(one.last_id, id_)
        if ahead <= 0:
            return False
        if epoch != self.epoch:
            self.epoch = epoch
            self._epochs.move_to_end((key, epoch))
            if (0, 0) < before < id_:
                # It was heard before, so it has not just begun.
                self._turns = [*self._turns[1 - RETURNS:], id_[0]]
        return True

    def forget(self, epoch: int, sequence: int, key: bytes = b"") -> None:
        """This batch, the last one, was not taken to its end: it is new when it is read again."""
        one = self._epochs.get((key, epoch))
        if one is not None and one.highest == sequence:
            one.highest, one.seen = sequence - 1, one.seen >> 1

    def is_shared(self, now_ms: int) -> bool:
        """Whether two gateways have this name now."""
        return len(self._turns) == RETURNS and now_ms - self._turns[0] <= RETURNED_MS


class Stranger(NamedTuple):
    """Who says in this name what is sealed with no key of ours, or forged. Anybody who can write the stream can."""

    reason: str
    messages: int
    heard_ms: int


class Peers:
    """All gateways that were heard, at most `most`; of more, the one that was heard longest ago is forgotten.

    Its name is not, as long as an entry that it told is there.
    """

    def __init__(
        self, most: int = MOST_PEERS, has_entries: Callable[[int], bool] = lambda number: False, *, room: int = 0,
    ) -> None:
        """`has_entries`: whether the whitelist has any that the gateway of this number told. `room`: how many told
        entries there can be.
        """
        self.most = most
        self._has_entries = has_entries
        self.now_ms = 0
        """The clock of IDs: the latest one that was heard."""
        self.refused = dict.fromkeys(REASONS, 0)
        """Of all, those included that are forgotten or have no name."""
        self.forgotten = 0
        self._peers: OrderedDict[str, Peer] = OrderedDict()
        self._names: dict[int, str] = {}
        self._named: OrderedDict[str, int] = OrderedDict()  # numbers of those that are forgotten but for the name
        self._number = 0
        self._new = Spent(NEW_PER_S, MOST_NEW, 0)
        self.rate = Spent(ALL_RECORDS_PER_S, max(MOST_ALL_RECORDS, ROOMS * room), 0)
        """Of all gateways together, as the next two."""
        self.removal_rate = Spent(ALL_REMOVALS_PER_S, MOST_ALL_REMOVALS, 0)
        self.flush_rate = Spent(ALL_FLUSHES_PER_S, MOST_ALL_FLUSHES, 0)
        self._strangers: OrderedDict[str, Stranger] = OrderedDict()

    def get(self, name: str) -> Peer | None:
        """The gateway of that name, which is the last one to be forgotten from now on.

        None: it would be new, and too many were of late; names cost whoever has the key nothing.
        """
        found = self._peers.get(name)
        if found is not None:
            self._peers.move_to_end(name)
            return found
        if not self._new.take(1, self.now_ms):
            return None
        while len(self._peers) >= self.most:
            _, gone = self._peers.popitem(last=False)
            self._named[gone.name] = gone.number
            self._forget_names()
            self.forgotten += 1
        made = self._peers[name] = Peer(name, self._named.pop(name, 0) or self._free_number(), self.now_ms,
                                        MOST_EPOCHS if len(self._peers) < MANY_PEERS else FEW_EPOCHS)
        self._names[made.number] = name
        return made

    def _forget_names(self) -> None:
        # Two are looked at for each one that comes, so all of them again and again.
        for _ in range(min(2, len(self._named))):
            name, number = self._named.popitem(last=False)
            if self._has_entries(number) and len(self._named) < MOST_NAMED:
                self._named[name] = number
            else:
                del self._names[number]

    def _free_number(self) -> int:
        # Entries of a gateway that is forgotten may have its number still, so it comes back last.
        while True:
            self._number = self._number % MOST_GATEWAY + 1
            if self._number not in self._names:
                return self._number

    def gateway_name(self, number: int) -> str:
        """The name of the gateway with this number of the whitelist; empty: it is not known."""
        return self._names.get(number, "")

    def numbered(self, number: int) -> Peer | None:
        """The gateway with this number of the whitelist, if it is known."""
        return self._peers.get(self._names.get(number, ""))

    def gateway_number(self, name: str) -> int:
        """The number of the gateway of this name; 0: it is not known."""
        found = self._peers.get(name)
        return found.number if found is not None else self._named.get(name, 0)

    def refuse(self, peer: Peer | None, reason: str, count: int = 1) -> None:
        """Count what was not taken, or not as it was said."""
        self.refused[reason] += count
        if peer is not None:
            peer.refused[reason] = peer.refused.get(reason, 0) + count

    def spend(self, own: Spent, of_all: Spent, count: int) -> bool:
        """Take so many from the bucket of a gateway and from that of all; False: one of them has not so many."""
        if not own.take(count, self.now_ms):
            return False
        if not of_all.take(count, self.now_ms):
            own.give(count)
            return False
        return True

    def strange(self, name: str, reason: str, at_ms: int) -> None:
        """Note a message that a key has not sealed, by the name that it claims; it came into the stream then."""
        before = self._strangers.pop(name, None)
        if before is None and len(self._strangers) >= MOST_STRANGERS:
            self._strangers.popitem(last=False)
        self._strangers[name] = Stranger(reason, before.messages + 1 if before else 1, at_ms)

    def strangers(self) -> dict[str, Stranger]:
        """Names that such messages claimed; the last ones."""
        return dict(self._strangers)

    def others(self, own: str) -> int:
        """How many are known, but for this name."""
        return len(self._peers) - (own in self._peers)

    def __iter__(self) -> Iterator[Peer]:
        """Those that are known, the one heard longest ago first."""
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)
