"""What this gateway says: every change of its whitelist that it made itself, and after a loss all of it again.

It follows the whitelist as a copier. A change marks its host; when it is the host's turn, the table is asked what is
true of it, so what could not be said is said later as it is by then, and saying twice is harmless. Only that an entry
was ended, by the operator, is kept as what happened, with its time. What other gateways said is not said again, but for
what happened to it here.

The stream forgets: it is trimmed, its engine may come back empty or without the last seconds. So:

- after a loss of the connection, what was said in the last RECENT_S is said again (lost());
- where the stream begins later than what is relied on, a **round** says all own entries from before its beginning
  (check()); one that lasts longer than the others is said again each half of their time;
- where marks were lost for want of room, what is relied on is gone, or somebody else speaks in this gateway's name
  (run.py), a round says all own entries.

Bounds: MAX_DIRTY hosts and MAX_ENDED removals wait. All is said at a pace that the others take (peers.py), a round at
the pace of a tenth of the whitelist a second. Which way it fails: what is not said is missing elsewhere, and the sender
has to meet the fake server there as well; verdicts here never depend on it.
"""
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from mxallowd.engine._saved import look_up
from mxallowd.engine._table import CONTACT, PEER, Table
from mxallowd.fleet import batch
from mxallowd.fleet.batch import MOST_BYTES, MOST_RECORDS, NAME, PROVEN, RECORD_SIZE, USED, WAY, Batch, Note
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import Id, Spent
from mxallowd.fleet.rounds import ALL, FOUND, NONE, Reliance, Round, Window
from mxallowd.fleet.run import Answer, Run
from mxallowd.whitelist import Change, Whitelist

MAX_DIRTY = 65_536
MAX_ENDED = 65_536
RECENT_US = 5_000_000
HELLO_US = 60_000_000
MOST_NAMES = 4  # of a host
MAX_NAMED = 65_536  # hosts whose names are remembered
# Below what the others take of a gateway: their clock is that of the engine, and messages may come in a bunch.
RECORDS_PER_S, RECORDS_BURST = 22_000, 30_000
REMOVALS_PER_S, REMOVALS_BURST = 90, 900
FLUSHES_PER_S, FLUSHES_BURST = 1 / 61, 4  # of further ones the last is said once it may be
ROUND_S, LEAST_PER_S, MOST_PER_S = 10, 2000, 20_000
# After a fault of the engine all gateways of a site begin a round, so not all of them at once.
LATEST_START_US = 1_000_000


class Said(NamedTuple):
    """What take() gave: records and notes of a batch; the rest is for done() and failed()."""

    records: bytes
    notes: Sequence[Note] = ()
    hosts: Sequence[bytes] = ()
    ended: Sequence[tuple[bytes, int]] = ()
    flushed_us: int = 0


