"""Who waits to be let in: see _patience.pxd."""
from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address, is_mapped
from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine._shard cimport shard_hash
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport ACQUIRE, RELAXED, RELEASE, count_up, fence, load64, store64

LEAST_HOSTS = <int> SET_PLACES
HOST_BYTES = sizeof(Waiting)
TICK_US = 1 << TICK_SHIFT
MOST = MOST_TIMES
COUNTERS = ("patience-waiting", "patience-let-in", "patience-pushed-out", "patience-left-out")

cdef enum:
    READ_TRIES = 8
    TICK_SIZE = 1 << TICK_SHIFT
    LAST_25 = (1 << 25) - 1
    PORTS = 0xffffff

# The first two bytes of an IPv4-mapped address are 0, and this makes them those of no host's.
cdef extern from *:
    const uint64_t ALL_ONES "0xffffffffffffffffULL"

cdef struct Known:          # a place, unpacked; times in ticks
    uint64_t first          # of those that count
    uint64_t counted        # the one counted last
    uint64_t last           # the last one of all
    uint32_t count          # 0: there is none
    uint32_t ports


class Waits(NamedTuple):
    first_us: int
    counted_us: int
    last_us: int
    times: int


cdef inline uint64_t tick_of(uint64_t now_us) noexcept nogil:
    return (now_us >> TICK_SHIFT) + BIAS_TICKS


cdef inline int64_t us_of(uint64_t tick) noexcept nogil:
    return (<int64_t> tick - <int64_t> BIAS_TICKS) * TICK_SIZE


cdef inline Known unpacked(uint64_t times, uint64_t state) noexcept nogil:
    cdef Known known
    known.counted = times >> AGE_BITS
    known.first = known.counted - (times & LAST_25)
    known.last = known.counted + (state >> SINCE_SHIFT & LAST_25)
    known.count = <uint32_t> (state >> COUNT_SHIFT & MOST_TIMES)
    known.ports = <uint32_t> (state >> PORTS_SHIFT & PORTS)
    return known


cdef inline uint64_t state_of(const Known *known, uint64_t before) noexcept nogil:
    cdef uint64_t generation = (before + 1) & 0xff
    return (min(known.last - known.counted, <uint64_t> LAST_25) << SINCE_SHIFT
            | <uint64_t> known.ports << PORTS_SHIFT | <uint64_t> known.count << COUNT_SHIFT
            | (generation if generation else 1))


cdef inline uint64_t times_of(const Known *known) noexcept nogil:
    return known.counted << AGE_BITS | min(known.counted - known.first, <uint64_t> LAST_25)


cdef bint place_read(const Waiting *place, Address *key, Known *known) noexcept nogil:
    """Any thread: what stands there, whose parts belong together; False: nothing, or it changes all the time."""
    cdef uint64_t state, times
    cdef int _
    for _ in range(READ_TRIES):
        state = load64(&place.state, ACQUIRE)
        if state == 0:
            return False
        key.low = load64(&place.key.low, RELAXED)
        key.high = load64(&place.key.high, RELAXED)
        times = load64(&place.times, RELAXED)
        fence(ACQUIRE)
        if load64(&place.state, RELAXED) == state:
            known[0] = unpacked(times, state)
            return True
    return False


cdef bint find_in(const PatienceShard *shard, const Address *key, uint64_t hash, Known *known) noexcept nogil:
    cdef const Waiting *places = patience_set(shard, hash)
    cdef Address found
    cdef int i
    for i in range(<int> SET_PLACES):
        if place_read(&places[i], &found, known) and found.low == key.low and found.high == key.high:
            return True
    return False


cdef inline Waiting *own_place(Waiting *places, const Address *key) noexcept nogil:
    # What this thread alone writes needs no atomic access of its own.
    cdef int i
    for i in range(<int> SET_PLACES):
        if places[i].key.low == key.low and places[i].key.high == key.high and places[i].state:
            return &places[i]
    return NULL


cdef inline uint64_t ago(uint64_t now, uint64_t time) noexcept nogil:
    # A batch's time may be a little older than that of another thread.
    return now - time if now > time else 0


cdef inline bint is_over(const Patience_ *rule, const Known *known, uint64_t now) noexcept nogil:
    return known.count >= rule.times and ago(now, known.first) <= DAY_TICKS


cdef Waiting *place_for_new(PatienceShard *shard, Waiting *places, const Patience_ *rule, uint64_t now) noexcept nogil:
    """The place of who makes room; NULL: nobody does. The greatest rank goes, of equal ones the greatest time."""
    cdef Waiting *chosen = NULL
    cdef uint64_t time, greatest = 0
    cdef int rank, best = 0, i
    cdef Known known
    for i in range(<int> SET_PLACES):
        if places[i].state == 0:
            count_up(&shard.size, 1)
            return &places[i]
        known = unpacked(places[i].times, places[i].state)
        if ago(now, known.last) > DAY_TICKS:
            rank, time = 4, ago(now, known.last)
        elif ago(now, known.first) < rule.wait:
            # The youngest: time from the other end.
            rank, time = 3, ALL_ONES - ago(now, known.first)
        elif known.count >= rule.times:
            rank, time = 2, ago(now, known.last)
        elif ago(now, known.last) > CLAIM_TICKS:
            rank, time = 1, ago(now, known.last)
        else:
            continue
        if rank > best or (rank == best and time > greatest):
            chosen, best, greatest = &places[i], rank, time
    if chosen != NULL and best < 4:
        count_up(&shard.pushed_out, 1)
    return chosen


