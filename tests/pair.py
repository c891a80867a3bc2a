"""The compiled decision and the oracle side by side: the same packets, the same outcomes and the same events."""
import struct
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mxallowd._fastpath import OUTCOME_NAMES, Fastpath
from mxallowd.engine._headers import REASONS
from mxallowd.engine._meetings import Meetings
from mxallowd.engine._networks import Networks
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import RENEW, Rules
from mxallowd.engine._table import Table
from tests import oracle
from tests.oracle import DENIED, DROPPED, Oracle, Whitelist
from tests.strategies import FAKE, REAL

WHITELISTED, ACCEPTED, REFUSED, MALFORMED, RENEWED = 1, 2, 3, 4, 5  # Kind in _ring.pxd
LIST_DENIED, LIST_ALLOWED, BY_NETWORK = 9, 10, 13
KINDS = {"fake-new": WHITELISTED, "real-first": ACCEPTED, "real-refused": REFUSED, "malformed": MALFORMED,
         "real-denied": LIST_DENIED, "fake-denied": LIST_DENIED, "real-network": BY_NETWORK}
LIFETIME_S = 1
QUEUE = 23
NO_FD = -1  # nobody sleeps on these rings, so nobody is woken


class Event(NamedTuple):
    """struct Event of _ring.pxd, as it lies in memory."""

    kind: int
    reason: int
    queue: int
    length: int
    time_us: int
    source: bytes
    destination: bytes
    until_us: int
    reserved: int = 0


def taken(ring: Ring) -> list[Event]:
    return [Event(*fields) for fields in struct.iter_unpack("=BBHIQ16s16sQQ", ring.drain(2**20))]


def expected_event(kind: int, packet: bytes, now_us: int, until_us: int, queue: int) -> Event:
    """The event that tells of something; `until_us` is when the source's entry ends, 0 where it has none."""
    if kind == MALFORMED:
        head = packet[:32].ljust(32, b"\0")
        try:
            oracle.addresses(packet)
        except oracle.Malformed as reason:
            number = REASONS.index(str(reason))
        return Event(kind, number, queue, len(packet), now_us, head[:16], head[16:], 0)
    source, destination = oracle.addresses(packet)
    if packet[0] >> 4 == 6 and source.startswith(oracle.MAPPED):
        source = bytes(16)
    return Event(kind, 0, queue, 0, now_us, source, destination, until_us)


def source_of(packet: bytes) -> bytes:
    """The source as the decision takes it."""
    source, _ = oracle.addresses(packet)
    return bytes(16) if packet[0] >> 4 == 6 and source.startswith(oracle.MAPPED) else source


class Pair:
    """A table with a fast path a shard, and the oracle beside it."""

    def __init__(
        self, capacity: int, shards: int = 1, *, collide: bool = False, network_key: tuple[int, int] | None = None,
    ) -> None:
        self.table = Table(capacity, shards, collide=collide)
        self.rings = [Ring(1024, NO_FD) for _ in range(shards)]
        self.meetings = Meetings(1024, *network_key) if network_key else None
        rules = Rules(FAKE, REAL, LIFETIME_S, meetings=self.meetings)
        self.paths = [
            Fastpath(self.table, ring, rules, shard=i, queue=QUEUE + i) for i, ring in enumerate(self.rings)]
        self.oracle = Oracle(Whitelist(capacity, shards), FAKE, REAL, LIFETIME_S)
        self.oracle.network_key = network_key
        self.outcomes: Counter[str] = Counter()

    def decide(self, batch: Sequence[bytes], now_us: int, shard: int = 0) -> list[str]:
        """Let both decide, and compare outcomes and events."""
        wanted, events = [], []
        for packet in batch:
            outcome = self.oracle.decide(packet, now_us, shard)
            wanted.append(outcome)
            kinds = [RENEWED] * self.oracle.renewed + ([KINDS[outcome]] if outcome in KINDS else [])
            if outcome == "real-allowed":
                listed = self.oracle.whitelist.find(source_of(packet), now_us)
                kinds += [ACCEPTED] * self.oracle.used if listed else [LIST_ALLOWED]
            for kind in kinds:
                entry = None
                if kind in (WHITELISTED, ACCEPTED, RENEWED):
                    entry = self.oracle.whitelist.find(oracle.addresses(packet)[0], now_us)
                    assert entry is not None
                events.append(expected_event(kind, packet, now_us, entry.until_us if entry else 0, QUEUE + shard))
        outcomes = [OUTCOME_NAMES[number] for number in self.paths[shard].decide(batch, now_us)]
        assert outcomes == wanted
        assert taken(self.rings[shard]) == events
        self.outcomes.update(wanted)
        return outcomes

    def publish(
        self, fake: list[bytes], real: list[bytes], lifetime_s: int, renew: str = "never",
        lists: Sequence[tuple[bool, bytes, int]] = (),
    ) -> None:
        """Let other rules hold; `lists` are (denied, first address, length of 128 bits)."""
        networks = Networks(b"".join(struct.pack("=16sBB", first, length, denied) for denied, first, length in lists))
        for path in self.paths:
            path.publish(Rules(fake, real, lifetime_s, renew=RENEW[renew], networks=networks, meetings=self.meetings))
        self.oracle.publish(fake, real, lifetime_s, renew)
        self.oracle.lists = list(lists)

    def check_counters(self, now_us: int) -> None:
        """The three counters of the contract, and the packets by outcome."""
        totals: Counter[str] = Counter()
        for path in self.paths:
            totals.update(path.counters())
        assert totals == {name: self.outcomes[name] for name in OUTCOME_NAMES}
        assert totals[DROPPED] + totals[DENIED] == self.oracle.blocked
        self.table.sweep(now_us)
        self.oracle.whitelist.sweep(now_us)
        assert self.table.counters() == self.oracle.whitelist.counters()
