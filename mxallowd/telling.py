"""What other gateways tell of their hosts, as the whitelist takes it (--fleet).

The compiled part (engine/_told.pxd) enters the records. Here stands what decides which of them may be entered at all:
who was ended here must not come back by what was said before that, whenever it arrives. And what else a told host
brings: a note, and names for the reverse DNS sink.
"""
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mxallowd.engine._meetings import Meetings
from mxallowd.engine._table import LATEST_US, PEER, Table
from mxallowd.engine._told import (
    HAS_MADE_ROOM,
    HAS_MET,
    TOLD_SIZE,
    WAS_ENTERED,
    WAS_PROVEN,
    WAS_RENEWED,
    WAS_USED,
    Taken,
    end_told,
    take,
)
from mxallowd.following import Change
from mxallowd.provenance import Provenance

ALL = bytes(16)  # no host has this address
ROUNDED_US = 2_000_000  # times of a copy may be rounded
MOST_ENDED = 65_536  # hosts that were ended of late; of more, nothing comes back that was said before the last one
# What a gateway says with a removal, or right behind it, comes at the same millisecond of the stream.
ENDED_US = 1000
FLUSH_STEP, FLUSH_SLICE = 4096, 100  # places looked at, and entries ended, between two turns of the loop
_CHANGES = ((WAS_ENTERED, Change.ADMITTED), (WAS_RENEWED, Change.RENEWED), (WAS_USED, Change.USED),
            (WAS_PROVEN, Change.PROVEN), (HAS_MADE_ROOM, Change.EVICTED))


class Told(NamedTuple):
    """What became of a batch, in numbers of records."""

    entered: int
    renewed: int  # listed already; the entry ends later, or is used or proven by now
    known: int  # listed already, and that was all
    left_out: int  # no told place was free, and no told entry could make room
    over: int  # their time was over, or their entry was ended here after this was said
    no_hosts: int  # no address of a host, or one of our own servers
    made_room: Mapping[int, int] = {}  # how many told entries, of which gateways, made room for newer ones


