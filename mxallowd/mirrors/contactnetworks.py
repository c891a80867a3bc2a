"""Networks that contacts have let in, in the firewall: for the ways in which the kernel decides (--network-key).

    mx_net4, mx_net6        masked addresses, with the time that is left to the network
    mx_metnet4, mx_metnet6  the kernel's own: those of the last five seconds' contacts, until mxallowd has entered them

The rules ask whether the masked source stands in them. A mirror keeps these sets as it keeps the whitelist's own. What
it copies is the memory of networks (engine/_meetings.pxd) in the form of a whitelist. Nothing is adopted from a set:
the entries of contacts say which networks are let in, and all others are taken out.

Which way it fails: where the ruleset lacks the sets, that is said once, and the neighbours of a contact come in one by
one, each with an entry of its own after its first SYN (sinks/neighbours.py).
"""
import secrets
from collections.abc import Callable, Iterator

from mxallowd.backends import Backends
from mxallowd.engine._meetings import Meetings
from mxallowd.log import Log
from mxallowd.mirrors import Target, TargetError, TargetLacking, kernel
from mxallowd.mirrors.mirror import Mirror
from mxallowd.settings import Settings
from mxallowd.sinks.neighbours import Neighbours
from mxallowd.whitelist import Follower, unpack

PIECE = 1 << 14  # places looked at between two chances for other threads
SAMPLED = 1 << 16  # places that are looked at for a sample
LACKING = "neighbours of a contact come in one by one, at their second SYN; rulesets/ has the sets and their rules"


class ContactNetworks:
    """The memory of networks as what a mirror copies; a network stands for a host, by its first address."""

    def __init__(self, neighbours: Neighbours, meetings: Meetings, now_us: Callable[[], int]) -> None:
        self._neighbours = neighbours
        self._meetings = meetings
        self.now_us = now_us

    def follow(self, follower: Follower) -> None:
        """Tell of changes."""
        self._neighbours.follow(follower)

    def knows_real(self, host: bytes) -> bool:
        """No network connects."""
        return False

    def find(self, host: bytes) -> tuple[int, bool] | None:
        """Until when the network is let in."""
        until_us = self._meetings.find(host, self.now_us())
        return None if until_us is None else (until_us, False)

    def records(self) -> Iterator[bytes]:
        """All networks that are let in. Any thread may ask."""
        start = 0
        while True:
            records, start = self._meetings.entries(self.now_us(), start, PIECE)
            yield records
            if start == 0:
                return

    def sample(self, count: int) -> dict[bytes, tuple[int, bool]]:
        """Some of them, from a place at random on."""
        records, _ = self._meetings.entries(
            self.now_us(), secrets.randbelow(self._meetings.max_networks), SAMPLED)
        return {host: (until_us, False) for (host, until_us, _), _ in zip(unpack(records), range(count), strict=False)}

    def is_barred(self, host: bytes, until_us: int | None) -> bool:
        """Nothing comes back from the firewall."""
        return True

    def adopt(self, host: bytes, until_us: int, *, used: bool) -> bool:
        """Nothing is adopted."""
        return False

    def room(self) -> int:
        """Nothing is adopted."""
        return 0

    def __len__(self) -> int:
        """How many there may be."""
        return self._meetings.max_networks


class NetworkMirror(Mirror):
    """A mirror of sets that a ruleset may lack."""

    def __init__(self, target: Target, networks: ContactNetworks, log: Log, settings: Settings) -> None:
        super().__init__(target, networks, log, settings)
        # Who is not in these sets comes in by himself.
        self._decides = False
        self._said_lacking = False

    def status(self) -> dict[str, object]:
        """As of a mirror; without these sets the neighbours of a contact come in all the same, a second later."""
        return super().status() | {"name": f"networks in {self.name}", "lacking": [], "decides": False}

    def _fail(self, error: TargetError) -> None:
        if not isinstance(error, TargetLacking):
            super()._fail(error)
            return
        self._fault = str(error)
        self.missed()
        if not self._said_lacking:
            self._said_lacking = True
            self._log.warning("kernel-networks-missing", None, table=self.name, reason=f"{error}: {LACKING}")


def create(settings: Settings, neighbours: Neighbours, backends: Backends, log: Log) -> list[NetworkMirror]:
    """The mirrors that the settings choose. Raises StartError."""
    if backends.meetings is None:
        return []
    networks = ContactNetworks(neighbours, backends.meetings, backends.clock_us)
    return [NetworkMirror(target, networks, log, settings) for target in kernel.create_contact_networks(settings)]
