"""The decision once more, in plain Python: what the compiled packet path must agree with.

Nothing of the package is imported here. Addresses are 16 bytes, IPv4 in IPv4-mapped form; times are microseconds.
"""
from dataclasses import dataclass, field

MAPPED = bytes(10) + b"\xff\xff"
DROPPED, DENIED = "real-refused", "real-denied"


class Malformed(ValueError):
    """A header that cannot be parsed; the text is the reason."""


def addresses(packet: bytes) -> tuple[bytes, bytes]:
    """Source and destination of an IP packet. Raises Malformed."""
    if not packet:
        raise Malformed("empty")
    version = packet[0] >> 4
    if version not in (4, 6):
        raise Malformed("bad-version")
    if len(packet) < (20 if version == 4 else 40):
        raise Malformed("truncated")
    if version == 6:
        return packet[8:24], packet[24:40]
    header = 4 * (packet[0] & 15)
    if header < 20:
        raise Malformed("bad-header-length")
    if len(packet) < header:
        raise Malformed("truncated")
    return MAPPED + packet[12:16], MAPPED + packet[16:20]


CONTACT, RESTORED, PEER = 0, 3, 4
COUNTED = (CONTACT, RESTORED)


def port(packet: bytes) -> int:
    """The source's port of a TCP packet, 0 where there is none."""
    if len(packet) < 20:
        return 0
    if packet[0] >> 4 == 4 and packet[9] == 6 and int.from_bytes(packet[6:8], "big") & 0x1FFF == 0:
        header = 4 * (packet[0] & 15)
        return int.from_bytes(packet[header : header + 2], "big") if 20 <= header <= len(packet) - 2 else 0
    if len(packet) >= 42 and packet[0] >> 4 == 6 and packet[6] == 6:
        return int.from_bytes(packet[40:42], "big")
    return 0


SYN, SYN_ACK_RST_FIN = 0x02, 0x17
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)


def no_syn(packet: bytes) -> bool:
    """Whether a packet with a sound header is for certain no SYN without ACK, RST and FIN."""
    if packet[0] >> 4 == 4:
        if packet[9] != 6 or int.from_bytes(packet[6:8], "big") & 0x1FFF:
            return True
        at = 4 * (packet[0] & 15)
    else:
        protocol, at = packet[6], 40
        for _ in range(8):
            if protocol not in EXTENSIONS:
                break
            if len(packet) < at + 4:
                return False
            if protocol == 44 and int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF8:
                return True
            size = {44: 8, 51: 4 * (packet[at + 1] + 2)}.get(protocol, 8 * (packet[at + 1] + 1))
            protocol, at = packet[at], at + size
        else:
            return False
        if protocol != 6:
            return True
    return len(packet) > at + 13 and packet[at + 13] & SYN_ACK_RST_FIN != SYN


def is_host(address: bytes) -> bool:
    """Whether an address can be that of a host far away."""
    if address.startswith(MAPPED):
        return (address[12] not in (0, 127) and address[12] >> 4 != 14 and address[12:14] != b"\xa9\xfe"
                and address[12:] != b"\xff" * 4)
    return any(address[:8]) and address[0] != 0xFF and not (address[0] == 0xFE and address[1] >> 6 == 2)


def is_loopback(address: bytes) -> bool:
    """Whether it is this host's own."""
    return address == bytes(15) + b"\1" or (address.startswith(MAPPED) and address[12] == 127)


@dataclass
class Entry:
    """A listed host."""

    until_us: int
    origin: int = CONTACT
    used: bool = False
    proven: bool = False
    touched: bool = False


UNPROVEN_PART = 16


class Shard:
    """Entries by age: of hosts that are not proven, and of those that are, the youngest last."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ended = False
        # A dict keeps the order of arrival.
        self.unproven: dict[bytes, Entry] = {}
        self.proven: dict[bytes, Entry] = {}

    def __len__(self) -> int:
        return len(self.unproven) + len(self.proven)

    def is_full(self) -> bool:
        """Whether somebody has to make room for the next one."""
        return len(self) >= self.capacity

    def get(self, host: bytes) -> Entry | None:
        """The host's entry, expired or not."""
        return self.unproven.get(host) or self.proven.get(host)

    def touch(self, host: bytes) -> None:
        """Let it be the youngest where it belongs."""
        entry = self.unproven.pop(host, None) or self.proven.pop(host)
        entry.touched = False
        (self.proven if entry.proven else self.unproven)[host] = entry

    def is_misplaced(self, host: bytes) -> bool:
        """Whether another thread has touched or proven it."""
        entry = self.get(host)
        return entry is not None and (entry.touched or (entry.proven and host in self.unproven))

    def next_to_go(self) -> bytes:
        """Who makes room, unless it is misplaced."""
        few = len(self.unproven) <= self.capacity // UNPROVEN_PART and self.proven
        return next(iter(self.proven if few or not self.unproven else self.unproven))


