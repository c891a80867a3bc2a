"""The whitelist as Python has it: see _table.pxd."""
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.stdlib cimport posix_memalign
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address
from mxallowd.engine._records cimport (
    Choice, Record, Restored, Survey, every_entry, list_records, restore_records, survey_records)
from mxallowd.engine._shard cimport CONTACT as MET
from mxallowd.engine._shard cimport LATEST_US as LATEST
from mxallowd.engine._shard cimport PEER as TOLD
from mxallowd.engine._shard cimport (
    CLAIMED_HERE, CLAIMED_PART, GATEWAYS, KINDS_OF_ORIGIN, PROVEN, USED, Entry, Line, Shard, entry_read, flags_of,
    is_taken, is_told, map_shard, map_told, origin_of, shard_add, shard_attribute, shard_end, shard_expire, shard_find,
    shard_has_room, shard_hash, shard_mark, shard_renew, shard_sweep, shard_tell, told_bytes, told_first, told_of,
    unmap_shard, until_of)
from mxallowd.engine._within cimport Within, everywhere, within_of
from mxallowd.engine.c_atomic cimport RELAXED, count_up, exchange_if64, load32, load64, store64

cdef extern from "<stdlib.h>" nogil:
    long random()

# 100 million contacts, as many hosts that other gateways tell of, and the main thread's own quarter.
MAX_ENTRIES_LIMIT = 225_000_000
LATEST_US = LATEST
ORIGINS = ("contact", "child", "by-hand", "restored", "peer", "trusted", "patience", "outbound")
CONTACT, CHILD, BY_HAND, RESTORED, PEER, TRUSTED, PATIENCE, OUTBOUND = range(len(ORIGINS))

if len(ORIGINS) != KINDS_OF_ORIGIN:
    raise ImportError("the origins differ between _shard.pxd and _table.pyx")


def table_bytes(max_entries, told=0, main=0):
    beside = told_bytes(main) if told else 0
    return max_entries * sizeof(Entry) + max_entries // 10 * sizeof(Line) + beside


cdef uint64_t checked_flags(origin) except? 0:
    """The flags of a new entry of that origin."""
    if not 0 <= origin < KINDS_OF_ORIGIN:
        raise ValueError(f"there is no origin {origin}")
    return flags_of(origin, 0)


cdef uint64_t end_of(until_us) except? 0:
    # A time that is no time raises OverflowError; one that the entry cannot say is the latest.
    cdef uint64_t until = until_us
    return min(until, LATEST)


cdef Address host_address(bytes host) except *:
    cdef Address address
    if len(host) != 16:
        raise ValueError("a host is 16 bytes")
    memcpy(&address, <const char *> host, 16)
    return address


cdef void lenient_until(Leniency *leniency, uint64_t until_us) noexcept nogil:
    cdef uint64_t before = load64(&leniency.until_us, RELAXED)
    # What another thread has set meanwhile is looked at again; it only ever grows, so there is an end to it.
    while before < until_us and not exchange_if64(&leniency.until_us, &before, until_us, False, RELAXED, RELAXED):
        pass


cdef inline uint64_t listed_in(Shard *shard) noexcept:
    """Entries but for those that were ended and are still to be removed, which takes until a sweep."""
    cdef uint64_t size = load64(&shard.size, RELAXED), gone = load64(&shard.ended_gone, RELAXED)
    cdef uint64_t waiting = shard.ended - gone
    # While its thread removes one, the two counters may disagree by one.
    return size - waiting if size > waiting else 0


