"""The memory of refused hosts: see _refused.pxd."""
from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address
from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine._shard cimport shard_hash
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport ACQUIRE, RELAXED, RELEASE, count_up, fence, load64, store64

LEAST_HOSTS = <int> SET_SLOTS
HOST_BYTES = sizeof(Refusal)
STEP_US = 1 << STEP_SHIFT

cdef enum:
    READ_TRIES = 8
    GENERATION = 0x7f
    PORTS = 0xffffff


class Refusals(NamedTuple):
    first_us: int
    last_us: int
    times: int
    server: bytes | None


cdef inline uint32_t last_of(uint64_t when) noexcept nogil:
    return <uint32_t> (when >> 32)


cdef inline uint64_t times_of(uint64_t state) noexcept nogil:
    return state >> TIMES_SHIFT


cdef inline bint is_of(const Refusal *slot, const Address *host) noexcept nogil:
    return ((slot.host.low ^ host.low) | (slot.host.high ^ host.high)) == 0


cdef inline uint64_t state_of(
        uint64_t times, uint32_t ports, uint8_t server, uint32_t told, bint pending,
        uint64_t generation) noexcept nogil:
    return (times << TIMES_SHIFT | <uint64_t> (ports & PORTS) << PORTS_SHIFT | <uint64_t> server << SERVER_SHIFT
            | <uint64_t> (told & 0xff) << TOLD_SHIFT | (<uint64_t> PENDING if pending else 0)
            | (generation & GENERATION))


cdef inline bint has_port(uint32_t ports, uint8_t port) noexcept nogil:
    return ((ports & 0xff) == port) | ((ports >> 8 & 0xff) == port) | ((ports >> 16 & 0xff) == port)


cdef inline Refusal *oldest_of(Refusal *slots) noexcept nogil:
    """An empty slot, whose time is 0, else that of the host that was refused longest ago. No branch on which it is."""
    cdef uint64_t least = slots[0].when
    cdef int oldest = 0, i
    for i in range(1, <int> SET_SLOTS):
        oldest = i if slots[i].when < least else oldest
        least = min(least, slots[i].when)
    return &slots[oldest]


cdef inline Refusal *own_slot(Refusal *slots, const Address *host) noexcept nogil:
    """The host's slot, NULL where it has none. What this thread alone writes needs no atomic access of its own."""
    cdef int i
    for i in range(<int> SET_SLOTS):
        # One load and one branch for nearly all.
        if slots[i].host.low == host.low and slots[i].host.high == host.high and slots[i].state:
            return &slots[i]
    return NULL


cdef inline void note_new(
        RefusedShard *shard, Refusal *slot, const Address *host, uint8_t server, uint8_t port, uint32_t now,
        bint room) noexcept nogil:
    cdef uint64_t state = slot.state
    count_up(&shard.pushed_out if state else &shard.size, 1)
    count_up(&shard.attempts, 1)
    # No reader takes the slot for anybody's while it changes hands.
    store64(&slot.state, 0, RELAXED)
    fence(RELEASE)
    store64(&slot.host.high, host.high, RELAXED)
    store64(&slot.host.low, host.low, RELAXED)
    store64(&slot.when, <uint64_t> now << 32 | now, RELAXED)
    # One port fills all three.
    store64(&slot.state, state_of(1, port * <uint32_t> 0x010101, server, now, not room, state + 1), RELEASE)


cdef uint32_t refused_note(
        RefusedShard *shard, const Address *host, uint64_t hash, uint8_t server, uint16_t port, uint64_t now_us,
        bint room) noexcept nogil:
    cdef Refusal *slots = refused_set(shard, hash)
    cdef Refusal *slot = own_slot(slots, host)
    # Time 0 is that of an empty slot.
    cdef uint32_t now = max(<uint32_t> 1, <uint32_t> (now_us >> STEP_SHIFT)), since, told, ports
    cdef uint64_t state, times = 1
    cdef uint8_t short_port = <uint8_t> (port ^ port >> 8)
    cdef bint due = True, again
    if slot == NULL:
        note_new(shard, oldest_of(slots), host, server, short_port, now, room)
    else:
        state = slot.state
        times = times_of(state)
        ports = <uint32_t> (state >> PORTS_SHIFT) & PORTS
        told = <uint32_t> (state >> TOLD_SHIFT) & 0xff
        since = now - last_of(slot.when)
        store64(&slot.when, <uint64_t> now << 32 | <uint32_t> slot.when, RELAXED)
        again = since <= REPEATED_STEPS and has_port(ports, short_port) and ((now - told) & 0xff) < ATTEMPT_STEPS
        due = state & PENDING != 0 or (not again and (since >= TOLD_STEPS or ((now - told) & 0xff) >= TOLD_STEPS))
        if not again:
            count_up(&shard.attempts, 1)
            times = min(times + 1, <uint64_t> MOST_TIMES)
            ports = ports << 8 | short_port
        else:
            server = <uint8_t> (state >> SERVER_SHIFT)
        if due or not again:
            store64(&slot.state, state_of(
                times, ports, server, now if due and room else told, due and not room, state), RELEASE)
    if due and not room:
        count_up(&shard.untold, 1)
    return <uint32_t> times if due and room else 0


