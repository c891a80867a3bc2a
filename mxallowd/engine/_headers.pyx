"""IPv4 and IPv6 headers: the two addresses of a packet, every length checked before a byte is read.

The decision needs the addresses alone, so nothing behind the fixed part of a header is looked at: IPv4
options, IPv6 extension headers and fragments change no decision. (Of a refused packet the source port is read as well.)
The kernel has checked the packets that it hands over (ip_rcv, ip6_rcv_core). If a packet fails here, that is a bug of
ours or a truncated copy, and the caller accepts it.
"""
from libc.string cimport memset

from mxallowd.engine._address cimport Address, address_of_ipv4, address_of_ipv6
from mxallowd.engine._packet cimport Packet

# RFC 791, 3.1 and RFC 8200, 3: sizes and places in bytes.
cdef enum:
    IPV4_HEADER = 20
    IPV4_SOURCE = 12
    IPV4_DESTINATION = 16
    IPV4_OFFSET = 6
    IPV4_PROTOCOL = 9
    IPV6_HEADER = 40
    IPV6_NEXT = 6
    IPV6_SOURCE = 8
    IPV6_DESTINATION = 24
    TCP = 6

REASONS = ("", "empty", "bad-version", "truncated", "bad-header-length")


cdef inline Parse parse(
        const uint8_t *packet, size_t length, Address *source, Address *destination) noexcept nogil:
    cdef size_t header
    if length == 0:
        return PARSE_EMPTY
    if packet[0] >> 4 == 4:
        if length < IPV4_HEADER:
            return PARSE_TRUNCATED
        header = <size_t> (packet[0] & 0x0f) * 4
        if header < IPV4_HEADER:
            return PARSE_BAD_HEADER_LENGTH
        if length < header:
            return PARSE_TRUNCATED
        source[0] = address_of_ipv4(packet + IPV4_SOURCE)
        destination[0] = address_of_ipv4(packet + IPV4_DESTINATION)
        return PARSE_OK
    if packet[0] >> 4 == 6:
        if length < IPV6_HEADER:
            return PARSE_TRUNCATED
        source[0] = address_of_ipv6(packet + IPV6_SOURCE)
        destination[0] = address_of_ipv6(packet + IPV6_DESTINATION)
        return PARSE_OK
    return PARSE_BAD_VERSION


cdef Parse parse_addresses(
        const uint8_t *packet, size_t length, Address *source, Address *destination) noexcept nogil:
    return parse(packet, length, source, destination)


cdef void parse_packets(
        const Packet *packets, int count, uint8_t *parses, Address *sources, Address *destinations) noexcept nogil:
    cdef int i
    for i in range(count):
        parses[i] = <uint8_t> parse(packets[i].data, packets[i].length, &sources[i], &destinations[i])
        if parses[i] != PARSE_OK:
            memset(&sources[i], 0, sizeof(Address))
            memset(&destinations[i], 0, sizeof(Address))


cdef uint16_t source_port(const uint8_t *packet, size_t length) noexcept nogil:
    cdef size_t header
    if length < IPV4_HEADER:
        return 0
    if packet[0] >> 4 == 4:
        header = <size_t> (packet[0] & 0x0f) * 4
        # Neither another protocol nor a later fragment has the port there.
        if header < IPV4_HEADER or packet[IPV4_PROTOCOL] != TCP or (
                packet[IPV4_OFFSET] & 0x1f) | packet[IPV4_OFFSET + 1]:
            return 0
    else:
        # An extension header may stand between; a SYN has none (RFC 8200, 4).
        header = IPV6_HEADER
        if packet[0] >> 4 != 6 or packet[IPV6_NEXT] != TCP:
            return 0
    # RFC 9293, 3.1: it comes first.
    if length < header + 2:
        return 0
    return <uint16_t> (packet[header] << 8 | packet[header + 1])


def port(bytes packet not None):
    return source_port(<const uint8_t *> <const char *> packet, <size_t> len(packet))


def addresses(bytes packet not None):
    cdef Address source, destination
    cdef Parse parse
    parse = parse_addresses(<const uint8_t *> <const char *> packet, <size_t> len(packet), &source, &destination)
    if parse != PARSE_OK:
        raise ValueError(REASONS[<int> parse])
    return (<const uint8_t *> &source)[:16], (<const uint8_t *> &destination)[:16]
