"""Kernel table pf: a table of the packet filter of FreeBSD, OpenBSD and NetBSD, by pfctl(8) in the privileged helper.

Its entries have no time: the mirror takes them out. The table belongs to the daemon; hosts of the operator's own belong
into another one. After a restart what it holds is taken over, for a whole lifetime, since nothing says how old it is.
"""
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from mxallowd.engine.events import packed
from mxallowd.mirrors import Copied, Listed, Listing, TargetError, TargetFull
from mxallowd.mirrors.kernel.helper import Operation, Verb
from mxallowd.mirrors.kernel.privileged import Privileged

NOBODY = packed("255.255.255.255")  # no packet has such a source


class PfTable:
    """One table of pf."""

    expires = False
    longest_s = math.inf
    sample = 32
    drops = False

    def __init__(self, table: str) -> None:
        self.name = f"pf {table}"
        self._table = table
        self._helper = Privileged("pf", table)

    def open(self) -> None:
        """Start the helper. Raises StartError."""
        self._helper.start()

    def close(self) -> None:
        """End the helper."""
        self._helper.close()

    def inspect(self) -> None:
        """See whether the table is there."""
        if self._table not in self._helper.ask(Verb.INSPECT).split():
            raise TargetError(f"table <{self._table}> is missing: declare it in pf.conf, table <{self._table}> persist")

    def probe(self) -> None:
        """Take out what is not there: that needs the same rights as a change, and an entry would have no end."""
        self._helper.ask(Verb.CHANGE, [(Operation.DELETE, NOBODY)])

    def read(self) -> tuple[list[Copied], bool]:
        """What the table holds; networks and what is no address are passed over."""
        self.inspect()
        copied = []
        for text in self._helper.ask(Verb.READ).split():
            try:
                copied.append(Copied(packed(text), 0, used=False))
            except OSError:
                continue
        return copied, True

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        """Delete, then add."""
        self._helper.ask(Verb.CHANGE, [
            *((Operation.DELETE, host) for host in unlisted),
            *((Operation.ADD, one.host) for one in listed)])

    def refill(self, entries: Listing) -> int:
        """Let the table hold just these; how many had no room."""
        self.inspect()
        count, wanted = len(entries), iter(entries)
        while True:
            try:
                self._helper.ask(Verb.REPLACE, ((Operation.ADD, one.host) for one in wanted))
                return len(entries) - count
            except TargetFull:
                # pf.conf limits the entries of all tables together: how much room there is, nobody says.
                if count <= 1:
                    raise
                count //= 2
                wanted = islice(entries.best_first(), count)

    def flush(self) -> None:
        """Empty the table."""
        self.refill(Listing((), 0))

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that the table does not hold."""
        # pfctl says how many there are; which ones, it is asked only where that is not clear.
        there = self._count(hosts)
        if there in (0, len(hosts)):
            return set() if there else set(hosts)
        return {host for host in hosts if not self._count([host])}

    def sets_of(self, host: bytes) -> dict[str, bool]:
        """Whether the table holds the host."""
        return {self._table: bool(self._count([host]))}

    def _count(self, hosts: Collection[bytes]) -> int:
        return int(self._helper.ask(Verb.TEST, ((Operation.ADD, host) for host in hosts))) if hosts else 0

    def totals(self) -> dict[str, int]:
        """pf keeps its counters by rules, which are the operator's: none."""
        return {}
