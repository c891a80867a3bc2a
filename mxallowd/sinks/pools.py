"""Pools: registered domains below which a host is whitelisted that met the fake server, a host of its name, or by hand.

With --pool-domain such a host is a **founder**: refused hosts with a confirmed name below the same registered domain
come in. Who came in so founds once it has completed a handshake: at most 64 hosts of a domain come in, so the chain has
an end. Who came in by patience, or before a restart that nobody knows more of, founds nothing until it meets the fake
server itself.

A name that carries an address (dns/dialup.py) is no name of a pool. Founders are remembered for MAX_DOMAINS domains,
the one that was founded longest ago goes first, and for MOST_FOUNDERS hosts of each. A founder whose entry has ended
is found out when it is asked for; one that comes in again in another way is dropped when it does.
"""
from collections import OrderedDict
from collections.abc import Callable

from mxallowd.dns.dialup import carries_address
from mxallowd.dns.zones import owned_domain
from mxallowd.provenance import LONGEST_POOL
from mxallowd.sinks.members import Members

MAX_DOMAINS = 65_536  # 33 MB at the very most
MOST_FOUNDERS = 8  # of a domain, and domains of a host
MAX_MET = 65_536  # hosts; who met the fake server first goes first


class Pools:
    """Domains with their founders, and refused hosts that wait for one. Hosts are 16 bytes."""

    def __init__(self, lives: Callable[[bytes], bool], clock: Callable[[], float]) -> None:
        """`lives`: whether a host is whitelisted now."""
        self.on = False
        self._lives = lives
        self._founders: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._domains: dict[bytes, tuple[str, ...]] = {}
        self._waiting = Members(clock)
        self._met: dict[bytes, None] = {}

    def domain_of(self, host: bytes, name: str) -> str | None:
        """The domain by which a host of this name belongs to a pool; None: there is none."""
        domain = self._owned(name)
        return None if domain is None or carries_address(name, host) else domain

    def founder(self, host: bytes, name: str) -> tuple[str, bytes] | None:
        """The domain by which this host may come in, and a living founder."""
        domain = self._owned(name)
        # Most names belong to no pool: the patterns are looked at last.
        founder = None if domain is None else self._living(domain)
        if domain is None or founder is None or carries_address(name, host):
            return None
        return domain, founder

    def found(self, host: bytes, name: str, *, told: bool = False) -> list[bytes]:
        """This host, whitelisted, has this confirmed name. The refused hosts that waited for it, to be looked up.

        `told`: another gateway says so. The domains of such hosts are half of all at most.
        """
        domain = self.domain_of(host, name)
        if domain is None or (told and domain not in self._founders and len(self._founders) >= MAX_DOMAINS // 2):
            return []
        founders = self._founders.get(domain, ())
        if host not in founders:
            if len(founders) >= MOST_FOUNDERS:
                # Who lives stays.
                for one in [one for one in founders if not self._lives(one)]:
                    self.drop(one)
                founders = self._founders.get(domain, ())
            own = self._domains.get(host, ())
            if len(founders) < MOST_FOUNDERS and len(own) < MOST_FOUNDERS:
                self._founders[domain] = (*founders, host)
                self._domains[host] = (*own, domain)
        if domain in self._founders:
            self._founders.move_to_end(domain)
        while len(self._founders) > MAX_DOMAINS:
            self._forget_oldest()
        return self._waiting.take(domain)

    def wait(self, host: bytes, name: str) -> None:
        """This refused host may come in as soon as somebody founds its domain."""
        domain = self.domain_of(host, name)
        if domain is not None:
            self._waiting.note(domain, host)

    def has(self, host: bytes) -> bool:
        """Whether it is a founder."""
        return host in self._domains

    def drop(self, host: bytes) -> None:
        """Its entry has ended, or is another one now."""
        self._met.pop(host, None)
        for domain in self._domains.pop(host, ()):
            left = tuple(one for one in self._founders[domain] if one != host)
            if left:
                self._founders[domain] = left
            else:
                del self._founders[domain]

    def note_met(self, host: bytes) -> None:
        """It is listed, whatever for, and met the fake server."""
        if host in self._met:
            return
        self._met[host] = None
        if len(self._met) > MAX_MET:
            del self._met[next(iter(self._met))]

    def has_met(self, host: bytes) -> bool:
        """Whether it did so in this run."""
        return host in self._met

    def tick(self) -> None:
        """Forget who has waited too long."""
        self._waiting.tick()

    def clear(self) -> None:
        """Forget all."""
        self._founders.clear()
        self._domains.clear()
        self._met.clear()

    def __len__(self) -> int:
        """Domains."""
        return len(self._founders)

    def _owned(self, name: str) -> str | None:
        domain = owned_domain(name) if self.on else None
        return domain if domain is not None and len(domain) <= LONGEST_POOL else None

    def _living(self, domain: str) -> bytes | None:
        for host in self._founders.get(domain, ()):
            if self._lives(host):
                return host
            self.drop(host)
        return None

    def _forget_oldest(self) -> None:
        domain, founders = self._founders.popitem(last=False)
        for host in founders:
            left = tuple(one for one in self._domains[host] if one != domain)
            if left:
                self._domains[host] = left
            else:
                del self._domains[host]
