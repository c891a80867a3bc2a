"""Who waits to be let in: see _patience.pxd."""
from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from mxallowd.engine._address cimport Address
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine._shard cimport Shard, shard_hash
from mxallowd.engine._siphash cimport hash_addresses
from mxallowd.engine._table cimport Table
from mxallowd.engine._waiting cimport (
    AGE_BITS, COUNT_SHIFT, LAST_25, MOST_TIMES, PORTS, PORTS_SHIFT, SET_PLACES, SINCE_SHIFT, TAG_BITS, TAG_BITS_SHIFT,
    TICK_SHIFT, Known, PatienceShard, Waiting, find_in, lowest_bit, own_place, place_read, proposed, set_of, state_of,
    tag_place, times_of, unpacked, write_place)
from mxallowd.engine.c_atomic cimport (
    ACQUIRE, RELAXED, RELEASE, count_up, exchange_if64, fence, load64, prefetch_to, store64)

LEAST_HOSTS = <int> SET_PLACES
HOST_BYTES = sizeof(Waiting) + TAG_BITS // 8
RECORD_SIZE = sizeof(Waiting)
TICK_US = 1 << TICK_SHIFT
MOST = MOST_TIMES
COUNTERS = ("patience-waiting", "patience-let-in", "patience-pushed-out", "patience-left-out")

cdef enum:
    TICK_SIZE = 1 << TICK_SHIFT
    FORGET_TRIES = 8
    AGAIN_TICKS = 123               # half a second: a SYN is sent again after one (RFC 6298, 2.1)
    PART_SHIFT = 20                 # of a tick, in which the rate of new hosts is counted

cdef extern from *:
    # Who makes room first: ranks above any time, which has 39 bits.
    const uint64_t LONGEST "(1ULL << 39)"
    const uint64_t OPEN_SEAT "(1ULL << 40)"
    const uint64_t IDLE "(2ULL << 40)"
    const uint64_t LET_IN "(3ULL << 40)"
    const uint64_t CAME_AGAIN "(4ULL << 40)"
    const uint64_t CAME_ONCE "(5ULL << 40)"
    const uint64_t OVER "(6ULL << 40)"
    const uint64_t EMPTY "(7ULL << 40)"


class Waits(NamedTuple):
    first_us: int
    counted_us: int
    last_us: int
    times: int


cdef inline uint64_t tick_of(uint64_t now_us) noexcept nogil:
    return (now_us >> TICK_SHIFT) + BIAS_TICKS


cdef inline int64_t us_of(uint64_t tick) noexcept nogil:
    return (<int64_t> tick - <int64_t> BIAS_TICKS) * TICK_SIZE


cdef inline uint64_t ago(uint64_t now, uint64_t time) noexcept nogil:
    # A batch's time may be a little older than that of another thread.
    return now - time if now > time else 0


cdef inline bint is_over(const Patience_ *rule, const Known *known, uint64_t now) noexcept nogil:
    return known.count >= rule.times and ago(now, known.first) <= DAY_TICKS


cdef inline uint64_t claim_to_go(const Waiting *place, const Patience_ *rule, uint64_t now) noexcept nogil:
    """How much the one who stands there is to make room: a rank, and of equal ranks a time. 0: he stays."""
    cdef uint64_t counted = place.times >> AGE_BITS
    cdef uint64_t last = counted + (place.state >> SINCE_SHIFT)
    cdef uint64_t first = counted - (place.times & LAST_25)
    cdef uint64_t idle = ago(now, last), age = ago(now, first)
    cdef bint again = last - first >= AGAIN_TICKS
    if place.state == 0:
        return EMPTY
    if idle > DAY_TICKS:
        return OVER + idle
    # The youngest: time from the other end.
    if age < rule.wait:
        return (CAME_AGAIN if again else CAME_ONCE) + (LONGEST - age)
    if (place.state >> COUNT_SHIFT & MOST_TIMES) >= rule.times:
        return LET_IN + idle
    if idle > CLAIM_TICKS:
        return IDLE + idle
    return 0 if again else OPEN_SEAT + (LONGEST - age)


cdef Waiting *place_for_new(PatienceShard *shard, uint64_t hash, const Patience_ *rule, uint64_t now) noexcept nogil:
    """The place of who makes room; NULL: nobody does."""
    cdef Waiting *places = &shard.places[set_of(shard, hash) * SET_PLACES]
    cdef uint64_t claim, greatest = 0
    cdef int i, chosen = 0
    for i in range(<int> SET_PLACES):
        claim = claim_to_go(&places[i], rule, now)
        chosen = i if claim > greatest else chosen
        greatest = max(greatest, claim)
    if greatest == 0:
        return NULL
    if greatest >= EMPTY:
        count_up(&shard.size, 1)
    elif greatest < OVER:
        count_up(&shard.pushed_out, 1)
    return &places[chosen]


cdef inline bint is_crowded(const PatienceShard *shard, uint64_t now) noexcept nogil:
    """Whether more new hosts have come than are noted in this time."""
    return shard.full_until > now << PART_SHIFT


