"""An address as the packet path holds it: two words, compared as numbers, never as text.

The words are the 16 bytes of the address as they lie in the packet, loaded as they are: equal addresses
have equal words on every machine, and nothing needs their order. IPv4 stands in its IPv4-mapped form
(RFC 4291, 2.5.5.2), so ::ffff:192.0.2.1 and 192.0.2.1 are one host.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    """
    /* The low word of an IPv4-mapped address, made in a register: bytes that were stored one by one and are
       loaded as a word at once would make the processor wait for its own stores. */
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define MXALLOWD_MAPPED(four) ((uint64_t) (four) << 32 | 0xffff0000u)
    #else
    #define MXALLOWD_MAPPED(four) ((uint64_t) 0xffff << 32 | (four))
    #endif
    """
    uint64_t mapped_low "MXALLOWD_MAPPED"(uint32_t four) noexcept

cdef struct Address "mxallowd_address":
    uint64_t high
    uint64_t low


cdef inline Address address_of_ipv6(const uint8_t *sixteen) noexcept nogil:
    cdef Address address
    memcpy(&address, sixteen, 16)
    return address


cdef inline Address address_of_ipv4(const uint8_t *four) noexcept nogil:
    cdef Address address
    cdef uint32_t word = 0
    memcpy(&word, four, 4)
    address.high = 0
    address.low = mapped_low(word)
    return address
