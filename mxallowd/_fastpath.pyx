"""The decision: see _fastpath.pxd for the rounds, the outcomes and which way each fails."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mxallowd._address cimport Address
from mxallowd._headers cimport PARSE_OK, parse_addresses
from mxallowd._ring cimport ACCEPTED, FULL, MALFORMED, REFUSED, WHITELISTED, Event, Ring, ring_claim, ring_publish
from mxallowd._table cimport (
    LIVE, USED, Entry, Lookups, Shard, Table, shard_expire, shard_find, shard_insert, shard_locate, shard_mark_used,
    shard_prefetch, until_of)
from mxallowd.c_atomic cimport ACQUIRE, RELAXED, RELEASE, load64, load_ptr, store64, store_ptr

OUTCOME_NAMES = (
    "fake-new", "fake-known", "fake-full", "real-first", "real-again", "real-refused", "other", "malformed")

# Bytes of a malformed packet that an event carries.
cdef enum:
    HEAD = 32
    ARRANGEMENTS = 64

cdef extern from *:
    const uint64_t FACTOR "0x9e3779b97f4a7c15"


# ---- servers

cdef inline uint64_t place_of(const RuleSet *rules, const Address *address) noexcept nogil:
    # The operator chooses these addresses, not the network: any spreading function does.
    return ((address.high ^ (address.low >> 32) ^ address.low) * rules.factor) >> 32


cdef inline uint8_t role_of(const RuleSet *rules, const Address *address) noexcept nogil:
    cdef uint64_t at = place_of(rules, address)
    cdef const Server *server
    cdef uint64_t role = NEITHER, differs
    cdef int i
    for i in range(rules.probes):
        server = &rules.places[(at + <uint64_t> i) & rules.mask]
        differs = (server.address.low ^ address.low) | (server.address.high ^ address.high)
        role |= server.role & (<uint64_t> (differs != 0) - 1)
    return <uint8_t> role


# ---- the decision

cdef inline void report(
        Path *path, int kind, bint pressing, const Packet *packet, const Address *source, const Address *destination,
        uint64_t until_us) noexcept nogil:
    cdef Event *event = ring_claim(path.ring, pressing)
    if event == NULL:
        return
    event.kind = <uint8_t> kind
    event.reason = 0
    event.queue = path.queue
    event.length = 0
    event.time_us = packet.now_us
    event.source = source[0]
    event.destination = destination[0]
    event.until_us = until_us
    event.reserved = 0


cdef void report_malformed(Path *path, const Packet *packet, uint8_t parse) noexcept nogil:
    cdef Event *event = ring_claim(path.ring, False)
    if event == NULL:
        return
    memset(event, 0, sizeof(Event))
    event.kind = <uint8_t> MALFORMED
    event.reason = parse
    event.queue = path.queue
    event.length = packet.length
    event.time_us = packet.now_us
    if packet.length:
        memcpy(&event.source, packet.data, min(packet.length, <uint32_t> HEAD))


cdef struct Place:      # where the source of a packet stands
    Shard *shard        # that holds a live entry of it; NULL where none does
    uint32_t number
    uint64_t state
    uint32_t own        # its entry, live or not, in the shard of this thread


cdef inline bint holds(const Entry *entry, const Address *host) noexcept nogil:
    return ((entry.host.low ^ host.low) | (entry.host.high ^ host.high)) == 0


cdef inline Place place_of_source(Path *path, uint64_t now_us, int at) noexcept nogil:
    cdef Lookups *lookups = &path.lookups
    cdef Shard *shard = &path.shards[path.own]
    cdef Place place
    cdef int i
    place.shard = shard
    place.number = lookups.number[at]
    place.state = load64(&shard.entries[place.number].state, RELAXED)
    if not (place.state & LIVE and holds(&shard.entries[place.number], &lookups.host[at])):
        # Not the host's entry, or no longer: an earlier packet of this batch may have needed the room, or may have
        # added the host. Else it has none, unless its line was full.
        if place.number or lookups.passed[at] or path.added >> (lookups.hash[at] & 63) & 1:
            place.number = shard_find(shard, &lookups.host[at], lookups.hash[at], &place.state)
    place.own = place.number
    if place.number and until_of(place.state) > now_us:
        return place
    for i in range(path.shard_count):
        shard = &path.shards[i]
        # An empty shard costs one read; most tables have one shard.
        if i == path.own or load64(&shard.size, RELAXED) == 0:
            continue
        place.number = shard_find(shard, &lookups.host[at], lookups.hash[at], &place.state)
        if place.number and until_of(place.state) > now_us:
            place.shard = shard
            return place
    place.shard = NULL
    return place


cdef inline Outcome decide_fake(Path *path, const Packet *packet, const Address *destination, int at) noexcept nogil:
    cdef const Address *source = &path.lookups.host[at]
    cdef Place place = place_of_source(path, packet.now_us, at)
    cdef uint64_t until_us
    if place.shard != NULL:
        return FAKE_KNOWN
    until_us = packet.now_us + path.rules_seen.lifetime_us
    if not shard_insert(
            &path.shards[path.own], place.own, source, path.lookups.hash[at], until_us, 0, packet.now_us):
        report(path, FULL, False, packet, source, destination, 0)
        return FAKE_FULL
    path.added |= <uint64_t> 1 << (path.lookups.hash[at] & 63)
    report(path, WHITELISTED, True, packet, source, destination, until_us)
    return FAKE_NEW


cdef inline Outcome decide_real(Path *path, const Packet *packet, const Address *destination, int at) noexcept nogil:
    cdef const Address *source = &path.lookups.host[at]
    cdef Place place = place_of_source(path, packet.now_us, at)
    if place.shard == NULL:
        report(path, REFUSED, False, packet, source, destination, 0)
        return REAL_REFUSED
    if place.state & USED or not shard_mark_used(place.shard, place.number, place.state):
        return REAL_AGAIN
    report(path, ACCEPTED, True, packet, source, destination, until_of(place.state))
    return REAL_FIRST


cdef inline Outcome decide_malformed(Path *path, const Packet *packet, uint8_t parse) noexcept nogil:
    report_malformed(path, packet, parse)
    return UNPARSED


cdef inline bint changes_nothing(Path *path, uint64_t now_us, uint8_t role, int at) noexcept nogil:
    """Whether the packet is that of a known host at a fake server, or of a used one at a real server.

    The common case, told by one branch: each of its conditions alone is a coin's throw for the processor.
    """
    cdef const Entry *entry = &path.shards[path.own].entries[path.lookups.number[at]]
    cdef uint64_t state = load64(&entry.state, RELAXED)
    return (until_of(state) > now_us) & holds(entry, &path.lookups.host[at]) & ((role == FAKE) | (state >> 1 & 1))


cdef inline void parse_batch(Path *path, const RuleSet *rules, const Packet *packets, int count) noexcept nogil:
    """The roles of all packets; the sources of those that go to a server are gathered in `lookups`."""
    cdef Lookups *lookups = &path.lookups
    cdef int i, taken = 0
    for i in range(count):
        path.roles[i] = NEITHER
        # Written over by the next packet unless this one counts.
        path.parses[i] = <uint8_t> parse_addresses(
            packets[i].data, packets[i].length, &lookups.host[taken], &path.destinations[i])
        if path.parses[i] == PARSE_OK:
            path.roles[i] = role_of(rules, &path.destinations[i])
            taken += path.roles[i] != NEITHER
    lookups.count = taken


cdef void decide(Path *path, Packet *packets, int count) noexcept nogil:
    cdef RuleSet *rules = <RuleSet *> load_ptr(<void **> &path.rules, ACQUIRE)
    cdef Shard *own = &path.shards[path.own]
    cdef uint64_t outcomes[<int> OUTCOMES]
    cdef Outcome outcome
    cdef int i, at = 0
    if count == 0:
        return
    store_ptr(<void **> &path.rules_seen, rules, RELEASE)
    parse_batch(path, rules, packets, count)
    shard_locate(own, &path.lookups)
    for i in range(path.shard_count):
        if i != path.own:
            shard_prefetch(&path.shards[i], &path.lookups)

    memset(outcomes, 0, sizeof(outcomes))
    path.added = 0
    for i in range(count):
        if path.roles[i] == NEITHER:
            outcome = OTHER if path.parses[i] == PARSE_OK else decide_malformed(path, &packets[i], path.parses[i])
        else:
            if changes_nothing(path, packets[i].now_us, path.roles[i], at):
                outcome = FAKE_KNOWN if path.roles[i] == FAKE else REAL_AGAIN
            elif path.roles[i] == FAKE:
                outcome = decide_fake(path, &packets[i], &path.destinations[i], at)
            else:
                outcome = decide_real(path, &packets[i], &path.destinations[i], at)
            at += 1
        packets[i].outcome = <uint8_t> outcome
        outcomes[<int> outcome] += 1
    ring_publish(path.ring)
    for i in range(<int> OUTCOMES):
        store64(&path.outcomes[i], load64(&path.outcomes[i], RELAXED) + outcomes[i], RELAXED)
    # A batch adds at most `count` entries; taking away twice as many keeps the old ends short.
    shard_expire(own, packets[count - 1].now_us, 2 * count)


# ---- the border to Python

@cython.final
cdef class Rules:
    def __cinit__(self, fake, real, lifetime_s):
        cdef Py_ssize_t places = 8
        cdef bytes address
        if not 0 < lifetime_s <= 1 << 30:
            raise ValueError(f"a lifetime of {lifetime_s} seconds is out of range")
        # An address of both lists is fake.
        servers = {**dict.fromkeys(real, REAL), **dict.fromkeys(fake, FAKE)}
        for address in servers:
            if len(address) != 16:
                raise ValueError("an address is 16 bytes")
        while places < 8 * len(servers):
            places *= 2
        self.set.places = <Server *> calloc(places, sizeof(Server))
        if not self.set.places:
            raise MemoryError()
        self.set.mask = places - 1
        self.set.lifetime_us = <uint64_t> lifetime_s * 1000000
        self.arrange(list(servers.items()))

    cdef int arrange(self, list servers) except -1:
        """Place all servers by the factor, of some, that keeps them nearest to their places: mostly one probe."""
        cdef uint64_t tried, best = 0
        cdef int longest, fewest = 0
        cdef Address words
        # The last round repeats the best one.
        for tried in range(<uint64_t> ARRANGEMENTS + 1):
            # 2^64 / phi, and what follows it: odd factors that spread well.
            self.set.factor = best if tried == ARRANGEMENTS else FACTOR + 2 * tried * FACTOR
            memset(self.set.places, 0, (self.set.mask + 1) * sizeof(Server))
            longest = 1
            for address, role in servers:
                memcpy(&words, <const char *> <bytes> address, 16)
                longest = max(longest, self.insert(&words, role))
            if best == 0 or longest < fewest:
                best = self.set.factor
                fewest = longest
        self.set.probes = fewest
        return 0

    cdef int insert(self, const Address *address, uint64_t role) noexcept:
        cdef uint64_t at = place_of(&self.set, address)
        cdef int probes = 1
        while self.set.places[at & self.set.mask].role != NEITHER:
            at += 1
            probes += 1
        self.set.places[at & self.set.mask].address = address[0]
        self.set.places[at & self.set.mask].role = role
        return probes

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
