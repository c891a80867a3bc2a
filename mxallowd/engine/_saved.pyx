"""Entries as a disk keeps them: see _saved.pxd."""
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address, is_host
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine._records cimport Record
from mxallowd.engine._refused cimport (
    SERVER_SHIFT, SET_SLOTS, STEP_SHIFT, TIMES_SHIFT, Refusal, Refused, RefusedRecord, refused_find, refused_read)
from mxallowd.engine._shard cimport (
    KINDS_OF_ORIGIN, LATEST_US, PEER, PROVEN, USED, origin_of, shard_find, shard_hash, told_first, until_of)
from mxallowd.engine._siphash cimport HashKey, hash_addresses
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport RELAXED, load64, prefetch

ENDED_ORIGIN = <int> ENDED

cdef enum:
    DIGIT_BITS = 11
    DIGITS = 4              # 44 bits: one for proven hosts, and 17 years in steps of 1.024 ms
    PROVEN_SHIFT = 41
    STEP_BITS = 10


cdef Py_ssize_t count_of(records, Py_ssize_t size) except -1:
    if len(records) % size:
        raise ValueError("these are no records")
    return len(records) // size


def look_up(Table table not None, bytes hosts not None, now_us):
    cdef Py_ssize_t total = count_of(hosts, 16), i
    cdef uint64_t now = now_us, hash, state = 0
    cdef bytes records = PyBytes_FromStringAndSize(NULL, total * <Py_ssize_t> sizeof(Record))
    cdef Record *found = <Record *> PyBytes_AS_STRING(records)
    cdef const char *source = hosts
    cdef uint32_t number
    cdef int shard
    with nogil:
        memset(found, 0, <size_t> total * sizeof(Record))
        for i in range(total):
            memcpy(&found[i].host, source + 16 * i, 16)
            hash = shard_hash(&table.shards[0], &found[i].host)
            for shard in range(table.shard_count):
                number = shard_find(&table.shards[shard], &found[i].host, hash, &state)
                if number and until_of(state) > now:
                    found[i].until_us = until_of(state)
                    found[i].origin = <uint8_t> origin_of(state)
                    found[i].used = 1 if state & USED else 0
                    found[i].proven = 1 if state & PROVEN else 0
                    found[i].gateway = told_first(&table.shards[shard], number) if origin_of(state) == PEER else 0
                    break
    return records


cdef bint record_refused(Refused refused, const Address *host, RefusedRecord *one) noexcept nogil:
    """What all shards know of a host; False: nothing."""
    cdef uint64_t hash = shard_hash(&refused.table.shards[0], host), times = 0
    cdef Refusal found
    cdef uint32_t last
    cdef int shard
    memset(one, 0, sizeof(RefusedRecord))
    one.host = host[0]
    for shard in range(refused.shard_count):
        if not refused_find(&refused.shards[shard], host, hash, &found):
            continue
        last = <uint32_t> (found.when >> 32)
        one.first = min(one.first, <uint32_t> found.when) if times else <uint32_t> found.when
        if times == 0 or last >= one.last:
            one.last = last
            one.server = <uint8_t> (found.state >> SERVER_SHIFT)
        times += found.state >> TIMES_SHIFT
    one.times = <uint32_t> times
    return times != 0


