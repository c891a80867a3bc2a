"""Which of the firewall's sets hold a host: for `explain`, which asks the very sets that the rules ask.

Of the sets of docs/firewall.md, whoever fills them: `mx_exempt` is the operator's, `mx_met` the kernel's own. Asking
changes nothing. A set that is not there, or of another kind, is left out of the answer: a rule that asks it cannot be.
"""
import errno

from mxallowd.engine.events import MAPPED
from mxallowd.mirrors import TargetError
from mxallowd.mirrors.kernel.ipsetquery import EXIST, TEST, IpsetQuery, about, network, said
from mxallowd.mirrors.kernel.nfmessages import CONCATENATED, KEY_LENGTHS, MAP
from mxallowd.mirrors.kernel.nfquery import NfQuery

SETS = ("mx_exempt", "mx_deny", "mx_allow", "mx_direct", "mx_white", "mx_used", "mx_fresh", "mx_met")
# Of masked addresses.
NETWORKS = ("mx_net", "mx_metnet")
# With iptables the exempt hosts stand in the rules themselves.
IPSETS = SETS[1:]


def masked(key: bytes, bits: int) -> bytes:
    """The first address of the network."""
    behind = 8 * len(key) - bits
    return (int.from_bytes(key, "big") >> behind << behind).to_bytes(len(key), "big")


def in_nft(query: NfQuery, host: bytes, network_key: tuple[int, int] | None = None) -> dict[str, bool]:
    """By name of the set. `host` is 16 bytes; `network_key` as of the settings. Raises TargetError."""
    version, key = (4, host[12:]) if host.startswith(MAPPED) else (6, host)
    keys = {f"{name}{version}": key for name in SETS}
    if network_key is not None:
        keys |= {f"{name}{version}": masked(key, network_key[version == 6]) for name in NETWORKS}
    found = query.sets(keys)
    # Of an interval the kernel names the first address, or nothing.
    return {name: bool(query.get(name, [keys[name]])) for name, one in found.items()
            if not one.flags & (MAP | CONCATENATED) and one.key_length == KEY_LENGTHS[f"ipv{version}_addr"]}


def in_ipset(query: IpsetQuery, host: bytes, network_key: tuple[int, int] | None = None) -> dict[str, bool]:
    """The same of ipset, whose sets of networks mask by themselves."""
    version, key = (4, host[12:]) if host.startswith(MAPPED) else (6, host)
    names = IPSETS if network_key is None else (*IPSETS, *NETWORKS)
    there = [name for one in names if query.header(name := f"{one}{version}") is not None]
    if not any(key):
        # ipset takes no such address.
        return dict.fromkeys(there, False)
    # A single address as a network, since a set without times refuses a question with one.
    found = {}
    for name, error in zip(there, query.run([about(TEST, name, network(key, 8 * len(key))) for name in there]),
                           strict=True):
        if error not in (0, EXIST, errno.ENOENT):
            raise TargetError(f"set {name}: {said(error)}")
        if error != errno.ENOENT:
            found[name] = not error
    return found