cdef inline void write(Waiting *place, const Address *key, const Known *known) noexcept nogil:
    cdef uint64_t before = place.state
    store64(&place.state, 0, RELAXED)
    fence(RELEASE)
    store64(&place.key.high, key.high, RELAXED)
    store64(&place.key.low, key.low, RELAXED)
    store64(&place.times, times_of(known), RELAXED)
    store64(&place.state, state_of(known, before), RELEASE)


cdef inline bint has_port(uint32_t ports, uint32_t port) noexcept nogil:
    return ((ports & 0xff) == port) | ((ports >> 8 & 0xff) == port) | ((ports >> 16 & 0xff) == port)


cdef inline bint take_refusal(const Patience_ *rule, Known *known, uint32_t port, uint64_t now) noexcept nogil:
    """What a refusal makes of what is known; whether it counted."""
    if known.count and ago(now, known.last) <= REPEATED_TICKS and has_port(known.ports, port):
        known.last = max(known.last, now)
        return False
    # One port fills all three.
    known.ports = (known.ports << 8 | port) & PORTS if known.count else port * <uint32_t> 0x010101
    if known.count and ago(now, known.first) > DAY_TICKS:
        if known.count > 1 and ago(now, known.counted) <= DAY_TICKS:
            known.first, known.count = known.counted, 1
        elif ago(now, known.last) <= DAY_TICKS:
            known.first, known.counted, known.count = known.last, known.last, 1
        else:
            known.count = 0
    if known.count == 0:
        known.first, known.counted, known.last, known.count = now, now, now, 1
        return True
    known.last = max(known.last, now)
    if known.count >= rule.times or ago(now, known.counted) < rule.wait:
        return False
    known.counted = now
    known.count += 1
    return True


cdef Patient patience_note(
        const Patience_ *rule, int own, const Address *key, uint64_t hash, uint16_t port,
        uint64_t now_us) noexcept nogil:
    cdef PatienceShard *shard = &rule.shards[own]
    cdef Waiting *places = patience_set(shard, hash)
    cdef Waiting *place = own_place(places, key)
    cdef uint64_t now = tick_of(now_us)
    cdef Known known, other
    cdef int i
    memset(&known, 0, sizeof(Known))
    if place != NULL:
        known = unpacked(place.times, place.state)
    for i in range(rule.shard_count):
        # More refusals that count, or as many of which the last is longer ago: it comes in sooner.
        if i != own and find_in(&rule.shards[i], key, hash, &other) and ago(now, other.last) <= DAY_TICKS and (
                other.count > known.count or (other.count == known.count and other.counted < known.counted)):
            other.last, other.ports = max(other.last, known.last), known.ports if known.count else other.ports
            known = other
    if is_over(rule, &known, now):
        return IS_IN
    take_refusal(rule, &known, <uint8_t> (port ^ port >> 8), now)
    if place == NULL:
        place = place_for_new(shard, places, rule, now)
        if place == NULL:
            count_up(&shard.left_out, 1)
            return WAITS
    write(place, key, &known)
    return COMES_IN if is_over(rule, &known, now) else WAITS


cdef bint patience_over(
        const Patience_ *rule, const Address *key, uint64_t hash, uint64_t now_us) noexcept nogil:
    cdef Known known
    cdef int i
    for i in range(rule.shard_count):
        if find_in(&rule.shards[i], key, hash, &known) and is_over(rule, &known, tick_of(now_us)):
            return True
    return False


cdef Address patience_key(const Patience_ *rule, const Address *host) noexcept nogil:
    """The host, or its network in a form that no address of a host has."""
    cdef Address key = host[0]
    cdef uint8_t *byte = <uint8_t *> &key
    if not rule.networks:
        return key
    if is_mapped(host):
        byte[10], byte[15] = 0xfe, 0
    else:
        key.low = ALL_ONES
    return key


# ---- the border to Python

