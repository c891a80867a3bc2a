"""The decision: see _fastpath.pxd for the rounds, the outcomes and which way each fails."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from mxallowd._address cimport Address
from mxallowd._headers cimport PARSE_OK, parse_addresses
from mxallowd._ring cimport ACCEPTED, FULL, MALFORMED, REFUSED, WHITELISTED, Event, Ring, ring_claim, ring_publish
from mxallowd._table cimport (
    USED, Shard, Table, prefetch_entry, prefetch_line, shard_add, shard_expire, shard_find, shard_hash,
    shard_mark_used, until_of)
from mxallowd.c_atomic cimport ACQUIRE, RELAXED, RELEASE, load64, load_ptr, store64, store_ptr

OUTCOME_NAMES = (
    "fake-new", "fake-known", "fake-full", "real-first", "real-again", "real-refused", "other", "malformed")

# Bytes of a malformed packet that an event carries.
cdef enum:
    HEAD = 32


# ---- servers

cdef inline uint64_t place_of(const RuleSet *rules, const Address *address) noexcept nogil:
    # The operator chooses these addresses, not the network: any spreading function does. (The constant is 2^64 / phi.)
    cdef uint64_t mixed = (address.high ^ (address.low >> 32) ^ address.low) * <uint64_t> 0x9e3779b97f4a7c15
    return (mixed >> 32) & rules.mask


cdef inline uint8_t role_of(const RuleSet *rules, const Address *address) noexcept nogil:
    cdef uint64_t at = place_of(rules, address)
    # Ends: at least half of the places are empty.
    while rules.places[at].role != NEITHER:
        if rules.places[at].address.low == address.low and rules.places[at].address.high == address.high:
            return <uint8_t> rules.places[at].role
        at = (at + 1) & rules.mask
    return NEITHER


# ---- the decision

cdef inline void report(
        Path *path, int kind, bint pressing, const Packet *packet, uint64_t until_us) noexcept nogil:
    cdef Event *event = ring_claim(path.ring, pressing)
    if event == NULL:
        return
    event.kind = <uint8_t> kind
    event.queue = path.queue
    event.time_us = packet.now_us
    event.until_us = until_us
    if kind == MALFORMED:
        event.reason = packet.parse
        event.length = packet.length
        if packet.length:
            memcpy(&event.source, packet.data, min(packet.length, <uint32_t> HEAD))
    else:
        event.source = packet.source
        event.destination = packet.destination
    ring_publish(path.ring)


cdef inline Shard *find_live(
        Path *path, const Packet *packet, uint32_t *number, uint64_t *state) noexcept nogil:
    """The shard that holds a live entry of the packet's source, its number and state; NULL where none does."""
    cdef Shard *shard
    cdef int i
    for i in range(path.shard_count):
        shard = &path.shards[i]
        # An empty shard costs one read; most tables have one shard.
        if load64(&shard.size, RELAXED) == 0:
            continue
        number[0] = shard_find(shard, &packet.source, packet.hash, state)
        if number[0] and until_of(state[0]) > packet.now_us:
            return shard
    return NULL


cdef inline Outcome decide_fake(Path *path, const Packet *packet) noexcept nogil:
    cdef uint64_t state = 0, until_us
    cdef uint32_t number = 0
    if find_live(path, packet, &number, &state) != NULL:
        return FAKE_KNOWN
    until_us = packet.now_us + path.rules_seen.lifetime_us
    if not shard_add(&path.shards[path.own], &packet.source, packet.hash, until_us, 0, packet.now_us):
        report(path, FULL, False, packet, 0)
        return FAKE_FULL
    report(path, WHITELISTED, True, packet, until_us)
    return FAKE_NEW


cdef inline Outcome decide_real(Path *path, const Packet *packet) noexcept nogil:
    cdef uint64_t state = 0
    cdef uint32_t number = 0
    cdef Shard *shard = find_live(path, packet, &number, &state)
    if shard == NULL:
        report(path, REFUSED, False, packet, 0)
        return REAL_REFUSED
    if state & USED or not shard_mark_used(shard, number, state):
        return REAL_AGAIN
    report(path, ACCEPTED, True, packet, until_of(state))
    return REAL_FIRST


