"""A gateway that hears, on a whitelist with clocks of its own, and others that say whatever a test wants."""
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from mxallowd.engine._table import CONTACT, PEER, Table
from mxallowd.engine.events import MAPPED
from mxallowd.fleet import batch
from mxallowd.fleet.batch import Batch, Note, seal
from mxallowd.fleet.hearing import Hearing, Terms
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import Peer, Peers
from mxallowd.fleet.saying import Saying
from mxallowd.whitelist import Change, Whitelist

S = 1_000_000
LONGEST_S = 3600
KEYS = Keys([bytes(range(32))], "example")
START_MS = 1_764_000_000_000
MOST_TOLD = 400
Message = tuple[bytes, bytes | None]


def host(number: int) -> bytes:
    return MAPPED + (0x0A000000 + number).to_bytes(4, "big")


def entries(*numbers: int, left_s: int = LONGEST_S, flags: int = 0, origin: int = CONTACT) -> bytes:
    return b"".join(batch.entry(host(number), 1000 * left_s, flags, origin) for number in numbers)


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """What it returns; it waits for nothing but its turn, and a loop takes longer than all the rest."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value


class Receiver:
    """A gateway named mx1. The engine's clock is `engine_ms`, which the own one follows at a distance."""

    def __init__(self, *, loading: bool = False, told: int = MOST_TOLD, own: int = 2048) -> None:
        self.engine_ms = START_MS
        self.table = Table(own + told, main=told + 16, told=told)
        self.whitelist = Whitelist(self.table, lambda: (self.engine_ms - START_MS) * 1000 + 10**12)
        self.whitelist.set_lifetimes(LONGEST_S * S, LONGEST_S * S)
        self.peers = Peers()
        self.saying = Saying(self.whitelist, self.table, "mx1", LONGEST_S)
        self.saying.wall_ms = lambda: self.engine_ms
        self.saying.follow()
        self.changes: list[tuple[int, Change]] = []
        self.told: list[int] = []
        self.times_missed = 0
        self.whitelist.follow(self)
        self.hearing = Hearing(
            self.whitelist, KEYS, self.peers, self.saying,
            Terms("mx1", LONGEST_S * S, told, lambda: self.engine_ms * 1000))
        if not loading:
            self.hearing.loaded()

    def changed(self, host: bytes, change: Change) -> None:
        self.changes.append((number_of(host), change))

    def missed(self) -> None:
        self.times_missed += 1

    def hear(self, *messages: Message, after_ms: int = 0) -> None:
        """Hear them so long after the last one of them was said."""
        places = [int(place.partition(b"-")[0]) for place, _ in messages if place[:1].isdigit()]
        self.engine_ms = max([self.engine_ms, *places]) + after_ms
        finished(self.hearing.hear(messages))

    def peer(self, name: str) -> Peer:
        found = self.peers.get(name)
        assert found is not None
        return found

    def contact(self, *numbers: int) -> None:
        for number in numbers:
            self.table.add(host(number), self.whitelist.now_us() + LONGEST_S * S, self.whitelist.now_us())

    def listed(self) -> dict[int, str]:
        """Seconds left, and whether it was told, of each host."""
        found = {}
        for number in range(1, 3000):
            if entry := self.table.find(host(number), self.whitelist.now_us()):
                left_s = (entry[0] - self.whitelist.now_us()) / S
                found[number] = f"{left_s:g} {'told' if entry[2] == PEER else 'own'}"
        return found

    def hosts(self) -> list[int]:
        return list(self.listed())

    def refused(self) -> dict[str, int]:
        return {reason: count for reason, count in self.peers.refused.items() if count}


def number_of(one: bytes) -> int:
    return int.from_bytes(one[12:], "big") - 0x0A000000


class Sender:
    """Says anything, in the name of a gateway. Its clock is `ahead_ms` before the engine's."""

    def __init__(self, receiver: Receiver, name: str = "mx2", epoch: int = 7, *, ahead_ms: int = 0) -> None:
        self._receiver, self.name, self.epoch, self.ahead_ms = receiver, name, epoch, ahead_ms
        self.sequence = 0
        self.number = 0

    def say(
        self, records: bytes | Iterable[bytes], notes: Sequence[Note] = (), *, at_ms: int | None = None,
        wall_ms: int | None = None,
    ) -> Message:
        """A message that comes into the stream at this time of the engine, or now."""
        at_ms = self._receiver.engine_ms if at_ms is None else at_ms
        self.sequence += 1
        self.number += 1
        said = Batch(self.name, self.epoch, self.sequence, at_ms + self.ahead_ms if wall_ms is None else wall_ms,
                     LONGEST_S, records if isinstance(records, bytes) else b"".join(records), notes)
        return f"{at_ms}-{self.number}".encode(), seal(said, KEYS)


def later(message: Message, by_ms: int) -> Message:
    """The same message at another place of the stream: a replay."""
    at_ms, _, number = message[0].partition(b"-")
    return b"%d-%s" % (int(at_ms) + by_ms, number), message[1]