class Whitelist:
    """A bounded whitelist in shards: a host is found in any of them and added to one. The last one may be `main`'s."""

    def __init__(self, max_entries: int, shards: int = 1, main: int = 0) -> None:
        rest = max_entries - main
        self.shards = [Shard(rest // shards + (i < rest % shards)) for i in range(shards)]
        self.shards += [Shard(main)] if main else []
        self.added = self.successful = self.direct_to_fake = self.evicted = self.proven = self.ended = 0

    def find(self, host: bytes, now_us: int) -> Entry | None:
        """The entry of a listed host that is not expired."""
        found = (shard.get(host) for shard in self.shards)
        return next((entry for entry in found if entry and entry.until_us > now_us), None)

    def mark_used(self, host: bytes, now_us: int) -> bool:
        """Note that a host reached the real server. True the first time."""
        entry = self.find(host, now_us)
        first = entry is not None and not entry.used
        if entry:
            entry.used = True
        return first

    def prove(self, host: bytes, now_us: int) -> bool:
        """Note that a host has completed a handshake. True the first time."""
        entry = self.find(host, now_us)
        first = entry is not None and not entry.proven
        self.proven += first
        if entry:
            entry.proven = True
        return first

    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let a listed host's entry end later."""
        entry = self.find(host, now_us)
        if entry is None or entry.until_us >= until_us:
            return False
        entry.until_us = until_us
        entry.touched = True
        return True

    def meet_again(self, host: bytes, until_us: int, now_us: int, shard: int, *, due: bool, fake: bool) -> bool:
        """What a packet of a listed host does to its entry; True: its time was restarted."""
        own, entry = next(
            (one, entry) for one in self.shards if (entry := one.get(host)) and entry.until_us > now_us)
        renewed = due and entry.until_us < until_us
        if renewed:
            entry.until_us = until_us
        if renewed or (fake and own.is_full() and not entry.proven):
            if own is self.shards[shard]:
                own.touch(host)
            else:
                entry.touched = True
        return renewed

    def end(self, host: bytes, now_us: int) -> bool:
        """Let a listed host's entries end now; they stay where they are until somebody needs the room."""
        ended = False
        for shard in self.shards:
            entry = shard.get(host)
            if entry and entry.until_us > now_us:
                entry.until_us = 0
                shard.ended = True
                self.ended += 1
                ended = True
        return ended

    def add(
        self, host: bytes, until_us: int, now_us: int, *, origin: int = CONTACT, shard: int = 0,
    ) -> None:
        """Enter a host; one that is listed stays as it is."""
        own = self.shards[shard]
        entry = own.get(host)
        if entry and entry.until_us > now_us:
            return
        if entry:
            self._remove(own, host, now_us)
        if own.is_full():
            self._evict(own, now_us)
        own.unproven[host] = Entry(until_us, origin)
        self.added += 1

    def admit(self, host: bytes, until_us: int, now_us: int, origin: int) -> bool:
        """Enter a host into the main thread's shard. False: it is listed, or there is no room."""
        if self.find(host, now_us):
            return False
        main = len(self.shards) - 1
        self.expire(now_us, 2, shard=main)
        if self.shards[main].is_full() and not self._has_room(main, now_us):
            return False
        self.add(host, until_us, now_us, origin=origin, shard=main)
        return True

    def _has_room(self, shard: int, now_us: int) -> bool:
        self.expire(now_us, 2, shard=shard)
        own = self.shards[shard]
        return not own.is_full() or self._sweep_ended(own, now_us)

    def restore(
        self, host: bytes, until_us: int, origin: int, used: bool, proven: bool, now_us: int, shard: int,
    ) -> str:
        """Enter a host as it was listed before: what became of it."""
        if until_us <= now_us:
            return "ended"
        listed = self.find(host, now_us)
        if listed:
            listed.used |= used
            listed.proven |= proven
            if listed.origin == RESTORED or (listed.origin == PEER and origin not in (PEER, RESTORED)):
                listed.origin = origin
            self.renew(host, until_us, now_us)
            return "known"
        own = self.shards[shard]
        if not own.get(host) and own.is_full() and not self._has_room(shard, now_us):
            return "left-out"
        self.add(host, until_us, now_us, origin=origin, shard=shard)
        own.unproven[host].used = used
        own.unproven[host].proven = proven
        return "entered"

    def expire(self, now_us: int, budget: int, *, shard: int = 0) -> None:
        """Remove expired hosts in so many steps at the old ends; a misplaced one moves on."""
        own = self.shards[shard]
        for order in (own.unproven, own.proven):
            while budget > 0:
                budget -= 1
                host = next(iter(order), None)
                if host is None:
                    break
                if order[host].until_us <= now_us:
                    self._remove(own, host, now_us)
                elif own.is_misplaced(host):
                    own.touch(host)
                else:
                    break

    def sweep(self, now_us: int) -> None:
        """Remove all expired entries."""
        for shard in self.shards:
            for host, entry in [*shard.unproven.items(), *shard.proven.items()]:
                if entry.until_us <= now_us:
                    self._remove(shard, host, now_us)

    def counters(self) -> dict[str, int]:
        """The counters of the table; they agree with the compiled ones once both were swept."""
        return {
            "entries": sum(entry.until_us != 0 for shard in self.shards
                           for entry in (*shard.unproven.values(), *shard.proven.values())),
            "added": self.added, "successful": self.successful,
            "direct-to-fake": self.direct_to_fake, "evicted": self.evicted, "proven": self.proven, "ended": self.ended,
        }

    def _sweep_ended(self, own: Shard, now_us: int) -> bool:
        """Where entries were ended since it last looked, all that are expired go (of at most 256)."""
        if not own.ended:
            return False
        own.ended = False
        for host, entry in [*own.unproven.items(), *own.proven.items()]:
            if entry.until_us <= now_us:
                self._remove(own, host, now_us)
        return len(own) < own.capacity

    def _evict(self, own: Shard, now_us: int) -> None:
        if self._sweep_ended(own, now_us):
            return
        for order in (own.proven, own.unproven):
            host = next(iter(order), None)
            if host is not None and order[host].until_us <= now_us:
                self._remove(own, host, now_us)
                return
        while own.is_misplaced(own.next_to_go()):
            own.touch(own.next_to_go())
        self._remove(own, own.next_to_go(), now_us)

    def _remove(self, shard: Shard, host: bytes, now_us: int) -> None:
        entry = shard.unproven.pop(host, None) or shard.proven.pop(host)
        if entry.until_us > now_us:
            self.evicted += 1
        elif entry.until_us and entry.origin in COUNTED:
            self.successful += entry.used
            self.direct_to_fake += not entry.used


DAY_US, AGAIN_US = 86_400_000_000, 35_000_320
PATIENCE = 6


@dataclass
class Refusals:
    """When the attempts of a host began that were refused, and their last SYN."""

    attempts: list[int] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    last: int = -DAY_US


class Oracle:
    """The decision: the destination's role, then the whitelist. `blocked` is the first counter of the contract."""

    def __init__(
        self, whitelist: Whitelist, fake: list[bytes], real: list[bytes], lifetime_s: int, renew: str = "never",
    ) -> None:
        self.whitelist = whitelist
        self.blocked = 0
        self.renewed = self.used = False
        self.lists: list[tuple[bool, bytes, int]] = []
        self.patience: tuple[int, int] | None = None  # times, and microseconds from each to the next
        self.refusals: dict[bytes, Refusals] = {}
        self.network_key: tuple[int, int] | None = None  # bits of IPv4 and of IPv6
        self.let_in: dict[tuple[bool, int], int] = {}  # networks, until when
        self.publish(fake, real, lifetime_s, renew)

    def publish(self, fake: list[bytes], real: list[bytes], lifetime_s: int, renew: str = "never") -> None:
        """Let other rules hold from now on."""
        self.fake, self.real, self.lifetime_us, self.renew = fake, real, lifetime_s * 1_000_000, renew
        self.fresh_us = self.lifetime_us - self.lifetime_us // 8

    def listed(self, source: bytes) -> str:
        """What `lists` say, (denied, first address, length of 128 bits): the longest holds, deny of equal ones."""
        number = int.from_bytes(source, "big")
        found = [(length, denied) for denied, first, length in self.lists
                 if (number ^ int.from_bytes(first, "big")) >> (128 - length) == 0
                 and source.startswith(MAPPED) == (first.startswith(MAPPED) and length >= 96)]
        return ("deny" if max(found)[1] else "allow") if found else ""

    def decide(self, packet: bytes, now_us: int, shard: int = 0) -> str:
        """The outcome of a packet that arrived at `now_us`; it is dropped where that is DROPPED or DENIED.

        `renewed` is then whether it has restarted the time of an entry, `used` whether an allowed host used its own
        entry for the first time.
        """
        self.renewed = self.used = False
        try:
            source, destination = addresses(packet)
        except Malformed:
            return "malformed"
        if no_syn(packet):
            return "no-syn"
        if packet[0] >> 4 == 6 and source.startswith(MAPPED):
            source = bytes(16)
        fake = destination in self.fake
        if not fake and destination not in self.real:
            return "other"
        ours = source in self.fake or source in self.real
        entry = self.whitelist.find(source, now_us)
        listed = "" if ours or is_loopback(source) else self.listed(source)
        if listed == "deny":
            self.blocked += not fake
            return "fake-denied" if fake else DENIED
        if entry is None:
            if not fake and listed == "allow":
                return "real-allowed"
            if not fake:
                if ours or is_loopback(source):
                    return "other"
                return self._refuse(packet, source, now_us, shard)
            if ours or not is_host(source):
                return "fake-no-host"
            self.whitelist.add(source, now_us + self.lifetime_us, now_us, shard=shard)
            self._let_network_in(source, now_us)
            return "fake-new"
        due = self.renew in ("both", "contact" if fake else "use") and entry.until_us - now_us <= self.fresh_us
        self.renewed = self.whitelist.meet_again(
            source, now_us + self.lifetime_us, now_us, shard, due=due, fake=fake)
        if self.renewed and (fake or entry.origin == CONTACT):
            self._let_network_in(source, now_us)
        if fake:
            return "fake-known"
        if listed == "allow":
            self.used = self.whitelist.mark_used(source, now_us)
            return "real-allowed"
        return "real-first" if self.whitelist.mark_used(source, now_us) else "real-again"

    def _refuse(self, packet: bytes, source: bytes, now_us: int, shard: int) -> str:
        """Refuse a host that is not listed, or let it in for its patience."""
        if self.let_in.get(self._network(source), 0) > now_us and is_host(source):
            return "real-network"
        if self.patience is None or not is_host(source):
            self.blocked += 1
            return DROPPED
        known = self.refusals.setdefault(source, Refusals())
        until_us = now_us + self.lifetime_us
        if self._enough(known.attempts, now_us):
            self.whitelist.add(source, until_us, now_us, origin=PATIENCE, shard=shard)
            self.whitelist.mark_used(source, now_us)
            return "real-patient"
        self.blocked += 1
        short = (port(packet) ^ port(packet) >> 8) & 0xFF
        again = now_us - known.last <= AGAIN_US and short in known.ports
        known.last = now_us
        if not again:
            known.ports = [*known.ports, short][-3:]
            known.attempts.append(now_us)
            if self._enough(known.attempts, now_us):
                self.whitelist.add(source, until_us, now_us, origin=PATIENCE, shard=shard)
        return DROPPED

    def _network(self, source: bytes) -> tuple[bool, int]:
        four = source.startswith(MAPPED)
        whole, bits = (32, self.network_key[0]) if self.network_key and four else (
            128, self.network_key[1]) if self.network_key else (0, 0)
        # No network where a host is its own.
        return (four, int.from_bytes(source, "big") >> (whole - bits)) if bits < whole else (four, -1)

    def _let_network_in(self, source: bytes, now_us: int) -> None:
        network = self._network(source)
        if self.network_key and network[1] >= 0:
            self.let_in[network] = max(self.let_in.get(network, 0), now_us + self.lifetime_us)

    def _enough(self, attempts: list[int], now_us: int) -> bool:
        """N of them within a day, each at least TIME after the one before."""
        assert self.patience
        times, wait_us = self.patience
        count, before = 0, -DAY_US
        for at in attempts:
            if now_us - at <= DAY_US and (count == 0 or at - before >= wait_us // 4096 * 4096):
                count, before = count + 1, at
        return count >= times
