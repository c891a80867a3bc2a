"""Entries of the whitelist as records: see _records.pxd."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine._shard cimport (
    KINDS_OF_ORIGIN, LATEST_US, NOT_TOLD, PEER, PROVEN, RESTORED, UNKNOWN_GATEWAY, USED, Lookups, Shard, entry_read,
    flags_of, is_taken, origin_of, shard_attribute, shard_end, shard_find, shard_has_room, shard_has_told_room,
    shard_hash_all, shard_insert, shard_make_told_room, shard_mark, shard_prefetch_all, shard_renew, shard_tell,
    told_first, until_of)
from mxallowd.engine._within cimport Within, everywhere, is_within
from mxallowd.engine.c_atomic cimport RELAXED, count_up, load32

RECORD_SIZE = sizeof(Record)

cdef enum:
    EXPIRY_STEPS = 2        # for each record that finds its shard full


cdef Choice every_entry() noexcept nogil:
    cdef Choice choice
    choice.network = everywhere()
    choice.origins = ~<uint64_t> 0
    choice.flags = choice.set = 0
    choice.gateway = 0
    return choice


cdef inline bint is_chosen(
        const Choice *choice, const Shard *shard, uint32_t number, const Address *host, uint64_t state) noexcept nogil:
    return (state & choice.flags == choice.set and choice.origins >> origin_of(state) & 1
            and is_within(&choice.network, host)
            and (choice.gateway == 0 or (origin_of(state) == PEER and told_first(shard, number) == choice.gateway)))


cdef uint32_t list_records(
        Shard *shards, int count, uint64_t now_us, int *at, uint32_t *number, uint32_t budget, const Choice *choice,
        uint32_t most, Record *target) noexcept nogil:
    cdef uint32_t taken = 0
    cdef uint64_t state = 0
    cdef Shard *shard
    cdef Address host
    while at[0] < count and budget > 0 and taken < most:
        shard = &shards[at[0]]
        # Another thread may be raising it: what is added meanwhile is told by events.
        while number[0] < load32(&shard.highest, RELAXED) and budget > 0 and taken < most:
            number[0] += 1
            budget -= 1
            if (entry_read(&shard.entries[number[0]], &host, &state) and until_of(state) > now_us
                    and is_chosen(choice, shard, number[0], &host, state)):
                target[taken].host = host
                target[taken].until_us = until_of(state)
                target[taken].origin = <uint8_t> origin_of(state)
                target[taken].used = 1 if state & USED else 0
                target[taken].proven = 1 if state & PROVEN else 0
                target[taken].reserved = target[taken].unused[0] = target[taken].unused[1] = 0
                target[taken].gateway = told_first(shard, number[0]) if origin_of(state) == PEER else 0
                taken += 1
        if number[0] >= load32(&shard.highest, RELAXED):
            at[0] += 1
            number[0] = 0
    return taken


cdef void survey_records(
        Shard *shards, int count, uint64_t now_us, int *at, uint32_t *number, uint32_t budget, const Within *network,
        Survey *survey) noexcept nogil:
    cdef uint64_t state = 0
    cdef Shard *shard
    cdef Address host
    while at[0] < count and budget > 0:
        shard = &shards[at[0]]
        while number[0] < load32(&shard.highest, RELAXED) and budget > 0:
            number[0] += 1
            budget -= 1
            if (entry_read(&shard.entries[number[0]], &host, &state) and until_of(state) > now_us
                    and is_within(network, &host)):
                survey.origins[origin_of(state)] += 1
                survey.used += 1 if state & USED else 0
                survey.proven += 1 if state & PROVEN else 0
        if number[0] >= load32(&shard.highest, RELAXED):
            at[0] += 1
            number[0] = 0


cdef inline bint has_room(Shard *shard, uint32_t expired, bint told, uint64_t now_us) noexcept nogil:
    """Whether a record finds a place of its kind; its host has an expired entry, or 0."""
    if told:
        return shard_has_told_room(shard, expired)
    if not expired:
        return shard_has_room(shard, now_us, EXPIRY_STEPS)
    # The place of its expired entry may be of the other kind.
    return shard.gateways == NULL or shard.gateways[expired] == NOT_TOLD or not is_taken(shard)


cdef void move_told(
        Shard *from_, uint32_t number, uint64_t state, Shard *own, const Record *record, uint64_t hash,
        uint64_t now_us) noexcept nogil:
    """A set of the firewall had this host, and nobody knew then that it was told: give its place back.

    It is listed in one of the two all the time. What another thread changes meanwhile leaves it in both.
    """
    cdef uint64_t ignored = 0
    cdef uint64_t flags = (state & (USED | PROVEN)) | (USED if record.used else 0) | (PROVEN if record.proven else 0)
    cdef uint32_t expired = shard_find(own, &record.host, hash, &ignored)
    shard_tell(own, shard_insert(
        own, expired, &record.host, hash, max(min(record.until_us, LATEST_US), until_of(state)),
        flags_of(PEER, flags), now_us), UNKNOWN_GATEWAY)
    if shard_end(from_, number, state):
        count_up(&from_.ended, 1)


cdef void restore_one(
        Shard *shards, int count, int own, const Record *record, uint64_t hash, uint64_t now_us,
        Restored *result) noexcept nogil:
    cdef uint64_t until_us = min(record.until_us, LATEST_US), state = 0
    cdef uint32_t number, expired = 0
    cdef bint told = record.origin == PEER and shards[own].gateways != NULL
    cdef int i
    if until_us <= now_us or record.origin >= KINDS_OF_ORIGIN:
        count_up(&result.ended, 1)
        return
    if told:
        if shards[own].told >= shards[own].most_told:
            shard_make_told_room(&shards[own], now_us)
    for i in range(count):
        number = shard_find(&shards[i], &record.host, hash, &state)
        if number and until_of(state) > now_us:
            count_up(&result.known, 1)
            if told and i != own and origin_of(state) == RESTORED and shard_has_told_room(&shards[own], 0):
                move_told(&shards[i], number, state, &shards[own], record, hash, now_us)
                return
            if record.used:
                shard_mark(&shards[i], number, state, USED)
            if record.proven:
                shard_mark(&shards[i], number, state, PROVEN)
            if record.used or record.proven:
                # Its state has changed by that, so it is read again.
                number = shard_find(&shards[i], &record.host, hash, &state)
            if number and (
                    (origin_of(state) == RESTORED and record.origin != RESTORED)
                    or (origin_of(state) == PEER and record.origin != PEER and record.origin != RESTORED)):
                # A copy elsewhere had it, and did not know how it came in; or another gateway has it as well.
                shard_attribute(&shards[i], number, state, record.origin)
                number = shard_find(&shards[i], &record.host, hash, &state)
            if number and until_of(state) < until_us:
                # Where another thread changes it at the same time, what that one wants holds.
                shard_renew(&shards[i], number, state, until_us)
            return
        if number and i == own:
            expired = number
    if not has_room(&shards[own], expired, told, now_us):
        count_up(&result.left_out, 1)
        return
    number = shard_insert(
        &shards[own], expired, &record.host, hash, until_us,
        flags_of(record.origin, (USED if record.used else 0) | (PROVEN if record.proven else 0)), now_us)
    if told:
        shard_tell(&shards[own], number, UNKNOWN_GATEWAY)
    count_up(&result.entered, 1)


cdef void restore_records(
        Shard *shards, int count, int own, const Record *records, uint32_t total, uint64_t now_us,
        Restored *result) noexcept nogil:
    cdef Lookups lookups
    cdef uint32_t first = 0
    cdef int some, i
    while first < total:
        some = <int> min(total - first, <uint32_t> BATCH)
        for i in range(some):
            lookups.host[i] = records[first + <uint32_t> i].host
        # As for a batch of packets: memory is fetched for many at a time.
        shard_hash_all(&shards[own], &lookups, some)
        for i in range(count):
            if i != own:
                shard_prefetch_all(&shards[i], &lookups, some)
        for i in range(some):
            restore_one(
                shards, count, own, &records[first + <uint32_t> i], lookups.hash[i], now_us, result)
        first += <uint32_t> some