cdef inline void count_new(PatienceShard *shard, const Patience_ *rule, uint64_t now) noexcept nogil:
    # In half of TIME as many as there are sets; and so many at once, after a time without.
    shard.full_until = max(shard.full_until, (now << PART_SHIFT) - (rule.wait << (PART_SHIFT - 1))) + rule.each


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


cdef Patient note_slowly(
        const Patience_ *rule, int own, const Address *key, uint64_t hash, uint32_t port, uint64_t now,
        Waiting *place) noexcept nogil:
    """A refusal that may count, or of whom this thread knows nothing. `place` is that of the host, if it has one."""
    cdef PatienceShard *shard = &rule.shards[own]
    cdef bint new = place == NULL
    cdef Known known, other
    cdef int i
    known.count = 0
    if not new:
        known = unpacked(place.times, place.state)
    for i in range(rule.shard_count):
        # More refusals that count, or as many of which the last is longer ago: it comes in sooner.
        if i != own and find_in(&rule.shards[i], key, hash, &other) and ago(now, other.last) <= DAY_TICKS and (
                other.count > known.count or (other.count == known.count and other.counted < known.counted)):
            if known.count:
                other.last, other.ports = max(other.last, known.last), known.ports
            known = other
    if known.count and is_over(rule, &known, now):
        return IS_IN
    if known.count == 0:
        if is_crowded(shard, now):
            count_up(&shard.left_out, 1)
            return WAITS
        count_new(shard, rule, now)
    take_refusal(rule, &known, port, now)
    if new:
        place = place_for_new(shard, hash, rule, now)
        if place == NULL:
            count_up(&shard.left_out, 1)
            return WAITS
    write_place(place, key, &known)
    if new:
        tag_place(shard, place, hash)
    return COMES_IN if is_over(rule, &known, now) else WAITS


cdef Patient patience_note(
        const Patience_ *rule, int own, const Address *key, uint64_t hash, uint16_t port,
        uint64_t now_us) noexcept nogil:
    cdef PatienceShard *shard = &rule.shards[own]
    cdef Waiting *place = own_place(shard, key, hash)
    cdef uint64_t now = tick_of(now_us), state, counted, since
    cdef uint32_t short_port = <uint8_t> (port ^ port >> 8), ports
    cdef bint again
    if place == NULL:
        if rule.shard_count == 1 and is_crowded(shard, now):
            count_up(&shard.left_out, 1)
            return WAITS
        return note_slowly(rule, own, key, hash, short_port, now, NULL)
    state = place.state
    counted = place.times >> AGE_BITS
    since = now - counted
    ports = <uint32_t> (state >> PORTS_SHIFT) & PORTS
    # Times of another thread may lie before now: then they are huge here, and this is not the quick way.
    again = (since - (state >> SINCE_SHIFT) <= REPEATED_TICKS) & has_port(ports, short_port)
    # The usual ones, told by one branch: a SYN that is sent again, and an attempt that comes too early.
    if ((state >> COUNT_SHIFT & MOST_TIMES) < rule.times) & (since <= LAST_25) & (again | (
            (since < rule.wait) & (since + (place.times & LAST_25) <= DAY_TICKS) & (rule.shard_count == 1))):
        ports = ports if again else (ports << 8 | short_port) & PORTS
        # Host and times stay, so this alone is whole.
        store64(&place.state, since << SINCE_SHIFT | <uint64_t> ports << PORTS_SHIFT
                | (state & ((1 << PORTS_SHIFT) - 1)), RELEASE)
        return WAITS
    return note_slowly(rule, own, key, hash, short_port, now, place)


cdef bint patience_over(
        const Patience_ *rule, const Address *key, uint64_t hash, uint64_t now_us) noexcept nogil:
    cdef Known known
    cdef int i
    for i in range(rule.shard_count):
        if find_in(&rule.shards[i], key, hash, &known) and is_over(rule, &known, tick_of(now_us)):
            return True
    return False


cdef void patience_fetch(
        const Patience_ *rule, const Shard *shard, int own, const Address *hosts, const uint64_t *hashes,
        const int *at, int few, uint64_t *made) noexcept nogil:
    cdef const PatienceShard *known = &rule.shards[own]
    cdef Address keys[<int> BATCH]
    cdef uint64_t of_keys[<int> BATCH]
    cdef uint64_t number, lanes, place
    cdef int i
    if rule.networks:
        keys[0] = hosts[at[0]]  # so that the compiler sees that there is one
        for i in range(few):
            keys[i] = patience_key(rule, &hosts[at[i]])
        hash_addresses(&shard.key, keys, of_keys, few)
    for i in range(few):
        made[at[i]] = of_keys[i] & shard.hash_mask if rule.networks else hashes[at[i]]
        prefetch_to(&known.tags[set_of(known, made[at[i]])], 0, 3)
    # The place that is proposed; of a host that nobody knows the first one, which is in the cache by then. (Not in a
    # function of its own: gcc 12 takes one that does nothing but prefetch for one that does nothing.)
    for i in range(few):
        number = set_of(known, made[at[i]])
        lanes = proposed(known.tags[number], made[at[i]])
        place = number * SET_PLACES + (lowest_bit(lanes | <uint64_t> 1 << 63) >> TAG_BITS_SHIFT)
        prefetch_to(&known.places[place * <uint64_t> (lanes != 0)], 1, 3)