class Saying:
    """Of one gateway. All calls come from the main thread; none waits."""

    def __init__(self, whitelist: Whitelist, table: Table, origin: str, longest_s: int) -> None:
        """`origin`: the own name; `longest_s`: Settings.longest_time."""
        self.origin = origin
        self.run = Run()
        self.wake: Callable[[], object] = lambda: None
        """Called when there is something to say."""
        self.wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
        """The time with which a batch is signed."""
        self._whitelist = whitelist
        self._table = table
        self._longest_us = longest_s * 1_000_000
        self._longest_until_us = 0  # until when entries may live of a longer time that held before
        now_ms = whitelist.now_us() // 1000
        self._records = Spent(RECORDS_PER_S, RECORDS_BURST, now_ms)
        self._removals = Spent(REMOVALS_PER_S, REMOVALS_BURST, now_ms)
        self._flushes = Spent(FLUSHES_PER_S, FLUSHES_BURST, now_ms)
        self._round_pace = Spent(LEAST_PER_S, MOST_RECORDS, now_ms)
        # What may differ, in two parts: a dict that is taken from its front piece by piece takes ever longer.
        self._dirty: dict[bytes, None] = {}
        self._turn: deque[bytes] = deque()
        self._ended: dict[bytes, int] = {}  # when
        # Confirmed names of contacts, in halves: to find the oldest one of a dict takes long.
        self._names: dict[bytes, Sequence[str]] = {}
        self._old_names: dict[bytes, Sequence[str]] = {}
        self._flushed_us = 0  # when; 0: nothing to say of it
        self._recent: deque[tuple[int, Said, Id]] = deque()  # when it was said, and where
        self._flying: Said | None = None  # what was given by take() and not given back
        self._said_us = 0  # the last message
        self._loaded = False
        self._all_again = False  # marks were lost
        self._round: Round | None = None
        self._round_us = 0  # when it begins
        self._lasting_us = whitelist.now_us()  # when those that last longer were said
        self._reliance = Reliance()
        self._counters = dict.fromkeys(
            ("said", "removals-said", "flushes-said", "rounds", "dirty-overflows", "removals-lost"), 0)

    def follow(self) -> None:
        """Follow the whitelist from now on."""
        self._whitelist.follow_as_copier(self)

    # ---- what the whitelist tells (Copier)

    def touched(self, hosts: list[bytes]) -> None:
        """Say what is true of these when it is their turn."""
        if len(self._dirty) + len(self._turn) + len(hosts) > MAX_DIRTY:
            self._counters["dirty-overflows"] += 1
            self._all_again = True
        else:
            self._dirty |= dict.fromkeys(hosts)
        self.wake()

    def changed(self, host: bytes, change: Change) -> None:
        """The same, and that an entry was ended."""
        # Of a flush flushed() has told; the load shows which of those from before the start are to be said.
        if change is Change.FLUSHED or (change is Change.ADOPTED and not self._loaded):
            return
        if change is not Change.ENDED:
            self.touched([host])
            return
        # They were those of this entry.
        self._names.pop(host, None)
        self._old_names.pop(host, None)
        if len(self._ended) < MAX_ENDED or host in self._ended:
            self._ended[host] = self._whitelist.now_us()
        else:
            self._counters["removals-lost"] += 1
        self.wake()

    def named(self, host: bytes, names: Sequence[str]) -> None:
        """A lookup has confirmed these reverse names of a contact: say them, too."""
        if len(self._names) >= MAX_NAMED // 2:
            self._old_names, self._names = self._names, {}
        self._names[host] = tuple(names[:MOST_NAMES])
        self.touched([host])

    def ended_elsewhere(self, host: bytes, at_us: int) -> None:
        """Another gateway has ended this then, and so it was ended here.

        What was said of it since came behind the removal in the stream, so others have let it in again: the removal
        is said once more.
        """
        said = [self._flying] if self._flying else []
        for said_us, one, _ in reversed(self._recent):
            if said_us < at_us:
                break
            said.append(one)
        if any(host in one.hosts for one in said) and len(self._ended) < MAX_ENDED:
            self._ended[host] = max(at_us, self._ended.get(host, 0))
            self.wake()

    def missed(self) -> None:
        """Say all own entries; before loaded() this is nothing new."""
        self._all_again = True

    def flushed(self) -> None:
        """The operator empties the whitelist now: Whitelist.before_flush."""
        self._flushed_us = self._whitelist.now_us()
        self._dirty.clear()
        self._turn.clear()
        self.wake()

    # ---- what is said

    @property
    def waiting(self) -> int:
        """How many hosts and removals wait; those of a round do not count."""
        return len(self._dirty) + len(self._turn) + len(self._ended)

    @property
    def in_round(self) -> bool:
        """Whether a round is under way, or is to begin."""
        return self._round is not None or (self._loaded and self._all_again)

    def due(self) -> bool:
        """Whether take() may have something. Time alone can make it so: ask some times a second."""
        now_us = self._whitelist.now_us()
        return bool(self._dirty or self._turn or self._ended or self._flushed_us or now_us - self._said_us >= HELLO_US
                    or (self._loaded and self._all_again) or (self._round and now_us >= self._round_us))

    def take(self) -> Said | None:
        """What is to be said next, at most one batch; None: nothing now.

        Each one that was given has to be given back to done() or failed(). Once in HELLO_US a gateway that has nothing
        to say says that: no records.
        """
        now_us = self._whitelist.now_us()
        now_ms = now_us // 1000
        records: list[bytes] = []
        flushed_us = self._flushed_us if self._flushed_us and self._flushes.take(1, now_ms) else 0
        if flushed_us:
            records.append(batch.flush((now_us - flushed_us) // 1000))
            self._flushed_us = 0
            # Others may end what came in and was said before this.
            self._all_again |= self._said_us >= flushed_us
        ended = self._take_ended(MOST_RECORDS - len(records), now_ms)
        records += [batch.removal(host, (now_us - at_us) // 1000) for host, at_us in ended]
        # Who was removed and has come again is said behind that, never before.
        self._dirty |= dict.fromkeys(host for host, _ in ended)
        hosts, notes = self._take_entries(records, now_us)
        if not records and now_us - self._said_us < HELLO_US:
            return None
        self._flying = Said(b"".join(records), notes, hosts, ended, flushed_us)
        return self._flying

    def _take_ended(self, most: int, now_ms: int) -> list[tuple[bytes, int]]:
        if not self._ended:
            return []
        taken = list(self._ended.items())[:self._removals.some(min(most, len(self._ended)), now_ms)]
        for host, _ in taken:
            del self._ended[host]
        return taken

    def _take_entries(self, records: list[bytes], now_us: int) -> tuple[list[bytes], list[Note]]:
        """Add the records of hosts that have their turn; these hosts, and the notes."""
        notes: list[Note] = []
        room = self._records.some(MOST_RECORDS - len(records), now_us // 1000)
        hosts = self._next_hosts(room, now_us)
        size = batch.size_of(self.origin, len(records))
        said = 0
        found = look_up(self._table, b"".join(hosts), now_us)
        for host, until_us, origin, used, proven in FOUND.iter_unpack(found):
            left_ms = (until_us - now_us) // 1000
            # One whose removal waits is said behind that.
            if left_ms > 0 and host not in self._ended:
                own = self._notes_of(host, origin, len(records))
                size += RECORD_SIZE + batch.notes_size(own)
                if size > MOST_BYTES:
                    break
                records.append(batch.entry(host, left_ms, used * USED | proven * PROVEN, origin))
                notes += own
            said += 1
        self._turn.extendleft(reversed(hosts[said:]))
        self._records.give(room - said)
        return hosts[:said], notes

    def _next_hosts(self, most: int, now_us: int) -> list[bytes]:
        hosts: dict[bytes, None] = {}
        if len(self._turn) > most:
            # After a fault many wait: who comes now shall not wait behind all of them. The newest is the dict's last.
            hosts |= dict.fromkeys(self._dirty.popitem()[0] for _ in range(min(most // 2, len(self._dirty))))
        while len(hosts) < most and (self._turn or self._dirty):
            if not self._turn:
                self._turn, self._dirty = deque(self._dirty), {}
            hosts |= dict.fromkeys(self._turn.popleft() for _ in range(min(most - len(hosts), len(self._turn))))
        if len(hosts) < most:
            hosts |= dict.fromkeys(self._next_of_round(most - len(hosts), now_us))
        return list(hosts)

    def _notes_of(self, host: bytes, origin: int, record: int) -> list[Note]:
        # What another gateway told, it has noted.
        found = None if origin == PEER else self._whitelist.provenance.find(host)
        notes = [Note(record, WAY, found.text)] if found and found.text else []
        if origin == CONTACT:
            names = self._names.get(host) or self._old_names.get(host, ())
            notes += [Note(record, NAME, name) for name in names]
        return notes

    def message(self, said: Said, keys: Keys) -> bytes:
        """It as the next message: with a sequence of its own, so each is for one try."""
        return batch.seal(Batch(self.origin, self.run.epoch, self.run.next(), self.wall_ms(),
                                self._longest_us // 1_000_000, said.records, said.notes), keys)

    def done(self, said: Said, id_: Id) -> None:
        """It is in the stream, at this place: the last message that was made."""
        now_us = self._said_us = self._whitelist.now_us()
        self._flying = None
        if said.hosts:
            self._reliance.said(id_)
        self.run.sent(id_, now_us)
        self._counters["said"] += len(said.records) // RECORD_SIZE
        self._counters["removals-said"] += len(said.ended)
        self._counters["flushes-said"] += said.flushed_us > 0
        self._recent.append((now_us, said, id_))
        self._settle(now_us)

    def _settle(self, now_us: int) -> None:
        while self._recent and self._recent[0][0] < now_us - RECENT_US:
            _, said, id_ = self._recent.popleft()
            if said.hosts:
                self._reliance.settled(id_)

    def failed(self, said: Said) -> None:
        """It is not in the stream, or nobody knows: say it again."""
        self._flying = None
        self._records.give(len(said.hosts))
        self._removals.give(len(said.ended))
        self._flushes.give(said.flushed_us > 0)
        self._again(said)

    def lost(self) -> None:
        """The connection was lost: say again what was said in the last RECENT_US before."""
        since_us = self._said_us - RECENT_US
        while self._recent:
            at_us, said, _ = self._recent.pop()
            if at_us >= since_us:
                self._again(said)

    def _again(self, said: Said) -> None:
        self._flushed_us = max(self._flushed_us, said.flushed_us)
        for host, at_us in said.ended:
            self._ended[host] = max(at_us, self._ended.get(host, 0))
        if len(self._turn) + len(said.hosts) <= MAX_DIRTY:
            self._turn.extendleft(reversed(said.hosts))
        else:
            self._all_again = True

    # ---- rounds

    def tick(self) -> None:
        """Called about once a second: answer who speaks in our name."""
        answer = self.run.answer(self._whitelist.now_us())
        if answer is Answer.SAY_ALL_ANEW:
            # A removal that was said by the old epoch may have been refused.
            self.lost()
        if answer is not Answer.NOTHING:
            self.missed()

    def loaded(self, shown: Mapping[bytes, int], first: Id | None, engine_ms: int) -> None:
        """The stream was read from its beginning: say all own entries but for what it has, as Earlier.shown() says.

        `first` as in check().
        """
        self._loaded = True
        self._all_again = False
        self._reliance.loaded(first)
        self._begin(ALL, shown)

    def relied(self) -> list[Id]:
        """Places of the stream, for check(): to be asked before its first ID is."""
        self._settle(self._whitelist.now_us())
        return self._reliance.relied()

    def check(self, first: Id | None, engine_ms: int, gone: Collection[Id] = ()) -> bool:
        """Look whether the stream has what it has to; after each connect and every few seconds. True: a round begins.

        `first`: its first ID, None where it is empty; `engine_ms`: the engine's clock now. `gone`: places of relied()
        where it has no message.
        """
        if not self._loaded:
            return False
        now_us = self._whitelist.now_us()
        longest_us = self._longest(now_us)
        busy = self._round is not None
        window = self._reliance.lost(first, engine_ms, now_us, longest_us, busy=busy, gone=gone)
        lasting = now_us - self._lasting_us >= longest_us // 2
        if window is None and (busy or not lasting):
            return False
        if lasting:
            self._lasting_us = now_us
        self._begin(window or NONE, lasting=lasting)
        return True

    def _begin(self, window: Window, shown: Mapping[bytes, int] | None = None, *, lasting: bool = True) -> None:
        now_us = self._whitelist.now_us()
        self._round = Round(self._table, self._longest(now_us), window, lasting=lasting, shown=shown)
        self._round_us = now_us + random.randrange(LATEST_START_US)  # noqa: S311  # no secret
        pace = min(max(LEAST_PER_S, len(self._whitelist) / ROUND_S), MOST_PER_S)
        self._round_pace = Spent(pace, 2 * MOST_RECORDS, now_us // 1000)
        self._counters["rounds"] += 1
        self.wake()

    def _next_of_round(self, most: int, now_us: int) -> list[bytes]:
        if self._round is None and self._loaded and self._all_again:
            self._all_again = False
            self._begin(ALL)
        if self._round is None or now_us < self._round_us:
            return []
        room = self._round_pace.some(most, now_us // 1000)
        hosts = self._round.take(room, now_us) if room else []
        self._round_pace.give(room - len(hosts))
        if self._round.over:
            self._round = None
        return hosts

    def _longest(self, now_us: int) -> int:
        """How long an own entry lasts at most."""
        return max(self._longest_us, self._longest_until_us - now_us)

    def reload(self, longest_s: int) -> None:
        """Another time holds from now on."""
        now_us = self._whitelist.now_us()
        self._longest_until_us = max(self._longest_until_us, now_us + self._longest_us)
        self._longest_us = longest_s * 1_000_000

    def counters(self) -> dict[str, int]:
        """Since the start."""
        return dict(self._counters)
