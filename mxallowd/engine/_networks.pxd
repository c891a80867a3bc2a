"""Networks of the lists: which rule holds for an address, in the packet path.

Networks of both lists are laid over each other once, when a set is made: where several hold an address, the longest
does, and of equally long ones that of deny. What comes out are disjoint ranges, which cover each family from its first
address to its last; a range has a rule or none. A look-up takes the bits behind the family's usual prefix as an index,
and searches the few ranges of that bucket without a branch that depends on the address.

A set is never changed once made. It is published with the rules of the decision, and goes with them.

Memory: 5 MiB for both indexes, at most 18 bytes a network of IPv4 and 58 of IPv6 in ranges, and its record. 100,000
networks: under 10 MiB.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address

cdef extern from * nogil:
    """
    typedef unsigned __int128 mxallowd_u128;
    """
    ctypedef unsigned long long u128 "mxallowd_u128"

# What a list says of an address.
cdef enum Listed:
    UNLISTED = 0
    ALLOWED = 1
    DENIED = 2

cdef enum:
    BEHIND = 4                  # beside a Listed: the range begins behind the first address of a /64

# An entry of an index has the number of the last range that begins at or before its bucket, and what that range says:
# in most buckets no other begins.
cdef enum:
    SAID_SHIFT = 30

cdef struct NetworkSet:
    # What the packet path reads: small, so that most of it stays in the cache.
    uint32_t *index4            # see below; one more at the end
    uint32_t *index6
    uint32_t *starts4           # first addresses of the ranges; each ends where the next begins
    uint64_t *highs6            # upper halves of them
    uint8_t *said4              # of each range: a Listed, and BEHIND
    uint8_t *said6
    # What names the rule, and decides where a range begins or ends within a /64.
    u128 *starts6
    uint32_t *rules4            # of the ranges: (number + 1) << 1 | denied; 0: none
    uint32_t *rules6
    uint32_t count4
    uint32_t count6

# What the lists say of each of `count` addresses, a Listed each, as a batch: memory is fetched for all before it is
# looked at. Any thread.
cdef void networks_look_up_all(
    const NetworkSet *networks, const Address *addresses, int count, uint8_t *listed) noexcept nogil


cdef class Networks:
    cdef NetworkSet set
    cdef readonly bytes records
    cdef uint32_t rule_of(self, bytes address) except? 0
    cdef int lay_out(self) except -1
