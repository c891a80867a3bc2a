"""Hosts that are followed for a day, in bounded memory: a fair sample where there are too many.

Hosts belong to the hour in which they were first seen, and within it to a room, by how much they matter. Each hour has
so many places in each room. When a room is full, every second host goes, chosen by a hash of its address, and of those
to come only hosts of the same half are taken; then every second one of these, and so on. A host that stays stands for
2, 4, 8 … of them: its weight. So:

* a flood of made-up hosts costs the precision of its own hour and room, and touches no other;
* numbers stay true, since nothing but the hash decides who goes. (It is Python's own, SipHash with a key of the
  process, so no sender can choose the result.)

A host is 20 bytes here, packed, and takes some 300 with its address and its places in two tables.
"""
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HOUR_S, DAY_S = 3600, 86_400
HOURS = DAY_S // HOUR_S + 2  # that are open at a time: the one that has begun, a day, and one that is being closed
_RECORD = struct.Struct("=IIIIHH")
_MOST_TIMES = 0xFFFF
_MOST_ZEROS = 24


class Trace(NamedTuple):
    """What is known of a host. Times are seconds of the packet path's clock, 0 where there is none."""

    first_s: int
    last_s: int
    met_s: int
    used_s: int
    times: int
    room: int


class _Room:
    """One room of an hour: its hosts, by the zero bits at the end of their hash."""

    def __init__(self) -> None:
        self.level = 0
        self.size = 0
        self.hosts: dict[int, set[bytes]] = {}


def _zeros(host: bytes) -> int:
    number = hash(host) & ((1 << _MOST_ZEROS) - 1)
    return (number & -number).bit_length() - 1 if number else _MOST_ZEROS


class Followed:
    """The hosts. `places` has the places of an hour in each room; rooms are numbered from 0."""

    def __init__(self, places: Sequence[int]) -> None:
        self._places = places
        self._hosts: dict[bytes, bytes] = {}
        self._hours: dict[int, list[_Room]] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def room(self) -> int:
        """How many hosts are followed at the most; twice as many where a capture's time leaps ahead."""
        return HOURS * sum(self._places)

    def find(self, host: bytes) -> Trace | None:
        """What is known of a host that is followed."""
        record = self._hosts.get(host)
        return None if record is None else Trace._make(_RECORD.unpack(record))

    def note(self, host: bytes, trace: Trace) -> bool:
        """Follow a host, or note what is known of it now, `first_s` as before. False: it is not in the sample."""
        before = self.find(host)
        room = self._room(trace)
        if before is None or before.room != trace.room:
            if before is not None:
                self._leave(host, before)
            zeros = _zeros(host)
            if zeros < room.level:
                return False
            room.hosts.setdefault(zeros, set()).add(host)
            room.size += 1
        self._hosts[host] = _RECORD.pack(*trace._replace(times=min(trace.times, _MOST_TIMES)))
        while room.size > self._places[trace.room] and room.level < _MOST_ZEROS:
            self._thin_out(room)
        return host in self._hosts

    def drop(self, host: bytes) -> None:
        """Follow a host no more."""
        if (trace := self.find(host)) is not None:
            self._leave(host, trace)

    def weight(self, trace: Trace) -> int:
        """How many hosts one with this trace stands for."""
        return 1 << self._room(trace).level

    def entries(self) -> Iterator[tuple[bytes, Trace, int]]:
        """All of them with their weights, as they are now."""
        for host in list(self._hosts):
            if (trace := self.find(host)) is not None:
                yield host, trace, self.weight(trace)

    def close(self, now_s: int, most: int) -> list[tuple[bytes, Trace, int]]:
        """Hosts whose day is over, at most so many; they are followed no more."""
        found: list[tuple[bytes, Trace, int]] = []
        for hour in sorted(self._hours):
            if (hour + 1) * HOUR_S + DAY_S > now_s and len(self._hours) <= HOURS:
                break
            for room in self._hours[hour]:
                for hosts in room.hosts.values():
                    while hosts and len(found) < most:
                        host = hosts.pop()
                        trace = Trace._make(_RECORD.unpack(self._hosts.pop(host)))
                        room.size -= 1
                        found.append((host, trace, 1 << room.level))
            if len(found) >= most:
                break
            del self._hours[hour]
        return found

    def _room(self, trace: Trace) -> _Room:
        hour = trace.first_s // HOUR_S
        rooms = self._hours.get(hour)
        if rooms is None:
            if len(self._hours) >= 2 * HOURS:
                # A capture whose time leaps ahead; close() cannot follow.
                self._forget(min(self._hours))
            rooms = self._hours[hour] = [_Room() for _ in self._places]
        return rooms[trace.room]

    def _forget(self, hour: int) -> None:
        for room in self._hours.pop(hour):
            for hosts in room.hosts.values():
                for host in hosts:
                    del self._hosts[host]

    def _leave(self, host: bytes, trace: Trace) -> None:
        room = self._room(trace)
        room.hosts[_zeros(host)].discard(host)
        room.size -= 1
        del self._hosts[host]

    def _thin_out(self, room: _Room) -> None:
        gone = room.hosts.pop(room.level, set())
        for host in gone:
            del self._hosts[host]
        room.size -= len(gone)
        room.level += 1
