"""What the last connections of a host met: contact, refusals, first acceptance, completed handshakes.

A host has its last MOST_OF_A_HOST happenings, 8 bytes each; of more, the oldest of a kind that came again goes first,
so that what happened once stays. The kernel tells of a connection several times: handshakes of a host with a server
within ONE_CONNECTION_S are one. There are three classes, each of at most MOST_HOSTS hosts,
of which the one seen longest ago goes: hosts seen once, hosts that came again a minute later or more, and hosts that
completed a handshake. A flood of made-up sources fills the first; nobody without an answer from the real server gets
into the last. So a flood does not push out the hosts an operator asks for. All together take some 6 MB at most.
"""
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mxallowd.engine.events import Event, Kind
from mxallowd.settings import Settings

MOST_HOSTS = 8192  # of each class
MOST_OF_A_HOST = 8
AGAIN_S = 60
ONE_CONNECTION_S = 10
MOST_TIMES = 0xFFFF
MOST_SERVERS = 255

_HAPPENING = struct.Struct("=IBBH")  # seconds of the clock, what, server, times
WHAT = ("contact", "accepted", "refused", "renewed", "denied", "allowed", "handshake", "by-network")
_OF_EVENT: dict[int, int] = {
    Kind.WHITELISTED: 0, Kind.ACCEPTED: 1, Kind.REFUSED: 2, Kind.RENEWED: 3, Kind.LIST_DENIED: 4, Kind.LIST_ALLOWED: 5,
    Kind.BY_NETWORK: 7}
_HANDSHAKE = 6
# Refused, denied, allowed, by-network: the length of their events is a number of attempts, of others a port.
_COUNTED = (2, 4, 5, 7)
ONCE, AGAIN, PROVEN = range(3)


class Happening(NamedTuple):
    """Something that a connection of a host met."""

    time_s: int  # of the packet path's clock
    what: str  # one of WHAT
    server: bytes | None  # None: there were more servers than can be numbered
    times: int  # attempts so far, of a refused host; else 1


class Hosts:
    """The memory; a sink. Hosts and servers are 16 bytes."""

    def __init__(self, clock_us: Callable[[], int], most: int = MOST_HOSTS) -> None:
        self._clock_us = clock_us
        self._most = most
        self._classes: tuple[dict[bytes, bytes], ...] = ({}, {}, {})
        self._servers: list[bytes] = []
        self.since_s = clock_us() // 1_000_000
        """Since when things are remembered, by the packet path's clock."""

    def handle(self, events: Sequence[Event]) -> None:
        """Note what happened to hosts."""
        for event in events:
            what = _OF_EVENT.get(event.kind)
            if what is not None:
                self._note(event.source, event.time_us // 1_000_000, what, event.destination,
                           max(1, event.length) if what in _COUNTED else 1)

    def handshake(self, host: bytes, server: bytes) -> None:
        """The host has completed a handshake with a real server."""
        self._note(host, self._clock_us() // 1_000_000, _HANDSHAKE, server, 1)

    def find(self, host: bytes) -> list[Happening]:
        """What is known of a host, the newest last."""
        for some in self._classes:
            if host in some:
                # The kernel tells of a handshake before the packet path's event of the same second is read.
                rows = sorted(_HAPPENING.iter_unpack(some[host]), key=lambda row: (row[0], row[1] == _HANDSHAKE))
                return [Happening(time_s, WHAT[what], self._servers[number] if number < len(self._servers) else None,
                                  times) for time_s, what, number, times in rows]
        return []

    def _note(self, host: bytes, time_s: int, what: int, server: bytes, times: int) -> None:
        rank = next((rank for rank, some in enumerate(self._classes) if host in some), ONCE)
        found = self._classes[rank].pop(host, b"")
        if what == _HANDSHAKE:
            rank = PROVEN
        elif rank == ONCE and found and time_s - _HAPPENING.unpack_from(found)[0] >= AGAIN_S:
            rank = AGAIN
        number = self._number(server)
        rows = list(_HAPPENING.iter_unpack(found))
        if not (what == _HANDSHAKE and any(one[1:3] == (what, number) and time_s - one[0] < ONE_CONNECTION_S
                                           for one in rows)):
            rows.append((time_s & 0xFFFFFFFF, what, number, min(times, MOST_TIMES)))
        if len(rows) > MOST_OF_A_HOST:
            kinds = [one[1] for one in rows]
            del rows[next((at for at, kind in enumerate(kinds) if kind in kinds[at + 1 :]), 0)]
        some = self._classes[rank]
        some[host] = b"".join(_HAPPENING.pack(*one) for one in rows)
        if len(some) > self._most:
            del some[next(iter(some))]

    def _number(self, server: bytes) -> int:
        if server in self._servers:
            return self._servers.index(server)
        if len(self._servers) >= MOST_SERVERS:
            return MOST_SERVERS
        self._servers.append(server)
        return len(self._servers) - 1

    def __len__(self) -> int:
        return sum(map(len, self._classes))

    # ---- the rest of a sink

    def tick(self) -> None:
        """Nothing is due by time."""

    def reload(self, settings: Settings) -> None:
        """No setting concerns it."""

    def counters(self) -> dict[str, int]:
        """None of its own."""
        return {}

    def close(self) -> None:
        """Nothing to say."""
