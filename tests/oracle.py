"""The decision once more, in plain Python: what the compiled packet path must agree with.

Nothing of the package is imported here. Addresses are 16 bytes, IPv4 in IPv4-mapped form; times are microseconds.
"""
from dataclasses import dataclass
from itertools import chain

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


@dataclass
class Entry:
    """A listed host."""

    until_us: int
    child: bool
    used: bool = False


class Whitelist:
    """A bounded whitelist in shards: a host is found in any of them and added to one."""

    def __init__(self, max_entries: int, shards: int = 1) -> None:
        self.capacities = [max_entries // shards + (i < max_entries % shards) for i in range(shards)]
        # A dict keeps the order of arrival.
        self.shards: list[dict[bytes, Entry]] = [{} for _ in range(shards)]
        self.added = self.successful = self.direct_to_fake = self.evicted = self.full = 0

    def find(self, host: bytes, now_us: int) -> Entry | None:
        """The entry of a listed host that is not expired."""
        found = (shard[host] for shard in self.shards if host in shard)
        return next((entry for entry in found if entry.until_us > now_us), None)

    def mark_used(self, host: bytes, now_us: int) -> bool:
        """Note that a host reached the real server. True the first time."""
        entry = self.find(host, now_us)
        first = entry is not None and not entry.used
        if entry:
            entry.used = True
        return first

    def add(self, host: bytes, until_us: int, now_us: int, *, child: bool = False, shard: int = 0) -> bool:
        """Enter a host; one that is listed stays as it is. False: no room, every entry is live and used."""
        own = self.shards[shard]
        if host in own:
            if own[host].until_us > now_us:
                return True
            self._remove(own, host, now_us)
        if len(own) == self.capacities[shard]:
            expired = (known for known, entry in own.items() if entry.until_us <= now_us)
            unused = (known for known, entry in own.items() if not entry.used)
            victim = next(chain(expired, unused), None)
            if victim is None:
                self.full += 1
                return False
            self._remove(own, victim, now_us)
        own[host] = Entry(until_us, child)
        self.added += 1
        return True

    def sweep(self, now_us: int) -> None:
        """Remove all expired entries."""
        for shard in self.shards:
            for host in [host for host, entry in shard.items() if entry.until_us <= now_us]:
                self._remove(shard, host, now_us)

    def counters(self) -> dict[str, int]:
        """The counters of the table; they agree with the compiled ones once both were swept."""
        return {
            "entries": sum(map(len, self.shards)), "added": self.added, "successful": self.successful,
            "direct-to-fake": self.direct_to_fake, "evicted": self.evicted, "full": self.full,
        }

    def _remove(self, shard: dict[bytes, Entry], host: bytes, now_us: int) -> None:
        entry = shard.pop(host)
        if entry.until_us > now_us:
            self.evicted += 1
        elif not entry.child:
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
