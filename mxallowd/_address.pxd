"""An address as the packet path holds it: two words, compared as numbers, never as text.

The words are the 16 bytes of the address as they lie in the packet, loaded as they are: equal addresses
have equal words on every machine, and nothing needs their order. IPv4 stands in its IPv4-mapped form
(RFC 4291, 2.5.5.2), so ::ffff:192.0.2.1 and 192.0.2.1 are one host.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef struct Address:
    uint64_t high
    uint64_t low


cdef inline Address address_of_ipv6(const uint8_t *sixteen) noexcept nogil:
    cdef Address address
    memcpy(&address, sixteen, 16)
    return address


cdef inline Address address_of_ipv4(const uint8_t *four) noexcept nogil:
    cdef Address address
    cdef uint8_t *low = <uint8_t *> &address.low
    address.high = 0
    low[0] = 0
    low[1] = 0
    low[2] = 0xff
    low[3] = 0xff
    memcpy(low + 4, four, 4)
    return address
