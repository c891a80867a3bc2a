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


cdef inline bint is_mapped(const Address *address) noexcept nogil:
    """Whether it is in IPv4-mapped form: an IPv4 address, where the parser made it."""
    cdef const uint8_t *byte = <const uint8_t *> address
    return address.high == 0 and byte[8] == 0 and byte[9] == 0 and byte[10] == 0xff and byte[11] == 0xff


cdef inline bint is_loopback(const Address *address) noexcept nogil:
    """127.0.0.0/8 and ::1 (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3)."""
    cdef const uint8_t *byte = <const uint8_t *> address
    if is_mapped(address):
        return byte[12] == 127
    return address.high == 0 and (byte[8] | byte[9] | byte[10] | byte[11] | byte[12] | byte[13] | byte[14]) == 0 \
        and byte[15] == 1


cdef inline bint is_host(const Address *address) noexcept nogil:
    """Whether a host far away can have it: hosts.is_host(), compiled, has the networks and their sources."""
    cdef const uint8_t *byte = <const uint8_t *> address
    if is_mapped(address):
        return byte[12] != 0 and byte[12] != 127 and byte[12] & 0xf0 != 224 and not (
            byte[12] == 169 and byte[13] == 254) and byte[12] & byte[13] & byte[14] & byte[15] != 255
    return address.high != 0 and byte[0] != 0xff and not (byte[0] == 0xfe and byte[1] & 0xc0 == 0x80)
