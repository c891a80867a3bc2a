"""At which interfaces a chain of a table stands in front of connection tracking, read from messages of nf_tables.

That is at the ingress of those that it names, or in prerouting, which what comes in by any of them passes. From
linux/netfilter/nf_tables.h: NFTA_CHAIN_, NFTA_HOOK_, NFTA_DEVICE_; linux/netfilter.h: NF_INET_. A chain may name an
interface that is not there: since Linux 6.16 the kernel hooks it again when one of that name comes; before, it does not
do that, and the name is gone from the chain.
"""
from collections.abc import Iterator

from mxallowd.mirrors.kernel.netlink import attributes

NEWCHAIN, GETCHAIN = (10 << 8 | number for number in (3, 4))  # NFNL_SUBSYS_NFTABLES is 10
_TABLE, _HOOK, _USE = 1, 4, 6
_HOOK_NUMBER, _PRIORITY, _ONE_DEVICE, _DEVICES = 1, 2, 3, 4
_DEVICE_NAME, _DEVICE_PREFIX = 1, 2
# Of the family of a table (NFPROTO_INET, NFPROTO_NETDEV): the number of its ingress hook. No other one has any.
_INGRESS = {1: 5, 5: 0}
_IP_FAMILIES, _PREROUTING, _BEHIND = (1, 2, 10), 0, (1, 2)  # NF_INET_LOCAL_IN, NF_INET_FORWARD
EVERYWHERE, BEHIND = "*", "/"  # in prerouting; behind it. No interface has such a name
# NF_IP_PRI_CONNTRACK_DEFRAG and _CONNTRACK, linux/netfilter_ipv4.h. In front of both the rulesets only drop packets
# whose headers are out of order: that is no door.
_DEFRAGMENTATION, _TRACKING = -400, -200


def doors(body: memoryview, family: int, table: str) -> Iterator[str]:
    """The interfaces at which the chain in a NEWCHAIN stands, if it is the table's; `name*` is a prefix.

    EVERYWHERE is in front of connection tracking, for all of them, and BEHIND is at input or forward, which is no door.
    A chain that has no rule decides nothing, and stands nowhere.
    """
    values = dict(attributes(body[4:]))
    hook = dict(attributes(values.get(_HOOK, memoryview(b""))))
    number = int.from_bytes(hook.get(_HOOK_NUMBER, b""), "big") if _HOOK_NUMBER in hook else None
    if number is None or _text(values.get(_TABLE, memoryview(b""))) != table:
        return
    # What uses a chain with a hook is its rules alone: none may jump there.
    if _USE in values and not int.from_bytes(values[_USE], "big"):
        return
    priority = int.from_bytes(hook.get(_PRIORITY, b""), "big", signed=True)
    if family in _IP_FAMILIES and number == _PREROUTING and _DEFRAGMENTATION < priority < _TRACKING:
        yield EVERYWHERE
    if family in _IP_FAMILIES and number in _BEHIND:
        yield BEHIND
    if number != _INGRESS.get(family):
        return
    if _ONE_DEVICE in hook:
        yield _text(hook[_ONE_DEVICE])
    for kind, name in attributes(hook.get(_DEVICES, memoryview(b""))):
        if kind in (_DEVICE_NAME, _DEVICE_PREFIX):
            yield _text(name) + ("*" if kind == _DEVICE_PREFIX else "")


def stands_at(found: set[str], interface: str) -> bool:
    """Whether one of these names the interface."""
    return interface in found or any(one.endswith("*") and interface.startswith(one[:-1]) for one in found)


def _text(value: memoryview) -> str:
    return bytes(value).rstrip(b"\0").decode("utf-8", "replace")
