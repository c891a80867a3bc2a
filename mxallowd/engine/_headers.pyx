"""IPv4 and IPv6 headers: the two addresses of a packet, and whether it can be a SYN. Every length is checked before a
byte is read.

The decision needs the addresses, and only a SYN is decided. A rule that asks connection tracking alone (`state NEW`)
also sends the middle of connections that it does not know; these must go on. What is no TCP, or a later fragment, is no
SYN. Where the flags are not among the bytes that came, the packet is judged as a SYN, so that nobody passes behind a
long chain of extension headers. (Of a refused packet the source port is read as well.) The kernel has checked the
packets that it hands over (ip_rcv, ip6_rcv_core). If a packet fails here, that is a bug of ours or a truncated copy,
and the caller accepts it.
"""
from libc.string cimport memset

from mxallowd.engine._address cimport Address, address_of_ipv4, address_of_ipv6, is_mapped
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
    # RFC 9293, 3.1.
    TCP_FLAGS = 13
    SYN = 0x02
    SYN_ACK_RST_FIN = 0x17
    # RFC 8200, 4; RFC 4302, 2; RFC 7045 has the list. What is longer is judged as a SYN.
    HOP_BY_HOP = 0
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    DESTINATION_OPTIONS = 60
    MOBILITY = 135
    HIP = 139
    SHIM6 = 140
    MOST_EXTENSIONS = 8

REASONS = ("", "empty", "bad-version", "truncated", "bad-header-length")


cdef inline bint flags_deny_syn(const uint8_t *packet, size_t length, size_t header) noexcept nogil:
    return length > header + TCP_FLAGS and packet[header + TCP_FLAGS] & SYN_ACK_RST_FIN != SYN


cdef inline bint ipv4_denies_syn(const uint8_t *packet, size_t length, size_t header) noexcept nogil:
    return (packet[IPV4_PROTOCOL] ^ TCP) | (packet[IPV4_OFFSET] & 0x1f) | packet[IPV4_OFFSET + 1] or flags_deny_syn(
        packet, length, header)


cdef bint extensions_deny_syn(const uint8_t *packet, size_t length) noexcept nogil:
    cdef size_t at = IPV6_HEADER
    cdef uint8_t protocol = packet[IPV6_NEXT]
    cdef int _
    for _ in range(MOST_EXTENSIONS):
        if protocol == TCP:
            return flags_deny_syn(packet, length, at)
        if protocol not in (
                HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6):
            return True
        if length < at + 4:
            return False
        if protocol == FRAGMENT and (packet[at + 2] | (packet[at + 3] & 0xf8)):
            return True
        protocol, at = packet[at], at + (
            8 if protocol == FRAGMENT else (<size_t> packet[at + 1] + 2) * 4 if protocol == AUTHENTICATION
            else (<size_t> packet[at + 1] + 1) * 8)
    return False


cdef inline bint ipv6_denies_syn(const uint8_t *packet, size_t length) noexcept nogil:
    if packet[IPV6_NEXT] == TCP:
        return flags_deny_syn(packet, length, IPV6_HEADER)
    return extensions_deny_syn(packet, length)


cdef inline Parse parse(
        const uint8_t *packet, size_t length, bint only_syn, Address *source, Address *destination) noexcept nogil:
    """`only_syn`: PARSE_NO_SYN for what is none for certain. Where the version is known anyway, that costs least."""
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
        return PARSE_NO_SYN if only_syn and ipv4_denies_syn(packet, length, header) else PARSE_OK
    if packet[0] >> 4 == 6:
        if length < IPV6_HEADER:
            return PARSE_TRUNCATED
        source[0] = address_of_ipv6(packet + IPV6_SOURCE)
        destination[0] = address_of_ipv6(packet + IPV6_DESTINATION)
        if only_syn and is_mapped(source):
            # No such packet may be on a wire, and Linux drops them (RFC 4291, 2.5.5.2; ip6_rcv_core).
            memset(source, 0, sizeof(Address))
        return PARSE_NO_SYN if only_syn and ipv6_denies_syn(packet, length) else PARSE_OK
    return PARSE_BAD_VERSION


cdef Parse parse_addresses(
        const uint8_t *packet, size_t length, Address *source, Address *destination) noexcept nogil:
    return parse(packet, length, False, source, destination)


cdef void parse_packets(
        const Packet *packets, int count, uint8_t *parses, Address *sources, Address *destinations) noexcept nogil:
    cdef int i
    for i in range(count):
        parses[i] = <uint8_t> parse(packets[i].data, packets[i].length, True, &sources[i], &destinations[i])
        if parses[i] != PARSE_OK:
            memset(&destinations[i], 0, sizeof(Address))
            if parses[i] != PARSE_NO_SYN:
                memset(&sources[i], 0, sizeof(Address))


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


def no_syn(bytes packet not None):
    cdef Address source, destination
    cdef Parse status = parse(
        <const uint8_t *> <const char *> packet, <size_t> len(packet), True, &source, &destination)
    if status not in (PARSE_OK, PARSE_NO_SYN):
        raise ValueError(REASONS[<int> status])
    return status == PARSE_NO_SYN
