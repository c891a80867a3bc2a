"""Refused hosts whose name is confirmed but not whitelisted: they are whitelisted as soon as the name is.

The packet path writes an event about a refused host once a minute. Assume that a host is refused before the first host
of its name contacts the fake server. Without this memory it would be looked up again only after that minute.
"""
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_HOSTS = 4096  # of all names; with the longest names 3 MB
MAX_HOSTS_OF_A_NAME = 32  # the newest; as many addresses of it are admitted
KEPT_S = 120.0  # by then the next event of the host is there


class Members:
    """Hosts by their names, for a while. Hosts are 16 bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The names in the order in which they got their newest host.
        self._hosts: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()
        self._size = 0

    def note(self, name: str, host: bytes) -> None:
        """Remember that this refused host has this name. What is over a bound, the oldest, is forgotten."""
        hosts = self._hosts.setdefault(name, OrderedDict())
        self._hosts.move_to_end(name)
        self._size += host not in hosts
        hosts[host] = self._clock()
        hosts.move_to_end(host)
        if len(hosts) > MAX_HOSTS_OF_A_NAME:
            hosts.popitem(last=False)
            self._size -= 1
        while self._size > MAX_HOSTS:
            self._forget_oldest()

    def take(self, name: str) -> list[bytes]:
        """The hosts of a name, which are forgotten by that."""
        hosts = self._hosts.pop(name, OrderedDict())
        self._size -= len(hosts)
        since = self._clock() - KEPT_S
        return [host for host, noted in hosts.items() if noted >= since]

    def tick(self) -> None:
        """Forget names whose newest host was noted too long ago."""
        since = self._clock() - KEPT_S
        while self._hosts and next(reversed(next(iter(self._hosts.values())).values())) < since:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, hosts = self._hosts.popitem(last=False)
        self._size -= len(hosts)

    def __len__(self) -> int:
        """All hosts."""
        return self._size
