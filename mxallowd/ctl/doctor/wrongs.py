"""What becomes of a packet in place of what should, in words."""
from collections.abc import Sequence
from typing import NamedTuple

from mxallowd.ctl.doctor.mending import joined
from mxallowd.ctl.doctor.walk import Chain, Packet, Step
from mxallowd.settings.values import Address

DRY_RUN = ("in a dry run nobody is to be refused: mxallowd says these hosts are accepted; take the lines `#dry` of "
           "{}, or what --print-ruleset prints with --dry-run")
FILES = {"c": "set.nft (refuse=RETURN in set-ipset.sh)", "d": "door.nft"}


class Server(NamedTuple):
    """A server, with the role it plays."""

    role: str
    address: Address
    local: bool

    def __str__(self) -> str:
        return f"{self.role} {self.address}"


class Wrong(NamedTuple):
    """What happens to a packet in place of what should."""

    check: str
    state: str
    why: str
    path: tuple[Step, ...]  # the rules that led to its end; () none did
    chain: Chain | None  # whose drop it was
    packet: Packet
    server: Server


def what(some: Sequence[Wrong], feeding: Step, *, queue: bool) -> str:
    """What was seen of packets that met the same end; `feeding` is the first rule for mxallowd."""
    one = some[0]
    known = " of known hosts" if all(wrong.packet.known for wrong in some) else ""
    whose = f"packets{known} to {joined(wrong.server for wrong in some)}"
    by = f" by {one.path[-1]}" if one.path else \
        f" by the policy of {one.chain.program} {one.chain.table} {one.chain.name}" if one.chain else ""
    if one.check == "rule-behind":
        return f"{whose} are dropped behind mxallowd,{by}"
    if one.check == "rule-dry-run":
        return f"{whose} are dropped in a dry run,{by}"
    if one.check == "rule-away":
        return f"{whose} are led elsewhere,{by}"
    if one.chain is not None:
        return f"{whose} are dropped before mxallowd sees them,{by}"
    if one.path:
        return f"{whose} are accepted before mxallowd sees them,{by}"
    return (f"{whose} are accepted, and no rule {'sends them to mxallowd' if queue else 'drops strangers'}"
            f"; what feeds it is: {feeding}")
