"""The decision once more, in plain Python: what the compiled packet path must agree with.

Nothing of the package is imported here. Addresses are 16 bytes, IPv4 in IPv4-mapped form; times are microseconds.
"""
from dataclasses import dataclass

MAPPED = bytes(10) + b"\xff\xff"
DROPPED = "real-refused"


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


CONTACT, RESTORED = 0, 3
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


@dataclass
class Entry:
    """A listed host."""

    until_us: int
    origin: int = CONTACT
    used: bool = False


class Shard:
    """Entries by age: `young` in the order of arrival, `proven` in the order in which they were found used."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ended = False
        # A dict keeps the order of arrival.
        self.young: dict[bytes, Entry] = {}
        self.proven: dict[bytes, Entry] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self.proven)

    def get(self, host: bytes) -> Entry | None:
        """The host's entry, expired or not."""
        return self.young.get(host) or self.proven.get(host)

    def promote(self, host: bytes) -> None:
        """Move a used host from `young` to `proven`."""
        self.proven[host] = self.young.pop(host)


class Whitelist:
    """A bounded whitelist in shards: a host is found in any of them and added to one. The last one may be `main`'s."""

    def __init__(self, max_entries: int, shards: int = 1, main: int = 0) -> None:
        rest = max_entries - main
        self.shards = [Shard(rest // shards + (i < rest % shards)) for i in range(shards)]
        self.shards += [Shard(main)] if main else []
        self.added = self.successful = self.direct_to_fake = self.evicted = self.full = self.ended = 0

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

    def renew(self, host: bytes, until_us: int, now_us: int) -> bool:
        """Let a listed host's entry end later."""
        entry = self.find(host, now_us)
        if entry is None or entry.until_us >= until_us:
            return False
        entry.until_us = until_us
        return True

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

    def add(self, host: bytes, until_us: int, now_us: int, *, origin: int = CONTACT, shard: int = 0) -> bool:
        """Enter a host; one that is listed stays as it is. False: no room, every entry is live and used."""
        own = self.shards[shard]
        entry = own.get(host)
        if entry and entry.until_us > now_us:
            return True
        if entry:
            self._remove(own, host, now_us)
        if len(own) == own.capacity and not self._evict(own, now_us):
            self.full += 1
            return False
        own.young[host] = Entry(until_us, origin)
        self.added += 1
        return True

    def admit(self, host: bytes, until_us: int, now_us: int, origin: int) -> bool:
        """Enter a host into the main thread's shard. False: it is listed, or there is no room."""
        if self.find(host, now_us):
            return False
        self.expire(now_us, 2, shard=len(self.shards) - 1)
        return self.add(host, until_us, now_us, origin=origin, shard=len(self.shards) - 1)

    def restore(self, host: bytes, until_us: int, origin: int, used: bool, now_us: int, shard: int) -> str:
        """Enter a host as it was listed before: what became of it."""
        if until_us <= now_us:
            return "ended"
        listed = self.find(host, now_us)
        if listed:
            listed.used |= used
            listed.until_us = max(listed.until_us, until_us)
            return "known"
        own = self.shards[shard]
        if not own.get(host) and len(own) == own.capacity:
            self.expire(now_us, 2, shard=shard)
            if len(own) == own.capacity and not self._sweep_ended(own, now_us):
                return "left-out"
        self.add(host, until_us, now_us, origin=origin, shard=shard)
        own.young[host].used = used
        return "entered"

    def expire(self, now_us: int, budget: int, *, shard: int = 0) -> None:
        """Remove expired hosts in so many steps at the old ends; a used one moves on."""
        own = self.shards[shard]
        while budget > 0:
            budget -= 1
            host = next(iter(own.young), None)
            if host is None:
                break
            if own.young[host].until_us <= now_us:
                self._remove(own, host, now_us)
            elif own.young[host].used:
                own.promote(host)
            else:
                break
        while budget > 0:
            budget -= 1
            host = next(iter(own.proven), None)
            if host is None or own.proven[host].until_us > now_us:
                break
            self._remove(own, host, now_us)

    def sweep(self, now_us: int) -> None:
        """Remove all expired entries."""
        for shard in self.shards:
            for host, entry in [*shard.young.items(), *shard.proven.items()]:
                if entry.until_us <= now_us:
                    self._remove(shard, host, now_us)

    def counters(self) -> dict[str, int]:
        """The counters of the table; they agree with the compiled ones once both were swept."""
        return {
            "entries": sum(map(len, self.shards)), "added": self.added, "successful": self.successful,
            "direct-to-fake": self.direct_to_fake, "evicted": self.evicted, "full": self.full, "ended": self.ended,
        }

    def _sweep_ended(self, own: Shard, now_us: int) -> bool:
        """Where entries were ended since it last looked, all that are expired go (of at most 256)."""
        if not own.ended:
            return False
        own.ended = False
        for host, entry in [*own.young.items(), *own.proven.items()]:
            if entry.until_us <= now_us:
                self._remove(own, host, now_us)
        return len(own) < own.capacity

    def _evict(self, own: Shard, now_us: int) -> bool:
        if self._sweep_ended(own, now_us):
            return True
        host = next(iter(own.proven), None)
        if host is not None and own.proven[host].until_us <= now_us:
            self._remove(own, host, now_us)
            return True
        while host := next(iter(own.young), None):
            if own.young[host].until_us <= now_us or not own.young[host].used:
                self._remove(own, host, now_us)
                return True
            own.promote(host)
        return False

    def _remove(self, shard: Shard, host: bytes, now_us: int) -> None:
        entry = shard.young.pop(host, None) or shard.proven.pop(host)
        if entry.until_us > now_us:
            self.evicted += 1
        elif entry.until_us and entry.origin in COUNTED:
            self.successful += entry.used
            self.direct_to_fake += not entry.used


class Oracle:
    """The decision: the destination's role, then the whitelist. `blocked` is the first counter of the contract."""

    def __init__(self, whitelist: Whitelist, fake: list[bytes], real: list[bytes], lifetime_s: int) -> None:
        self.whitelist = whitelist
        self.blocked = 0
        self.publish(fake, real, lifetime_s)

    def publish(self, fake: list[bytes], real: list[bytes], lifetime_s: int) -> None:
        """Let other rules hold from now on."""
        self.fake, self.real, self.lifetime_us = fake, real, lifetime_s * 1_000_000

    def decide(self, packet: bytes, now_us: int, shard: int = 0) -> str:
        """The outcome of a packet that arrived at `now_us`; it is dropped where that is DROPPED."""
        try:
            source, destination = addresses(packet)
        except Malformed:
            return "malformed"
        if destination in self.fake:
            if self.whitelist.find(source, now_us):
                return "fake-known"
            added = self.whitelist.add(source, now_us + self.lifetime_us, now_us, shard=shard)
            return "fake-new" if added else "fake-full"
        if destination not in self.real:
            return "other"
        if not self.whitelist.find(source, now_us):
            self.blocked += 1
            return DROPPED
        return "real-first" if self.whitelist.mark_used(source, now_us) else "real-again"