class Tellings:
    """The told places of the table. The main thread's. Times are microseconds of the packet path's clock."""

    def __init__(self, table: Table, provenance: Provenance) -> None:
        self._table = table
        self._provenance = provenance
        self._ended: dict[bytes, int] = {}  # when
        self._last_ended_us = self._all_ended_us = -(1 << 62)
        self._barred: Mapping[bytes, int] = {}
        self._barred_at_us = -(1 << 62)
        self.lifetimes_us = (LATEST_US, LATEST_US)
        """The longest time of an entry here: of any host, and of a proven one."""
        self.meetings: Meetings | None = None
        """Where contacts that are told let in their networks."""
        self.met: Callable[[list[bytes]], object] = lambda hosts: None
        """Told of hosts that met a fake server of another gateway, after they were entered."""
        self.named: Callable[[bytes, Sequence[str]], object] = lambda host, names: None
        """Told of names of a listed host that its gateway has confirmed (Whitelist.told_names)."""

    # ---- what was ended here

    def note_end(self, host: bytes, at_us: int, *, elsewhere: bool = False) -> None:
        """Somebody has ended this entry then; what was said later holds, also where it is heard in the same turn.

        `elsewhere`: another gateway has. Of more than are remembered the first one is forgotten then: no number of
        removals keeps out what a third one has said of other hosts.
        """
        if not self._table.most_told:
            return
        self._last_ended_us = max(self._last_ended_us, at_us)
        self._ended[host] = max(self._ended.pop(host, at_us), at_us)
        if len(self._ended) > MOST_ENDED:
            if elsewhere:
                del self._ended[next(iter(self._ended))]
            else:
                self.note_all_ended(self._last_ended_us)

    def note_all_ended(self, now_us: int) -> None:
        """The whole whitelist was emptied here."""
        self._last_ended_us = self._all_ended_us = now_us
        self._ended.clear()

    def bar(self, hosts: Mapping[bytes, int], now_us: int) -> None:
        """These were ended before this start (Whitelist.bar)."""
        if hosts:
            self._barred, self._barred_at_us = hosts, now_us

    def _was_barred(self, host: bytes, said_us: int, until_us: int) -> bool:
        """Whether this was said before the host was ended here, in an earlier run."""
        barred_us = max(self._barred.get(host, 0), self._barred.get(ALL, 0))
        # A bar lasts as long as any entry that was there (mirrors/disk/state.py), but for those that were let in by
        # hand for a longer time: of these nobody knows when they were ended.
        ended_us = barred_us - self.lifetimes_us[1]
        return barred_us > 0 and (
            said_us <= ended_us if ended_us < self._barred_at_us else until_us <= barred_us + ROUNDED_US)

    def _kept(self, records: bytes, said_us: int) -> bytes:
        """Those that may be entered."""
        if said_us <= self._all_ended_us:
            return b""
        hosts = () if said_us > max(self._last_ended_us, self._barred_at_us) else [
            records[at : at + 16] for at in range(0, len(records), TOLD_SIZE)]
        # Mostly none of them was ended: a load has a million, and a second.
        barred = self._barred if said_us < self._barred_at_us else {}
        if ALL not in barred and self._ended.keys().isdisjoint(hosts) and barred.keys().isdisjoint(hosts):
            return records
        kept = []
        for at, host in enumerate(hosts):
            record = records[at * TOLD_SIZE : (at + 1) * TOLD_SIZE]
            left_us = int.from_bytes(record[16:20], "big") * 1_000_000
            if self._ended.get(host, said_us - 1) < said_us and not (
                    barred and self._was_barred(host, said_us, said_us + left_us)):
                kept.append(record)
        return b"".join(kept)

    # ---- what comes in

    def take(  # noqa: PLR0913  # what the teller says of all records
        self, records: bytes, now_us: int, *, age_us: int, longest_us: int, gateway: int, servers: bytes, most: int = 0,
    ) -> tuple[Told, Taken]:
        """As Whitelist.told(), but that nobody is told of it; and which hosts have changed."""
        kept = self._kept(records, now_us - age_us)
        lifetime_us, proven_us = self.lifetimes_us
        taken = take(self._table, kept, now_us, age_us=age_us, longest_us=min(longest_us, lifetime_us),
                     proven_us=min(longest_us, proven_us), gateway=gateway, most=most, servers=servers,
                     meetings=self.meetings)
        ended = (len(records) - len(kept)) // TOLD_SIZE
        return Told(taken.entered, taken.renewed, taken.known, taken.left_out, taken.over + ended,
                    taken.no_hosts, Counter(memoryview(taken.gateways).cast("H"))), taken

    def note(self, notes: Mapping[bytes, str], changed: Sequence[bytes], now_us: int, age_us: int) -> None:
        """These are noted of hosts that are told; a note of an entry that has gone (replaced_of) goes."""
        for host, _ in self._provenance.noted(set(changed)):
            self._provenance.forget(host)
        since_s = int(time.time() - age_us / 1e6)
        for host, text in notes.items():
            found = self._table.find(host, now_us)
            if found is not None and found[2] == PEER:
                self._provenance.note_told(host, since_s, text)

    # ---- what goes

    def is_older(self, host: bytes, before_us: int, now_us: int) -> bool:
        """Whether a listed host's entry was told, or entered before that time as far as that can be known."""
        found = self._table.find(host, now_us)
        if found is None:
            return False
        entered_us = found[0] - self.lifetimes_us[self._table.is_proven(host, now_us)]
        if found[2] == PEER:
            # By its end it may be taken for older than it is, and never for younger.
            return entered_us <= before_us
        note = self._provenance.find(host)
        if note is not None:
            # One that was let in by hand may last for any time.
            since_us = now_us - int((time.time() - note.since_s) * 1e6)
            entered_us = since_us if entered_us > now_us else max(entered_us, since_us)
        return entered_us <= before_us or entered_us > now_us

    def told_by(self, gateway: int, before_us: int, now_us: int, start: int) -> tuple[list[bytes], int]:
        """Some hosts that this gateway alone has told of before then, and the next start; 0 at the end."""
        hosts, start = end_told(
            self._table, gateway, before_us, now_us, max(self.lifetimes_us), start, FLUSH_STEP)
        return [hosts[at : at + 16] for at in range(0, len(hosts), 16)], start


def changes_of(hosts: Sequence[bytes], became: bytes) -> list[tuple[bytes, Change]]:
    """What followers are told of these hosts."""
    return [(host, change) for host, what in zip(hosts, became, strict=True) for bit, change in _CHANGES if what & bit]


def met_of(hosts: Sequence[bytes], became: bytes) -> list[bytes]:
    """Those that met a fake server of their gateway."""
    return [host for host, what in zip(hosts, became, strict=True) if what & HAS_MET]


def replaced_of(hosts: Sequence[bytes], became: bytes) -> list[bytes]:
    """Those that were not listed before, and those that are listed no more."""
    return [host for host, what in zip(hosts, became, strict=True) if what & (WAS_ENTERED | HAS_MADE_ROOM)]
