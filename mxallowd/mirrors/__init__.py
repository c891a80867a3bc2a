"""Mirrors: copies of the whitelist elsewhere. A mirror (mirror.py) follows the whitelist and keeps a target the same.

A target holds one copy: a table of the firewall (kernel/). This module is the interface of a target. Its words: a host
is **listed** by the whitelist, and **copied** by the target. tests/target_conformance.py checks every target against
the promises here.
"""
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from mxallowd.errors import MxallowdError
from mxallowd.whitelist import RECORD_SIZE, Follower, unpack

# In the order of bytes: used before unused, the latest end first.
_RANKED = struct.Struct(">?Q16s")
_LATEST_US = (1 << 64) - 1
ALWAYS_S = 1 << 62  # a contact renews the entry in any case


class TargetError(MxallowdError):
    """The target is not as it must be, or does not take a change; the text says why."""


class TargetWrong(TargetError):
    """The target is there and of another kind: whoever made it has to make it anew."""


class TargetLacking(TargetError):
    """The target is not there, and need not be."""


class TargetFull(TargetError):
    """The target has no room."""


class TargetRejects(TargetError):
    """The target does not take one of these hosts, and would take others; the text is what it said."""


class Listed(NamedTuple):
    """A whitelisted host as it is to stand in the target."""

    host: bytes
    remaining_s: int  # at least 1
    used: bool  # it has reached the real server
    fresh_s: int = 0  # so long no contact renews it, so the kernel need not show one; 0: from now on it may


class Copied(NamedTuple):
    """A host as it stands in the target."""

    host: bytes
    remaining_s: int | None  # None: for ever, which is the operator's own entry; 0 where the target keeps no times
    used: bool
    fresh_s: int | None = None  # Listed.fresh_s as it stands there; None: the target keeps no such time


class Listing:
    """All whitelisted hosts, as the table gave them: records, unpacked only where they are looked at.

    A target of a million is filled without a million objects at a time, of whose memory some would never go back.
    """

    def __init__(  # noqa: PLR0913  # how all of it is to stand there
        self, records: Iterable[bytes], now_us: int, renewable_s: int = 0, without: Container[bytes] = (), *,
        shows: Callable[[bytes], bool] | None = None, most_fresh_s: int = ALWAYS_S,
    ) -> None:
        """`records` as Whitelist.records() gives them, `without` these hosts; times are counted from `now_us`.

        An entry with at most `renewable_s` left is one that a contact renews. `shows`: so is
        that of a host that has not reached the real server, and of which it says so, so each of its contacts is shown.
        A contact is shown `most_fresh_s` after the last change of an entry at the latest, also where it renews nothing.
        """
        self._shows = shows
        self._records = [some for some in records if some]
        self._now_us = now_us
        self._renewable_s = renewable_s
        self._most_fresh_s = most_fresh_s
        self._without = without

    def times(self) -> Iterator[tuple[bytes, int]]:
        """Host, and until when."""
        return ((host, until_us) for host, until_us, _ in self._unpack())

    def best_first(self) -> Iterator[Listed]:
        """Those that were used, then the newest: for where not all have room."""
        # One string a host: as tuples they would take five times as much.
        best = [_RANKED.pack(not used, _LATEST_US - until_us, host) for host, until_us, used in self._unpack()]
        best.sort()
        for unused, before_us, host in map(_RANKED.unpack, best):
            yield self._listed(host, _LATEST_US - before_us, used=not unused)

    def _listed(self, host: bytes, until_us: int, *, used: bool) -> Listed:
        always = self._shows is not None and (not used or self._shows(host))
        renewable_s = ALWAYS_S if always else self._renewable_s
        return listed(host, until_us, used=used, now_us=self._now_us, renewable_s=renewable_s,
                      most_fresh_s=self._most_fresh_s)

    def _unpack(self) -> Iterator[tuple[bytes, int, int]]:
        found = chain.from_iterable(map(unpack, self._records))
        return (one for one in found if one[0] not in self._without) if self._without else found

    def __iter__(self) -> Iterator[Listed]:
        for host, until_us, used in self._unpack():
            yield self._listed(host, until_us, used=used != 0)

    def __len__(self) -> int:
        if self._without:
            return sum(1 for _ in self._unpack())
        return sum(map(len, self._records)) // RECORD_SIZE


