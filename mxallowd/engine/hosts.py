"""Which addresses can be a host's: nothing else becomes an entry of the whitelist.

An address of no host harms more than itself: one such element makes a whole batch of changes to ipset fail. Addresses
are 16 bytes in network order, IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2).

Refused are (RFC 6890, RFC 1122 3.2.1.3, RFC 4291 2.5): 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4 and
255.255.255.255; of IPv6 all of ::/64 (unspecified, loopback, IPv4-compatible, IPv4-translated), fe80::/10 and ff00::/8.
Private networks and the rest of 240.0.0.0/4 are allowed: gateways have senders there.
"""
from mxallowd.engine.events import MAPPED

BROADCAST = MAPPED + b"\xff\xff\xff\xff"
_NOTHING = bytes(8)


def has_hosts(first: bytes, last: bytes) -> bool:
    """Whether a network from the first to the last of these addresses has any that can be a host's.

    What is refused is a few networks: one that begins and ends in them is within one of them, or larger than the
    largest, 224.0.0.0/4 or ff00::/8.
    """
    if is_host(first) or is_host(last):
        return True
    bits = (int.from_bytes(first, "big") ^ int.from_bytes(last, "big")).bit_length()
    return bits > (28 if first.startswith(MAPPED) and last.startswith(MAPPED) else 120)


def is_host(address: bytes) -> bool:
    """Whether this can be the unicast address of a host that is not on this link alone. Any length but 16: False."""
    if len(address) != 16:
        return False
    if address.startswith(MAPPED):
        first, second = address[12], address[13]
        return not (first in (0, 127) or (first == 169 and second == 254) or first & 0xF0 == 224
                    or address == BROADCAST)
    return not (address.startswith(_NOTHING) or address[0] == 0xFF
                or (address[0] == 0xFE and address[1] & 0xC0 == 0x80))
