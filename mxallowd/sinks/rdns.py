"""The reverse DNS sink: a sender with several addresses under one name gets in from each of them.

After a host contacted the fake server, its name is looked up, and each other address of the name becomes a **child**. A
host that was refused is looked up as well. If its name is whitelisted now, it becomes a child, and its next SYN passes;
if not, members.py remembers it. With --pool-domain it is enough that its name is below the registered domain of a
whitelisted host's name (pools.py, founding.py). waiting.py decides which host is looked up next, lookups.py when and
how.

A name counts only if its own addresses contain the host (forward-confirmed), since the owner of a PTR record may write
anything into it. How many come in by one contact, name and domain has a bound (grants.py), and no child removes
anybody. No packet waits for anything here. Everything is bounded, and what exceeds a bound is counted.
"""
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from mxallowd.dns.hostnames import MAX_NAMES, normal_name
from mxallowd.dns.resolver import Resolver
from mxallowd.dns.zones import registered_domain
from mxallowd.engine.events import Event, Kind, address_text
from mxallowd.provenance import Pool
from mxallowd.settings import Settings
from mxallowd.sinks.founding import Founding
from mxallowd.sinks.grants import Grant, Grants
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.knownnames import Known, KnownNames
from mxallowd.sinks.lookups import Lookup, Lookups
from mxallowd.sinks.members import Members
from mxallowd.sinks.waiting import Bounded
from mxallowd.whitelist import GONE, Change, Whitelist

MAX_KNOWN_NAMES = 65536
# Contacts of hosts that are listed already, for which the packet path has restarted the time.
AGAIN: tuple[int, ...] = (Kind.RENEWED,)
MET = (Kind.WHITELISTED, *AGAIN)


