"""Refused hosts whose name is confirmed and not whitelisted: they come in as soon as it is.

The packet path tells of a refused host once a minute. Without this memory a host that came before the first of its name
met the fake server would be looked up again only after that minute.
"""
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_NAMES = 8192
MAX_HOSTS = 32  # of a name, the newest; as many addresses of it are admitted
KEPT_S = 120.0  # by then the next event of the host is there


class Members:
    """Hosts by their names, for a while. Hosts are 16 bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()

    def note(self, name: str, host: bytes) -> None:
        """Remember that this refused host has this name. What is over a bound, the oldest, is forgotten."""
        hosts = self._hosts.setdefault(name, OrderedDict())
        self._hosts.move_to_end(name)
        hosts[host] = self._clock()
        hosts.move_to_end(host)
        if len(hosts) > MAX_HOSTS:
            hosts.popitem(last=False)
        if len(self._hosts) > MAX_NAMES:
            self._hosts.popitem(last=False)

    def take(self, name: str) -> list[bytes]:
        """The hosts of a name, which are forgotten by that."""
        since = self._clock() - KEPT_S
        return [host for host, noted in self._hosts.pop(name, {}).items() if noted >= since]