cdef bint forget_place(Waiting *place, const Address *first, const Address *last) noexcept nogil:
    """The main thread: empty a place whose host is between these two. True: it was, and it is empty now.

    The shard's thread may write at the same time. If it has, the state is another one, and the place is looked at
    again. What it makes of a SYN that it began before stays: that SYN came before the removal.
    """
    cdef Address key
    cdef uint64_t state
    cdef int _
    for _ in range(<int> FORGET_TRIES):
        state = load64(&place.state, ACQUIRE)
        if state == 0:
            return False
        key.low = load64(&place.key.low, RELAXED)
        key.high = load64(&place.key.high, RELAXED)
        fence(ACQUIRE)
        if load64(&place.state, RELAXED) != state:
            continue
        # Bytes in network order.
        if memcmp(&key, first, sizeof(Address)) < 0 or memcmp(&key, last, sizeof(Address)) > 0:
            return False
        if exchange_if64(&place.state, &state, 0, False, RELEASE, RELAXED):
            return True
    return False


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
            self.shards[i].tags = <uint64_t *> map_pages(sets * sizeof(uint64_t))

    def __dealloc__(self):
        cdef int i
        if self.shards:
            for i in range(self.shard_count):
                unmap_pages(self.shards[i].places, self.shards[i].sets * SET_PLACES * sizeof(Waiting))
                unmap_pages(self.shards[i].tags, self.shards[i].sets * sizeof(uint64_t))
            free(self.shards)

    def __len__(self):
        cdef int i
        cdef uint64_t size = 0
        for i in range(self.shard_count):
            size += load64(&self.shards[i].size, RELAXED)
        # A place may be taken again while it is being forgotten, and is not counted anew then.
        return size - min(size, self.forgotten)

    cdef Patience_ rule_of(self, times, wait_us, networks) except *:
        cdef Patience_ rule
        if not 1 <= times <= MOST_TIMES or not 0 < wait_us <= 86400 * 1000000:
            raise ValueError(f"{times} refusals, each {wait_us} us after the one before, cannot be counted")
        rule.shards = self.shards
        rule.shard_count = self.shard_count
        rule.times = times
        rule.wait = <uint64_t> wait_us >> TICK_SHIFT
        rule.each = (rule.wait << PART_SHIFT) // (2 * self.shards[0].sets)
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

    def forget(self, host):
        cdef Patience_ rule = self.rule_of(1, 1, True)
        cdef Address keys[2]
        cdef uint64_t hash
        cdef PatienceShard *shard
        cdef int i, j, k
        if len(host) != 16:
            raise ValueError("a host is 16 bytes")
        memcpy(&keys[0], <const char *> <bytes> host, 16)
        keys[1] = patience_key(&rule, &keys[0])
        for k in range(2):
            hash = shard_hash(&self.table.shards[0], &keys[k])
            for i in range(self.shard_count):
                shard = &self.shards[i]
                for j in range(<int> SET_PLACES):
                    self.forgotten += forget_place(
                        &shard.places[set_of(shard, hash) * SET_PLACES + j], &keys[k], &keys[k])

    def forget_between(self, first, last, start, budget):
        cdef uint64_t at = start, places = self.shards[0].sets * SET_PLACES, left = budget
        cdef Patience_ rule = self.rule_of(1, 1, True)
        cdef Address hosts[2]
        cdef Address networks[2]
        cdef Waiting *place
        if len(first) != 16 or len(last) != 16:
            raise ValueError("a host is 16 bytes")
        memcpy(&hosts[0], <const char *> <bytes> first, 16)
        memcpy(&hosts[1], <const char *> <bytes> last, 16)
        networks[0], networks[1] = patience_key(&rule, &hosts[0]), patience_key(&rule, &hosts[1])
        with nogil:
            while at < self.max_hosts and left > 0:
                place = &self.shards[at // places].places[at % places]
                self.forgotten += (forget_place(place, &hosts[0], &hosts[1])
                                   or forget_place(place, &networks[0], &networks[1]))
                at += 1
                left -= 1
        return at if at < self.max_hosts else 0

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
                places = &shard.places[set_of(shard, hash) * SET_PLACES]
                place = own_place(shard, &one.key, hash)
                for j in range(<int> SET_PLACES):
                    if place == NULL and places[j].state == 0:
                        place = &places[j]
                        count_up(&shard.size, 1)
                if place == NULL:
                    continue
                write_place(place, &one.key, &known)
                tag_place(shard, place, hash)
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