@cython.final
cdef class Table:
    def __cinit__(self, max_entries, shards=1, key=None, *, main=0, told=0, collide=False):
        cdef int i
        if not (1 <= shards <= max_entries - main and main >= 0 and max_entries <= MAX_ENTRIES_LIMIT):
            raise ValueError(f"{max_entries} entries cannot be shared by {shards} threads")
        if not 0 <= told <= main:
            raise ValueError(f"of {main} places there are none for {told} told entries")
        shared = max_entries - main
        # Neither a comprehension nor [...] * shards: where there is no memory for the list, Cython 3.3.1 gives an item
        # back twice.
        capacities = []
        for i in range(shards):
            capacities.append(shared // shards + (1 if i < shared % shards else 0))
        if main:
            capacities.append(main)
        secret = os.urandom(16) if key is None else key
        if len(secret) != 16:
            raise ValueError("the hash key is 16 bytes")
        self.shards = <Shard *> calloc(len(capacities), sizeof(Shard))
        if not self.shards:
            raise MemoryError()
        if posix_memalign(<void **> &self.leniency, sizeof(Leniency), sizeof(Leniency)):
            self.leniency = NULL
            raise MemoryError()
        memset(self.leniency, 0, sizeof(Leniency))
        self.shard_count = len(capacities)
        self.max_entries = max_entries
        self.main = shards if main else -1
        for i in range(self.shard_count):
            map_shard(&self.shards[i], capacities[i], secret, 0 if collide else ~<uint64_t> 0)
        if told:
            map_told(&self.shards[self.main], told)

    def __dealloc__(self):
        cdef int i
        if self.shards:
            for i in range(self.shard_count):
                unmap_shard(&self.shards[i])
            free(self.shards)
        free(self.leniency)

    def __len__(self):
        cdef int i
        cdef uint64_t size = 0
        for i in range(self.shard_count):
            size += listed_in(&self.shards[i])
        return size

    cdef Shard *shard_at(self, int shard) except NULL:
        if not 0 <= shard < self.shard_count:
            raise IndexError(f"no shard {shard}")
        return &self.shards[shard]

    def add(self, host, until_us, now_us, *, origin=CONTACT, shard=0):
        cdef Shard *own = self.shard_at(shard)
        cdef Address address = host_address(host)
        shard_add(own, &address, shard_hash(own, &address), end_of(until_us), checked_flags(origin), now_us)

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
        return until_of(state), bool(state & USED), origin_of(state)

    cdef bint mark(self, host, now_us, uint64_t flag) except? 1:
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        cdef Shard *shard = self.find_live(host, now_us, &number, &state)
        return shard != NULL and shard_mark(shard, number, state, flag)

    def mark_used(self, host, now_us):
        return bool(self.mark(host, now_us, USED))

    def prove(self, host, now_us):
        first = self.mark(host, now_us, PROVEN)
        self.proven += first
        return bool(first)

    def is_proven(self, host, now_us):
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        return bool(self.find_live(host, now_us, &number, &state) != NULL and state & PROVEN)

    def admit(self, host, until_us, now_us, origin=CHILD):
        cdef Shard *own
        if self.main < 0:
            raise ValueError("the table has no shard for the main thread")
        own = self.shard_at(self.main)
        if self.find(host, now_us) is not None:
            return False
        self.expire(now_us, 2, shard=self.main)
        if is_taken(own) and not shard_has_room(own, now_us, 2):
            return False
        self.add(host, until_us, now_us, origin=origin, shard=self.main)
        return True

    def renew(self, host, until_us, now_us):
        cdef uint64_t state = 0, until = end_of(until_us)
        cdef uint32_t number = 0
        cdef Shard *shard
        # Each round that fails is a change by the thread that writes the shard, so there is an end to it.
        while True:
            shard = self.find_live(host, now_us, &number, &state)
            if shard == NULL or until_of(state) >= until:
                return False
            if shard_renew(shard, number, state, until):
                return True

    def end(self, host, now_us):
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        cdef Shard *shard
        cdef bint found = False
        # Two threads may have entered it at the same time: each of its entries ends.
        while True:
            shard = self.find_live(host, now_us, &number, &state)
            if shard == NULL:
                return bool(found)
            if shard_end(shard, number, state):
                found = True
                self.ended += 1
                count_up(&shard.ended, 1)

    def entries(self, now_us, start, budget):
        return self.select(now_us, start, budget, budget)

    def select(
            self, now_us, start, budget, most, *, network=None, origin=None, used=None, proven=None, gateway=0):
        cdef uint64_t now = now_us
        cdef Choice choice = every_entry()
        cdef bytes first, last
        cdef uint32_t number = <uint32_t> (<uint64_t> start & 0xffffffff), taken, looked_at = budget, bound = most
        cdef int at = <int> min(<uint64_t> start >> 32, <uint64_t> self.shard_count)
        cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> bound * <Py_ssize_t> sizeof(Record))
        cdef Record *target = <Record *> PyBytes_AS_STRING(records)
        if network is not None:
            first, last = network
            choice.network = within_of(first, last)
        if origin is not None:
            checked_flags(origin)
            choice.origins = <uint64_t> 1 << <int> origin
        if used is not None:
            choice.flags |= USED
            choice.set |= USED if used else 0
        if proven is not None:
            choice.flags |= PROVEN
            choice.set |= PROVEN if proven else 0
        choice.gateway = gateway
        with nogil:
            taken = list_records(
                self.shards, self.shard_count, now, &at, &number, looked_at, &choice, bound, target)
        following = (<uint64_t> at << 32 | number) if at < self.shard_count else 0
        return records[:<Py_ssize_t> taken * <Py_ssize_t> sizeof(Record)], following

    def survey(self, now_us, start, budget, network=None):
        cdef uint64_t now = now_us
        cdef Survey survey
        cdef Within where = everywhere()
        cdef bytes first, last
        cdef uint32_t number = <uint32_t> (<uint64_t> start & 0xffffffff), looked_at = budget
        cdef int at = <int> min(<uint64_t> start >> 32, <uint64_t> self.shard_count), i
        memset(&survey, 0, sizeof(survey))
        if network is not None:
            first, last = network
            where = within_of(first, last)
        with nogil:
            survey_records(self.shards, self.shard_count, now, &at, &number, looked_at, &where, &survey)
        following = (<uint64_t> at << 32 | number) if at < self.shard_count else 0
        counts = []
        for i in range(<int> KINDS_OF_ORIGIN):
            counts.append(survey.origins[i])
        return counts, survey.used, survey.proven, following

    def restore(self, bytes records not None, now_us, *, shard):
        cdef Restored result
        cdef uint64_t now = now_us
        cdef int own = shard
        cdef uint32_t total = <uint32_t> (len(records) // <Py_ssize_t> sizeof(Record))
        self.shard_at(own)
        if len(records) % <Py_ssize_t> sizeof(Record):
            raise ValueError("these are no records")
        memset(&result, 0, sizeof(result))
        restore_records(
            self.shards, self.shard_count, own, <const Record *> <const char *> records, total, now, &result)
        return result.entered, result.known, result.left_out, result.ended

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
            for number in (load32(&shard.unproven.newest, RELAXED), load32(&shard.proven.newest, RELAXED)):
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

    def be_lenient(self, until_us):
        lenient_until(self.leniency, until_us)

    def refuse_nobody(self, nobody):
        store64(&self.leniency.always, 1 if nobody else 0, RELAXED)

    def free(self, shard):
        cdef Shard *own = self.shard_at(shard)
        cdef uint64_t taken = load64(&own.size, RELAXED) - own.told, most = own.capacity - own.most_told
        return most - taken if most > taken else 0

    @property
    def told(self):
        return self.shards[self.main].told if self.main >= 0 else 0

    @property
    def most_told(self):
        return self.shards[self.main].most_told if self.main >= 0 else 0

    @property
    def room(self):
        return self.max_entries - (self.most_told - self.told)

    def told_by(self, gateway):
        if not 0 < gateway < <int> GATEWAYS:
            raise ValueError(f"no gateway has the number {gateway}")
        return told_of(&self.shards[self.main], gateway) if self.most_told else 0

    def gateway(self, host, now_us):
        cdef uint64_t state = 0
        cdef uint32_t number = 0
        cdef Shard *shard = self.find_live(host, now_us, &number, &state)
        return told_first(shard, number) if shard != NULL and origin_of(state) == TOLD else 0

    def claim(self, host, now_us, origin=CONTACT):
        cdef uint64_t state = 0, flags = checked_flags(origin)
        cdef uint32_t number = 0
        cdef bint in_told
        cdef Shard *shard
        while True:
            shard = self.find_live(host, now_us, &number, &state)
            if shard == NULL or origin_of(state) != TOLD:
                return False
            # Else made-up contacts could take all told places for as long as they last.
            in_told = is_told(shard, number)
            if (in_told and origin_of(flags) == MET
                    and told_of(shard, CLAIMED_HERE) >= shard.most_told // CLAIMED_PART):
                return False
            if shard_attribute(shard, number, state, origin_of(flags)):
                if in_told:
                    shard_tell(shard, number, CLAIMED_HERE)
                return True

    def sweep_told(self, now_us, budget):
        cdef Shard *shard
        if self.main >= 0 and self.shards[self.main].most_told:
            shard = &self.shards[self.main]
            shard.told_at = shard_sweep(shard, now_us, max(shard.told_at, <uint32_t> 1), budget)

    def sweep_main(self, now_us):
        if self.main >= 0:
            self.sweep_shard(now_us, self.main)

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
        totals = {
            "entries": 0, "added": 0, "successful": 0, "direct-to-fake": 0, "evicted": 0, "proven": self.proven,
            "ended": self.ended}
        for i in range(self.shard_count):
            totals["entries"] += listed_in(&self.shards[i])
            totals["added"] += load64(&self.shards[i].added, RELAXED)
            totals["successful"] += load64(&self.shards[i].successful, RELAXED)
            totals["direct-to-fake"] += load64(&self.shards[i].direct_to_fake, RELAXED)
            totals["evicted"] += load64(&self.shards[i].evicted, RELAXED)
        return totals
