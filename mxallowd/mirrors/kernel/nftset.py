"""One set of kernel table nft: what belongs into it, and whether the one that is there can be used."""
from collections.abc import Iterator, Sequence
from enum import Enum

from mxallowd.engine.events import MAPPED
from mxallowd.mirrors import Listed, Listing, TargetWrong
from mxallowd.mirrors.kernel.nfmessages import (
    CONCATENATED,
    CONSTANT,
    DYNAMIC,
    INTERVAL,
    KEY_LENGTHS,
    MAP,
    TIMEOUT,
    SetFound,
)

ANY_SIZE = 1 << 40
# No packet can come from these, so their entry lets nobody in: unspecified, broadcast, multicast.
NO_SOURCES = {
    4: [bytes(4), b"\xff" * 4, b"\xe0\0\0\0"], 6: [bytes(16), b"\xff\2" + bytes(13) + b"\1", b"\xff" + bytes(15)]}
# The kernel's own: whom it lets in for some seconds, until the daemon has entered him. By version.
MET = {4: "mx_met4", 6: "mx_met6"}
# The same of networks, masked.
MET_NETWORKS = {4: "mx_metnet4", 6: "mx_metnet6"}


class Role(Enum):
    """What a set is for, by the beginning of its name."""

    WHITE = "mx_white"
    USED = "mx_used"
    FRESH = "mx_fresh"
    NETWORK = "mx_net"


# Of a copy of the whitelist, and of one of the networks that contacts have let in (contactnetworks.py).
OF_HOSTS: tuple[Role, ...] = (Role.WHITE, Role.USED, Role.FRESH)
OF_NETWORKS: tuple[Role, ...] = (Role.NETWORK,)
# In way d) rules enter whoever met the fake server into the sets that let him in, for so many seconds.
MET_S = 5
# All that are listed belong into these.
WHOLE = (Role.WHITE, Role.NETWORK)


def met_of(roles: Sequence[Role]) -> dict[int, str]:
    """The kernel's own sets beside these."""
    return MET if Role.WHITE in roles else MET_NETWORKS


class NftSet:
    """One set of the table."""

    def __init__(self, role: Role, version: int) -> None:
        self.role = role
        self.version = version
        self.name = f"{role.value}{version}"
        self.kind = f"ipv{version}_addr"
        self.no_sources = NO_SOURCES[version]
        self.present = False
        self.dynamic = False  # rules enter hosts as well, or are to
        self.size = ANY_SIZE
        self.room = ANY_SIZE  # for a filling
        self.own: dict[bytes, bytes] = {}  # elements without a timeout, as the kernel gave them

    def key(self, host: bytes) -> bytes:
        """A host as the set has it."""
        return host[12:] if self.version == 4 else host

    def host(self, key: bytes) -> bytes:
        """A key as the daemon has it."""
        return MAPPED + key if self.version == 4 else key

    def takes(self, host: bytes) -> bool:
        """Whether the host is of the set's family."""
        return host.startswith(MAPPED) == (self.version == 4)

    def seconds(self, one: Listed) -> int:
        """How long the host is to be in it; 0: not at all."""
        if self.role is Role.FRESH:
            return one.fresh_s
        return one.remaining_s if one.used or self.role in WHOLE else 0

    def remedy(self, table: str) -> str:
        """How the operator declares it."""
        return f"add set {table} {self.name} {{ type {self.kind}; flags {'dynamic,' * self.dynamic}timeout; }}"

    def found(self, found: SetFound) -> None:
        """Take over what the kernel has. Raises TargetError where that cannot be used."""
        fault = self._fault(found)
        if fault:
            raise TargetWrong(f"set {self.name} {fault}")
        self.present = True
        self.dynamic = bool(found.flags & DYNAMIC)
        self.size = ANY_SIZE if found.size is None else found.size

    def _fault(self, found: SetFound) -> str | None:
        if found.flags & MAP:
            return f"is a map, declare it as a set of type {self.kind} with flags timeout"
        if found.flags & CONCATENATED or found.kind != self.kind or found.key_length != KEY_LENGTHS[self.kind]:
            return f"is of type {found.kind}, it must be {self.kind}"
        if found.flags & INTERVAL:
            return "holds intervals, declare it with flags timeout alone"
        if not found.flags & TIMEOUT:
            return "has no timeouts, declare it with flags timeout"
        if found.flags & CONSTANT:
            return "is constant, declare it with flags timeout alone"
        return None


class Filling:
    """What is to stand in which set, as far as there is room beside the operator's own."""

    def __init__(self, entries: Listing, sets: Sequence[NftSet]) -> None:
        self._entries = entries
        self._sets = {True: [one for one in sets if one.version == 4], False: [one for one in sets if one.version == 6]}
        self._fits = len(entries) <= min((one.size - len(one.own) for one in sets), default=0)
        self.left_out = 0  # hosts

    def places(self) -> Iterator[tuple[NftSet, bytes, int]]:
        """Set, key and seconds of each element."""
        self.left_out = 0
        for sets in self._sets.values():
            for one in sets:
                one.room = max(0, one.size - len(one.own))
        # Where all have room, the order is nobody's business, and sorting a million takes its time.
        for entry in self._entries if self._fits else self._entries.best_first():
            four = entry.host.startswith(MAPPED)
            key = entry.host[12:] if four else entry.host
            without_room = False
            for one in self._sets[four]:
                seconds = one.seconds(entry)
                if not seconds or key in one.own:
                    continue
                if one.room:
                    one.room -= 1
                    yield one, key, seconds
                else:
                    without_room = without_room or one.role is not Role.FRESH
            self.left_out += without_room
