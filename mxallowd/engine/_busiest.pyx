"""The busiest of the refused hosts: see _busiest.pxd."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from mxallowd.engine._address cimport Address, is_mapped
from mxallowd.engine._refused cimport (
    SERVER_SHIFT, SET_SLOTS, TIMES_SHIFT, Refusal, Refused, RefusedRecord, RefusedShard, refused_read)
from mxallowd.engine._shard cimport Shard, shard_hash
from mxallowd.engine._within cimport Within, everywhere, is_within, within_of

cdef enum:
    OF_IPV6 = 6             # bytes of a network


cdef inline void write_record(RefusedRecord *target, const Refusal *found) noexcept nogil:
    memset(target, 0, sizeof(RefusedRecord))
    target.host = found.host
    target.first = <uint32_t> found.when
    target.last = <uint32_t> (found.when >> 32)
    target.times = <uint32_t> (found.state >> TIMES_SHIFT)
    target.server = <uint8_t> (found.state >> SERVER_SHIFT)


cdef struct Walk:           # a look at some slots, which lie in several shards
    RefusedShard *shards
    uint64_t slots          # of a shard
    uint64_t end
    uint64_t at             # the next one, over all shards
    uint64_t left


cdef inline Walk walk_from(Refused refused, uint64_t start, uint64_t budget) noexcept:
    cdef Walk walk
    walk.shards = refused.shards
    walk.slots = refused.shards[0].sets * SET_SLOTS
    walk.end = refused.max_hosts
    walk.at = start
    walk.left = budget
    return walk


cdef inline const Refusal *next_slots(Walk *walk, uint64_t *count) noexcept nogil:
    """The next slots that lie side by side; NULL: that was all."""
    cdef uint64_t place = walk.at % walk.slots
    cdef const Refusal *slots
    if walk.at >= walk.end or walk.left == 0:
        return NULL
    slots = &walk.shards[walk.at // walk.slots].slots[place]
    count[0] = min(walk.left, walk.slots - place)
    walk.at += count[0]
    walk.left -= count[0]
    return slots


cdef inline uint64_t following(const Walk *walk) noexcept nogil:
    return walk.at if walk.at < walk.end else 0


cdef inline bint is_recent(const Refusal *found, uint32_t since) noexcept nogil:
    return <uint32_t> (found.when >> 32) >= since


cdef inline uint64_t bucket_of(const Shard *shard, Address host) noexcept nogil:
    """The bucket of its network."""
    cdef uint8_t *byte = <uint8_t *> &host
    if is_mapped(&host):
        byte[15] = 0
    else:
        memset(byte + <int> OF_IPV6, 0, 16 - <int> OF_IPV6)
    return shard_hash(shard, &host) % <uint64_t> BUCKETS


def busiest(Refused refused not None, start, budget, least, *, since=0, network=None):
    cdef Within where = everywhere()
    cdef Walk walk = walk_from(refused, start, budget)
    cdef uint64_t count = 0, bound = least, some = 0, i
    cdef uint32_t oldest = since
    cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (walk.left * sizeof(RefusedRecord))), first, last
    cdef RefusedRecord *target = <RefusedRecord *> PyBytes_AS_STRING(records)
    cdef Py_ssize_t taken = 0
    cdef const Refusal *slots
    cdef Refusal found
    if network is not None:
        first, last = network
        where = within_of(first, last)
    with nogil:
        slots = next_slots(&walk, &some)
        while slots != NULL:
            for i in range(some):
                if refused_read(&slots[i], &found) and is_recent(&found, oldest) and is_within(&where, &found.host):
                    count += 1
                    if found.state >> TIMES_SHIFT > bound:
                        write_record(&target[taken], &found)
                        taken += 1
            slots = next_slots(&walk, &some)
    return count, records[:taken * <Py_ssize_t> sizeof(RefusedRecord)], following(&walk)


@cython.final
cdef class Weights:
    def __cinit__(self, Refused refused not None, since=0):
        self.sums = <uint64_t *> calloc(<int> BUCKETS, sizeof(uint64_t))
        if not self.sums:
            raise MemoryError()
        self.refused = refused
        self.since = since

    def __dealloc__(self):
        free(self.sums)

    def weigh(self, start, budget):
        cdef Walk walk = walk_from(self.refused, start, budget)
        cdef const Shard *shard = &self.refused.table.shards[0]
        cdef const Refusal *slots
        cdef Refusal found
        cdef uint64_t some = 0, i
        with nogil:
            slots = next_slots(&walk, &some)
            while slots != NULL:
                for i in range(some):
                    if refused_read(&slots[i], &found) and is_recent(&found, self.since):
                        self.sums[bucket_of(shard, found.host)] += found.state >> TIMES_SHIFT
                slots = next_slots(&walk, &some)
        return following(&walk)

    def level(self):
        cdef uint64_t low = 1, high = 1, middle
        cdef int i, reached
        with nogil:
            for i in range(<int> BUCKETS):
                high = max(high, self.sums[i])
            # The largest one that HEAVY buckets reach.
            while low < high:
                middle = high - (high - low) // 2
                reached = 0
                for i in range(<int> BUCKETS):
                    reached += self.sums[i] >= middle
                if reached >= <int> HEAVY:
                    low = middle
                else:
                    high = middle - 1
        return low

    def heavy(self, start, budget, level):
        cdef Walk walk = walk_from(self.refused, start, budget)
        cdef const Shard *shard = &self.refused.table.shards[0]
        cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (walk.left * sizeof(RefusedRecord)))
        cdef RefusedRecord *target = <RefusedRecord *> PyBytes_AS_STRING(records)
        cdef Py_ssize_t taken = 0
        cdef const Refusal *slots
        cdef Refusal found
        cdef uint64_t some = 0, least = level, i
        with nogil:
            slots = next_slots(&walk, &some)
            while slots != NULL:
                for i in range(some):
                    if (refused_read(&slots[i], &found) and is_recent(&found, self.since)
                            and self.sums[bucket_of(shard, found.host)] >= least):
                        write_record(&target[taken], &found)
                        taken += 1
                slots = next_slots(&walk, &some)
        return records[:taken * <Py_ssize_t> sizeof(RefusedRecord)], following(&walk)
