"""Captured records: from the link header to the IP packet, and whether the firewall rule would have queued it."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    HEAD_BYTES = 60     # the daemon's copy range

cdef enum Found:
    CANDIDATE       # the rule would have queued it
    NO_CANDIDATE    # another packet
    BROKEN          # too short or inconsistent: whether the rule takes it cannot be told

cdef struct Candidate:
    uint64_t time_us            # capture time since 1970
    uint32_t length             # bytes of `head` in use
    uint8_t head[HEAD_BYTES]    # the packet from its IP header on, as the kernel's queue would have copied it

# The IP packet behind a link header of `link_type` (LINKTYPE_ or DLT_ number); *ip is NULL for other protocols.
cdef Found skip_link(
    int link_type, const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length) noexcept nogil

# TCP with SYN and without ACK to this port, as iptables and ip6tables -p tcp --dport find it.
cdef Found match_rule(const uint8_t *ip, size_t length, uint16_t port) noexcept nogil
