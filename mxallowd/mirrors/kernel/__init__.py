"""Kernel tables: copies of the whitelist in the firewall, so that known senders cost no user space at all.

One module each with one interface: `nft` (sets with timeouts), `ipset` (the same for iptables), `pf` (a table of the
BSDs). The operator owns the ruleset; these modules change what stands in the sets and nothing else. Every call here may
wait for the kernel, so the mirror that calls them (mirror.py) does so from a thread of its own, one call at a time.
"""
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from mxallowd.errors import MxallowdError
from mxallowd.settings import Settings

_LISTED = struct.Struct("=16sQ?")
# In the order of bytes: used before unused, the latest end first.
_RANKED = struct.Struct(">?Q16s")
_LATEST_US = (1 << 64) - 1


class TableError(MxallowdError):
    """The kernel's table is not as it must be, or does not take a change; the text says why."""


class TableFull(TableError):
    """The kernel's table has no room."""


class Known(NamedTuple):
    """A whitelisted host as it is to stand in the kernel."""

    host: bytes
    remaining_s: int  # at least 1
    used: bool  # it has reached the real server


class Listing:
    """Whitelisted hosts, each with the microsecond until which it is, in compact form.

    A table of a million is filled without a million objects at a time, of whose memory some would never go back.
    """

    def __init__(self, entries: Iterable[tuple[bytes, int, bool]], now_us: int) -> None:
        self._now_us = now_us
        self._records = bytearray()
        for entry in entries:
            self._records += _LISTED.pack(*entry)

    def times(self) -> Iterator[tuple[bytes, int]]:
        """Host, and until when."""
        return ((host, until_us) for host, until_us, _ in _LISTED.iter_unpack(self._records))

    def best_first(self) -> Iterator[Known]:
        """Those that have proven themselves, then the newest: for where not all have room."""
        # One string a host: as tuples they would take five times as much.
        best = [_RANKED.pack(not used, _LATEST_US - until_us, host)
                for host, until_us, used in _LISTED.iter_unpack(self._records)]
        best.sort()
        for unused, before_us, host in map(_RANKED.unpack, best):
            yield Known(host, seconds_left(_LATEST_US - before_us, self._now_us), not unused)

    def __iter__(self) -> Iterator[Known]:
        for host, until_us, used in _LISTED.iter_unpack(self._records):
            yield Known(host, seconds_left(until_us, self._now_us), used)

    def __len__(self) -> int:
        return len(self._records) // _LISTED.size


def seconds_left(until_us: int, now_us: int) -> int:
    """Whole seconds, rounded up: the kernel does not forget before the daemon does."""
    return max(1, -(-(until_us - now_us) // 1_000_000))


class Held(NamedTuple):
    """A host as it stands in the kernel."""

    host: bytes
    remaining_s: int | None  # None: for ever, which is the operator's own entry and stays untouched
    used: bool


class KernelTable(Protocol):
    """What the sink asks of a kernel table. All calls come from one thread at a time and may wait."""

    name: str
    """For the log: what the operator called it."""
    forgets: bool
    """Whether entries end in the kernel by themselves."""

    sample: int
    """How many hosts are asked for at an inspection."""

    def open(self) -> None:
        """Get hold of what is needed to reach the kernel. Raises StartError."""

    def inspect(self) -> None:
        """See whether the table is there and of the right kind. Raises TableError."""

    def read(self) -> tuple[list[Held], bool]:
        """What it holds, and whether that is all of it: reading a very large table is given up. Raises TableError."""

    def change(self, listed: Sequence[Known], unlisted: Sequence[bytes]) -> None:
        """Enter hosts, or correct the time of those that are there, and take others out, at once.

        Raises TableError, TableFull; nothing has changed then.
        """

    def refill(self, entries: Listing) -> int:
        """Let it hold these, in one transaction; how many are left out for want of room: not the best of them.

        Others that it holds may stay until their time is over. Raises TableError; nothing has changed then.
        """

    def flush(self) -> None:
        """Empty it, but for the operator's own. Raises TableError."""

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that it does not hold, or not as used where that is True. Raises TableError."""

    def totals(self) -> dict[str, int]:
        """Packets that rules counted, by the names `refused` and `accepted`, where the ruleset has such counters."""

    def close(self) -> None:
        """Give back what open() took."""


def create(settings: Settings) -> list[KernelTable]:
    """The kernel tables that the settings choose. Raises StartError."""
    # Each module is imported only when chosen.
    tables: list[KernelTable] = []
    if settings.nft_table is not None:
        from mxallowd.mirrors.kernel.nft import NftTable  # noqa: PLC0415

        tables.append(NftTable(settings.nft_table, setup=settings.nft_setup, max_entries=settings.max_entries))
    if settings.ipset:
        from mxallowd.mirrors.kernel.ipset import IpsetTable  # noqa: PLC0415

        tables.append(IpsetTable())
    if settings.pf_table is not None:
        from mxallowd.mirrors.kernel.pf import PfTable  # noqa: PLC0415

        tables.append(PfTable(settings.pf_table))
    return tables
