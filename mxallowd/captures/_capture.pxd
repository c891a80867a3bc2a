"""Captured records: from the link header to the IP packet, and whether it is a connection attempt that counts."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    HEAD_BYTES = 60     # the daemon's copy range

cdef enum Found:
    CANDIDATE       # a connection attempt that the filter lets through
    NO_CANDIDATE    # another packet
    BROKEN          # too short or inconsistent: whether it is one cannot be told

cdef struct Candidate:
    uint64_t time_us            # capture time since 1970
    uint32_t length             # bytes of `head` in use
    uint8_t head[HEAD_BYTES]    # the packet from its IP header on, as the kernel's queue would have copied it

# The IP packet behind a link header of `link_type` (LINKTYPE_ or DLT_ number); *ip is NULL for other protocols.
cdef Found skip_link(
    int link_type, const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil

cdef enum:
    INSTRUCTION = 4     # bytes: operation, ends, port in network order
    FILTER_BYTES = 256
    SOURCE_END = 1
    DESTINATION_END = 2

cdef enum Operation:
    ANY = 0             # true: all that is looked at is TCP
    PORT = 1            # whether one of the ends has this port
    AND = 2
    OR = 3

cdef struct Filter:
    int count
    uint8_t instructions[<int> FILTER_BYTES]

# Take over a program that is sound. Raises ValueError.
cdef int load_filter(Filter *filter, bytes program) except -1

# TCP with SYN and without ACK, RST and FIN whose ports pass the filter, found as iptables and ip6tables -p tcp find it.
cdef Found match_attempt(const uint8_t *ip, size_t length, const Filter *filter) noexcept nogil
