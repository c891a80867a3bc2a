"""What of a trial is kept over a restart, in pieces that stand for themselves.

A piece is some bytes of one sort. It says by how much the timeline is ahead of the packet path's clock, and who reads
it knows what that clock was; so any piece can be lost without harm to another.

    take        a copy of all that is there
    pieces_of   pieces of such a copy
    restore     one piece, into a trial that has seen nothing yet
"""
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from mxallowd.history.firstmx import FOUND_SIZE
from mxallowd.history.followed import HOST_SIZE, KEY_SIZE, Followed, Part
from mxallowd.history.forecast import PASSED_SIZE
from mxallowd.history.hourly import Hourly
from mxallowd.history.trial import Trial

_HEAD = struct.Struct("=B3xI")  # sort, seconds that the timeline is ahead
_ROOM = struct.Struct(f"={KEY_SIZE}sIBB")  # key, hour, room, level
_SINCE = struct.Struct("=I")


class Sort(IntEnum):
    """What a piece holds."""

    REFUSED_HOSTS = 1  # that the forecast follows
    CONTACTS = 2  # hosts that are looked at for first-mx-only
    FOUND = 3
    CLOSED = 4
    PASSED = 5
    CONNECTIONS = 6
    SINCE = 7
    WHO_PASSED = 8
    CLOSED_PATIENT = 9


class Taken(NamedTuple):
    """A copy: of each hour and of all else as it was at one moment."""

    ahead_s: int
    hosts: list[tuple[Sort, bytes, Part]]  # with their key
    others: list[tuple[Sort, bytes, int]]  # with the bytes of a row


def take(trial: Trial) -> Iterator[Taken]:
    """On the main loop, which may do something else after each step of some milliseconds; the last one is whole."""
    forecast, first_mx = trial.forecast, trial.first_mx
    taken = Taken(trial.timeline.ahead_s, [], [])
    for sort, followed in _followed(trial):
        for parts in followed.parts():
            taken.hosts.extend((sort, followed.key, part) for part in parts if part.hosts)
            yield taken
    taken.others.append((Sort.FOUND, first_mx.saved(), FOUND_SIZE))
    yield taken
    taken.others.append((Sort.WHO_PASSED, forecast.saved(), PASSED_SIZE))
    yield taken
    taken.others.extend((sort, hours.saved(), hours.row_size) for sort, hours in _hours(trial))
    taken.others.append((Sort.SINCE, _SINCE.pack(forecast.since_s), _SINCE.size))
    yield taken


def _followed(trial: Trial) -> tuple[tuple[Sort, Followed], ...]:
    return (Sort.REFUSED_HOSTS, trial.forecast.hosts), (Sort.CONTACTS, trial.first_mx.hosts)


def _hours(trial: Trial) -> tuple[tuple[Sort, Hourly], ...]:
    return ((Sort.CLOSED, trial.forecast.closed), (Sort.PASSED, trial.forecast.passed),
            (Sort.CLOSED_PATIENT, trial.forecast.closed_patient), (Sort.CONNECTIONS, trial.traffic.hours))


def pieces_of(taken: Taken, most: int) -> Iterator[bytes]:
    """All of it, in pieces of at most so many bytes; for any thread."""
    for sort, content, row in taken.others:
        step = (most - _HEAD.size) // row * row
        for at in range(0, len(content), step):
            yield _HEAD.pack(sort, taken.ahead_s) + content[at : at + step]
    step = (most - _HEAD.size - _ROOM.size) // HOST_SIZE * HOST_SIZE
    for sort, key, part in taken.hosts:
        head = _HEAD.pack(sort, taken.ahead_s) + _ROOM.pack(key, part.hour, part.room, part.level)
        for at in range(0, len(part.hosts), step):
            yield head + part.hosts[at : at + step]


def ahead_of(piece: bytes) -> int:
    """By how many seconds the timeline was ahead. Raises ValueError where it is no piece."""
    if len(piece) < _HEAD.size:
        raise ValueError("it is no piece")
    return int(_HEAD.unpack_from(piece)[1])


def restore(trial: Trial, piece: bytes) -> None:
    """Take one. Raises ValueError where it is none; what was taken of it stays."""
    if len(piece) < _HEAD.size:
        raise ValueError("it is no piece")
    sort, content = _HEAD.unpack_from(piece)[0], piece[_HEAD.size :]
    now_s = trial.timeline.now_s()
    if (followed := dict(_followed(trial)).get(sort)) is not None:
        _restore_hosts(followed, content, now_s)
    elif sort == Sort.FOUND:
        trial.first_mx.restore(content)
    elif sort == Sort.WHO_PASSED:
        trial.forecast.restore(content)
    elif hours := dict(_hours(trial)).get(sort):
        hours.restore(content, now_s)
    elif sort == Sort.SINCE and len(content) == _SINCE.size:
        trial.forecast.since_s = min(_SINCE.unpack(content)[0], now_s)
    else:
        raise ValueError("it is no piece")


def _restore_hosts(followed: Followed, content: bytes, now_s: int) -> None:
    if len(content) < _ROOM.size:
        raise ValueError("these are no hosts")
    key, hour, room, level = _ROOM.unpack_from(content)
    followed.restore(key, Part(hour, room, level, content[_ROOM.size :]), now_s)
