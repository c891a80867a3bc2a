"""Kernel tables: targets in the firewall, so that known senders need no user space at all.

One module for each kind: `nft` (sets with timeouts), `ipset` (the same for iptables), `pf` (a table of the BSDs). The
operator owns the ruleset; these modules change the elements of sets and nothing else. Every call may wait for the
kernel.
"""
from typing import TYPE_CHECKING

from mxallowd.mirrors import Target

if TYPE_CHECKING:
    # The privileged helper, a module of this package, can do without all that reads settings.
    from mxallowd.mirrors.networks import NetworkTarget
    from mxallowd.settings import Settings


def create(settings: "Settings") -> list[Target]:
    """The kernel tables that the settings choose. Raises StartError."""
    # Each module is imported only when chosen.
    targets: list[Target] = []
    versions = {one.version for one in (*settings.fake_mailserver, *settings.real_mailserver)}
    if settings.nft_table is not None:
        from mxallowd.mirrors.kernel.nft import NftTable  # noqa: PLC0415

        table = NftTable(
            settings.nft_table, setup=settings.nft_setup, max_entries=settings.copied_entries,
            ipv6=6 in versions, counts_only=settings.dry_run and not settings.queue_num)
        table.network_key, table.at_door = settings.network_key, bool(settings.door)
        targets.append(table)
    if settings.ipset:
        from mxallowd.mirrors.kernel.ipset import IpsetTable  # noqa: PLC0415

        targets.append(IpsetTable(ipv4=4 in versions, ipv6=6 in versions, key=settings.network_key))
    if settings.pf_table is not None:
        from mxallowd.mirrors.kernel.pf import PfTable  # noqa: PLC0415

        targets.append(PfTable(settings.pf_table))
    return targets


def create_contact_networks(settings: "Settings") -> list[Target]:
    """Where networks that contacts have let in are kept as well: of a queue the daemon decides. Raises StartError."""
    targets: list[Target] = []
    key = settings.network_key
    if key is None or settings.queue_num:
        return targets
    if settings.nft_table is not None:
        from mxallowd.mirrors.kernel.nft import NftContactNetworks  # noqa: PLC0415

        networks = NftContactNetworks(settings.nft_table, setup=settings.nft_setup, max_entries=settings.max_entries)
        networks.at_door = bool(settings.door)
        targets.append(networks)
    if settings.ipset:
        from mxallowd.mirrors.kernel.ipset import IpsetTable  # noqa: PLC0415
        from mxallowd.mirrors.kernel.nftset import OF_NETWORKS  # noqa: PLC0415

        targets.append(IpsetTable(roles=OF_NETWORKS, key=key))
    return targets


def create_networks(settings: "Settings") -> "list[NetworkTarget]":
    """Where the lists of networks are kept as well. Raises StartError."""
    targets: list[NetworkTarget] = []
    if settings.nft_table is not None:
        from mxallowd.mirrors.kernel.nftnetworks import NftNetworks  # noqa: PLC0415

        targets.append(NftNetworks(settings.nft_table, setup=settings.nft_setup))
    if settings.ipset:
        from mxallowd.mirrors.kernel.ipsetnetworks import IpsetNetworks  # noqa: PLC0415

        targets.append(IpsetNetworks())
    if settings.pf_table is not None:
        from mxallowd.mirrors.kernel.pfnetworks import PfNetworks  # noqa: PLC0415

        targets.append(PfNetworks())
    return targets


NO_DIRECT = "neither nft-table nor ipset nor direct-table says where the sets mx_direct4 and mx_direct6 are"


def has_direct(settings: "Settings") -> bool:
    """Whether there is a place for the sets of direct hosts."""
    return settings.direct_table is not None or settings.nft_table is not None or settings.ipset


def create_direct(settings: "Settings") -> "list[NetworkTarget]":
    """Where the sets of hosts are that are led from the fake server to the real one. Raises StartError."""
    from mxallowd.mirrors.networks import DIRECT_PLACES  # noqa: PLC0415

    table = settings.direct_table
    nft = table if table not in (None, "ipset") else settings.nft_table if table is None else None
    targets: list[NetworkTarget] = []
    if nft is not None:
        from mxallowd.mirrors.kernel.nftnetworks import NftNetworks  # noqa: PLC0415

        targets.append(NftNetworks(nft, setup=settings.nft_setup, places=DIRECT_PLACES))
    if table == "ipset" or (table is None and settings.ipset):
        from mxallowd.mirrors.kernel.ipsetnetworks import IpsetNetworks  # noqa: PLC0415

        targets.append(IpsetNetworks(DIRECT_PLACES))
    return targets
