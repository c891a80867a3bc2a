"""The door of way d): whether a chain of the table stands at each interface, and the quota of its flood rule.

Nothing of the ruleset is changed here. Refilling takes back what a quota has counted; its rule lets so much more pass
to where mxallowd is shown some of it.
"""
import socket
from collections.abc import Iterable

from mxallowd.errors import StartError
from mxallowd.mirrors import TargetError
from mxallowd.mirrors.jobs import guarded
from mxallowd.mirrors.kernel.connected import Connected
from mxallowd.mirrors.kernel.links import Links
from mxallowd.mirrors.kernel.nfhooks import BEHIND, EVERYWHERE, stands_at
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.settings.values import Address
from mxallowd.text import quoted

QUOTA = "mx_flood"
FILTERED = "its rules behind it filter what comes in"  # those of way c)
NO_INTERFACE = "there is no such interface"


class NftDoor(Connected[NfQuery]):
    """Asks about one table, `FAMILY NAME`. All calls come from one thread at a time and may wait for the kernel."""

    def __init__(self, table: str) -> None:
        self.name = f"nft {table}"
        self._table = table
        self.everywhere = False  # when it was asked last, a chain stood in prerouting, where all interfaces have it

    def _connect(self) -> NfQuery:
        return NfQuery(*self._table.split())

    def faults(self, interfaces: Iterable[str]) -> dict[str, str]:
        """Of each interface by which packets come in undecided, why. Raises TargetError."""
        found: set[str] | None = None
        faults: dict[str, str] = {}
        for interface in interfaces:
            if not exists(interface):
                faults[interface] = NO_INTERFACE
                continue
            found = self._query.doors() if found is None else found
            if not stands_at(found, interface):
                faults[interface] = (
                    f"no chain of table {self._table} stands at its ingress; {FILTERED}: load door.nft, or leave out "
                    "--door" if BEHIND in found else
                    f"no chain of table {self._table} with a rule stands at its ingress: load door.nft")
        self.everywhere = found is not None and EVERYWHERE in found
        return faults

    def beside(self, interfaces: Iterable[str], servers: Iterable[Address]) -> dict[str, str]:
        """Of each interface by which mail may come in that is none of these, why that is so. Raises TargetError."""
        return Links(servers).beside((*interfaces, *self._query.doors()))

    def refill(self) -> None:
        """Let the quota of the flood rule begin anew, where there is one. Raises TargetError."""
        self._query.refill(QUOTA)


def exists(interface: str) -> bool:
    """Whether there is an interface of this name."""
    try:
        return socket.if_nametoindex(interface) != 0
    except OSError:
        return False


def lacking(interfaces: Iterable[str], table: str | None, servers: Iterable[Address] = ()) -> list[str]:
    """For --check: what is wrong with the interfaces of --door, a line each. What may not be asked is not said."""
    interfaces = list(interfaces)
    beside: dict[str, str] = {}
    faults = {one: NO_INTERFACE for one in interfaces if not exists(one)}
    if table is not None and interfaces:
        door = NftDoor(table)
        try:
            guarded(door.open)
            faults = guarded(lambda: door.faults(interfaces))
            beside = guarded(lambda: door.beside(interfaces, servers))
        except (TargetError, StartError):
            pass
        finally:
            door.close()
    return [*(f"door {quoted(interface)}: {fault}" + "; packets that come in by it are not filtered" * (
                  FILTERED not in fault)
              for interface, fault in faults.items()),
            *(f"door: no --door is {quoted(interface)}, but {why}; mail that comes in by it is not filtered"
              for interface, why in beside.items())]
