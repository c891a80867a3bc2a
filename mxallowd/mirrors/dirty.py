"""Hosts whose state in a target may differ from that in the whitelist, in the order in which they have their turn.

Those that were used come first. One that stands here twice is looked at twice. (A dict would grow and shrink by steps.)
"""
from collections import deque
from collections.abc import Collection, Iterable
from itertools import chain


class Dirty:
    """All of one target."""

    def __init__(self) -> None:
        self._used: deque[bytes] = deque()
        self._others: deque[bytes] = deque()

    def __bool__(self) -> bool:
        return bool(self._used or self._others)

    @property
    def longest(self) -> int:
        """How many wait in the longer one of both queues."""
        return max(len(self._used), len(self._others))

    def mark(self, host: bytes, most: int, *, used: bool = False) -> bool:
        """Let it wait; False: `most` of its kind do."""
        waiting = self._used if used else self._others
        if len(waiting) >= most:
            return False
        waiting.append(host)
        return True

    def again(self, hosts: Iterable[bytes]) -> None:
        """Let these wait once more, behind the others."""
        self._others.extend(hosts)

    def take(self, most: int) -> list[bytes]:
        """At most `most` of them, each once; they wait no more."""
        hosts: dict[bytes, None] = {}
        while len(hosts) < most and (waiting := self._used or self._others):
            hosts[waiting.popleft()] = None
        return list(hosts)

    def among(self, hosts: Collection[bytes]) -> set[bytes]:
        """Which of these wait."""
        return {host for host in chain(self._used, self._others) if host in hosts}

    def clear(self) -> None:
        """None waits any more."""
        self._used.clear()
        self._others.clear()
