"""Networks of which a host has met a fake server: see _meetings.pxd."""
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address, address_of_ipv6, is_host
from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine._records cimport Record
from mxallowd.engine._shard cimport CONTACT, LATEST_US
from mxallowd.engine.c_atomic cimport (
    ACQUIRE, RELAXED, RELEASE, SEQ_CST, add64, exchange_if64, fence, fetch_or64, load64, load_ptr, prefetch, store64,
    store_ptr)

LEAST_NETWORKS = <int> LINE_PLACES
NETWORK_BYTES = sizeof(Meeting)
COUNTERS = ("networks-noted", "networks-pushed-out")

cdef enum:
    TRIES = 4       # to write; what makes one fail is another thread that has changed the line
    READ_TRIES = 4
    MOST_BITS = 1 << 20


cdef bint place_read(const Meeting *place, uint64_t *key, uint64_t *until) noexcept nogil:
    """Any thread: key and end of a place, which belong together; False: it is empty, or being written."""
    cdef int _
    for _ in range(READ_TRIES):
        until[0] = load64(&place.until, ACQUIRE)
        if until[0] <= BUSY:
            return False
        key[0] = load64(&place.key, RELAXED)
        fence(ACQUIRE)
        if load64(&place.until, RELAXED) == until[0]:
            return True
    return False


cdef uint64_t meetings_until(const Meetings_ *rule, uint64_t key) noexcept nogil:
    cdef const Meeting *line = meetings_line(rule, meetings_hash(rule, key))
    cdef uint64_t found = 0, until = 0, latest = 0
    cdef int i
    for i in range(<int> LINE_PLACES):
        # Mostly it is another one's, and needs no careful look.
        if load64(&line[i].key, RELAXED) == key and place_read(&line[i], &found, &until) and found == key:
            latest = max(latest, until >> 1)
    return latest if key else 0


cdef bint meetings_let_in(const Meetings_ *rule, const Address *address, uint64_t now_us) noexcept nogil:
    return is_host(address) and meetings_until(rule, meetings_key(rule, address)) > now_us


cdef void meetings_look_up(
        const Meetings_ *rule, const Address *hosts, const int *numbers, int count, uint8_t *known) noexcept nogil:
    cdef const uint64_t *filter = <const uint64_t *> load_ptr(<void **> &rule.state.filter, ACQUIRE)
    cdef uint64_t hash, bit
    cdef int i
    for i in range(count):
        hash = meetings_hash(rule, meetings_key(rule, &hosts[numbers[i]]))
        bit = hash & rule.filter_mask
        bit = load64(&filter[bit >> 6], RELAXED) >> (bit & 63) & 1
        known[numbers[i]] = <uint8_t> bit
        if bit:
            prefetch(meetings_line(rule, hash))


cdef inline void set_bit(uint64_t *filter, uint64_t bit) noexcept nogil:
    cdef uint64_t wanted = <uint64_t> 1 << (bit & 63)
    if not load64(&filter[bit >> 6], RELAXED) & wanted:
        fetch_or64(&filter[bit >> 6], wanted, RELEASE)


cdef inline uint64_t claim_of(uint64_t until, uint64_t now_us) noexcept nogil:
    """Who has the least makes room: 0 where it is empty or over, less where no host is proven, then by the end."""
    if until >> 1 <= now_us:
        return 0
    return (until & 1) << 63 | until >> 1


