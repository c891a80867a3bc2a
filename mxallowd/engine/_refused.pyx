"""The memory of refused hosts: see _refused.pxd."""
from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address
from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine._shard cimport shard_hash
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load64, store64

LEAST_HOSTS = <int> SET_SLOTS
HOST_BYTES = sizeof(Refusal)
STEP_US = 1 << STEP_SHIFT

cdef enum:
    READ_TRIES = 8
    GENERATION = 0xff


class Refusals(NamedTuple):
    first_us: int
    last_us: int
    times: int
    server: bytes | None


cdef inline uint32_t last_of(uint64_t when) noexcept nogil:
    return <uint32_t> when


cdef inline uint64_t times_of(uint64_t state) noexcept nogil:
    return state >> TIMES_SHIFT


cdef inline void count(uint64_t *counter) noexcept nogil:
    store64(counter, load64(counter, RELAXED) + 1, RELAXED)


cdef inline bint is_of(const Refusal *slot, const Address *host) noexcept nogil:
    return ((slot.host.low ^ host.low) | (slot.host.high ^ host.high)) == 0


cdef inline uint64_t state_of(uint64_t times, uint16_t port, uint8_t server, uint64_t low) noexcept nogil:
    return times << TIMES_SHIFT | <uint64_t> port << PORT_SHIFT | <uint64_t> server << SERVER_SHIFT | low


cdef inline Refusal *take_slot(
        RefusedShard *shard, Refusal *slots, const Address *host, uint8_t server, uint16_t port,
        uint32_t now) noexcept nogil:
    """Give the host a slot: an empty one, else that of the host that was refused longest ago."""
    cdef uint64_t key, least = <uint64_t> -1, state
    cdef Refusal *oldest
    cdef int i
    # No branch on which of them it is. The last time of an empty slot is 0.
    for i in range(<int> SET_SLOTS):
        key = <uint64_t> last_of(slots[i].when) << 8 | <uint64_t> i
        least = key if key < least else least
    oldest = &slots[least & 0xff]
    state = oldest.state
    if state:
        count(&shard.pushed_out)
    else:
        count(&shard.size)
    # No reader takes the slot for anybody's while it changes hands.
    store64(&oldest.state, 0, RELAXED)
    fence(RELEASE)
    store64(&oldest.host.high, host.high, RELAXED)
    store64(&oldest.host.low, host.low, RELAXED)
    store64(&oldest.when, <uint64_t> now << 32 | now, RELAXED)
    # An event is due from the beginning.
    store64(&oldest.state, state_of(
        1, port, server, (<uint64_t> (now - <uint32_t> TOLD_STEPS) & 0xff) << TOLD_SHIFT | ((state + 1) & GENERATION)),
        RELEASE)
    return oldest


cdef Refusal *refused_note(
        RefusedShard *shard, const Address *host, uint64_t hash, uint8_t server, uint16_t port, uint64_t now_us,
        bint *tell) noexcept nogil:
    cdef Refusal *slots = refused_set(shard, hash)
    cdef Refusal *slot
    cdef uint32_t now = <uint32_t> (now_us >> STEP_SHIFT), since
    cdef uint64_t state
    cdef int i
    for i in range(<int> SET_SLOTS):
        # What this thread alone writes needs no atomic access of its own.
        slot = &slots[i]
        if slot.host.low != host.low:
            # One load and one branch for nearly all.
            continue
        state = slot.state
        if slot.host.high != host.high or state == 0:
            continue
        since = now - last_of(slot.when)
        store64(&slot.when, slot.when >> 32 << 32 | now, RELAXED)
        if since > REPEATED_STEPS or <uint16_t> (state >> PORT_SHIFT) != port:
            state = state_of(
                min(times_of(state) + 1, <uint64_t> MOST_TIMES), port, server, state & ((1 << SERVER_SHIFT) - 1))
            store64(&slot.state, state, RELEASE)
        tell[0] = since >= TOLD_STEPS or ((now - (state >> TOLD_SHIFT)) & 0xff) >= TOLD_STEPS
        return slot
    tell[0] = True
    return take_slot(shard, slots, host, server, port, now)


cdef void refused_told(Refusal *slot, uint64_t now_us) noexcept nogil:
    store64(&slot.state, (slot.state & ~(<uint64_t> 0xff << TOLD_SHIFT))
            | (now_us >> STEP_SHIFT & 0xff) << TOLD_SHIFT, RELEASE)


cdef bint read_slot(const Refusal *slot, Refusal *found) noexcept nogil:
    """A copy of the slot whose parts belong together; False where it is empty, or changes hands all the time."""
    cdef int _
    for _ in range(READ_TRIES):
        found.state = load64(&slot.state, ACQUIRE)
        if found.state == 0:
            return False
        found.host.low = load64(&slot.host.low, RELAXED)
        found.host.high = load64(&slot.host.high, RELAXED)
        found.when = load64(&slot.when, RELAXED)
        fence(ACQUIRE)
        if load64(&slot.state, RELAXED) == found.state:
            return True
    return False


