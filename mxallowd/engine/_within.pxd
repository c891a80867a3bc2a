"""Whether a host is in a network, asked of each of many hosts: two comparisons, whatever the order of the words is.

An IPv4 address is in no network of IPv6, ::/0 included, although the form in which hosts stand here would have it so.
"""
from libc.string cimport memcpy

from mxallowd.engine._address cimport Address, is_mapped

cdef struct Within:
    Address prefix
    Address mask            # its bits, as they lie in an address
    bint ipv6               # no IPv4 address is in it

cdef inline bint is_within(const Within *network, const Address *host) noexcept nogil:
    return (((host.low ^ network.prefix.low) & network.mask.low)
            | ((host.high ^ network.prefix.high) & network.mask.high)) == 0 and not (
                network.ipv6 and is_mapped(host))

cdef inline Within everywhere() noexcept nogil:
    cdef Within network
    network.prefix.low = network.prefix.high = network.mask.low = network.mask.high = 0
    network.ipv6 = False
    return network

# By its first and its last address, 16 bytes each. Raises ValueError where they have another length.
cdef inline Within within_of(bytes first, bytes last) except *:
    cdef Within network
    if len(first) != 16 or len(last) != 16:
        raise ValueError("an address is 16 bytes")
    memcpy(&network.prefix, <const char *> first, 16)
    memcpy(&network.mask, <const char *> last, 16)
    network.mask.low = ~(network.mask.low ^ network.prefix.low)
    network.mask.high = ~(network.mask.high ^ network.prefix.high)
    network.ipv6 = not is_mapped(&network.prefix)
    return network
