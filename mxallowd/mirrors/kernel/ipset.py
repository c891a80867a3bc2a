"""Kernel table ipset: sets with timeouts for rules of iptables.

The sets have the names and the meaning of those of kernel table nft: mx_white4 and mx_white6 must be there, for the
families of the servers; mx_used4, mx_used6, mx_fresh4 and mx_fresh6 may be. Entries with the time 0 are the operator's
own.

ipset has no step that changes an entry only if it has a time, and no question for the time of one entry. So:

- A new host is entered by a request that fails where there is an entry already: it can change nothing of anybody's.
- Before an entry is corrected or taken out, the set is read, and the operator's own are left alone. Reading takes 0.1 s
  for some 200,000 entries, and is done for at most a tenth of the time: what the operator makes endless between our
  last look and our change of the very same host is lost. With 10,000 entries that is some milliseconds.
- A filling loses nothing: it fills another set beside each and exchanges both, then reads the old one once more, and
  carries over what the operator did meanwhile. Such an entry is not in the set for some milliseconds.
"""
import errno
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from mxallowd.engine.events import MAPPED
from mxallowd.mirrors import Copied, Listed, Listing, TargetError, TargetFull, TargetLacking, TargetRejects, TargetWrong
from mxallowd.mirrors.kernel import ipsetquery as messages
from mxallowd.mirrors.kernel.asked import in_ipset
from mxallowd.mirrors.kernel.connected import Connected
from mxallowd.mirrors.kernel.ipsetquery import INET, Command, Header, IpsetQuery, about, entry
from mxallowd.mirrors.kernel.nftset import (
    OF_HOSTS,
    OF_NETWORKS,
    WHOLE,
    Filling,
    NftSet,
    Role,
    met_of,
)

LONGEST_TIME_S = 2_147_483  # ipset(8)
# "Null-valued element, cannot be stored in a hash type of set"; anybody may own a name with such an address.
NULL = frozenset({MAPPED + bytes(4), bytes(16)})
# Reading a set is done again at the earliest after so many times what it took.
READ_SHARE = 10
TOLERANCE_S = 2
MOST_TOLD = 1 << 14
PROBE_S = 1
PROBES = 3
BUSY_S, BUSY_STEP_S = 2.0, 0.01
# What belongs to one entry, and not to the set.
OF_ONE_ENTRY = frozenset({errno.EINVAL, errno.ERANGE, errno.EPROTO, messages.EXIST, *range(4104, 4108),
                          *range(4109, 4120), *range(4353, 4400)})


class IpsetSet(NftSet):
    """One set of ipset: what belongs into it, and what is known of it."""

    def __init__(self, role: Role, version: int, bits: int | None = None) -> None:
        """`bits` is the length of the prefix where the set is one of networks."""
        super().__init__(role, version)
        self.mask = "" if bits in (None, 32, 128) else f"netmask {bits}"
        self.family = ("inet", "inet6")[version == 6]
        self.twin = f"{self.name}.new"
        self.header: Header | None = None
        self.read_at, self.reading_s = float("-inf"), 0.0
        # When the newest entries end, as they were told: most are asked for again within seconds.
        self.told: dict[bytes, float] = {}

    def seconds(self, one: Listed) -> int:
        """How long the host is to be in it; 0: not at all."""
        return 0 if one.host in NULL else min(super().seconds(one), LONGEST_TIME_S)

    def takes(self, host: bytes) -> bool:
        """Whether the host is of the set's family, and can be in a set."""
        return super().takes(host) and host not in NULL

    def remedy(self, table: str = "") -> str:
        """How the operator creates it."""
        mask = f"{self.mask} " if self.mask else ""
        return f"ipset create {self.name} hash:ip family {self.family} {mask}timeout 28800 maxelem 2000000"

    def take(self, header: Header | None) -> None:
        """Take over what the kernel has. Raises TargetError where that cannot be used."""
        self.present, self.header = header is not None, header
        if header is None:
            self.forget()
            return
        if header.kind != "hash:ip" or header.family != INET[self.version]:
            fault = f"is of another type, it must be hash:ip family {self.family}"
        elif header.mask != self.mask and self.mask:
            fault = f"has {header.mask or 'no netmask'}, and network-key wants {self.mask}"
        elif header.mask != self.mask:
            fault = f"has {header.mask}, so that one entry lets a whole network in"
        elif not header.timeouts:
            fault = "has no timeouts"
        else:
            self.size = header.maxelem or self.size
            return
        self.present = False
        raise TargetWrong(f"set {self.name} {fault}: remove the rules that use it, run `ipset destroy {self.name}`, "
                          f"then `{self.remedy()}`")

    def forget(self) -> None:
        """Know nothing of what it holds."""
        self.told.clear()
        self.own = {}
        self.read_at = float("-inf")

    def tell(self, key: bytes, seconds: int) -> None:
        """The entry was told to last so long."""
        self.told.pop(key, None)
        self.told[key] = time.monotonic() + seconds
        if len(self.told) > MOST_TOLD:
            del self.told[next(iter(self.told))]

    def was_told(self, key: bytes, seconds: int) -> bool:
        """Whether that is what the entry was told."""
        return abs(self.told.get(key, 0.0) - time.monotonic() - seconds) < TOLERANCE_S