def seconds_left(until_us: int, now_us: int) -> int:
    """Whole seconds, rounded up: the target does not forget before the daemon does."""
    return max(1, -(-(until_us - now_us) // 1_000_000))


def fresh_for(remaining_s: int, renewable_s: int, most_fresh_s: int) -> int:
    """So many seconds no contact of an entry with so much left need be shown; the rest as in Listing."""
    return min(max(0, remaining_s - renewable_s), most_fresh_s)


def listed(  # noqa: PLR0913  # as above
    host: bytes, until_us: int, *, used: bool, now_us: int, renewable_s: int, most_fresh_s: int = ALWAYS_S,
) -> Listed:
    """A host of the whitelist as it is to stand in a target now; the last two as in Listing."""
    remaining_s = seconds_left(until_us, now_us)
    return Listed(host, remaining_s, used, fresh_for(remaining_s, renewable_s, most_fresh_s))


class Original(Protocol):
    """What a mirror copies: the whitelist, or what looks like one. Calls as of Whitelist."""

    @property
    def now_us(self) -> Callable[[], int]:
        """The clock of the times."""

    def follow(self, follower: Follower) -> None:
        """Tell of changes."""

    def knows_real(self, host: bytes) -> bool:
        """Whether it is listed, and known to have connected to the real server."""

    def find(self, host: bytes) -> tuple[int, bool] | None:
        """Until when it is listed, and whether it was used."""

    def records(self) -> Iterator[bytes]:
        """All that is listed. Any thread may ask."""

    def sample(self, count: int) -> dict[bytes, tuple[int, bool]]:
        """Some of it."""

    def is_barred(self, host: bytes, until_us: int | None) -> bool:
        """Whether the copy must not bring it back."""

    def adopt(self, host: bytes, until_us: int, *, used: bool) -> bool:
        """Take it over from the copy."""

    def room(self) -> int:
        """How much could be adopted."""

    def __len__(self) -> int:
        """How much is listed."""


class Target(Protocol):
    """What a mirror asks of its target. All calls come from one thread at a time and may wait.

    Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form. Entries of the operator's own, which never end, stay
    as they are whatever is asked. A host that the target cannot hold at all is passed over, and is never missing.
    """

    name: str
    """For the log: what the operator called it."""
    expires: bool
    """Whether entries end there by themselves."""
    longest_s: float
    """The longest time that it can be told of an entry; what has more left is told this."""
    sample: int
    """How many hosts are asked for at an inspection."""
    drops: bool
    """Whether the ruleset was seen to drop, in a dry run in which the kernel decides; False also where none can see."""

    def open(self) -> None:
        """Get hold of what is needed to reach it. Raises StartError."""

    def inspect(self) -> None:
        """See whether it is there and of the right kind. Raises TargetError."""

    def read(self) -> tuple[list[Copied], bool]:
        """What it holds, and whether that is complete: reading very much is given up. Raises TargetError."""

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        """Enter hosts, or correct those that are there, and take others out, whether they are there or not.

        Of a host that is listed twice the last time counts. A mark of use that is no longer true may stay until the
        time is over that was told with it.
        Raises TargetError, TargetFull, TargetRejects: of these hosts some may have been changed then, and no other
        one.
        """

    def refill(self, entries: Listing) -> int:
        """Let it hold these, in one step: a host that it is to hold before and after is there all the time.

        How many are left out for want of room: not the best of them. Where entries expire, others that it holds may
        stay until their time is over. Raises TargetError, TargetRejects; nothing has changed then, or where the
        target cannot take all in one step, some of it.
        """

    def probe(self) -> None:
        """See whether it can be written: enter what lets nobody in, read it back, and take it out again.

        Should this end in the middle, nothing stays for longer than a second. One that is full can be written.
        Raises TargetError.
        """

    def flush(self) -> None:
        """Empty it, but for the operator's own. Raises TargetError."""

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that it does not hold, or not as used where that is True. Raises TargetError.

        One that keeps no marks of use looks at none.
        """

    def sets_of(self, host: bytes) -> dict[str, bool]:
        """By the names of its sets (asked.py), whether each holds the host; those that are not there are left out.

        Raises TargetError.
        """

    def totals(self) -> dict[str, int]:
        """Packets that rules counted, by the names `refused` and `accepted`, where there are such counters."""

    def close(self) -> None:
        """Give back what open() took; what it holds stays."""
