"""A place of who waits, and how it is found: the parts of _patience.

A place of 32 bytes knows, in ticks of 2^12 microseconds (4 ms):

* the time of the refusal that was counted last, of the first of those that count, and of the last one of all;
* how many count, at most N, and the ports of the last three attempts, 8 bits each: SYNs from one of them, each at most
  35 s after the last SYN, are one attempt (as in _refused.pxd).

Places come in sets of four, chosen by the keyed hash. A word beside each set has 16 further bits of the four hashes
(0: an empty place). The words of 262,144 hosts are half a megabyte, which stays in the cache, so most hosts that nobody
knows, those of a flood, cost no fetch of memory.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine.c_atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load64, store64

cdef enum:
    TICK_SHIFT = 12
    SET_PLACES = 4
    TAG_BITS = 16
    TAG_BITS_SHIFT = 4
    MOST_TIMES = 15
    READ_TRIES = 8

# Parts of Waiting.times and Waiting.state.
cdef enum:
    AGE_BITS = 25                   # the first that counts, so long before the one counted last, which is above
    LAST_25 = (1 << 25) - 1
    SINCE_SHIFT = 36                # the last refusal of all, so long after the one counted last, 25 bits
    PORTS_SHIFT = 12
    PORTS = 0xffffff
    COUNT_SHIFT = 8                 # never 0 where there is a host, so no state is
    # The lowest 8 bits are a generation: two states of a place differ. A state of 0 is an empty place.

cdef extern from *:
    const uint64_t LANES "0x0001000100010001ULL"
    const uint64_t LANE_TOPS "0x8000800080008000ULL"
    unsigned lowest_bit "__builtin_ctzll"(uint64_t word) noexcept nogil

cdef struct Waiting:                # 32 bytes
    Address key
    uint64_t times
    uint64_t state

cdef struct Known:                  # a place, unpacked; times in ticks
    uint64_t first                  # of those that count
    uint64_t counted                # the one counted last
    uint64_t last                   # the last one of all
    uint32_t count                  # 0: there is none
    uint32_t ports

cdef struct PatienceShard:
    Waiting *places
    uint64_t *tags                  # a word a set
    uint64_t sets
    uint64_t size                   # places that are taken
    uint64_t full_until             # 2^-20 ticks: when the next new host may be noted, less the burst
    uint64_t pushed_out             # hosts that went for others before a day was over
    uint64_t left_out               # refusals that were not noted
    uint64_t let_in                 # hosts


cdef inline uint64_t set_of(const PatienceShard *shard, uint64_t hash) noexcept nogil:
    # The lower half of the hash; the whitelist's index scales the upper one.
    return <uint64_t> <uint32_t> hash * shard.sets >> 32


cdef inline uint64_t tag_of(uint64_t hash) noexcept nogil:
    return max(hash >> (64 - TAG_BITS), <uint64_t> 1)


cdef inline uint64_t proposed(uint64_t tags, uint64_t hash) noexcept nogil:
    """A bit in the lane of each place that may be the host's; the lowest one of them surely has its tag."""
    cdef uint64_t differ = tags ^ tag_of(hash) * LANES
    return (differ - LANES) & ~differ & LANE_TOPS


cdef inline Known unpacked(uint64_t times, uint64_t state) noexcept nogil:
    cdef Known known
    known.counted = times >> AGE_BITS
    known.first = known.counted - (times & LAST_25)
    known.last = known.counted + (state >> SINCE_SHIFT & LAST_25)
    known.count = <uint32_t> (state >> COUNT_SHIFT & MOST_TIMES)
    known.ports = <uint32_t> (state >> PORTS_SHIFT & PORTS)
    return known


cdef inline uint64_t times_of(const Known *known) noexcept nogil:
    return known.counted << AGE_BITS | min(known.counted - known.first, <uint64_t> LAST_25)


cdef inline uint64_t state_of(const Known *known, uint64_t before) noexcept nogil:
    return (min(known.last - known.counted, <uint64_t> LAST_25) << SINCE_SHIFT
            | <uint64_t> known.ports << PORTS_SHIFT | <uint64_t> known.count << COUNT_SHIFT | ((before + 1) & 0xff))


cdef inline bint place_read(const Waiting *place, Address *key, Known *known) noexcept nogil:
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


cdef inline bint find_in(const PatienceShard *shard, const Address *key, uint64_t hash, Known *known) noexcept nogil:
    """Any thread: what is known of a host; False: nothing."""
    cdef uint64_t number = set_of(shard, hash)
    cdef uint64_t at = proposed(load64(&shard.tags[number], RELAXED), hash)
    cdef Address found
    while at:
        if place_read(&shard.places[number * SET_PLACES + (lowest_bit(at) >> TAG_BITS_SHIFT)], &found, known) and (
                found.low == key.low and found.high == key.high):
            return True
        at &= at - 1
    return False


# ---- the shard's thread only. What it alone writes needs no atomic access to be read by it.

cdef inline Waiting *own_place(const PatienceShard *shard, const Address *key, uint64_t hash) noexcept nogil:
    """The host's place, NULL where it has none."""
    cdef uint64_t number = set_of(shard, hash)
    cdef uint64_t at = proposed(shard.tags[number], hash)
    cdef Waiting *place
    while at:
        place = &shard.places[number * SET_PLACES + (lowest_bit(at) >> TAG_BITS_SHIFT)]
        if place.key.low == key.low and place.key.high == key.high and place.state:
            return place
        at &= at - 1
    return NULL


cdef inline void write_place(Waiting *place, const Address *key, const Known *known) noexcept nogil:
    cdef uint64_t before = place.state
    store64(&place.state, 0, RELAXED)
    fence(RELEASE)
    store64(&place.key.high, key.high, RELAXED)
    store64(&place.key.low, key.low, RELAXED)
    store64(&place.times, times_of(known), RELAXED)
    store64(&place.state, state_of(known, before), RELEASE)


cdef inline void tag_place(PatienceShard *shard, const Waiting *place, uint64_t hash) noexcept nogil:
    cdef uint64_t number = set_of(shard, hash)
    cdef int shift = <int> (place - &shard.places[number * SET_PLACES]) * TAG_BITS
    cdef uint64_t kept = shard.tags[number] & ~(<uint64_t> ((1 << TAG_BITS) - 1) << shift)
    store64(&shard.tags[number], kept | tag_of(hash) << shift, RELAXED)