def refused_since(Refused refused not None, since_us, start, slots, most):
    cdef uint64_t at = start, end = min(start + slots, refused.max_hosts), of_shard = refused.shards[0].sets * SET_SLOTS
    cdef uint64_t since = <uint64_t> since_us >> STEP_SHIFT
    cdef Py_ssize_t taken = 0, room = most
    cdef bytes records = PyBytes_FromStringAndSize(NULL, room * <Py_ssize_t> sizeof(RefusedRecord))
    cdef RefusedRecord *target = <RefusedRecord *> PyBytes_AS_STRING(records)
    cdef const Refusal *slot
    cdef Refusal found
    with nogil:
        while at < end and taken < room:
            slot = &refused.shards[at // of_shard].slots[at % of_shard]
            at += 1
            # One load for nearly all.
            if load64(&slot.when, RELAXED) >> 32 >= since and refused_read(slot, &found):
                taken += record_refused(refused, &found.host, &target[taken])
    return records[:taken * <Py_ssize_t> sizeof(RefusedRecord)], (at if at < refused.max_hosts else 0)


cdef void shift_all(Record *records, Py_ssize_t total, int64_t back) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint64_t until
    for i in range(total):
        # What the file says is no time yet: it may be any number.
        until = min(records[i].until_us, LATEST_US)
        if until:
            records[i].until_us = <uint64_t> max(<int64_t> until - back, 1)


def gather(list parts not None):
    cdef Py_ssize_t total = 0, at = 0
    cdef Py_buffer source
    cdef bytes gathered
    for content, _ in parts:
        total += count_of(content, sizeof(Record))
    # Written once: most of what this costs are the new pages.
    gathered = PyBytes_FromStringAndSize(NULL, total * <Py_ssize_t> sizeof(Record))
    cdef Record *target = <Record *> PyBytes_AS_STRING(gathered)
    for content, back_us in parts:
        PyObject_GetBuffer(content, &source, PyBUF_SIMPLE)
        memcpy(&target[at], source.buf, <size_t> source.len)
        shift_all(&target[at], source.len // <Py_ssize_t> sizeof(Record), back_us)
        at += source.len // <Py_ssize_t> sizeof(Record)
        PyBuffer_Release(&source)
    return gathered


cdef void mark_last(
        const Record *records, Py_ssize_t total, const HashKey *key, uint32_t *index, uint64_t mask,
        uint8_t *replaced) noexcept nogil:
    """Mark each record that a later one of the same host replaces."""
    cdef Address hosts[<int> BATCH]
    cdef uint64_t hashes[<int> BATCH]
    cdef Py_ssize_t first = 0
    cdef uint64_t slot
    cdef int some, i
    while first < total:
        some = <int> min(total - first, <Py_ssize_t> BATCH)
        for i in range(some):
            hosts[i] = records[first + i].host
        hash_addresses(key, hosts, hashes, some)
        for i in range(some):
            prefetch(&index[hashes[i] & mask])
        for i in range(some):
            slot = hashes[i] & mask
            # Ends: at least half of the index is empty.
            while index[slot] and (records[index[slot] - 1].host.low != hosts[i].low
                                   or records[index[slot] - 1].host.high != hosts[i].high):
                slot = (slot + 1) & mask
            if index[slot]:
                replaced[index[slot] - 1] = 1
            index[slot] = <uint32_t> (first + i + 1)
        first += some


cdef void sort_ranked(Ranked *ranked, Ranked *other, Py_ssize_t total) noexcept nogil:
    """By rank, digit by digit from the lowest; what is equal keeps its order. An even number of digits: in place."""
    cdef Py_ssize_t starts[1 << DIGIT_BITS]
    cdef Py_ssize_t i, before, here
    cdef Ranked *swapped
    cdef int digit, shift_by
    for digit in range(<int> DIGITS):
        shift_by = digit * <int> DIGIT_BITS
        memset(starts, 0, sizeof(starts))
        for i in range(total):
            starts[ranked[i].rank >> shift_by & ((1 << DIGIT_BITS) - 1)] += 1
        before = 0
        for i in range(1 << DIGIT_BITS):
            here = starts[i]
            starts[i] = before
            before += here
        for i in range(total):
            here = ranked[i].rank >> shift_by & ((1 << DIGIT_BITS) - 1)
            other[starts[here]] = ranked[i]
            starts[here] += 1
        swapped = ranked
        ranked = other
        other = swapped


cdef Py_ssize_t rank_all(
        const Record *records, Py_ssize_t total, const uint8_t *replaced, uint64_t now_us,
        Ranked *ranked) noexcept nogil:
    """Those that are listed; how many."""
    cdef Py_ssize_t i, taken = 0
    for i in range(total):
        if replaced[i] or records[i].until_us <= now_us or records[i].origin >= KINDS_OF_ORIGIN or not is_host(
                &records[i].host):
            continue
        ranked[taken].at = <uint32_t> i
        ranked[taken].rank = (min(records[i].until_us, LATEST_US) - now_us) >> STEP_BITS
        if records[i].proven:
            ranked[taken].rank |= <uint64_t> 1 << PROVEN_SHIFT
        taken += 1
    return taken


def settle(bytes records not None, now_us, most_us, proven_us=0):
    cdef Py_ssize_t total = count_of(records, sizeof(Record)), i, taken, ended = 0
    cdef const Record *source = <const Record *> <const char *> records
    cdef uint64_t now = now_us, slots = 64, longest, proven = proven_us
    cdef uint64_t most[<int> KINDS_OF_ORIGIN]
    cdef uint32_t *index = NULL
    cdef uint8_t *replaced = NULL
    cdef Ranked *ranked = NULL
    cdef Ranked *other = NULL
    cdef Record *target
    cdef HashKey key
    cdef bytes listed, gone, secret = os.urandom(16)
    if len(most_us) != KINDS_OF_ORIGIN:
        raise ValueError("each origin has a longest time")
    if total >= 1 << 31:
        raise ValueError("so many records cannot be settled")
    for i in range(<int> KINDS_OF_ORIGIN):
        most[i] = most_us[i]
    memcpy(&key, <const char *> secret, sizeof(HashKey))
    while slots < 2 * <uint64_t> total:
        slots *= 2
    try:
        index = <uint32_t *> calloc(slots, sizeof(uint32_t))
        replaced = <uint8_t *> calloc(<size_t> total + 1, 1)
        ranked = <Ranked *> malloc((<size_t> total + 1) * sizeof(Ranked))
        other = <Ranked *> malloc((<size_t> total + 1) * sizeof(Ranked))
        if index == NULL or replaced == NULL or ranked == NULL or other == NULL:
            raise MemoryError()
        with nogil:
            mark_last(source, total, &key, index, slots - 1, replaced)
            taken = rank_all(source, total, replaced, now, ranked)
            sort_ranked(ranked, other, taken)
            for i in range(total):
                ended += not replaced[i] and source[i].origin == ENDED and source[i].until_us > now
        listed = PyBytes_FromStringAndSize(NULL, taken * <Py_ssize_t> sizeof(Record))
        gone = PyBytes_FromStringAndSize(NULL, ended * <Py_ssize_t> sizeof(Record))
        target = <Record *> PyBytes_AS_STRING(listed)
        with nogil:
            for i in range(taken):
                target[i] = source[ranked[i].at]
                longest = most[target[i].origin]
                if target[i].proven:
                    longest = max(longest, proven)
                target[i].until_us = min(target[i].until_us, now + longest)
        target = <Record *> PyBytes_AS_STRING(gone)
        with nogil:
            ended = 0
            for i in range(total):
                if not replaced[i] and source[i].origin == ENDED and source[i].until_us > now:
                    target[ended] = source[i]
                    ended += 1
    finally:
        free(index)
        free(replaced)
        free(ranked)
        free(other)
    return listed, gone
