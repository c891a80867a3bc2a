"""What does not come to mxallowd, although it should: contacts, or any packet.

Unknown hosts contact the real server, and for an hour no host contacts the fake one: the better MX record may be
missing, the fake address be another host's, or a rule before ours may take its packets. Then every host is refused,
or an entry lasts only while it lasts. Or hosts that nobody listed get through to the real server, past mxallowd. The
log says so, again at most once a day.
"""
import time
from collections.abc import Callable, Iterable

from mxallowd.backends import Backends
from mxallowd.log import Log

BYPASSED_HOSTS = 10  # more than there are monitors and other hosts that the rules exempt
AFTER_S = 3600.0
AGAIN_S = 86_400.0
FAKE = ("fake-new", "fake-known", "fake-no-host")
# A known host may rightly come straight to the real server for hours (exim does); a refused one has met no fake one.
REAL = ("real-refused",)


class Absence:
    """Looks at the counters of the decision once a second."""

    def __init__(self, backend: Backends, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._log = log
        self._clock = clock
        self._fake = self._real = 0
        self._since: float | None = None  # the first contact with the real server after the last one with the fake
        self._real_since = 0
        self._said: float | None = None
        self._on = False

    def look(self) -> None:
        """Say it when it is due, and take it back."""
        counted = [fastpath.counters() for fastpath in self._backend.fastpaths]
        fake = sum(one[name] for one in counted for name in FAKE)
        real = sum(one[name] for one in counted for name in REAL)
        now = self._clock()
        if fake > self._fake:
            if self._on:
                self._log.info("nothing-at-fake", None, state="off")
            self._since, self._on = None, False
        elif real > self._real and self._since is None:
            self._since, self._real_since = now, self._real
        self._fake, self._real = fake, real
        if (self._since is not None and now - self._since >= AFTER_S
                and (self._said is None or now - self._said >= AGAIN_S)):
            self._said, self._on = now, True
            self._log.warning("nothing-at-fake", None, state="on", real=real - self._real_since,
                              seconds=int(now - self._since))


class Bypass:
    """Looks whether hosts reach the real server while no packet reaches mxallowd: an earlier rule accepts them.

    Connection tracking tells who has connected (backends/handshakes.py). Hosts that are listed may pass in the kernel
    alone; so may a few that the rules exempt.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._received = 0
        self._since = clock()
        self._hosts: set[bytes] = set()
        self._said: float | None = None

    def look(self, received: int, unlisted: Iterable[bytes]) -> None:
        """Say it when it is due: packets that came so far, and hosts that have connected without being listed."""
        now = self._clock()
        if received != self._received:
            self._received, self._since = received, now
            self._hosts.clear()
            return
        for host in unlisted:
            if len(self._hosts) < BYPASSED_HOSTS:
                self._hosts.add(host)
        if len(self._hosts) >= BYPASSED_HOSTS and (self._said is None or now - self._said >= AGAIN_S):
            self._said = now
            self._log.warning("bypassed", None, hosts=len(self._hosts), seconds=int(now - self._since))
