"""Direct hosts that meet the fake server all the same: the rules of the firewall do not lead them, and mail is lost.

The daemon fills the sets of direct hosts and cannot see whether a rule asks them. But who is led never shows at the
fake server, so a contact of a host that is direct is evidence. One within GRACE_S of a change of the lists is none: the
kernel's sets follow them. Which way it fails: nothing is said of a host whose contacts the kernel answers by itself.
"""
from collections.abc import Callable, Sequence

from mxallowd.engine.events import Event, Kind

GRACE_S = 5
MOST = 1024  # hosts; who was seen first makes room
SAY_S = 3600  # between two lines of the log
_MET = (Kind.WHITELISTED, Kind.MET)
_CAME = (Kind.ACCEPTED, Kind.LIST_ALLOWED)


class Unled:
    """Takes events. Hosts are 16 bytes."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        """`clock_us` is the packet path's."""
        self._clock_us = clock_us
        self.is_direct: Callable[[bytes], bool] = lambda host: False
        self.say: Callable[[bytes], object] = lambda host: None
        """Tells the operator of a host; called at most once in SAY_S."""
        self._hosts: dict[bytes, None] = {}
        self._changed_us = 0
        self._said_us: int | None = None

    def changed(self) -> None:
        """Others may be direct from now on."""
        self._changed_us = self._clock_us()

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events."""
        for event in events:
            if event.kind in _MET:
                if event.time_us > self._changed_us + GRACE_S * 1_000_000 and self.is_direct(event.source):
                    self._note(event.source, event.time_us)
            elif self._hosts and event.kind in _CAME:
                self.came(event.source)

    def came(self, host: bytes) -> None:
        """It has come to the real server, so its mail is not lost."""
        self._hosts.pop(host, None)

    def has(self, host: bytes) -> bool:
        """Whether a host is direct and meets the fake server all the same."""
        return host in self._hosts and self.is_direct(host)

    def count(self) -> int:
        """How many there are."""
        self._hosts = dict.fromkeys(filter(self.is_direct, self._hosts))
        return len(self._hosts)

    def _note(self, host: bytes, now_us: int) -> None:
        self._hosts.pop(host, None)
        self._hosts[host] = None
        if len(self._hosts) > MOST:
            del self._hosts[next(iter(self._hosts))]
        if self._said_us is None or now_us - self._said_us >= SAY_S * 1_000_000:
            self._said_us = now_us
            self.say(host)
