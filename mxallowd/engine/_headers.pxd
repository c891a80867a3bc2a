"""IPv4 and IPv6 headers: the two addresses of a packet, every length checked before a byte is read."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._packet cimport Packet

# Why a header cannot be parsed. Zero is success; the order is that of REASONS in _headers.pyx.
cdef enum Parse:
    PARSE_OK = 0
    PARSE_EMPTY
    PARSE_BAD_VERSION
    PARSE_TRUNCATED
    PARSE_BAD_HEADER_LENGTH
    # parse_packets() alone: the header is sound, and what it carries is for certain no SYN without ACK, RST and FIN.
    PARSE_NO_SYN

# The two addresses of the packet that starts at `packet`; they are written only on PARSE_OK.
cdef Parse parse_addresses(
    const uint8_t *packet, size_t length, Address *source, Address *destination) noexcept nogil

# The TCP port that a packet comes from, which starts at `packet`; 0 where it is not TCP, or not among these bytes.
cdef uint16_t source_port(const uint8_t *packet, size_t length) noexcept nogil

# parse_addresses() for a batch: a status and two addresses for each packet. What cannot be parsed has zero for both,
# what is no SYN has zero for its destination, and an IPv4-mapped source in an IPv6 header is zero: it is no IPv4 host.
cdef void parse_packets(
    const Packet *packets, int count, uint8_t *parses, Address *sources, Address *destinations) noexcept nogil
