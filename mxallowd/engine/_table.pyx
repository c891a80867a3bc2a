"""The whitelist as Python has it: see _table.pxd."""
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from mxallowd.engine._address cimport Address
from mxallowd.engine._shard cimport (
    CHILD, USED, Shard, entry_read, map_shard, shard_add, shard_expire, shard_find, shard_hash, shard_mark_used,
    shard_renew, shard_sweep, unmap_shard, until_of)
from mxallowd.engine.c_atomic cimport RELAXED, load32, load64

cdef extern from "<stdlib.h>" nogil:
    long random()

MAX_ENTRIES_LIMIT = 100_000_000


cdef Address host_address(bytes host) except *:
    cdef Address address
    if len(host) != 16:
        raise ValueError("a host is 16 bytes")
    memcpy(&address, <const char *> host, 16)
    return address


@cython.final
cdef class Table:
    def __cinit__(self, max_entries, shards=1, key=None, *, admitted=0, collide=False):
        cdef int i
        if not (1 <= shards <= max_entries - admitted and admitted >= 0 and max_entries <= MAX_ENTRIES_LIMIT):
            raise ValueError(f"{max_entries} entries cannot be shared by {shards} threads")
        shared = max_entries - admitted
        # Neither a comprehension nor [...] * shards: where there is no memory for the list, Cython 3.3.1 gives an item
        # back twice.
        capacities = []
        for i in range(shards):
            capacities.append(shared // shards + (1 if i < shared % shards else 0))
        if admitted:
            capacities.append(admitted)
        secret = os.urandom(16) if key is None else key
        if len(secret) != 16:
            raise ValueError("the hash key is 16 bytes")
        self.shards = <Shard *> calloc(len(capacities), sizeof(Shard))
        if not self.shards:
            raise MemoryError()
        self.shard_count = len(capacities)
        self.max_entries = max_entries
        self.admitting = shards if admitted else -1
        for i in range(self.shard_count):
            map_shard(&self.shards[i], capacities[i], secret, 0 if collide else ~<uint64_t> 0)

    def __dealloc__(self):
        cdef int i
        if self.shards:
            for i in range(self.shard_count):
                unmap_shard(&self.shards[i])
            free(self.shards)

    def __len__(self):
        cdef int i
        cdef uint64_t size = 0
        for i in range(self.shard_count):
            size += load64(&self.shards[i].size, RELAXED)
        return size

    cdef Shard *shard_at(self, int shard) except NULL:
        if not 0 <= shard < self.shard_count:
            raise IndexError(f"no shard {shard}")
        return &self.shards[shard]

    def add(self, host, until_us, now_us, *, child=False, shard=0):
        cdef Shard *own = self.shard_at(shard)
        cdef Address address = host_address(host)
        return shard_add(own, &address, shard_hash(own, &address), until_us, CHILD if child else 0, now_us)

    cdef Shard *find_live(self, host, now_us, uint32_t *number, uint64_t *state) except? NULL:
        """The shard that holds a live entry of the host, its number and state; NULL where none does."""
        cdef Address address = host_address(host)
        cdef uint64_t now = now_us
        cdef int i
        for i in range(self.shard_count):
            number[0] = shard_find(&self.shards[i], &address, shard_hash(&self.shards[i], &address), state)
            if number[0] and until_of(state[0]) > now:
                return &self.shards[i]
        return NULL

    def find(self, host, now_us):
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        if self.find_live(host, now_us, &number, &state) == NULL:
            return None
        return until_of(state), bool(state & USED), bool(state & CHILD)

    def mark_used(self, host, now_us):
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        cdef Shard *shard = self.find_live(host, now_us, &number, &state)
        return bool(shard != NULL and shard_mark_used(shard, number, state))

    def admit(self, host, until_us, now_us):
        self.has_displaced = False
        if self.admitting < 0:
            raise ValueError("the table has no room for admitted hosts")
        if self.find(host, now_us) is not None:
            return False
        self.expire(now_us, 2, shard=self.admitting)
        evicted = self.shards[self.admitting].evicted
        added = self.add(host, until_us, now_us, child=True, shard=self.admitting)
        self.has_displaced = self.shards[self.admitting].evicted != evicted
        return added

    def renew(self, host, until_us, now_us):
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        cdef Shard *shard = self.find_live(host, now_us, &number, &state)
        return bool(shard != NULL and shard_renew(shard, number, state, until_us))

    @property
    def displaced(self):
        if not self.has_displaced:
            return None
        return (<const uint8_t *> &self.shard_at(self.admitting).displaced)[:16]

    def entries(self, now_us, start, budget):
        cdef uint64_t now = now_us, state = 0
        cdef uint32_t number = <uint32_t> (<uint64_t> start & 0xffffffff)
        cdef Py_ssize_t most = budget, taken = 0
        cdef int at = <uint64_t> start >> 32
        cdef bytes records = PyBytes_FromStringAndSize(NULL, most * <Py_ssize_t> sizeof(Listed))
        cdef Listed *target = <Listed *> PyBytes_AS_STRING(records)
        cdef Shard *shard
        with nogil:
            while at < self.shard_count and most > 0:
                shard = &self.shards[at]
                # Another thread may be raising it: what is added meanwhile is told by events.
                while number < load32(&shard.highest, RELAXED) and most > 0:
                    number += 1
                    most -= 1
                    if entry_read(&shard.entries[number], &target[taken].host, &state) and until_of(state) > now:
                        target[taken].until_us = until_of(state)
                        target[taken].used = 1 if state & USED else 0
                        taken += 1
                if number >= load32(&shard.highest, RELAXED):
                    at += 1
                    number = 0
        following = (<uint64_t> at << 32 | number) if at < self.shard_count else 0
        return records[:taken * <Py_ssize_t> sizeof(Listed)], following

    def sample(self, now_us, count):
        cdef uint64_t now = now_us
        cdef Shard *shard
        cdef uint32_t number
        cdef int i, share = count // (2 * self.shard_count) + 1
        found = {}
        for i in range(self.shard_count):
            shard = &self.shards[i]
            # From the new ends of both lists, where living entries are for sure; links that change meanwhile lead to
            # some entry all the same.
            for number in (load32(&shard.young.newest, RELAXED), load32(&shard.proven.newest, RELAXED)):
                self.sample_from(shard, number, share // 2 + 1, now, found)
            if shard.highest:
                for _ in range(share):
                    self.sample_from(shard, 1 + <uint32_t> random() % shard.highest, 1, now, found)
        return found

    cdef int sample_from(self, Shard *shard, uint32_t number, int most, uint64_t now, dict found) except -1:
        cdef Address host
        cdef uint64_t state = 0
        cdef int steps = 4 * most
        while number and number <= shard.capacity and most > 0 and steps > 0:
            steps -= 1
            if entry_read(&shard.entries[number], &host, &state) and until_of(state) > now:
                found[(<const uint8_t *> &host)[:16]] = until_of(state), bool(state & USED)
                most -= 1
            number = load32(&shard.entries[number].older, RELAXED)
        return 0

    def free(self, shard):
        cdef Shard *own = self.shard_at(shard)
        return own.capacity - load64(&own.size, RELAXED)

    def sweep_admitted(self, now_us):
        if self.admitting >= 0:
            self.sweep_shard(now_us, self.admitting)

    def sweep_shard(self, now_us, shard):
        cdef Shard *own = self.shard_at(shard)
        shard_sweep(own, now_us, 1, own.capacity)

    def expire(self, now_us, budget, *, shard=0):
        shard_expire(self.shard_at(shard), now_us, budget)

    def sweep(self, now_us):
        cdef int i
        cdef uint64_t now = now_us
        for i in range(self.shard_count):
            shard_sweep(&self.shards[i], now, 1, self.shards[i].capacity)

    def counters(self):
        cdef int i
        totals = {"entries": 0, "added": 0, "successful": 0, "direct-to-fake": 0, "evicted": 0, "full": 0}
        for i in range(self.shard_count):
            totals["entries"] += load64(&self.shards[i].size, RELAXED)
            totals["added"] += load64(&self.shards[i].added, RELAXED)
            totals["successful"] += load64(&self.shards[i].successful, RELAXED)
            totals["direct-to-fake"] += load64(&self.shards[i].direct_to_fake, RELAXED)
            totals["evicted"] += load64(&self.shards[i].evicted, RELAXED)
            totals["full"] += load64(&self.shards[i].full, RELAXED)
        return totals
