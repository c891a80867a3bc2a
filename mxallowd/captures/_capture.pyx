"""Captured records: from the link header to the IP packet, and whether it is a connection attempt that counts.

The firewall rule of the contract asks for TCP, a new connection and a destination port. Here that is: SYN without ACK,
RST and FIN, as --syn of iptables has it (what has them is INVALID for the kernel's conntrack, never NEW); not a
fragment other than the first; for IPv6 behind hop-by-hop, routing, fragment, authentication and destination options
headers, as ipv6_find_hdr of the kernel skips them; and a filter on its ports, as filters.py compiles it. Everything is
bounded by the bytes that were captured.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address
from mxallowd.engine._headers cimport PARSE_OK, parse_addresses

# Link types: https://www.tcpdump.org/linktypes.html, and the DLT_ numbers of the same where they differ.
cdef enum:
    LINK_NULL = 0
    LINK_ETHERNET = 1
    LINK_PPP = 9
    LINK_RAW_DLT = 12
    LINK_RAW_OPENBSD = 14
    LINK_PPP_SERIAL = 50
    LINK_PPP_ETHER = 51
    LINK_RAW = 101
    LINK_LOOP = 108
    LINK_SLL = 113
    LINK_PFLOG = 117
    LINK_MPLS = 219
    LINK_IPV4 = 228
    LINK_IPV6 = 229
    LINK_NFLOG = 239
    LINK_SLL2 = 276

LINK_TYPES = {
    LINK_NULL: "null", LINK_ETHERNET: "Ethernet", LINK_RAW_DLT: "raw IP", LINK_RAW_OPENBSD: "raw IP",
    LINK_RAW: "raw IP", LINK_PPP: "PPP", LINK_PPP_SERIAL: "PPP", LINK_PPP_ETHER: "PPPoE", LINK_MPLS: "MPLS",
    LINK_LOOP: "loop", LINK_SLL: "Linux cooked v1", LINK_PFLOG: "PFLOG", LINK_IPV4: "IPv4", LINK_IPV6: "IPv6",
    LINK_NFLOG: "NFLOG", LINK_SLL2: "Linux cooked v2"}
HEAD = HEAD_BYTES
CANDIDATE_SIZE = sizeof(Candidate)
FILTER_ANY, FILTER_PORT, FILTER_AND, FILTER_OR = <int> ANY, <int> PORT, <int> AND, <int> OR
MAX_FILTER = <int> FILTER_BYTES

cdef enum:
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_IPV6 = 0x86dd
    ETHERTYPE_MPLS = 0x8847
    ETHERTYPE_MPLS_UPSTREAM = 0x8848
    ETHERTYPE_PPPOE = 0x8864    # RFC 2516; the stages before a session carry no IP
    PPP_IPV4 = 0x0021           # RFC 1332, RFC 5072
    PPP_IPV6 = 0x0057
    NFULA_PAYLOAD = 9           # linux/netfilter/nfnetlink_log.h
    PFLOG_SHORTEST = 61         # net/if_pflog.h: NetBSD and FreeBSD up to 13 61, FreeBSD 14 69, OpenBSD 100
    IPPROTO_TCP = 6
    IPV6_HOP_BY_HOP = 0
    IPV6_ROUTING = 43
    IPV6_FRAGMENT = 44
    IPV6_AUTHENTICATION = 51
    IPV6_DESTINATION = 60
    TCP_SEEN = 14               # bytes of the TCP header up to its flags
    TCP_FIN = 0x01
    TCP_SYN = 0x02
    TCP_RST = 0x04
    TCP_ACK = 0x10


cdef inline uint16_t be16(const uint8_t *at) noexcept nogil:
    return <uint16_t> (at[0] << 8 | at[1])


cdef inline bint is_ip_family(uint32_t family) noexcept nogil:
    # AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
    return family == 2 or family == 10 or family == 23 or family == 24 or family == 28 or family == 30


cdef inline bint is_tag(uint16_t kind) noexcept nogil:
    # VLAN: 802.1Q, 802.1ad, and what was used before it.
    return kind == 0x8100 or kind == 0x88a8 or kind == 0x9100


cdef Found behind_labels(const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil:
    """MPLS (RFC 3032): labels of 4 bytes; a bit marks the last one, and only its first bits say what follows."""
    while length >= 4:
        if data[2] & 1:
            if length == 4:
                return BROKEN
            if data[4] >> 4 != 4 and data[4] >> 4 != 6:
                return NO_CANDIDATE
            ip[0] = data + 4
            ip_length[0] = length - 4
            return CANDIDATE
        data += 4
        length -= 4
    return BROKEN


cdef Found behind_ppp(const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil:
    """PPP: address and control (RFC 1662), which may be left out, and the protocol in one byte or two."""
    cdef uint16_t protocol
    cdef size_t header = 2
    if length >= 2 and data[0] == 0xff and data[1] == 0x03:
        data += 2
        length -= 2
    if length < 2:
        return BROKEN
    protocol = be16(data)
    if data[0] & 1:
        protocol = data[0]
        header = 1
    if protocol != PPP_IPV4 and protocol != PPP_IPV6:
        return NO_CANDIDATE
    ip[0] = data + header
    ip_length[0] = length - header
    return CANDIDATE


cdef Found behind_pppoe(const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil:
    """PPPoE (RFC 2516): version, code, session and length, 6 bytes."""
    return behind_ppp(data + 6, length - 6, ip, ip_length) if length >= 6 else BROKEN


cdef Found behind_ethertype(
        uint16_t kind, const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil:
    """What an Ethernet type announces, VLAN tags passed over."""
    while is_tag(kind):
        if length < 4:
            return BROKEN
        kind = be16(data + 2)
        data += 4
        length -= 4
    if kind == ETHERTYPE_IPV4 or kind == ETHERTYPE_IPV6:
        ip[0] = data
        ip_length[0] = length
        return CANDIDATE
    if kind == ETHERTYPE_PPPOE:
        return behind_pppoe(data, length, ip, ip_length)
    if kind == ETHERTYPE_MPLS or kind == ETHERTYPE_MPLS_UPSTREAM:
        return behind_labels(data, length, ip, ip_length)
    return NO_CANDIDATE


cdef int announced(int link_type, const uint8_t *data, size_t length) noexcept nogil:
    """The Ethernet type behind VLAN tags; -1 where the link type has none, or it was cut."""
    cdef size_t at
    if link_type == LINK_ETHERNET:
        at = 12
    elif link_type == LINK_SLL:
        at = 14
    elif link_type == LINK_SLL2:
        return be16(data) if length >= 2 else -1
    else:
        return -1
    while length >= at + 2 and is_tag(be16(data + at)):
        at += 4
    return be16(data + at) if length >= at + 2 else -1


cdef Found behind_nflog(const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil:
    """Four bytes (family, version, group), then attributes: length and type of 16 bits each, padded to 4."""
    cdef uint16_t size = 0, kind = 0
    cdef size_t at = 4
    while length >= 4 and length - at >= 4:
        memcpy(&size, data + at, 2)
        memcpy(&kind, data + at + 2, 2)
        if size < 4 or size > length - at:
            return BROKEN
        if kind & 0x7fff == NFULA_PAYLOAD:
            ip[0] = data + at + 4
            ip_length[0] = size - 4
            return CANDIDATE
        if <size_t> ((size + 3) & ~3) > length - at:
            break
        at += (size + 3) & ~3
    return BROKEN


cdef Found skip_link(
        int link_type, const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil:
    cdef uint32_t family
    cdef size_t header = 0
    ip[0] = NULL
    ip_length[0] = 0
    if link_type == LINK_ETHERNET:
        return behind_ethertype(be16(data + 12), data + 14, length - 14, ip, ip_length) if length >= 14 else BROKEN
    if link_type == LINK_SLL:
        return behind_ethertype(be16(data + 14), data + 16, length - 16, ip, ip_length) if length >= 16 else BROKEN
    if link_type == LINK_SLL2:
        return behind_ethertype(be16(data), data + 20, length - 20, ip, ip_length) if length >= 20 else BROKEN
    if link_type == LINK_PPP or link_type == LINK_PPP_SERIAL:
        return behind_ppp(data, length, ip, ip_length)
    if link_type == LINK_PPP_ETHER:
        return behind_pppoe(data, length, ip, ip_length)
    if link_type == LINK_MPLS:
        return behind_labels(data, length, ip, ip_length)
    if link_type == LINK_NFLOG:
        return behind_nflog(data, length, ip, ip_length)
    if link_type == LINK_NULL or link_type == LINK_LOOP:
        if length < 4:
            return BROKEN
        # In the order of the machine that captured, whichever that was.
        family = <uint32_t> (data[0] | data[3])
        if data[1] or data[2] or not is_ip_family(family):
            return NO_CANDIDATE
        header = 4
    elif link_type == LINK_PFLOG:
        # The first byte is the header's length without its padding; its second the address family.
        if length < 2 or data[0] < PFLOG_SHORTEST:
            return BROKEN
        if not is_ip_family(data[1]):
            return NO_CANDIDATE
        header = (<size_t> data[0] + 3) & ~<size_t> 3
    if length < header:
        return BROKEN
    ip[0] = data + header
    ip_length[0] = length - header
    return CANDIDATE


cdef inline bint passes(const Filter *filter, uint16_t source, uint16_t destination) noexcept nogil:
    """Run the program: a stack of single bits, which is_sound() has found to end with one."""
    cdef uint64_t stack = 0
    cdef const uint8_t *instruction
    cdef uint16_t port
    cdef int i
    for i in range(filter.count):
        instruction = &filter.instructions[i * <int> INSTRUCTION]
        port = be16(instruction + 2)
        if instruction[0] == PORT:
            stack = stack << 1 | (((instruction[1] & SOURCE_END) != 0) & (source == port)
                                  | ((instruction[1] & DESTINATION_END) != 0) & (destination == port))
        elif instruction[0] == AND:
            stack = stack >> 2 << 1 | (stack & stack >> 1 & 1)
        elif instruction[0] == OR:
            stack = stack >> 2 << 1 | ((stack | stack >> 1) & 1)
        else:
            stack = stack << 1 | 1
    return stack & 1


cdef inline Found match_tcp(const uint8_t *tcp, size_t length, const Filter *filter) noexcept nogil:
    if length < TCP_SEEN:
        return BROKEN
    if tcp[13] & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN) == TCP_SYN and passes(filter, be16(tcp), be16(tcp + 2)):
        return CANDIDATE
    return NO_CANDIDATE


cdef Found match_ipv4(const uint8_t *ip, size_t length, const Filter *filter) noexcept nogil:
    cdef size_t header, total
    if length < 20:
        return BROKEN
    header = <size_t> (ip[0] & 0x0f) * 4
    total = be16(ip + 2)
    # A total of 0 is a large packet that was captured before the network card cut it.
    if total and total < length:
        length = total
    if header < 20 or length < header:
        return BROKEN
    if ip[9] != IPPROTO_TCP or be16(ip + 6) & 0x1fff:
        return NO_CANDIDATE
    return match_tcp(ip + header, length - header, filter)


cdef Found match_ipv6(const uint8_t *ip, size_t length, const Filter *filter) noexcept nogil:
    cdef size_t at = 40, size, payload
    cdef uint8_t kind
    if length < 40:
        return BROKEN
    payload = be16(ip + 4)
    if payload and payload + 40 < length:
        length = payload + 40
    kind = ip[6]
    while kind != IPPROTO_TCP:
        if (kind != IPV6_HOP_BY_HOP and kind != IPV6_ROUTING and kind != IPV6_FRAGMENT
                and kind != IPV6_AUTHENTICATION and kind != IPV6_DESTINATION):
            return NO_CANDIDATE
        if length - at < 8:
            return BROKEN
        if kind == IPV6_FRAGMENT:
            if be16(ip + at + 2) & 0xfff8:
                return NO_CANDIDATE
            size = 8
        elif kind == IPV6_AUTHENTICATION:
            size = (<size_t> ip[at + 1] + 2) * 4
        else:
            size = (<size_t> ip[at + 1] + 1) * 8
        if size > length - at:
            return BROKEN
        kind = ip[at]
        at += size
    return match_tcp(ip + at, length - at, filter)


cdef Found match_attempt(const uint8_t *ip, size_t length, const Filter *filter) noexcept nogil:
    if length == 0:
        return BROKEN
    if ip[0] >> 4 == 4:
        return match_ipv4(ip, length, filter)
    if ip[0] >> 4 == 6:
        return match_ipv6(ip, length, filter)
    return BROKEN


# ---- the border to Python

cdef struct Record:             # as pcapy-ng's next_batch gives them
    uint32_t seconds
    uint32_t microseconds
    uint32_t offset
    uint32_t length


cdef int load_filter(Filter *filter, bytes program) except -1:
    cdef const uint8_t *instructions = <const uint8_t *> <const char *> program
    cdef Py_ssize_t count = len(program) // INSTRUCTION, i
    cdef int depth = 0, deepest = 0
    for i in range(count):
        if instructions[i * INSTRUCTION] in (AND, OR):
            depth = depth - 1 if depth > 1 else -1
        else:
            depth += 1
        deepest = max(deepest, depth)
        if depth < 0:
            break
    if len(program) % INSTRUCTION or len(program) > FILTER_BYTES or depth != 1 or deepest > 64:
        raise ValueError("this is no program of a filter")
    memcpy(filter.instructions, instructions, <size_t> len(program))
    filter.count = <int> count
    return 0


def select(bytes data not None, bytes records not None, link_type, bytes program not None):
    cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(Record), size = len(data), i, taken = 0
    cdef const uint8_t *bytes_of = <const uint8_t *> <const char *> data
    cdef const Record *record = <const Record *> <const char *> records
    cdef bytes candidates = PyBytes_FromStringAndSize(NULL, total * sizeof(Candidate))
    cdef Candidate *target = <Candidate *> PyBytes_AS_STRING(candidates)
    cdef const uint8_t *ip = NULL
    cdef size_t ip_length = 0
    cdef int link = link_type
    cdef Filter filter
    cdef uint64_t broken = 0
    cdef Found found
    if link not in LINK_TYPES:
        raise ValueError(f"link type {link} is none of {', '.join(sorted(set(LINK_TYPES.values())))}")
    load_filter(&filter, program)
    with nogil:
        for i in range(total):
            if <uint64_t> record[i].offset + record[i].length > <uint64_t> size:
                broken += 1
                continue
            found = skip_link(link, bytes_of + record[i].offset, record[i].length, &ip, &ip_length)
            if found == CANDIDATE:
                found = match_attempt(ip, ip_length, &filter)
            if found == BROKEN:
                broken += 1
            if found != CANDIDATE:
                continue
            target.time_us = <uint64_t> record[i].seconds * 1000000 + record[i].microseconds
            target.length = <uint32_t> min(ip_length, <size_t> HEAD_BYTES)
            memset(target.head, 0, HEAD_BYTES)
            memcpy(target.head, ip, target.length)
            target += 1
            taken += 1
    return candidates[:taken * <Py_ssize_t> sizeof(Candidate)], broken


def survey(bytes data not None, bytes records not None, link_type):
    cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(Record), size = len(data), i
    cdef const uint8_t *bytes_of = <const uint8_t *> <const char *> data
    cdef const Record *record = <const Record *> <const char *> records
    cdef const uint8_t *ip = NULL
    cdef size_t ip_length = 0
    cdef int link = link_type, kind
    cdef uint64_t attempts = 0
    cdef Filter anything
    load_filter(&anything, bytes([ANY, 0, 0, 0]))
    without_ip = {}
    for i in range(total):
        if <uint64_t> record[i].offset + record[i].length > <uint64_t> size:
            continue
        found = skip_link(link, bytes_of + record[i].offset, record[i].length, &ip, &ip_length)
        if found == CANDIDATE:
            attempts += match_attempt(ip, ip_length, &anything) == CANDIDATE
        elif found == NO_CANDIDATE:
            kind = announced(link, bytes_of + record[i].offset, record[i].length)
            without_ip[kind] = without_ip.get(kind, 0) + 1
    return attempts, without_ip


def count_destinations(bytes candidates not None, dict counts not None):
    cdef Py_ssize_t total = len(candidates) // <Py_ssize_t> sizeof(Candidate), i
    cdef const Candidate *candidate = <const Candidate *> <const char *> candidates
    cdef Address source, destination
    for i in range(total):
        if parse_addresses(candidate[i].head, candidate[i].length, &source, &destination) == PARSE_OK:
            address = PyBytes_FromStringAndSize(<const char *> &destination, 16)
            counts[address] = counts.get(address, 0) + 1
