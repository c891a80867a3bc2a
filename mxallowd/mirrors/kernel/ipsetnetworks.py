"""The lists' sets of ipset, hash:net: each is filled beside, under another name, and exchanged in one step."""
import errno
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from mxallowd.mirrors import TargetError, TargetFull, TargetWrong
from mxallowd.mirrors.kernel import ipsetquery as messages
from mxallowd.mirrors.kernel.connected import Connected
from mxallowd.mirrors.kernel.ipsetquery import INET, Header, IpsetQuery, about, network
from mxallowd.mirrors.networks import BITS, PLACES, Place, Range, prefixes

# ipset takes no prefix of length 0: two halves are all addresses.
SHORTEST = 1
BUSY_S, BUSY_STEP_S = 2.0, 0.01
OPTIONS = "maxelem 1000000"


class IpsetNetworks(Connected[IpsetQuery]):
    """The sets of ipset."""

    name = "ipset"

    def __init__(self, places: Sequence[Place] = PLACES) -> None:
        self.places = places
        self._headers: dict[Place, Header] = {}
        # How many networks each was last filled with.
        self._filled: dict[Place, int] = {}

    def _connect(self) -> IpsetQuery:
        return IpsetQuery()

    def present(self) -> set[Place]:
        """The sets that are there."""
        self._headers = {}
        for place in self.places:
            header = self._query.header(place.name)
            if header is None:
                continue
            if header.kind != "hash:net" or header.family != INET[place.version] or header.timeouts or header.mask:
                raise TargetWrong(
                    f"set {place.name} is of another type or has timeouts: remove the rules that use it, run "
                    f"`ipset destroy {place.name}`, then `{declaration(place)}`")
            self._headers[place] = header
        return set(self._headers)

    def fill(self, place: Place, ranges: Sequence[Range]) -> None:
        """Fill a set beside it, and exchange both."""
        twin = f"{place.name}.new"
        wanted = prefixes(ranges, place.version, SHORTEST)
        header = self._headers[place]
        if header.maxelem is not None and len(wanted) > header.maxelem:
            raise TargetFull(f"has room for {header.maxelem} networks and would need {len(wanted)}: create it with a "
                             "larger maxelem, as docs/firewall.md shows")
        with suppress(TargetError):
            # One that an earlier filling left behind.
            self._query.run([messages.destroy(twin)])
        self._check(self._query.run([messages.create(twin, header)]))
        try:
            size = BITS[place.version] // 8
            rest = (network(address.to_bytes(size, "big"), length) for address, length in wanted)
            while some := list(islice(rest, messages.FILLING)):
                self._check(self._query.run([messages.filling(twin, b"".join(some))]))
            self._exchange(place.name, twin)
        finally:
            with suppress(TargetError):
                self._query.run([messages.destroy(twin)])
        self._filled[place] = len(wanted)

    def _exchange(self, name: str, twin: str) -> None:
        """What is in the middle of being read, by anybody, cannot be exchanged."""
        deadline = time.monotonic() + BUSY_S
        while True:
            [error] = self._query.run([messages.swap(name, twin)])
            if error != errno.EBUSY or time.monotonic() > deadline:
                return self._check([error])
            time.sleep(BUSY_STEP_S)

    @staticmethod
    def _check(errors: Sequence[int]) -> None:
        for error in errors:
            if error == messages.FULL:
                raise TargetFull("is full")
            if error:
                raise TargetError(messages.said(error))

    def lacks(self, place: Place, ranges: Sequence[Range], total: int) -> bool:
        """Whether one of these is not in it, or it has another number of networks than it was filled with."""
        elements = self._headers[place].elements
        if elements is not None and elements != self._filled.get(place, 0):
            return True
        size = BITS[place.version] // 8
        errors = self._query.run([
            about(messages.TEST, place.name, network(address.to_bytes(size, "big"), length))
            for address, length in prefixes(ranges, place.version, SHORTEST)])
        if set(errors) - {0, messages.EXIST}:
            self._check(errors)
        return any(errors)

    def remedy(self, place: Place) -> str:
        """How the operator makes the set."""
        return f"make it by `{declaration(place)}` and use it as in rulesets/"


def declaration(place: Place) -> str:
    """The command that makes the set."""
    return f"ipset create {place.name} hash:net family inet{'6' if place.version == 6 else ''} {OPTIONS}"