cdef void meetings_note(
        const Meetings_ *rule, uint64_t key, uint64_t until_us, bint proven, uint64_t now_us,
        bint told) noexcept nogil:
    cdef uint64_t hash = meetings_hash(rule, key)
    cdef Meeting *line = meetings_line(rule, hash)
    cdef Meeting *chosen
    cdef uint64_t found = 0, until = 0, wanted, before = 0, claim, least
    cdef int i, _
    if key == 0 or until_us <= now_us:
        return
    for _ in range(<int> TRIES):
        chosen, least = NULL, ~<uint64_t> 0
        for i in range(<int> LINE_PLACES):
            if place_read(&line[i], &found, &until):
                if found == key:
                    # A proof is worth as much as the time that it came with.
                    wanted = max(until_us, until >> 1) << 1 | (proven | (until & (until >> 1 > now_us)))
                    if wanted == until or exchange_if64(&line[i].until, &until, wanted, False, RELEASE, RELAXED):
                        # One that was over may have lost its bits.
                        fence(SEQ_CST)
                        set_bit(rule.filters[0], hash & rule.filter_mask)
                        set_bit(rule.filters[1], hash & rule.filter_mask)
                        return
                    break
            else:
                until = load64(&line[i].until, RELAXED)
                if until == BUSY:
                    continue
            claim = claim_of(until, now_us)
            if claim < least:
                chosen, least, before = &line[i], claim, until
        else:
            if told and least:
                return
            if chosen == NULL or not exchange_if64(&chosen.until, &before, BUSY, False, ACQUIRE, RELAXED):
                continue
            # A reader that sees the new key must not find the old end again.
            fence(RELEASE)
            store64(&chosen.key, key, RELAXED)
            store64(&chosen.until, until_us << 1 | proven, RELEASE)
            # Behind the place: who makes a filter anew has seen that, or leaves these bits as they are.
            fence(SEQ_CST)
            set_bit(rule.filters[0], hash & rule.filter_mask)
            set_bit(rule.filters[1], hash & rule.filter_mask)
            add64(&rule.state.noted, 1, RELAXED)
            if least:
                add64(&rule.state.pushed_out, 1, RELAXED)
            return


cdef void forget(const Meetings_ *rule, uint64_t key) noexcept nogil:
    cdef Meeting *line = meetings_line(rule, meetings_hash(rule, key))
    cdef uint64_t found = 0, until = 0
    cdef int i
    for i in range(<int> LINE_PLACES):
        while place_read(&line[i], &found, &until) and found == key:
            if exchange_if64(&line[i].until, &until, 0, False, RELAXED, RELAXED):
                break


cdef Address first_of(const Meetings_ *rule, uint64_t key) noexcept nogil:
    """The first address of the network with that key."""
    cdef Address address
    cdef uint8_t *byte = <uint8_t *> &address
    address.high, address.low = key, 0
    if byte[0] == 0xff:
        address.high, address.low = 0, key
        byte[8] = 0
    return address


# ---- the border to Python

cdef uint64_t filter_bits(uint64_t places) noexcept:
    """One for each place, as long as that stays in the second level of the cache: 64 to 2^20, a power of two."""
    cdef uint64_t bits = 64
    while bits < places and bits < MOST_BITS:
        bits *= 2
    return bits


cdef uint64_t host_key(const Meetings_ *rule, host) except? 0:
    cdef Address address
    if len(host) != 16:
        raise ValueError("a host is 16 bytes")
    address = address_of_ipv6(<const uint8_t *> <const char *> <bytes> host)
    return meetings_key(rule, &address) if is_host(&address) else 0


