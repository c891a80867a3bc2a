"""Hosts that are followed for a day, in bounded memory: a fair sample where there are too many.

Hosts belong to the hour in which they were first seen, and within it to a room, by how much they matter. Each hour has
so many places in each room. When a room is full, every second host goes, chosen by a hash of its address, and of those
to come only hosts of the same half are taken; then every second one of these, and so on. A host that stays stands for
2, 4, 8 … of them: its weight. So:

* a flood of made-up hosts costs the precision of its own hour and room, and touches no other;
* numbers stay true, since nothing but the hash decides who goes. (It is BLAKE2 with a random key, which goes with the
  hosts when these are kept on a disk; so no sender can choose the result.)

A host is 20 bytes here, packed, and takes some 300 with its address and its places in two tables.
"""
import os
import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

HOUR_S, DAY_S = 3600, 86_400
HOURS = DAY_S // HOUR_S + 2  # that are open at a time: the one that has begun, a day, and one that is being closed
KEPT_S = 8 * DAY_S  # hosts that were seen first so long ago are not taken from a disk
KEY_SIZE = 16
_RECORD = struct.Struct("=IIIIHBB")  # as Trace, and the zero bits
HOST_SIZE = 16 + _RECORD.size  # of a host in a Part
_MOST_TIMES = 0xFFFF
_MOST_ZEROS = 24


class Trace(NamedTuple):
    """What is known of a host. Times are seconds of a Timeline, 0 where there is none."""

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


class Part(NamedTuple):
    """Hosts of one room of one hour, for a disk."""

    hour: int
    room: int
    level: int
    hosts: bytes  # HOST_SIZE each: address, record


class Followed:
    """The hosts. `places` has the places of an hour in each room; rooms are numbered from 0."""

    def __init__(self, places: Sequence[int]) -> None:
        self._places = places
        self.key = os.urandom(KEY_SIZE)
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
        return None if record is None else Trace._make(_RECORD.unpack(record)[:-1])

    def note(self, host: bytes, trace: Trace) -> bool:
        """Follow a host, or note what is known of it now, `first_s` as before. False: it is not in the sample."""
        before = self._hosts.get(host)
        room = self._room(trace)
        known = _RECORD.unpack(before) if before else None
        zeros = known[-1] if known else self._zeros(host)
        if known is None or known[5] != trace.room:
            if known:
                self._leave(host, known)
            if zeros < room.level:
                return False
            room.hosts.setdefault(zeros, set()).add(host)
            room.size += 1
        first_s, last_s, met_s, used_s, times, number = trace
        self._hosts[host] = _RECORD.pack(first_s, last_s, met_s, used_s, min(times, _MOST_TIMES), number, zeros)
        self._thin_out(room, trace.room)
        return host in self._hosts

    def drop(self, host: bytes) -> None:
        """Follow a host no more."""
        if record := self._hosts.get(host):
            self._leave(host, _RECORD.unpack(record))

    def weight(self, trace: Trace) -> int:
        """How many hosts one with this trace stands for."""
        return 1 << self._room(trace).level

    def entries(self) -> Iterator[tuple[bytes, Trace, int]]:
        """All of them with their weights. Of an hour as it is when its turn comes, since a host stays in its hour."""
        for hour in list(self._hours):
            for host in [host for room in self._hours.get(hour, ()) for some in room.hosts.values() for host in some]:
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
                        trace = Trace._make(_RECORD.unpack(self._hosts.pop(host))[:-1])
                        room.size -= 1
                        found.append((host, trace, 1 << room.level))
            if len(found) >= most:
                break
            del self._hours[hour]
        return found

    # ---- to be kept on a disk

    def parts(self) -> Iterator[list[Part]]:
        """All of them, hour by hour: a host stays in its hour, so others may be noted between two."""
        for hour in list(self._hours):
            yield [Part(hour, number, room.level, b"".join(
                host + self._hosts[host] for some in room.hosts.values() for host in some))
                for number, room in enumerate(self._hours.get(hour, ()))]

    def restore(self, key: bytes, part: Part, now_s: int) -> None:
        """Take hosts of parts(), before there are others. What can be none is left out. Raises ValueError likewise."""
        if not self._hosts:
            self.key = key
        oldest = (now_s - KEPT_S) // HOUR_S
        if (key != self.key or not 0 <= part.room < len(self._places) or not oldest <= part.hour <= now_s // HOUR_S
                or part.level > _MOST_ZEROS or len(part.hosts) % HOST_SIZE):
            raise ValueError("these are no hosts that were followed")
        room = self._rooms(part.hour)[part.room]
        room.level = max(room.level, part.level)
        for at in range(0, len(part.hosts), HOST_SIZE):
            host, record = part.hosts[at : at + 16], part.hosts[at + 16 : at + HOST_SIZE]
            first_s, last_s, *_, number, zeros = _RECORD.unpack(record)
            if (host in self._hosts or first_s // HOUR_S != part.hour or number != part.room
                    or not first_s <= last_s <= now_s or not room.level <= zeros <= _MOST_ZEROS):
                continue
            self._hosts[host] = record
            room.hosts.setdefault(zeros, set()).add(host)
            room.size += 1
        self._thin_out(room, part.room)

    # ----

    def _zeros(self, host: bytes) -> int:
        """How many zero bits its hash ends with."""
        number = int.from_bytes(blake2b(host, digest_size=4, key=self.key).digest(), "little")
        return min((number & -number).bit_length() - 1, _MOST_ZEROS) if number else _MOST_ZEROS

    def _room(self, trace: Trace) -> _Room:
        return self._rooms(trace.first_s // HOUR_S)[trace.room]

    def _rooms(self, hour: int) -> list[_Room]:
        rooms = self._hours.get(hour)
        if rooms is None:
            if len(self._hours) >= 2 * HOURS:
                # A capture whose time leaps ahead; close() cannot follow.
                self._forget(min(self._hours))
            rooms = self._hours[hour] = [_Room() for _ in self._places]
        return rooms

    def _forget(self, hour: int) -> None:
        for room in self._hours.pop(hour):
            for hosts in room.hosts.values():
                for host in hosts:
                    del self._hosts[host]

    def _leave(self, host: bytes, record: Sequence[int]) -> None:
        room = self._rooms(record[0] // HOUR_S)[record[5]]
        room.hosts[record[-1]].discard(host)
        room.size -= 1
        del self._hosts[host]

    def _thin_out(self, room: _Room, number: int) -> None:
        while room.size > self._places[number] and room.level < _MOST_ZEROS:
            gone = room.hosts.pop(room.level, set())
            for host in gone:
                del self._hosts[host]
            room.size -= len(gone)
            room.level += 1
