"""Who of the refused hosts tries most, and which networks: asked of the whole memory, and answered with a few of them.

Any thread may ask; the memory is read beside the threads that write it (_refused.pxd), so many slots at a time. Nothing
is made for a host that is not among those with more attempts than the asker has found so far.

Networks are weighed in two rounds. The first adds up attempts in BUCKETS sums, by a keyed hash of the network. What is
in a light bucket is no busy network, so the second one gives the hosts of the heaviest ones alone, a few thousand of a
million, of which the asker makes exact sums. A network may be missing where HEAVY buckets are heavier than it is, which
in a flood of hosts that came once each are sums of such hosts: then no network stands out.
"""
from libc.stdint cimport uint32_t, uint64_t

from mxallowd.engine._refused cimport Refused

cdef enum:
    BUCKETS = 1 << 18       # 2 MiB, as long as a question lasts
    HEAVY = 64              # buckets of which the second round gives all hosts, and more where they are as heavy


cdef class Weights:
    cdef Refused refused
    cdef uint64_t *sums
    cdef uint32_t since     # step of the last attempt, of hosts that count