@cython.final
cdef class Meetings:
    def __cinit__(self, max_networks, ipv4_bits, ipv6_bits):
        cdef bytes secret = os.urandom(16), mask
        cdef Address words
        cdef int i
        if not 0 < ipv4_bits <= 32 or not (0 < ipv6_bits <= 64 or ipv6_bits == 128):
            raise ValueError(f"networks of {ipv4_bits} and {ipv6_bits} bits cannot be noted")
        if max_networks < LEAST_NETWORKS:
            raise ValueError(f"{max_networks} networks have no room")
        memcpy(self.rule.factors, <const char *> secret, 16)
        self.rule.factors[0] |= 1
        self.rule.factors[1] |= 1
        # As the masked bytes lie in memory; what is a host of its own is no network.
        mask = bytes(16)
        if ipv4_bits < 32:
            mask = b"\xff" + bytes(7) + bytes(2) + b"\xff\xff" + ((1 << 32) - (1 << 32 - ipv4_bits)).to_bytes(4, "big")
        words = address_of_ipv6(<const uint8_t *> <const char *> mask)
        self.rule.mark4, self.rule.mask4 = words.high, words.low
        mask = bytes(16)
        if ipv6_bits <= 64:
            mask = ((1 << 128) - (1 << 128 - ipv6_bits)).to_bytes(16, "big")
        words = address_of_ipv6(<const uint8_t *> <const char *> mask)
        self.rule.mask6 = words.high
        self.rule.lines = max_networks // LEAST_NETWORKS
        self.max_networks = self.rule.lines * LINE_PLACES
        self.rule.places = <Meeting *> map_pages(self.max_networks * sizeof(Meeting))
        self.rule.filter_mask = filter_bits(self.max_networks) - 1
        for i in range(2):
            self.rule.filters[i] = <uint64_t *> map_pages(filter_bits(self.max_networks) // 8)
        self.rule.state = &self.state
        self.state.filter = self.rule.filters[0]
        self.making = 1

    def __dealloc__(self):
        cdef int i
        unmap_pages(self.rule.places, self.max_networks * sizeof(Meeting))
        for i in range(2):
            unmap_pages(self.rule.filters[i], filter_bits(self.max_networks) // 8)

    def tidy(self, now_us, budget):
        cdef uint64_t end, key = 0, until = 0, now = now_us, some = budget
        cdef uint64_t *filter = self.rule.filters[self.making]
        cdef uint64_t word
        with nogil:
            if self.made == 0:
                for word in range((self.rule.filter_mask + 1) // 64):
                    store64(&filter[word], 0, RELAXED)
                fence(SEQ_CST)
            end = min(self.made + some, self.max_networks)
            while self.made < end:
                if place_read(&self.rule.places[self.made], &key, &until) and until >> 1 > now:
                    set_bit(filter, meetings_hash(&self.rule, key) & self.rule.filter_mask)
                self.made += 1
        if self.made == self.max_networks:
            store_ptr(<void **> &self.state.filter, filter, RELEASE)
            self.making = 1 - self.making
            self.made = 0

    def find(self, host, now_us):
        cdef uint64_t key = host_key(&self.rule, host), until
        until = meetings_until(&self.rule, key)
        return until if until > <uint64_t> now_us else None

    def network(self, host):
        cdef uint64_t key = host_key(&self.rule, host)
        cdef Address first
        if key == 0:
            return None
        first = first_of(&self.rule, key)
        return (<const uint8_t *> &first)[:16]

    def note(self, host, until_us, now_us, *, proven=False):
        meetings_note(&self.rule, host_key(&self.rule, host), min(until_us, LATEST_US), proven, now_us, False)

    def forget(self, host):
        cdef uint64_t key = host_key(&self.rule, host)
        if key:
            forget(&self.rule, key)

    def fill(self, bytes records not None, now_us):
        cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(Record), i
        cdef const Record *source = <const Record *> <const char *> records
        cdef uint64_t now = now_us
        with nogil:
            for i in range(total):
                if source[i].origin == CONTACT and is_host(&source[i].host):
                    meetings_note(&self.rule, meetings_key(&self.rule, &source[i].host), source[i].until_us,
                                  source[i].proven, now, False)

    def clear(self, start, budget):
        cdef uint64_t at = start, end = min(<uint64_t> start + <uint64_t> budget, self.max_networks), until
        with nogil:
            while at < end:
                until = load64(&self.rule.places[at].until, RELAXED)
                # One that is being written, or was changed just now, was met after this began.
                if until > BUSY:
                    exchange_if64(&self.rule.places[at].until, &until, 0, False, RELAXED, RELAXED)
                at += 1
        return at if at < self.max_networks else 0

    def entries(self, now_us, start, budget):
        cdef uint64_t at = start, end = min(<uint64_t> start + <uint64_t> budget, self.max_networks)
        cdef uint64_t key = 0, until = 0, now = now_us
        cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (end - at) * <Py_ssize_t> sizeof(Record))
        cdef Record *target = <Record *> PyBytes_AS_STRING(records)
        cdef Py_ssize_t taken = 0
        with nogil:
            while at < end:
                if place_read(&self.rule.places[at], &key, &until) and until >> 1 > now:
                    memset(&target[taken], 0, sizeof(Record))
                    target[taken].host = first_of(&self.rule, key)
                    target[taken].until_us = until >> 1
                    target[taken].proven = until & 1
                    taken += 1
                at += 1
        return records[:taken * <Py_ssize_t> sizeof(Record)], (at if at < self.max_networks else 0)

    def status(self):
        return {"noted": load64(&self.state.noted, RELAXED), "room": self.max_networks}

    def counters(self):
        return {"networks-noted": load64(&self.state.noted, RELAXED),
                "networks-pushed-out": load64(&self.state.pushed_out, RELAXED)}
