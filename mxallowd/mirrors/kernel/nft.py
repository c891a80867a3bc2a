"""Kernel table nft: sets with timeouts in a table of the operator's.

    mx_white4, mx_white6    all whitelisted hosts, with the time that is left to them: these must be there
    mx_used4, mx_used6      those of them that have reached the real server, if the ruleset has such sets: it accepts
                            them in the kernel alone, and shows the daemon the first connection of the others
    mx_refused, mx_accepted named counters of rules, if the ruleset has them

Elements without a timeout are the operator's own: they are never changed. libnftables lists and creates sets. Messages
to the kernel (nfquery.py) change the elements, one transaction each. Before a change the kernel is asked which of the
hosts are there, for two reasons: to delete a missing element would make the whole transaction fail, and on most kernels
the time of an element can be changed only by deleting it in the same transaction. A filling only adds elements: others
end by themselves, and before Linux 6.12 an element that is there already keeps its time.
"""
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from mxallowd.engine.events import MAPPED
from mxallowd.errors import StartError
from mxallowd.mirrors import Copied, Listed, Listing, TargetError, TargetFull
from mxallowd.mirrors.kernel.libnftables import Nft, open_nft
from mxallowd.mirrors.kernel.nfquery import Element, NfQuery

# Reading a set takes the kernel a time that grows with the square of its size: 400,000 elements in this one.
READ_S = 5.0
OWN_S = 1.5
# What a listed time may be off before it is corrected.
TOLERANCE_S = 2
COUNTERS = {"mx_refused": "refused", "mx_accepted": "accepted"}
# At most so many entries each; a set may hold hosts that the daemon has given up but the kernel has not yet.
LARGEST_SET = 1 << 24


class _Set:
    """One set of the table."""

    def __init__(self, name: str, version: int, *, used: bool) -> None:
        self.name = name
        self.version = version
        self.used = used
        self.kind = f"ipv{version}_addr"
        self.present = False
        self.size: int | None = None
        self.own: set[bytes] = set()  # elements without a timeout

    def key(self, host: bytes) -> bytes:
        """A host as the set has it."""
        return host[12:] if self.version == 4 else host

    def host(self, key: bytes) -> bytes:
        """A key as the daemon has it."""
        return MAPPED + key if self.version == 4 else key

    def takes(self, host: bytes) -> bool:
        """Whether the host is of the set's family."""
        return host.startswith(MAPPED) == (self.version == 4)

    def elements(self, entries: Iterable[Listed], own: set[bytes]) -> Iterator[Element]:
        """What of these is to be in it beside the operator's own."""
        for one in entries:
            if self.takes(one.host) and (one.used or not self.used) and (key := self.key(one.host)) not in own:
                yield key, one.remaining_s

    def fault(self, found: dict[str, Any]) -> str | None:
        """Why the set that was found cannot be used."""
        flags = found.get("flags", [])
        flags = [flags] if isinstance(flags, str) else flags
        if found.get("type") != self.kind:
            return f"set {self.name} is of type {found.get('type')}, it must be {self.kind}"
        if "timeout" not in flags:
            return f"set {self.name} has no timeouts, declare it with flags timeout"
        if "interval" in flags:
            return f"set {self.name} holds intervals, declare it with flags timeout alone"
        return None


