"""Kernel table nft: sets with timeouts in a table of the operator's.

    mx_white4, mx_white6    all whitelisted hosts, with the time that is left to them: these must be there, but for that
                            of IPv6 where no server has such an address
    mx_used4, mx_used6      those of them that have reached the real server, if the ruleset has such sets: it accepts
                            them in the kernel alone, and shows the daemon the first connection of the others
    mx_fresh4, mx_fresh6    those of them that no contact renews yet, with the time until one does, if the ruleset has
                            such sets: it need not show the daemon their contacts
    mx_net4, mx_net6        of another target of this kind (roles): networks that contacts have let in, masked
    mx_refused, mx_accepted named counters of rules, if the ruleset has them

Elements without a timeout are the operator's own: they are never changed. Before a change the kernel is asked which of
the hosts are there, for two reasons: to delete a missing element would make the whole transaction fail, and on most
kernels the time of an element can be changed only by deleting it in the same transaction. A filling only adds elements:
others end by themselves, and before Linux 6.12 an element that is there already keeps its time. The sets of fresh hosts
are emptied in the same transaction: who stands there too long is not renewed.

Who is taken out is taken out of mx_met4 and mx_met6 as well, where the ruleset has them: there the kernel alone enters
those who contact the fake server, and lets them in for some seconds. In way d) it enters them into mx_white4 and the
like themselves, which are declared with the flag `dynamic`. Nobody is taken over from there who has so little time
left: of a newcomer nothing is known yet but that he came, and an entry of ours that is about to end does.
"""
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from mxallowd.engine.events import MAPPED
from mxallowd.mirrors import Copied, Listed, Listing, TargetError, TargetFull, TargetLacking, TargetRejects
from mxallowd.mirrors.kernel.asked import in_nft
from mxallowd.mirrors.kernel.connected import Connected
from mxallowd.mirrors.kernel.nfmessages import Batch, Remaining
from mxallowd.mirrors.kernel.nfquery import NfQuery, TargetEnded
from mxallowd.mirrors.kernel.nftread import grew, look_up
from mxallowd.mirrors.kernel.nftset import (
    MET_S,
    OF_HOSTS,
    OF_NETWORKS,
    WHOLE,
    Filling,
    NftSet,
    Role,
    met_of,
)
from mxallowd.mirrors.kernel.nfttakeout import FLUSH_S, READ_S, Writing, enter, exchange, take_out

OWN_S = 1.5
# What a listed time may be off before it is corrected.
TOLERANCE_S = 2
COUNTERS = {"mx_refused": "refused", "mx_accepted": "accepted", "mx_denied": "denied"}
# At most so many entries each; a set may hold hosts that the daemon has given up but the kernel has not yet.
LARGEST_SET = 1 << 24
# What a host adds to a transaction at most: it is taken out of three sets, and entered into them; and what names these.
HOST_BYTES, BATCH_BYTES = 3 * (28 + 52), 4096
PROBE_S = 1
PROBES = 3
# A change under which an element has ended is made in so many parts, and those that fail in parts again.
PARTS = 8