class IpsetTable(Connected[IpsetQuery]):
    """The sets of ipset."""

    expires = True
    longest_s = float(LONGEST_TIME_S)
    sample = 32
    drops = False
    name = "ipset"

    def __init__(
        self, *, ipv4: bool = True, ipv6: bool = True, roles: Sequence[Role] = OF_HOSTS,
        key: tuple[int, int] | None = None,
    ) -> None:
        """For which families a set must be there: those of the servers. `roles` and `key` as of NftTable."""
        hosts = Role.WHITE in roles
        bits = (None, None) if hosts or key is None else key
        self._sets = [IpsetSet(role, version, bits[version == 6]) for role in roles for version in (4, 6)]
        self._needed = {f"{Role.WHITE.value}{version}"
                        for version, needed in ((4, ipv4), (6, ipv6)) if needed and hosts}
        self._roles, self._key = roles, key

    def _connect(self) -> IpsetQuery:
        return IpsetQuery()

    def inspect(self) -> None:
        """See whether the sets are there and of the right kind."""
        for one in self._sets:
            one.take(self._query.header(one.name))
            if not one.present and one.name in self._needed:
                raise TargetError(f"set {one.name} is missing: run `{one.remedy()}`")
        if self._roles is OF_NETWORKS and not any(one.present for one in self._sets):
            raise TargetLacking("there is no set mx_net4 or mx_net6")

    def _used(self) -> list[IpsetSet]:
        # Where one that must be there is not, a change is still tried, and fails.
        return [one for one in self._sets if one.present or one.name in self._needed]

    def probe(self) -> None:
        """Enter an address that no packet can come from, for a second, see it there, and take it out again."""
        for one in self._used():
            for _ in range(PROBES):
                if self._probe(one):
                    break
            else:
                raise TargetError(f"what is entered into set {one.name} is not found there")

    def _probe(self, one: IpsetSet) -> bool:
        for key in one.no_sources:
            if not any(key):
                continue
            [error] = self._query.run([about(messages.ADD, one.name, entry(key, PROBE_S), exclusive=True)])
            if error == messages.EXIST:
                continue
            if error == messages.FULL:
                return True
            self._raise(error, one)
            there, _ = self._query.run([about(messages.TEST, one.name, entry(key, 0)),
                                        about(messages.DELETE, one.name, entry(key, 0))])
            return there == 0
        # All are there already, and somebody else's.
        return True

    # ---- entries

    def read(self) -> tuple[list[Copied], bool]:
        """What the sets hold."""
        self.inspect()
        times: dict[bytes, int] = {}
        used: set[bytes] = set()
        fresh: dict[bytes, int] = {}
        for one in self._sets:
            if not one.present:
                continue
            one.own = {}
            for part in self._query.entries(one.name):
                one.own.update(messages.own_in(part))
                held = messages.entries_in(part, 4 if one.version == 4 else 16)
                if one.role is Role.USED:
                    used.update(one.host(key) for key, _ in held)
                else:
                    into = times if one.role in WHOLE else fresh
                    into.update((one.host(key), seconds) for key, seconds in held)
        keeping = [one for one in self._sets if one.present and one.role is Role.FRESH]
        return [Copied(host, seconds or None, host in used,
                       fresh.get(host, 0) if any(one.takes(host) for one in keeping) else None)
                for host, seconds in times.items()], True

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        """Take hosts out, enter new ones, and correct others, each for itself."""
        rejected: dict[bytes, str] = {}
        full: list[str] = []
        listed = list({one.host: one for one in listed}.values())
        # All that are taken out, before any is entered: one may have the room of the other.
        for one in self._used():
            gone = {one.key(host) for host in unlisted if one.takes(host)}
            if one.role is Role.FRESH:
                gone |= {one.key(each.host) for each in listed if one.takes(each.host) and not one.seconds(each)}
            self._take_out(one, sorted(gone))
        # The kernel's own: where it has ended, or there is no such set, there is nothing to be done.
        met = met_of(self._roles)
        self._query.run([about(messages.DELETE, met[4 if four else 6], entry(host[12:] if four else host, 0))
                         for host in unlisted if host not in NULL for four in [host.startswith(MAPPED)]])
        for one in self._used():
            wanted = {one.key(each.host): seconds for each in listed
                      if one.takes(each.host) and (seconds := one.seconds(each))}
            errors = self._enter(one, wanted, exclusive=True)
            others = {key: wanted[key] for key, error in errors.items()
                      if error == messages.EXIST and not one.was_told(key, wanted[key])}
            errors = {key: error for key, error in errors.items() if error != messages.EXIST}
            if others:
                own = self._own(one)
                errors |= self._enter(one, {key: seconds for key, seconds in others.items() if key not in own})
            for key, error in errors.items():
                if error in OF_ONE_ENTRY:
                    rejected[one.host(key)] = messages.said(error)
                elif error != messages.FULL:
                    self._raise(error, one)
                elif one.role is not Role.FRESH:
                    # Without the fresh ones, contacts are shown that need not be.
                    full.append(one.name)
        if full:
            raise TargetFull(f"the set {full[0]} is full")
        if rejected:
            raise TargetRejects(next(iter(rejected.values())))

    def _enter(self, one: IpsetSet, wanted: Mapping[bytes, int], *, exclusive: bool = False) -> dict[bytes, int]:
        """The errors of those that were not entered."""
        errors = self._query.run([about(messages.ADD, one.name, entry(key, seconds), exclusive=exclusive)
                                  for key, seconds in wanted.items()])
        failed = {key: error for key, error in zip(wanted, errors, strict=True) if error}
        for key, seconds in wanted.items():
            if key not in failed:
                one.tell(key, seconds)
        return failed

    def _take_out(self, one: IpsetSet, keys: Sequence[bytes]) -> None:
        there = self._there(one, keys)
        if not there:
            return
        own = self._own(one)
        gone = [key for key in there if key not in own]
        for key in gone:
            one.told.pop(key, None)
        for error in self._query.run([about(messages.DELETE, one.name, entry(key, 0)) for key in gone]):
            self._raise(error, one)

    def _there(self, one: IpsetSet, keys: Sequence[bytes]) -> list[bytes]:
        errors = self._query.run([about(messages.TEST, one.name, entry(key, 0)) for key in keys])
        for error in set(errors) - {messages.EXIST}:
            self._raise(error, one)
        return [key for key, error in zip(keys, errors, strict=True) if not error]

    def _own(self, one: IpsetSet) -> dict[bytes, bytes]:
        """The operator's own entries, as they are, or as they were a moment ago."""
        started = time.monotonic()
        if started - one.read_at >= READ_SHARE * one.reading_s:
            one.own = self._read_own(one.name)
            one.read_at = time.monotonic()
            one.reading_s = one.read_at - started
        return one.own

    def _read_own(self, name: str) -> dict[bytes, bytes]:
        own: dict[bytes, bytes] = {}
        for part in self._query.entries(name):
            own.update(messages.own_in(part))
        return own

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that are not in a set where they must be."""
        found: set[bytes] = set()
        for one in self._used():
            if one.role is Role.FRESH:
                continue
            keys = [one.key(host) for host, used in hosts.items()
                    if one.takes(host) and (used or one.role in WHOLE)]
            found.update(map(one.host, set(keys).difference(self._there(one, keys))))
        return found

    def sets_of(self, host: bytes) -> dict[str, bool]:
        """Which sets hold the host."""
        return in_ipset(self._query, host, self._key)

    # ---- fillings

    def refill(self, entries: Listing) -> int:
        """Let the sets hold just these and the operator's own; how many hosts had no room."""
        self.inspect()
        present = [one for one in self._sets if one.present]
        for one in present:
            one.own = self._read_own(one.name)
        filling = Filling(entries, present)
        # Those that an earlier filling left behind may be of another size.
        self._destroy(present)
        try:
            for one in present:
                assert one.header
                self._do(one, messages.create(one.twin, one.header))
            self._fill(filling, present)
            self._exchange(present)
            for one in present:
                self._carry_over(one)
        finally:
            self._destroy(present)
        return filling.left_out

    def _fill(self, filling: Filling, present: Iterable[IpsetSet]) -> None:
        twins = {one.name: one for one in present}
        waiting: dict[str, list[bytes]] = {name: list(one.own.values()) for name, one in twins.items()}
        for one in twins.values():
            # With comments they may be long.
            for own in waiting[one.name]:
                self._do(one, about(messages.ADD, one.twin, own))
            waiting[one.name] = []
        for place, key, seconds in filling.places():
            some = waiting[place.name]
            some.append(entry(key, seconds))
            if len(some) == messages.FILLING:
                self._do(twins[place.name], messages.filling(twins[place.name].twin, b"".join(some)))
                some.clear()
        for name, rest in waiting.items():
            if rest:
                self._do(twins[name], messages.filling(twins[name].twin, b"".join(rest)))

    def _exchange(self, present: Sequence[IpsetSet]) -> None:
        """All or none: what is in the middle of being read, by anybody, cannot be exchanged."""
        deadline = time.monotonic() + BUSY_S
        rest = list(present)
        while True:
            errors = self._query.run([messages.swap(one.name, one.twin) for one in rest])
            failed = [(one, error) for one, error in zip(rest, errors, strict=True) if error]
            rest = [one for one, _ in failed]
            if not rest:
                return
            if time.monotonic() > deadline or any(error != errno.EBUSY for _, error in failed):
                self._query.run([messages.swap(one.name, one.twin) for one in present if one not in rest])
                one, error = failed[0]
                self._raise(error, one)
            time.sleep(BUSY_STEP_S)

    def _carry_over(self, one: IpsetSet) -> None:
        """What the operator did to the set until it was exchanged."""
        before, one.own = one.own, self._read_own(one.twin)
        one.told.clear()
        one.read_at = float("-inf")
        self._query.run([
            *(about(messages.ADD, one.name, raw) for key, raw in one.own.items() if before.get(key) != raw),
            *(about(messages.DELETE, one.name, entry(key, 0)) for key in before if key not in one.own)])

    def _destroy(self, present: Iterable[IpsetSet]) -> None:
        with suppress(TargetError):
            self._query.run([messages.destroy(one.twin) for one in present])

    def flush(self) -> None:
        """Empty the sets, but for the operator's own."""
        self.refill(Listing((), 0))

    # ----

    def _do(self, one: IpsetSet, command: Command) -> None:
        [error] = self._query.run([command])
        self._raise(error, one)

    @staticmethod
    def _raise(error: int, one: IpsetSet) -> None:
        """Raise what an error says, if it is one."""
        if error == errno.ENOENT:
            raise TargetError(f"set {one.name} does not exist: run `{one.remedy()}`")
        if error == messages.FULL:
            raise TargetFull(f"the set {one.name} is full")
        if error in OF_ONE_ENTRY:
            raise TargetRejects(f"set {one.name}: {messages.said(error)}")
        if error:
            raise TargetError(f"set {one.name}: {messages.said(error)}")

    def totals(self) -> dict[str, int]:
        """The counters of iptables belong to rules without names: none."""
        return {}
