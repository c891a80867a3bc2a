"""The rules of the decision: servers and their roles, lifetimes, what renews an entry, lists, patience,
networks of contacts.

The main thread compiles a set of them, and publishes it to the queue threads whole; it is never changed after that.
"""
from libc.stdint cimport uint16_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._meetings cimport Meetings, Meetings_
from mxallowd.engine._networks cimport Networks, NetworkSet
from mxallowd.engine._patience cimport Patience, Patience_

cdef enum Role:
    NEITHER = 0
    FAKE = 1
    REAL = 2
    ROLE = 3
    ROLES = 3
    NUMBER_SHIFT = 8

cdef struct Server:
    Address address
    uint64_t role               # and from bit NUMBER_SHIFT on the number that _refused knows it by

cdef struct RuleSet:            # never changed once published
    uint64_t lifetime_us
    uint64_t renewed_us[ROLES]  # a packet to that role renews an entry with no more left; 0: it renews none
    # A packet to that role may change something of a settled entry with no more left: as above, or where contacts are
    # told that renew nothing (with a fleet), of any entry.
    uint64_t fresh_us[ROLES]
    uint64_t told_us            # the contacts of entries with more left are told; nobody's: NEVER_US
    uint64_t factor             # of the hash; chosen so that `probes` is small
    uint64_t mask               # slots - 1; a power of two
    int probes                  # how far from its slot a server may sit; all are asked, so no branch depends on it
    Server *slots
    Patience_ patience          # who is let in for being refused often enough; without shards: nobody
    bint asks                   # a refusal that is told leads to a question by which its host may come in
    Meetings_ meetings          # whose network a contact has let in; without places: nobody's
    const NetworkSet *networks  # of the lists; NULL: there are none, and nothing is asked


cdef inline uint64_t slot_of(const RuleSet *rules, const Address *address) noexcept nogil:
    # The operator chooses these addresses, not the network: any spreading function does.
    return ((address.high ^ (address.low >> 32) ^ address.low) * rules.factor) >> 32


cdef inline uint16_t role_of(const RuleSet *rules, const Address *address) noexcept nogil:
    cdef uint64_t at = slot_of(rules, address)
    cdef const Server *server
    cdef uint64_t role = NEITHER, differs
    cdef int i
    for i in range(rules.probes):
        server = &rules.slots[(at + <uint64_t> i) & rules.mask]
        differs = (server.address.low ^ address.low) | (server.address.high ^ address.high)
        role |= server.role & (<uint64_t> (differs != 0) - 1)
    return <uint16_t> role


# What renews an entry: bits.
cdef enum:
    BY_CONTACT = 1
    BY_USE = 2
    # Of its lifetime: once it has lost one of so many parts it is renewed.
    RENEWED_PARTS = 8


cdef class Rules:
    cdef RuleSet set
    cdef readonly Patience patience     # which the set points into
    cdef readonly Meetings meetings     # which the set points into
    cdef readonly Networks networks     # which the set points into
    cdef int insert(self, const Address *address, uint64_t role) noexcept
    cdef int arrange(self, list servers, numbers) except -1
