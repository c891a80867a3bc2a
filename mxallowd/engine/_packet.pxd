"""A packet on its way through the decision."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    BATCH = 64                  # packets that are decided together

cdef struct Packet:
    const uint8_t *data         # from the IP header on
    uint32_t length
    uint8_t outcome             # set by the decision: an Outcome of _fastpath.pxd
    uint64_t now_us             # when it is decided; never less than for the packet before