cdef void decide(Path *path, Packet *packets, int count) noexcept nogil:
    cdef RuleSet *rules = <RuleSet *> load_ptr(<void **> &path.rules, ACQUIRE)
    cdef Shard *own = &path.shards[path.own]
    cdef Packet *packet
    cdef Outcome outcome
    cdef int i
    store_ptr(<void **> &path.rules_seen, rules, RELEASE)

    for i in range(count):
        packet = &packets[i]
        packet.role = NEITHER
        packet.parse = <uint8_t> parse_addresses(packet.data, packet.length, &packet.source, &packet.destination)
        if packet.parse != PARSE_OK:
            continue
        packet.role = role_of(rules, &packet.destination)
        if packet.role != NEITHER:
            packet.hash = shard_hash(own, &packet.source)
            prefetch_line(own, packet.hash)

    for i in range(count):
        if packets[i].role != NEITHER:
            prefetch_entry(own, packets[i].hash)

    for i in range(count):
        packet = &packets[i]
        if packet.role == FAKE:
            outcome = decide_fake(path, packet)
        elif packet.role == REAL:
            outcome = decide_real(path, packet)
        elif packet.parse == PARSE_OK:
            outcome = OTHER
        else:
            report(path, MALFORMED, False, packet, 0)
            outcome = UNPARSED
        packet.outcome = <uint8_t> outcome
        store64(&path.outcomes[<int> outcome], load64(&path.outcomes[<int> outcome], RELAXED) + 1, RELAXED)

    # A batch adds at most `count` entries; taking away twice as many keeps the old ends short.
    if count:
        shard_expire(own, packets[count - 1].now_us, 2 * count)


# ---- the border to Python

@cython.final
cdef class Rules:
    def __cinit__(self, fake, real, lifetime_s):
        cdef Py_ssize_t places = 4
        while places < 2 * (len(fake) + len(real)) + 2:
            places *= 2
        if not 0 < lifetime_s <= 1 << 30:
            raise ValueError(f"a lifetime of {lifetime_s} seconds is out of range")
        self.set.places = <Server *> calloc(places, sizeof(Server))
        if not self.set.places:
            raise MemoryError()
        self.set.mask = places - 1
        self.set.lifetime_us = <uint64_t> lifetime_s * 1000000
        for address in fake:
            self.insert(address, FAKE)
        for address in real:
            self.insert(address, REAL)

    cdef int insert(self, bytes address, uint64_t role) except -1:
        cdef Address words
        cdef uint64_t at
        if len(address) != 16:
            raise ValueError("an address is 16 bytes")
        memcpy(&words, <const char *> address, 16)
        at = place_of(&self.set, &words)
        while self.set.places[at].role != NEITHER:
            at = (at + 1) & self.set.mask
        self.set.places[at].address = words
        self.set.places[at].role = role
        return 0

    def __dealloc__(self):
        free(self.set.places)


@cython.final
cdef class Fastpath:
    def __cinit__(self, Table table not None, Ring ring not None, Rules rules not None, *, shard=0, queue=0):
        table.shard_at(shard)
        self.table = table
        self.ring = ring
        self.path.shards = table.shards
        self.path.shard_count = table.shard_count
        self.path.own = shard
        self.path.queue = queue
        self.path.ring = &ring.state
        self.published = []
        self.publish(rules)

    def publish(self, Rules rules not None):
        # What the thread has moved on from can go. Until it has, the set stays.
        if load_ptr(<void **> &self.path.rules_seen, ACQUIRE) == <void *> self.path.rules:
            while len(self.published) > 1:
                self.published.pop(0)
        self.published.append(rules)
        store_ptr(<void **> &self.path.rules, &rules.set, RELEASE)

    def decide(self, packets, now_us):
        cdef Packet batch[BATCH]
        cdef bytes packet
        cdef uint64_t now = now_us
        cdef list held = list(packets)
        cdef bytes outcomes = PyBytes_FromStringAndSize(NULL, len(held))
        cdef int first, count, i
        if self.lent:
            raise RuntimeError("a queue thread decides here")
        for first in range(0, len(held), BATCH):
            count = min(len(held) - first, <int> BATCH)
            for i in range(count):
                packet = held[first + i]
                batch[i].now_us = now
                batch[i].length = <uint32_t> len(packet)
                batch[i].data = <const uint8_t *> <const char *> packet
            decide(&self.path, batch, count)
            for i in range(count):
                PyBytes_AS_STRING(outcomes)[first + i] = <char> batch[i].outcome
        return outcomes

    def counters(self):
        return {name: load64(&self.path.outcomes[i], RELAXED) for i, name in enumerate(OUTCOME_NAMES)}