class NftTable:
    """The sets of one table of nft."""

    expires = True
    sample = 32

    def __init__(self, table: str, *, setup: bool, max_entries: int) -> None:
        self.name = f"nft {table}"
        self._table = table
        self._setup = setup
        self._size = min(2 * max_entries, LARGEST_SET)
        self._sets = [
            _Set("mx_white4", 4, used=False), _Set("mx_white6", 6, used=False),
            _Set("mx_used4", 4, used=True), _Set("mx_used6", 6, used=True)]
        self._nft: Nft | None = None
        self._query: NfQuery | None = None

    # ---- the operator's table

    def open(self) -> None:
        """Load the library, and open a socket. Raises StartError."""
        try:
            self._nft = open_nft()
            self._query = NfQuery(*self._table.split())
        except OSError as error:
            raise StartError(f"{self.name}: {error}") from None

    def close(self) -> None:
        """Give back both."""
        if self._nft:
            self._nft.close()
        if self._query:
            self._query.close()

    def inspect(self) -> None:
        """See whether the sets are there and of the right kind; create what is missing, where that was asked for."""
        found = self._list_sets()
        missing = [one for one in self._sets if one.name not in found]
        if self._setup and missing:
            self._create(missing)
            found = self._list_sets()
        for one in self._sets:
            one.present = one.name in found
            if one.present:
                fault = one.fault(found[one.name])
                if fault:
                    raise TargetError(fault)
                one.size = found[one.name].get("size")
            elif not one.used:
                raise TargetError(f"set {one.name} is missing" if found else f"table {self._table} or its sets are "
                                 "missing")

    def _list_sets(self) -> dict[str, dict[str, Any]]:
        assert self._nft
        try:
            listed = self._nft.ask(f"list sets table {self._table}")
        except TargetError as error:
            if "No such file or directory" in str(error):
                return {}
            raise
        return {one["set"]["name"]: one["set"] for one in listed if "set" in one}

    def _create(self, missing: Sequence[_Set]) -> None:
        # What is there stays as it is: adding a set again would change its size.
        assert self._nft
        self._nft.run("".join([
            f"add table {self._table}\n",
            *(f"add set {self._table} {one.name} {{ type {one.kind}; flags timeout; size {self._size}; }}\n"
              for one in missing),
            *(f"add counter {self._table} {name}\n" for name in COUNTERS)]))

    # ---- elements

    def read(self) -> tuple[list[Copied], bool]:
        """What the sets hold."""
        self.inspect()
        assert self._query
        times: dict[bytes, float | None] = {}
        used: set[bytes] = set()
        complete = True
        for one in self._sets:
            if not one.present:
                continue
            held, all_of_it = self._query.dump(one.name, READ_S)
            complete = complete and all_of_it
            one.own = {key for key, remaining in held.items() if remaining is None}
            if one.used:
                used.update(map(one.host, held))
            else:
                times.update((one.host(key), remaining) for key, remaining in held.items())
        return [Copied(host, None if remaining is None else int(remaining), host in used)
                for host, remaining in times.items()], complete

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        """Enter hosts, or correct their time, and take others out, in one transaction."""
        try:
            self._change(listed, unlisted)
        except TargetFull:
            raise
        except TargetError:
            # An element may have ended between the question and the transaction; what else is wrong fails again.
            self._change(listed, unlisted)

    def _change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        assert self._query
        removed: dict[str, list[bytes]] = {}
        added: dict[str, Iterable[Element]] = {}
        for one in self._sets:
            if not one.present and one.used:
                continue
            wanted: dict[bytes, int | None] = {
                one.key(entry.host): entry.remaining_s for entry in listed
                if one.takes(entry.host) and (entry.used or not one.used)}
            gone = [one.key(host) for host in unlisted if one.takes(host)]
            held = self._query.get(one.name, [*wanted, *gone])
            out = {key for key in gone if held.get(key) is not None}
            for key, remaining in held.items():
                seconds = wanted.get(key)
                if remaining is None:
                    one.own.add(key)
                    wanted.pop(key, None)
                elif seconds is not None and abs(remaining - seconds) < TOLERANCE_S:
                    del wanted[key]
                elif seconds is not None:
                    out.add(key)
            removed[one.name], added[one.name] = sorted(out), wanted.items()
        self._query.change(removed, added)

    def refill(self, entries: Listing) -> int:
        """Enter all of these in one transaction; where there is no room, in place of all that is there."""
        self.inspect()
        try:
            return self._fill(entries, flush=False)
        except TargetFull:
            return self._fill(entries, flush=True)

    def flush(self) -> None:
        """Empty the sets, but for the operator's own."""
        self.inspect()
        self._fill(Listing((), 0), flush=True)

    def _fill(self, entries: Listing, *, flush: bool) -> int:
        assert self._query
        added: dict[str, Iterable[Element]] = {}
        left_out = 0
        for one in self._sets:
            if not one.present:
                continue
            own = self._own(one, read=flush)
            wanted: Iterable[Element] = one.elements(entries, own)
            if one.size is not None and len(entries) > one.size - len(own):
                room = max(0, one.size - len(own))
                left_out += max(0, sum(1 for _ in wanted) - room)
                wanted = islice(one.elements(entries.best_first(), own), room)
            added[one.name] = chain(((key, None) for key in own), wanted)
        self._query.change({}, added, emptied=added if flush else ())
        return left_out

    def _own(self, one: _Set, *, read: bool) -> set[bytes]:
        """The operator's own elements, as far as they are known, or can be read in time."""
        assert self._query
        if read:
            held, _ = self._query.dump(one.name, OWN_S)
            one.own.update(key for key, remaining in held.items() if remaining is None)
        # He may have removed some since.
        one.own = {key for key, remaining in self._query.get(one.name, sorted(one.own)).items() if remaining is None}
        return one.own

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that are not in a set where they must be."""
        assert self._query
        found: set[bytes] = set()
        for one in self._sets:
            if one.used and not one.present:
                continue
            keys = [one.key(host) for host, used in hosts.items() if one.takes(host) and (used or not one.used)]
            held = self._query.get(one.name, keys)
            found.update(one.host(key) for key in keys if key not in held)
        return found

    def totals(self) -> dict[str, int]:
        """Packets that the named counters have counted."""
        assert self._query
        counted = {word: self._query.packets(name) for name, word in COUNTERS.items()}
        return {word: packets for word, packets in counted.items() if packets is not None}