@cython.final
cdef class Patience:
    def __cinit__(self, max_hosts, shards, Table table not None):
        cdef uint64_t sets
        cdef int i
        if not 1 <= shards or max_hosts < shards * SET_PLACES:
            raise ValueError(f"{max_hosts} waiting hosts cannot be shared by {shards} threads")
        sets = max_hosts // (shards * SET_PLACES)
        self.shards = <PatienceShard *> calloc(shards, sizeof(PatienceShard))
        if not self.shards:
            raise MemoryError()
        self.shard_count = shards
        self.max_hosts = sets * SET_PLACES * <uint64_t> self.shard_count
        self.table = table
        for i in range(self.shard_count):
            self.shards[i].sets = sets
            self.shards[i].places = <Waiting *> map_pages(sets * SET_PLACES * sizeof(Waiting))

    def __dealloc__(self):
        cdef int i
        if self.shards:
            for i in range(self.shard_count):
                unmap_pages(self.shards[i].places, self.shards[i].sets * SET_PLACES * sizeof(Waiting))
            free(self.shards)

    def __len__(self):
        cdef int i
        cdef uint64_t size = 0
        for i in range(self.shard_count):
            size += load64(&self.shards[i].size, RELAXED)
        return size

    cdef Patience_ rule_of(self, times, wait_us, networks) except *:
        cdef Patience_ rule
        if not 1 <= times <= MOST_TIMES or not 0 < wait_us <= 86400 * 1000000:
            raise ValueError(f"{times} refusals, each {wait_us} us after the one before, cannot be counted")
        rule.shards = self.shards
        rule.shard_count = self.shard_count
        rule.times = times
        rule.wait = <uint64_t> wait_us >> TICK_SHIFT
        rule.networks = networks
        return rule

    def find(self, host, *, networks=False):
        cdef Patience_ rule = self.rule_of(1, 1, networks)
        cdef Address address
        cdef Known known, best
        cdef int i
        memset(&best, 0, sizeof(Known))
        if len(host) != 16:
            raise ValueError("a host is 16 bytes")
        memcpy(&address, <const char *> <bytes> host, 16)
        address = patience_key(&rule, &address)
        for i in range(self.shard_count):
            if find_in(&self.shards[i], &address, shard_hash(&self.table.shards[0], &address), &known) and (
                    known.count > best.count):
                best = known
        if best.count == 0:
            return None
        return Waits(us_of(best.first), us_of(best.counted), us_of(best.last), best.count)

    def note(self, host, port, now_us, times, wait_us, *, networks=False, shard=0):
        cdef Patience_ rule = self.rule_of(times, wait_us, networks)
        cdef Address address
        if len(host) != 16:
            raise ValueError("a host is 16 bytes")
        if not 0 <= shard < self.shard_count:
            raise IndexError(f"no shard {shard}")
        memcpy(&address, <const char *> <bytes> host, 16)
        address = patience_key(&rule, &address)
        return patience_note(&rule, shard, &address, shard_hash(&self.table.shards[0], &address), port, now_us)

    def entries(self, start, budget, since_us=0):
        cdef uint64_t at = start, places = self.shards[0].sets * SET_PLACES, left = budget
        cdef uint64_t since = tick_of(since_us)
        cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (left * sizeof(Waiting)))
        cdef Waiting *target = <Waiting *> PyBytes_AS_STRING(records)
        cdef Py_ssize_t taken = 0
        cdef Known known
        with nogil:
            while at < self.max_hosts and left > 0:
                if place_read(&self.shards[at // places].places[at % places], &target[taken].key, &known) and (
                        known.last >= since):
                    target[taken].times = times_of(&known)
                    target[taken].state = state_of(&known, 0)
                    taken += 1
                at += 1
                left -= 1
        return records[:taken * <Py_ssize_t> sizeof(Waiting)], (at if at < self.max_hosts else 0)

    def restore(self, bytes records not None, now_us, back_us):
        cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(Waiting), i
        cdef const Waiting *source = <const Waiting *> <const char *> records
        cdef uint64_t now = tick_of(now_us), entered = 0, hash, age, since
        cdef int64_t back = <int64_t> back_us >> TICK_SHIFT, counted
        cdef PatienceShard *shard
        cdef Waiting *places
        cdef Waiting *place
        cdef Waiting one
        cdef Known known
        cdef int j
        if len(records) % <Py_ssize_t> sizeof(Waiting):
            raise ValueError("these are no records")
        with nogil:
            for i in range(total):
                one = source[i]
                known = unpacked(one.times, one.state)
                age, since = known.counted - known.first, known.last - known.counted
                # After now there is no time yet.
                counted = min(<int64_t> known.counted - back, <int64_t> now)
                if known.count == 0 or counted <= <int64_t> age:
                    continue
                known.counted = <uint64_t> counted
                known.first, known.last = known.counted - age, min(known.counted + since, now)
                if ago(now, known.last) > DAY_TICKS:
                    continue
                hash = shard_hash(&self.table.shards[0], &one.key)
                shard = &self.shards[hash % <uint64_t> self.shard_count]
                places = patience_set(shard, hash)
                place = own_place(places, &one.key)
                for j in range(<int> SET_PLACES):
                    if place == NULL and places[j].state == 0:
                        place = &places[j]
                        count_up(&shard.size, 1)
                if place == NULL:
                    continue
                write(place, &one.key, &known)
                entered += 1
        return entered

    def counters(self):
        totals = dict.fromkeys(COUNTERS, 0)
        totals["patience-waiting"] = len(self)
        for i in range(self.shard_count):
            totals["patience-pushed-out"] += load64(&self.shards[<int> i].pushed_out, RELAXED)
            totals["patience-left-out"] += load64(&self.shards[<int> i].left_out, RELAXED)
            totals["patience-let-in"] += load64(&self.shards[<int> i].let_in, RELAXED)
        return totals
