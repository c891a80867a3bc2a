"""Which network of two lists holds for an address, in plain Python: every network is asked."""
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def holds(networks: Sequence[tuple[str, Network]], address: Address) -> int | None:
    """The place of the network that holds: the longest, of equally long ones deny, of equal ones the first."""
    best = None
    for place, (verdict, network) in enumerate(networks):
        if network.version != address.version or address not in network:
            continue
        rank = (network.prefixlen, verdict == "deny", -place)
        if best is None or rank > best:
            best = rank
    return None if best is None else -best[2]


def says(networks: Sequence[tuple[str, Network]], address: Address) -> int:
    """0: nothing; 1: allowed; 2: denied."""
    place = holds(networks, address)
    return 0 if place is None else 2 if networks[place][0] == "deny" else 1