cdef bint refused_read(const Refusal *slot, Refusal *found) noexcept nogil:
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
        if refused_read(&slots[i], found) and is_of(found, host):
            return True
    return False


cdef inline uint32_t step_of(uint32_t saved, uint32_t now, int64_t back) noexcept nogil:
    # Before the machine started there was no time; after now there is none yet.
    return <uint32_t> min(max(<int64_t> saved - back, <int64_t> 1), max(<int64_t> now, <int64_t> 1))


cdef bint restore_one(
        RefusedShard *shards, int count, uint64_t hash, const RefusedRecord *record, const uint8_t *numbers,
        uint32_t now, int64_t back) noexcept nogil:
    cdef RefusedShard *shard = &shards[hash % <uint64_t> count]
    cdef Refusal *slots = refused_set(shard, hash)
    cdef Refusal *slot = own_slot(slots, &record.host)
    cdef uint32_t last = step_of(record.last, now, back), first = min(step_of(record.first, now, back), last)
    if record.times == 0:
        return False
    if slot == NULL:
        slot = oldest_of(slots)
    if slot.state and last_of(slot.when) > last:
        return False
    if slot.state == 0:
        count_up(&shard.size, 1)
    slot.host = record.host
    slot.when = <uint64_t> last << 32 | first
    # Its ports are not known: the next SYN is an attempt of its own, and a line tells of it.
    slot.state = state_of(
        min(<uint64_t> record.times, <uint64_t> MOST_TIMES), 0, numbers[record.server], last, False, slot.state + 1)
    return True


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
            first = min(first, <uint64_t> <uint32_t> found.when) if times else <uint32_t> found.when
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
                if refused_read(&self.shards[at // slots].slots[at % slots], &found):
                    memset(&target[taken], 0, sizeof(RefusedRecord))
                    target[taken].host = found.host
                    target[taken].first = <uint32_t> found.when
                    target[taken].last = last_of(found.when)
                    target[taken].times = <uint32_t> times_of(found.state)
                    target[taken].server = <uint8_t> (found.state >> SERVER_SHIFT)
                    taken += 1
                at += 1
                left -= 1
        return records[:taken * <Py_ssize_t> sizeof(RefusedRecord)], (at if at < self.max_hosts else 0)

    def restore(self, bytes records not None, bytes numbers not None, now_us, back_us):
        cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(RefusedRecord), i
        cdef const RefusedRecord *source = <const RefusedRecord *> <const char *> records
        cdef const uint8_t *own = <const uint8_t *> <const char *> numbers
        cdef uint64_t now = now_us, entered = 0
        cdef int64_t back = back_us
        if len(records) % <Py_ssize_t> sizeof(RefusedRecord) or len(numbers) != MOST_SERVERS + 1:
            raise ValueError("these are no records")
        with nogil:
            for i in range(total):
                entered += restore_one(
                    self.shards, self.shard_count, shard_hash(&self.table.shards[0], &source[i].host), &source[i], own,
                    <uint32_t> (now >> STEP_SHIFT), back >> STEP_SHIFT)
        return entered

    def note(self, host, server, port, now_us, *, shard=0, room=True):
        cdef RefusedShard *own = self.shard_at(shard)
        cdef Address address
        if len(host) != 16:
            raise ValueError("a host is 16 bytes")
        memcpy(&address, <const char *> <bytes> host, 16)
        return refused_note(
            own, &address, shard_hash(&self.table.shards[0], &address), server, port, now_us, room)

    def counters(self):
        totals = {"refused-attempts": 0, "refused-hosts": len(self), "refused-pushed-out": 0, "refused-untold": 0}
        for i in range(self.shard_count):
            totals["refused-attempts"] += load64(&self.shards[<int> i].attempts, RELAXED)
            totals["refused-pushed-out"] += load64(&self.shards[<int> i].pushed_out, RELAXED)
            totals["refused-untold"] += load64(&self.shards[<int> i].untold, RELAXED)
        return totals
