"""The rules of the decision: see _rules.pxd."""
cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address
from mxallowd.engine._meetings cimport Meetings
from mxallowd.engine._networks cimport Networks
from mxallowd.engine._patience cimport Patience
from mxallowd.engine._refused cimport MOST_SERVERS

# What `renew` of the settings comes to.
RENEW = {"never": 0, "contact": BY_CONTACT, "use": BY_USE, "both": BY_CONTACT | BY_USE}

cdef enum:
    ARRANGEMENTS = 64

cdef extern from *:
    const uint64_t FACTOR "0x9e3779b97f4a7c15"
    # Later than any entry ends.
    const uint64_t NEVER_US "0x4000000000000000"


cdef uint64_t number_in(numbers, address) except? 0:
    """The number that _refused knows a server by; MOST_SERVERS where it knows none."""
    number = numbers.get(address, <int> MOST_SERVERS)
    if not 0 <= number <= MOST_SERVERS:
        raise ValueError(f"a server has no number {number}")
    return number


@cython.final
cdef class Rules:
    def __cinit__(
            self, fake, real, lifetime_s, numbers=None, *, renew=0, Networks networks=None, Patience patience=None,
            patience_times=0, patience_us=0, patience_networks=False, asks=False, Meetings meetings=None,
            renewed_after_us=0, tells_contacts=False):
        cdef Py_ssize_t slots = 8
        cdef bytes address
        cdef uint64_t fresh_us
        if not 0 < lifetime_s <= 1 << 29:
            raise ValueError(f"a lifetime of {lifetime_s} seconds is out of range")
        # An address of both lists is fake.
        servers = {**dict.fromkeys(real, REAL), **dict.fromkeys(fake, FAKE)}
        for address in servers:
            if len(address) != 16:
                raise ValueError("an address is 16 bytes")
        while slots < 8 * len(servers):
            slots *= 2
        self.set.slots = <Server *> calloc(slots, sizeof(Server))
        if not self.set.slots:
            raise MemoryError()
        self.set.mask = slots - 1
        self.set.lifetime_us = <uint64_t> lifetime_s * 1000000
        if not 0 <= renewed_after_us <= self.set.lifetime_us:
            raise ValueError(f"an entry cannot have lost {renewed_after_us} microseconds")
        fresh_us = self.set.lifetime_us - (renewed_after_us if renewed_after_us
                                           else self.set.lifetime_us // RENEWED_PARTS)
        self.set.renewed_us[<int> FAKE] = fresh_us if renew & BY_CONTACT else 0
        self.set.renewed_us[<int> REAL] = fresh_us if renew & BY_USE else 0
        memcpy(self.set.fresh_us, self.set.renewed_us, sizeof(self.set.renewed_us))
        self.set.told_us = NEVER_US
        if tells_contacts:
            self.set.fresh_us[<int> FAKE] = NEVER_US
            self.set.told_us = self.set.lifetime_us if renew & BY_CONTACT else 0
        self.patience = patience
        if patience is not None:
            self.set.patience = patience.rule_of(patience_times, patience_us, patience_networks)
        self.set.asks = asks
        self.meetings = meetings
        if meetings is not None:
            self.set.meetings = meetings.rule
        self.networks = networks
        if networks is not None and len(networks):
            self.set.networks = &networks.set
        # By the keys: the iterator of items() crashes CPython 3.11 where there is no memory for its pair.
        self.arrange([(server, servers[server]) for server in servers], {} if numbers is None else numbers)

    cdef int arrange(self, list servers, numbers) except -1:
        """Place all servers by the factor, of some, that keeps them nearest to their slots: mostly one probe.

        A second probe, which four servers need in one case of six, costs a decision 1 ns of 26.
        """
        cdef uint64_t tried, best = 0
        cdef int longest, fewest = 0
        cdef Address words
        # The last round repeats the best one.
        for tried in range(<uint64_t> ARRANGEMENTS + 1):
            # 2^64 / phi, and what follows it: odd factors that spread well.
            self.set.factor = best if tried == ARRANGEMENTS else FACTOR + 2 * tried * FACTOR
            memset(self.set.slots, 0, (self.set.mask + 1) * sizeof(Server))
            longest = 1
            for address, role in servers:
                memcpy(&words, <const char *> <bytes> address, 16)
                longest = max(longest, self.insert(&words, role | number_in(numbers, address) << NUMBER_SHIFT))
            if best == 0 or longest < fewest:
                best = self.set.factor
                fewest = longest
        self.set.probes = fewest
        return 0

    cdef int insert(self, const Address *address, uint64_t role) noexcept:
        cdef uint64_t at = slot_of(&self.set, address)
        cdef int probes = 1
        while self.set.slots[at & self.set.mask].role != NEITHER:
            at += 1
            probes += 1
        self.set.slots[at & self.set.mask].address = address[0]
        self.set.slots[at & self.set.mask].role = role
        return probes

    def __dealloc__(self):
        free(self.set.slots)