class RdnsSink:
    """Looks hosts up and admits what their names entail."""

    def __init__(
        self, settings: Settings, hostlog: HostLog, whitelist: Whitelist, resolver: Resolver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hostlog = hostlog
        self._whitelist = whitelist
        self._resolver = resolver
        # Whitelisted names, and those of hosts that met the fake server of another gateway: they push out none of ours.
        self._names, self._told_names = KnownNames(MAX_KNOWN_NAMES), KnownNames(MAX_KNOWN_NAMES)
        self._number = 0
        # Whose entries were ended, at which number: what they brought before are names of no whitelisted host.
        self._ended: Bounded[bytes, int] = Bounded(MAX_KNOWN_NAMES)
        self._members = Members(clock)
        self._grants = Grants(settings.rdns_max_children, lambda host: (whitelist.find(host) or (0, False))[0])
        self.named: Callable[[bytes, str, bool], None] = lambda host, name, confirmed: None
        """Told of a name that a lookup has given, and whether its addresses contain the host."""
        self.trusts: Callable[[str], bool] = lambda name: False
        """Whether hosts with this name are let in for the name alone."""
        self.trust: Callable[[bytes, str], None] = lambda host, name: None
        """Told of a host with such a name, whose addresses contain it."""
        self._lookups = Lookups(settings, self, resolver, hostlog, clock)
        self._counters = self._lookups.counters
        self._waiting = self._lookups.waiting
        self._founding = Founding(settings, whitelist, self._grants, self._lookups, clock)
        self._pools = self._founding.pools
        self.limits, self.queries = self._lookups.limits, self._lookups.queries  # for others who ask as well
        self.reload(settings)
        whitelist.follow_as_copier(self)
        whitelist.tellings.named = self._take_told

    # ---- what the main loop calls

    def handle(self, events: Sequence[Event]) -> None:
        """Queue the hosts of contacts and refusals."""
        if not self._grants.most_of_a_contact:
            # Nobody may come in by a name, so nobody is asked about.
            return
        self._founding.take(events)
        active = self._lookups.active
        for event in events:
            if event.source in active:
                if event.kind in MET:
                    # Asked about as a refused host just now: the answer is taken as a contact's.
                    active[event.source].met = True
            elif event.kind == Kind.WHITELISTED:
                self._waiting.queue_contact(event.source)
            elif event.kind in AGAIN:
                self._waiting.queue_renewed(event.source)
            elif event.kind == Kind.ACCEPTED:
                self._waiting.promote(event.source)
            elif event.kind == Kind.REFUSED:
                self._waiting.queue_refused(event.source)
        self._lookups.start()

    def tick(self) -> None:
        """What is due by time: for those who wait, and for the resolver."""
        self._waiting.tick()
        self._members.tick()
        self._founding.tick(self._hostlog)
        self._grants.expire(self._whitelist.now_us())
        # Stress mode may have ended.
        self._lookups.start()
        self._resolver.tick()

    def reload(self, settings: Settings) -> None:
        """Take over the settings that can change, and read the resolvers again."""
        self._lifetime_us = settings.whitelist_time * 1_000_000
        # In a fleet a contact renews an entry each minute; names do not change so fast.
        self._waiting.renewed_s = settings.whitelist_time / 8 if settings.fleet else 0.0
        self._founding.reload(settings)
        self._grants.most_of_a_contact = settings.rdns_max_children
        self._lookups.reload(settings)
        self._resolver.reload(settings.dns_server)

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return self._counters | {"limited": self._waiting.limited, "zones-set-aside": self._lookups.limits.set_aside}

    def fill(self) -> float:
        """How full the longest queue of hosts is, 1.0 being its bound."""
        return self._lookups.fill()

    async def addresses(self, name: str) -> list[bytes]:
        """Addresses of a name that an operator asks about. Raises LookupFailed."""
        return await self._lookups.addresses(name)

    async def confirmed_names(self, host: bytes) -> list[str]:
        """Names of a host whose addresses contain it. Raises LookupFailed."""
        return await self._lookups.confirmed_names(host)

    def close(self) -> None:
        """End what is under way; nothing of it is lost that a restart would not ask again."""
        self._founding.close()
        self._lookups.close()
        self._resolver.close()

    # ---- what the whitelist tells

    def changed(self, host: bytes, change: Change) -> None:
        """The names of a host whose entry is ended let nobody in any more, the host itself and its children least."""
        known = change in GONE and (self._names.has(host) or self._told_names.has(host))
        if known and self._ended.note(host, self._number):
            # Too many to remember: then all names go.
            self._names.clear()
            self._told_names.clear()
            self._ended.clear()

    def touched(self, hosts: list[bytes]) -> None:
        """What the packet path does comes as events."""

    def missed(self) -> None:
        """What was ended is told without fail."""

    def _take_told(self, host: bytes, names: Sequence[str]) -> None:
        """Another gateway has confirmed these names of a contact of its own."""
        found = self._whitelist.find(host)
        # As with a contact here: nobody may come in by a name, or the host is not listed any more.
        if found is None or not self._grants.most_of_a_contact:
            return
        self._number += 1
        for name in filter(None, map(normal_name, names[:MAX_NAMES])):
            self._told_names.note(name, Known(found[0], host, self._number))
            for member in self._members.take(name):
                # Its addresses are not known here.
                self._waiting.queue_refused(member)
            self._founding.found_elsewhere(host, name)
        self._lookups.start()

    # ---- what a lookup comes to

    def is_wanted(self, host: bytes, name: str) -> bool:
        """Whether this refused host would come in now if the name were confirmed."""
        return self.is_listed(name) or self._pools.founder(host, name) is not None

    def is_listed(self, name: str) -> bool:
        """Whether the name is that of a whitelisted host now."""
        return self._listed_until_us(name) > 0 or self.trusts(name)

    def _listed_until_us(self, name: str) -> int:
        """Until when the name is that of a whitelisted host; 0: it is not.

        Connections may have prolonged the entry of the host that met the fake server, or of one of its children. The
        name then lets in for as long as any other contact.
        """
        now_us = self._whitelist.now_us()
        for known in filter(None, (self._names.find(name), self._told_names.find(name))):
            if known.number <= self._ended.get(known.source, -1):
                continue
            if known.until_us > now_us:
                return known.until_us
            if self._whitelist.find(known.source) or self._grants.of_name(name):
                return now_us + self._lifetime_us
        return 0

    def done(self, lookup: Lookup) -> None:
        """Admit what the lookup entails."""
        self._grants.expire(self._whitelist.now_us())
        for name in lookup.found or lookup.names[:1]:
            self.named(lookup.host, name, bool(lookup.found))
            break
        for name, addresses in lookup.found.items():
            # Whatever else may be believed unconfirmed.
            if self.trusts(name) and lookup.host in addresses:
                self.trust(lookup.host, name)
        if lookup.met or lookup.listed:
            self._founding.take_lookup(lookup)
        if lookup.met:
            self._admit_family(lookup.host, lookup.found)
        elif not lookup.listed:
            self._admit_member(lookup)

    def _admit_family(self, source: bytes, found: dict[str, list[bytes]]) -> None:
        """The host met the fake server: its clock starts anew, and all other addresses of its names come in."""
        if not found:
            return
        now_us = self._whitelist.now_us()
        until_us = now_us + self._lifetime_us
        # Its time is restarted here once, at the first contact; what restarts it later is the packet path.
        # A proven host may be listed for longer anyway.
        if not self._whitelist.renew(source, until_us, now_us) and self._whitelist.find(source) is None:
            return
        self._number += 1
        for name in found:
            self._names.note(name, Known(until_us, source, self._number))
        self._whitelist.named(source, list(found))
        # In turn, so that each name has a share. First those who came in so before: they keep their places.
        pairs = [(address, name) for row in zip_longest(*([(one, name) for one in addresses] for name, addresses
                                                          in found.items())) for address, name in filter(None, row)]
        pairs = [(address, name) for address, name in pairs if address != source]
        own = [address for address, _ in pairs if (grant := self._grants.find(address)) and grant.contact == source]
        for address in own:
            self._prolong(address, until_us, now_us)
        self._admit_new(source, [pair for pair in pairs if pair[0] not in set(own)], until_us, now_us)
        for name, addresses in found.items():
            for member in self._members.take(name):
                if member in addresses:
                    self._admit(member, Grant(until_us, None, name, registered_domain(name)), now_us)
                else:
                    # The name may show others of its addresses each time.
                    self._waiting.queue_refused(member)

    def _admit_new(self, source: bytes, pairs: Iterable[tuple[bytes, str]], until_us: int, now_us: int) -> None:
        tried: set[bytes] = set()
        for address, name in pairs:
            if address in tried:
                continue
            if len(tried) >= self._grants.most_of_a_contact:
                # It has so many addresses that the others do not even count as left out one by one.
                self._counters["children-left-out"] += 1
                return
            tried.add(address)
            if not self._prolong(address, until_us, now_us):
                self._admit(address, Grant(until_us, source, name, registered_domain(name)), now_us)

    def _prolong(self, address: bytes, until_us: int, now_us: int) -> bool:
        """Whether it is listed already; then not for a shorter time than this."""
        if self._whitelist.find(address) is None:
            return False
        if self._whitelist.renew(address, until_us, now_us):
            self._counters["children-renewed"] += 1
        if self._grants.find(address):
            self._grants.prolong(address, until_us)
        return True

    def _admit_member(self, lookup: Lookup) -> None:
        """The host was refused: it comes in if one of its names is whitelisted now, or as soon as one is."""
        now_us = self._whitelist.now_us()
        for name in lookup.found:
            if (until_us := self._listed_until_us(name)) > 0:
                self._admit(lookup.host, Grant(until_us, None, name, registered_domain(name)), now_us)
                return
        for name in lookup.found:
            if (pool := self._pools.founder(lookup.host, name)) is not None:
                self._admit_of_pool(lookup.host, name, *pool, now_us)
                return
        for name in lookup.names:
            if not self.is_wanted(lookup.host, name):
                self._members.note(name, lookup.host)
                self._pools.wait(lookup.host, name)

    def _admit_of_pool(self, host: bytes, name: str, domain: str, founder: bytes, now_us: int) -> None:
        grant = Grant(now_us + self._lifetime_us, None, name, registered_domain(name), domain)
        note = Pool(domain, address_text(founder), name).text
        if self._grants.has_room(grant) and self._whitelist.admit(host, grant.until_us, now_us, note=note):
            self._grants.note(host, grant)
            self._counters["children"] += 1
            self._counters["pool-children"] += 1
            self._hostlog.info(
                "child", host, name=name, domain=domain, of=founder, seconds=self._lifetime_us // 1_000_000)
        elif self._whitelist.find(host) is None:
            self._counters["children-left-out"] += 1

    def _admit(self, address: bytes, grant: Grant, now_us: int) -> None:
        if self._grants.has_room(grant) and self._whitelist.admit(
                address, grant.until_us, now_us, note=grant.name):
            self._grants.note(address, grant)
            self._founding.found_too(address, grant.name, grant.contact)
            self._counters["children"] += 1
            of = {"of": grant.contact} if grant.contact else {}
            seconds = (grant.until_us - now_us) // 1_000_000
            self._hostlog.info("child", address, name=grant.name, **of, seconds=seconds)
        elif self._whitelist.find(address) is None:
            self._counters["children-left-out"] += 1