cdef bint refused_find(
        const RefusedShard *shard, const Address *host, uint64_t hash, Refusal *found) noexcept nogil:
    cdef const Refusal *slots = refused_set(shard, hash)
    cdef int i
    for i in range(<int> SET_SLOTS):
        if read_slot(&slots[i], found) and is_of(found, host):
            return True
    return False


# ---- the border to Python

@cython.final
cdef class Refused:
    def __cinit__(self, max_hosts, shards, Table table not None):
        cdef uint64_t sets
        cdef int i
        if not 1 <= shards or max_hosts < shards * SET_SLOTS:
            raise ValueError(f"{max_hosts} refused hosts cannot be shared by {shards} threads")
        sets = max_hosts // (shards * SET_SLOTS)
        self.shards = <RefusedShard *> calloc(shards, sizeof(RefusedShard))
        if not self.shards:
            raise MemoryError()
        self.shard_count = shards
        self.max_hosts = sets * SET_SLOTS * <uint64_t> self.shard_count
        self.servers = []
        self.table = table
        for i in range(self.shard_count):
            self.shards[i].sets = sets
            self.shards[i].slots = <Refusal *> map_pages(sets * SET_SLOTS * sizeof(Refusal))

    def __dealloc__(self):
        cdef int i
        if self.shards:
            for i in range(self.shard_count):
                unmap_pages(self.shards[i].slots, self.shards[i].sets * SET_SLOTS * sizeof(Refusal))
            free(self.shards)

    cdef RefusedShard *shard_at(self, int shard) except NULL:
        if not 0 <= shard < self.shard_count:
            raise IndexError(f"no shard {shard}")
        return &self.shards[shard]

    def __len__(self):
        cdef int i
        cdef uint64_t size = 0
        for i in range(self.shard_count):
            size += load64(&self.shards[i].size, RELAXED)
        return size

    def number_of(self, server):
        if server in self.servers:
            return self.servers.index(server)
        if len(self.servers) >= MOST_SERVERS:
            return MOST_SERVERS
        self.servers.append(server)
        return len(self.servers) - 1

    def _refusals(self, first, last, times, server):
        known = server < len(self.servers)
        return Refusals(first << STEP_SHIFT, last << STEP_SHIFT, times, self.servers[server] if known else None)

    def find(self, host):
        cdef Address address
        cdef Refusal found
        cdef uint64_t first = 0, last = 0, times = 0, hash
        cdef int i, server = 0
        if len(host) != 16:
            raise ValueError("a host is 16 bytes")
        memcpy(&address, <const char *> <bytes> host, 16)
        hash = shard_hash(&self.table.shards[0], &address)
        for i in range(self.shard_count):
            if not refused_find(&self.shards[i], &address, hash, &found):
                continue
            first = min(first, found.when >> 32) if times else found.when >> 32
            if times == 0 or last_of(found.when) >= last:
                last = last_of(found.when)
                server = found.state >> SERVER_SHIFT & 0xff
            times += times_of(found.state)
        return self._refusals(first, last, times, server) if times else None

    def entries(self, start, budget):
        cdef uint64_t at = start, slots = self.shards[0].sets * SET_SLOTS, left = budget
        cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (left * sizeof(RefusedRecord)))
        cdef RefusedRecord *target = <RefusedRecord *> PyBytes_AS_STRING(records)
        cdef Py_ssize_t taken = 0
        cdef Refusal found
        with nogil:
            while at < self.max_hosts and left > 0:
                if read_slot(&self.shards[at // slots].slots[at % slots], &found):
                    memset(&target[taken], 0, sizeof(RefusedRecord))
                    target[taken].host = found.host
                    target[taken].first = <uint32_t> (found.when >> 32)
                    target[taken].last = last_of(found.when)
                    target[taken].times = <uint32_t> times_of(found.state)
                    target[taken].server = <uint8_t> (found.state >> SERVER_SHIFT)
                    taken += 1
                at += 1
                left -= 1
        return records[:taken * <Py_ssize_t> sizeof(RefusedRecord)], (at if at < self.max_hosts else 0)

    def note(self, host, server, port, now_us, *, shard=0):
        cdef RefusedShard *own = self.shard_at(shard)
        cdef Address address
        cdef bint tell = False
        cdef Refusal *slot
        if len(host) != 16:
            raise ValueError("a host is 16 bytes")
        memcpy(&address, <const char *> <bytes> host, 16)
        slot = refused_note(
            own, &address, shard_hash(&self.table.shards[0], &address), server, port, now_us, &tell)
        if tell:
            refused_told(slot, now_us)
        return bool(tell)

    def counters(self):
        totals = {"refused-hosts": len(self), "refused-pushed-out": 0, "refused-untold": 0}
        for i in range(self.shard_count):
            totals["refused-pushed-out"] += load64(&self.shards[<int> i].pushed_out, RELAXED)
            totals["refused-untold"] += load64(&self.shards[<int> i].untold, RELAXED)
        return totals