class NftTable(Connected[NfQuery]):
    """The sets of one table of nft."""

    expires = True
    longest_s = math.inf
    sample = 32
    roles = OF_HOSTS
    network_key: tuple[int, int] | None = None  # as of the settings, for questions
    at_door: bool = False  # it is a table for way d): sets that are created are such that its rules can enter hosts

    def __init__(
        self, table: str, *, setup: bool, max_entries: int, ipv6: bool = True, counts_only: bool = False,
    ) -> None:
        """`table` is family and name; `ipv6`: whether a server has such an address.

        `counts_only`: its ruleset has to let through what it would drop, as in a dry run; see `drops`.
        """
        self.drops = False
        self._counts_only = counts_only
        self.name = f"nft {table}"
        self._table = table
        self._setup = setup
        self._size = min(2 * max_entries, LARGEST_SET)
        self._sets = [NftSet(role, version) for role in self.roles for version in (4, 6)]
        self._needed = {
            f"{Role.WHITE.value}{version}" for version in ((4, 6) if ipv6 else (4,)) if Role.WHITE in self.roles}
        # At this generation of the ruleset the operator's own elements were all known.
        self._known_at: int | None = None

    # ---- the operator's table

    def _connect(self) -> NfQuery:
        return NfQuery(*self._table.split())

    def inspect(self) -> None:
        """See whether the sets are there and of the right kind; create what is missing, where that was asked for."""
        found = self._query.sets(one.name for one in self._sets)
        missing = [one for one in self._sets if one.name not in found]
        if self._setup and missing:
            self._query.create(((one.name, one.kind, self._size) for one in missing), COUNTERS,
                               [one.name for one in missing if self.at_door and one.role in WHOLE])
            found = self._query.sets(one.name for one in self._sets)
            self._known_at = None
        if not found and self.roles is OF_NETWORKS:
            raise TargetLacking("there is no set mx_net4 or mx_net6")
        if not found:
            raise TargetError(f"table {self._table} or its sets are missing")
        for one in self._sets:
            if one.name in found:
                one.found(found[one.name])
            else:
                one.present, one.dynamic = False, self.at_door and one.role in WHOLE
                if one.name in self._needed:
                    raise TargetError(f"set {one.name} is missing: {one.remedy(self._table)}")
        if self._counts_only and (drops := self._query.drops("mx_refused")) is not None:
            self.drops = drops

    def probe(self) -> None:
        """Enter an address that no packet can come from, for a second, see it there, and take it out again."""
        keys = {one.name: key for one in self._sets if one.present and (key := self._free_key(one)) is not None}
        for _ in range(PROBES):
            batch = self._query.batch()
            for name, key in keys.items():
                batch.enter(name, key, PROBE_S)
            try:
                self._commit(batch)
            except TargetFull:
                # So far it came, and no further is asked for.
                return
            there = {name: [key] for name, key in keys.items() if self._query.get(name, [key])}
            try:
                batch = self._query.batch()
                for name, found in there.items():
                    batch.remove(name, found)
                self._commit(batch)
            except TargetError:
                # It ended in between.
                continue
            if len(there) == len(keys):
                return
        raise TargetError("what is entered into the sets is not found there")

    def _free_key(self, one: NftSet) -> bytes | None:
        held = self._query.get(one.name, one.no_sources)
        return next((key for key in one.no_sources if key not in held), None)

    # ---- elements

    def read(self) -> tuple[list[Copied], bool]:
        """What the sets hold."""
        self.inspect()
        generation = self._query.generation()
        times: dict[bytes, Remaining] = {}
        used: set[bytes] = set()
        fresh: dict[bytes, int] = {}
        complete = True
        deadline = time.monotonic() + READ_S
        # In way d) a flood fills the last of them, and not those of hosts that have been let in before.
        for one in sorted(self._sets, key=lambda one: one.role in WHOLE):
            if not one.present:
                continue
            since = time.monotonic()
            known = {one.key(host) for host in used if one.takes(host)} if one.role is Role.WHITE else set()
            # A flood must not leave them no time: half of it is theirs.
            share = 0.5 if known and one.dynamic else 1.0
            held, all_of_it = self._query.dump(one.name, max(0.0, share * (deadline - since)))
            complete = complete and all_of_it and not (one.dynamic and grew(held, since))
            # Who has been let in before is known from the sets of used hosts, which no rule changes.
            more, all_of_it = look_up(self._query, one.name, sorted(known - held.keys()), deadline)
            held |= more
            # Where some were not seen, others may not have been either.
            complete = complete and all_of_it and not more
            one.own = {key: raw for key, raw in held.items() if isinstance(raw, bytes)}
            if one.role is Role.USED:
                used.update(map(one.host, held))
            elif one.role in WHOLE:
                for key in [key for key, left in held.items() if _may_be_met(left)] if one.dynamic else ():
                    held[key] = 0.0
                times.update((one.host(key), remaining) for key, remaining in held.items())
            else:
                fresh.update((one.host(key), int(left)) for key, left in held.items() if not isinstance(left, bytes))
        self._known_at = generation if complete else None
        keeping = {one.version == 4 for one in self._sets if one.present and one.role is Role.FRESH}
        return [Copied(host, None if isinstance(left, bytes) else int(left), host in used,
                       fresh.get(host, 0) if keeping and host.startswith(MAPPED) in keeping else None)
                for host, left in times.items()], complete

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        """Enter hosts, or correct their time, and take others out, in one transaction where that has room."""
        listed = list({one.host: one for one in listed}.values())
        hosts = len(listed) + len(unlisted)
        most = max(1, (self._query.room(BATCH_BYTES + HOST_BYTES * hosts) - BATCH_BYTES) // HOST_BYTES)
        self._change_parts(listed, unlisted, most)

    def _change_parts(self, listed: Sequence[Listed], unlisted: Sequence[bytes], most: int) -> None:
        for first in range(0, len(listed) + len(unlisted), most):
            from_unlisted = max(0, first - len(listed)), max(0, first + most - len(listed))
            self._change_some(listed[first : first + most], unlisted[slice(*from_unlisted)])

    def _change_some(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        hosts = len(listed) + len(unlisted)
        for again in reversed(range(PROBES if hosts == 1 else 1)):
            try:
                self._change_or_less(listed, unlisted)
                return
            except TargetEnded:
                # An element has ended between the question and the transaction. Where rules enter many that end soon,
                # this is so each time, but for few hosts: the time in between is shorter. What is wrong with the set
                # or the table fails for the first host as well.
                if hosts > 1:
                    self._change_parts(listed, unlisted, -(-hosts // PARTS))
                elif not again:
                    raise

    def _change_or_less(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        try:
            self._change(listed, unlisted)
        except TargetFull:
            # Which set it is, nobody says. Without the fresh ones, contacts are shown that need not be.
            if not any(one.present for one in self._sets if one.role is Role.FRESH):
                raise
            self._change([one._replace(fresh_s=0) for one in listed], unlisted)
        except (TargetRejects, TargetEnded):
            raise
        except TargetError:
            # What is wrong fails again.
            self._change(listed, unlisted)

    def _change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        batch = self._query.batch()
        for one in self._sets:
            # Where one that must be there is not, a change is still tried, and fails.
            if not one.present and one.name not in self._needed:
                continue
            wanted = {one.key(entry.host): seconds for entry in listed
                      if one.takes(entry.host) and (seconds := one.seconds(entry))}
            gone = {one.key(host) for host in unlisted if one.takes(host)}
            if one.role is Role.FRESH:
                gone |= {one.key(entry.host) for entry in listed if one.takes(entry.host) and not one.seconds(entry)}
            held = self._query.get(one.name, [*wanted, *(gone - wanted.keys())])
            out = []
            for key, left in held.items():
                if isinstance(left, bytes):
                    one.own[key] = left
                    wanted.pop(key, None)
                elif key in wanted and abs(left - wanted[key]) < TOLERANCE_S:
                    del wanted[key]
                else:
                    out.append(key)
            batch.remove(one.name, sorted(out))
            for key, seconds in wanted.items():
                batch.enter(one.name, key, seconds)
        self._commit(batch)
        for version, name in met_of(self.roles).items() if unlisted else ():
            self._forget_met(name, [host[12:] if version == 4 else host for host in unlisted
                                    if host.startswith(MAPPED) == (version == 4)])

    def _forget_met(self, name: str, keys: Sequence[bytes]) -> None:
        """Take these out of a set that the kernel fills. Where that fails, they end by themselves within seconds."""
        # A transaction of its own: what ends in between would make all of it fail, and is then asked for again.
        for _ in range(PROBES):
            with suppress(TargetError):
                gone = sorted(key for key, left in self._query.get(name, keys).items() if not isinstance(left, bytes))
                if gone:
                    batch = self._query.batch()
                    batch.remove(name, gone)
                    self._commit(batch)
                return

    def refill(self, entries: Listing) -> int:
        """Enter all of these in one transaction; where there is no room, in place of all that is there."""
        self.inspect()
        present = [one for one in self._sets if one.present]
        self._learn_own(present)
        filling = Filling(entries, present)
        batch = self._query.batch()
        for one in present:
            # An own element of the operator's that was not read is lost here: contacts are shown that need not be.
            if one.role is Role.FRESH and not one.dynamic:
                batch.empty(one.name)
                for raw in one.own.values():
                    batch.restore(one.name, raw)
        enter(batch, filling)
        try:
            self._commit(batch)
        except TargetFull:
            exchange(Writing(self._query, self._commit), filling, present)
        return filling.left_out

    def flush(self) -> None:
        """Take out all that ends, which is not the operator's own."""
        self.inspect()
        deadline = time.monotonic() + FLUSH_S
        known: set[bytes] = set()
        # As for reading: those that a flood fills come last, and whoever has been let in before is in the others.
        for one in sorted(self._sets, key=lambda one: one.role in WHOLE):
            if one.present:
                length = len(one.no_sources[0])
                known |= take_out(Writing(self._query, self._commit), one, deadline,
                                  known=[key for key in known if len(key) == length])

    def _commit(self, batch: Batch) -> None:
        before = self._query.generation()
        if before != self._known_at:
            self._known_at = None
        self._query.commit(batch)
        # Ours is one step; with any other, the operator may have entered something.
        after = self._query.generation()
        if self._known_at is not None:
            self._known_at = after if after - before <= 1 else None

    def _learn_own(self, present: Iterable[NftSet]) -> None:
        """Know the operator's own elements, as far as they can be read in time."""
        generation = self._query.generation()
        if generation == self._known_at:
            return
        complete = True
        for one in present:
            held, all_of_it = self._query.dump(one.name, OWN_S)
            found = {key: raw for key, raw in held.items() if isinstance(raw, bytes)}
            complete = complete and all_of_it
            # A listing may lack some of them. He may have removed others since.
            again = self._query.get(one.name, sorted(one.own.keys() - found.keys()))
            one.own = found | {key: raw for key, raw in again.items() if isinstance(raw, bytes)}
        self._known_at = generation if complete else None

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that are not in a set where they must be."""
        found: set[bytes] = set()
        for one in self._sets:
            if one.role is Role.FRESH or not (one.present or one.name in self._needed):
                continue
            keys = [one.key(host) for host, used in hosts.items()
                    if one.takes(host) and (used or one.role in WHOLE)]
            held = self._query.get(one.name, keys)
            found.update(one.host(key) for key in keys if key not in held)
        return found

    def sets_of(self, host: bytes) -> dict[str, bool]:
        """Which sets of the table hold the host."""
        return in_nft(self._query, host, self.network_key)

    def totals(self) -> dict[str, int]:
        """Packets that the named counters have counted."""
        counted = {word: self._query.packets(name) for name, word in COUNTERS.items()}
        return {word: packets for word, packets in counted.items() if packets is not None}


def _may_be_met(left: Remaining) -> bool:
    """Whether a rule may have entered it, so that it becomes no entry of ours."""
    return not isinstance(left, bytes) and left <= MET_S


class NftContactNetworks(NftTable):
    """The sets of networks that contacts have let in."""

    roles = OF_NETWORKS
