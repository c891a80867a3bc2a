"""A shard of the whitelist: see _shard.pxd for the idea and the rules of sharing."""
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from mxallowd.engine._address cimport Address
from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine._siphash cimport hash_address, hash_addresses
from mxallowd.engine.c_atomic cimport (
    ACQUIRE, RELAXED, RELEASE, count_up, exchange_if64, fence, fetch_and64, fetch_or64, load32, load64, prefetch,
    prefetch_to, store16, store32, store64)

cdef extern from * nogil:
    """
    /* The word of a line that bears the tag, 0 where none does. Where two do, what comes back is neither, and the
       caller sees that it is not the host. Vectors as GCC and Clang have them on every machine, and no branch, which
       would be predicted wrong half the time: as a loop over 15 words it took a third of a decision. */
    typedef uint32_t mxallowd_four __attribute__((vector_size(16)));
    static inline __attribute__((always_inline)) uint32_t mxallowd_match(
        const void *line, uint32_t tag_mask, uint32_t tag)
    {
        const mxallowd_four *words = (const mxallowd_four *) __builtin_assume_aligned(line, 64);
        const mxallowd_four mask = { tag_mask, tag_mask, tag_mask, tag_mask }, wanted = { tag, tag, tag, tag };
        mxallowd_four found = { 0, 0, 0, 0 };
        for (int i = 0; i < 4; i++)
            found |= words[i] & (mxallowd_four) ((words[i] & mask) == wanted);
        return found[0] | found[1] | found[2] | found[3];
    }
    /* The same for a line that another thread may be writing: each word of a vector is read as one. What is found is a
       hint that is looked at again with atomic reads, so the checker need not mind. */
    __attribute__((noinline, no_sanitize("thread")))
    static uint32_t mxallowd_match_shared(const void *line, uint32_t tag_mask, uint32_t tag)
    {
        /* The first word is `passed`: with it, the host may be in another line. */
        return mxallowd_match(line, tag_mask, tag) | *(const uint32_t *) line;
    }
    """
    uint32_t line_match "mxallowd_match"(const Line *line, uint32_t tag_mask, uint32_t tag) noexcept
    uint32_t line_match_shared "mxallowd_match_shared"(const Line *line, uint32_t tag_mask, uint32_t tag) noexcept

# Entries a line holds on average when the shard is full. 10 of 15 words: one line in twenty is passed by
# some entry, and the index costs 6.4 bytes an entry.
cdef enum:
    LINE_LOAD = 10

cdef enum:
    GENERATION = 0x7f << GENERATION_SHIFT
    LOW_BITS = (1 << UNTIL_SHIFT) - 1
cdef enum:
    # So many entries are moved where they belong by one eviction, some 100 microseconds. If that is not enough, the
    # next one goes, although another may be older.
    EVICTION_STEPS = 4096
    # Entries that an eviction looks through for ended ones: a microsecond or two, as long as there may be any.
    ENDED_STEPS = 256
    # Entries that are looked at for each told one that finds no room.
    TOLD_STEPS = 64
    READ_TRIES = 8


# ---- reading: any thread

cdef inline bint same_entry(uint64_t one, uint64_t other) noexcept nogil:
    # Only these flags change under a reader; a renewal makes it read again.
    return (one ^ other) & ~<uint64_t> (USED | PROVEN | TOUCHED | IN_PROVEN) == 0


cdef inline bint same_host(uint64_t one, uint64_t other) noexcept nogil:
    # From the look at a state to the exchange against it an entry is not given away 128 times.
    return (one ^ other) & (GENERATION | LIVE) == 0


cdef uint64_t shard_hash(const Shard *shard, const Address *host) noexcept nogil:
    return hash_address(&shard.key, host) & shard.hash_mask


cdef inline uint64_t line_of(const Shard *shard, uint64_t hash) noexcept nogil:
    # The upper half scaled to the number of lines: no division, any number of lines.
    return ((hash >> 32) * shard.line_count) >> 32


cdef inline uint32_t tag_of(const Shard *shard, uint64_t hash) noexcept nogil:
    return <uint32_t> hash & ~shard.number_mask


cdef inline void prefetch_line(const Line *line) noexcept nogil:
    # To the second level of the cache: it takes more fetches at a time than the first, and a batch begins 64 at once.
    # With a million entries, a tenth off the whole decision.
    prefetch_to(line, 0, 2)


cdef void shard_prefetch_all(const Shard *shard, const Lookups *lookups, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        prefetch_line(&shard.lines[line_of(shard, lookups.hash[i])])


cdef inline bint entry_holds(Entry *entry, const Address *host, uint64_t *state) noexcept nogil:
    """Whether the entry is live and of that host; `state` is then a state that belonged to the host."""
    cdef uint64_t seen
    cdef bint same
    cdef int _
    for _ in range(READ_TRIES):
        seen = load64(&entry.state, ACQUIRE)
        if not seen & LIVE:
            return False
        same = (load64(&entry.host.low, RELAXED) == host.low
                and load64(&entry.host.high, RELAXED) == host.high)
        fence(ACQUIRE)
        if same_entry(load64(&entry.state, RELAXED), seen):
            state[0] = seen
            return same
    # The writer gave this entry to eight hosts within one read: ours is not in it now.
    return False


cdef bint entry_read(Entry *entry, Address *host, uint64_t *state) noexcept nogil:
    """Whether the entry is live; `host` and `state` then belong to each other."""
    cdef uint64_t seen
    cdef int _
    for _ in range(READ_TRIES):
        seen = load64(&entry.state, ACQUIRE)
        if not seen & LIVE:
            return False
        host.low = load64(&entry.host.low, RELAXED)
        host.high = load64(&entry.host.high, RELAXED)
        fence(ACQUIRE)
        if same_entry(load64(&entry.state, RELAXED), seen):
            state[0] = seen
            return True
    return False


cdef uint32_t shard_find(Shard *shard, const Address *host, uint64_t hash, uint64_t *state) noexcept nogil:
    """The number of the host's entry, expired or not, and its state; 0 where there is none."""
    cdef uint64_t at = line_of(shard, hash), lines_left = shard.line_count
    cdef uint32_t tag = tag_of(shard, hash), word, number
    cdef Line *line
    cdef int i
    while lines_left:
        line = &shard.lines[at]
        for i in range(LINE_WORDS):
            word = load32(&line.word[i], ACQUIRE)
            if word & ~shard.number_mask != tag:
                continue
            number = word & shard.number_mask
            if number and entry_holds(&shard.entries[number], host, state):
                return number
        if load32(&line.passed, ACQUIRE) == 0:
            return 0
        at += 1
        if at == shard.line_count:
            at = 0
        lines_left -= 1
    return 0


cdef bint shard_mark(Shard *shard, uint32_t number, uint64_t seen, uint64_t flag) noexcept nogil:
    """Set the flag on the entry that was seen in state `seen`; whether this call was the one that set it."""
    cdef Entry *entry = &shard.entries[number]
    cdef uint64_t expected = seen
    while not expected & flag and same_host(expected, seen):
        if exchange_if64(&entry.state, &expected, expected | flag, True, RELAXED, RELAXED):
            return True
    return False


cdef bint shard_renew(Shard *shard, uint32_t number, uint64_t seen, uint64_t until_us) noexcept nogil:
    # Against the whole word: a host that got this entry meanwhile has another time in it, so nobody else is renewed.
    return exchange_if64(&shard.entries[number].state, &seen, until_us << UNTIL_SHIFT | (seen & LOW_BITS) | TOUCHED,
                         False, RELAXED, RELAXED)


cdef bint shard_end(Shard *shard, uint32_t number, uint64_t seen) noexcept nogil:
    return exchange_if64(&shard.entries[number].state, &seen, seen & LOW_BITS, False, RELAXED, RELAXED)


cdef bint shard_attribute(Shard *shard, uint32_t number, uint64_t seen, int origin) noexcept nogil:
    return exchange_if64(
        &shard.entries[number].state, &seen,
        (seen & ~(<uint64_t> 7 << ORIGIN_SHIFT)) | <uint64_t> origin << ORIGIN_SHIFT, False, RELAXED, RELAXED)


# ---- reading in batches: the shard's thread only, so that what it alone writes needs no atomic access

cdef void shard_hash_all(Shard *shard, Lookups *lookups, int count) noexcept nogil:
    """Hash all hosts and begin to fetch their lines of the index, so that memory is fetched for many at a time."""
    cdef Line *lines = shard.lines
    cdef int i
    hash_addresses(&shard.key, lookups.host, lookups.hash, count)
    for i in range(count):
        lookups.hash[i] &= shard.hash_mask
        lookups.line[i] = line_of(shard, lookups.hash[i])
        prefetch_line(&lines[lookups.line[i]])


cdef void shard_locate_all(Shard *shard, Lookups *lookups, int count) noexcept nogil:
    """Find what the index proposes for all hosts, after shard_hash_all.

    Whether it is the host's entry is for the caller to see: it is being fetched when this returns.
    """
    cdef uint32_t tag_mask = ~shard.number_mask, number
    cdef const Line *line
    cdef Line *lines = shard.lines
    cdef Entry *entries = shard.entries
    cdef uint32_t capacity = shard.capacity
    cdef int i
    for i in range(count):
        line = &lines[lookups.line[i]]
        lookups.passed[i] = line.passed
        number = line_match(line, tag_mask, <uint32_t> lookups.hash[i] & tag_mask) & ~tag_mask
        # Two matches at once may name an entry that there is not.
        number = min(number, capacity)
        lookups.number[i] = number
        # Number 0 is there, too; its time is always over.
        prefetch(&entries[number])


cdef void shard_look_elsewhere(const Shard *shard, Lookups *lookups, int count) noexcept nogil:
    """Note for which hosts this shard, another thread's, may hold an entry. Any thread; after shard_hash_all."""
    cdef uint32_t tag_mask = ~shard.number_mask
    cdef int i
    for i in range(count):
        lookups.elsewhere[i] |= line_match_shared(
            &shard.lines[line_of(shard, lookups.hash[i])], tag_mask, <uint32_t> lookups.hash[i] & tag_mask) != 0


# ---- the lists: the shard's thread only

cdef inline uint16_t gateway_at(const Shard *shard, uint32_t number) noexcept nogil:
    return shard.gateways[number] & ~<uint16_t> SEVERAL_GATEWAYS


cdef inline Order *order_of(Shard *shard, uint32_t number, uint64_t state) noexcept nogil:
    cdef Teller *teller
    if is_told(shard, number):
        teller = &shard.told_by[gateway_at(shard, number)]
        return &teller.proven if state & IN_PROVEN else &teller.unproven
    return &shard.proven if state & IN_PROVEN else &shard.unproven


cdef inline void link_newest(Shard *shard, Order *order, uint32_t number) noexcept nogil:
    cdef Entry *entry = &shard.entries[number]
    entry.older = order.newest
    entry.newer = 0
    if order.newest:
        shard.entries[order.newest].newer = number
    else:
        order.oldest = number
    order.newest = number
    order.size += 1


cdef inline void unlink(Shard *shard, Order *order, uint32_t number) noexcept nogil:
    cdef Entry *entry = &shard.entries[number]
    if entry.older:
        shard.entries[entry.older].newer = entry.newer
    else:
        order.oldest = entry.newer
    if entry.newer:
        shard.entries[entry.newer].older = entry.older
    else:
        order.newest = entry.older
    order.size -= 1


cdef void shard_touch(Shard *shard, uint32_t number) noexcept nogil:
    """Let the entry be the youngest of the list that it belongs to by now."""
    cdef Entry *entry = &shard.entries[number]
    # No other thread sets IN_PROVEN, and one that sets TOUCHED right now has its wish fulfilled below.
    cdef uint64_t state = fetch_and64(&entry.state, ~<uint64_t> TOUCHED, RELAXED)
    cdef Order *order = order_of(shard, number, state)
    if state & PROVEN and not state & IN_PROVEN:
        unlink(shard, order, number)
        state = fetch_or64(&entry.state, IN_PROVEN, RELAXED) | IN_PROVEN
        link_newest(shard, order_of(shard, number, state), number)
    elif order.newest != number:
        unlink(shard, order, number)
        link_newest(shard, order, number)


cdef inline bint is_misplaced(uint64_t state) noexcept nogil:
    # PROVEN and not IN_PROVEN, or TOUCHED.
    return (state & TOUCHED) != 0 or (state & PROVEN and not state & IN_PROVEN)


# ---- the index: the shard's thread only

cdef void index_insert(Shard *shard, uint64_t hash, uint32_t number) noexcept nogil:
    # Ends: lines hold LINE_WORDS / LINE_LOAD times the capacity.
    cdef uint64_t at = line_of(shard, hash)
    cdef Line *line
    cdef int i
    while True:
        line = &shard.lines[at]
        for i in range(LINE_WORDS):
            if load32(&line.word[i], RELAXED) == 0:
                store32(&line.word[i], tag_of(shard, hash) | number, RELEASE)
                return
        store32(&line.passed, load32(&line.passed, RELAXED) + 1, RELEASE)
        at += 1
        if at == shard.line_count:
            at = 0


cdef void index_remove(Shard *shard, uint64_t hash, uint32_t number) noexcept nogil:
    # Ends: the word was inserted, and words never move.
    cdef uint64_t at = line_of(shard, hash)
    cdef uint32_t wanted = tag_of(shard, hash) | number
    cdef Line *line
    cdef int i
    while True:
        line = &shard.lines[at]
        for i in range(LINE_WORDS):
            if load32(&line.word[i], RELAXED) == wanted:
                store32(&line.word[i], 0, RELEASE)
                return
        store32(&line.passed, load32(&line.passed, RELAXED) - 1, RELEASE)
        at += 1
        if at == shard.line_count:
            at = 0


# ---- writing: the shard's thread only

cdef void leave_told(Shard *shard, uint32_t number) noexcept nogil:
    """The entry has been taken out of its gateway's list."""
    cdef uint16_t gateway = gateway_at(shard, number), last
    cdef Teller *teller = &shard.told_by[gateway]
    shard.told -= 1
    store16(&shard.gateways[number], NOT_TOLD, RELAXED)
    if teller.at and told_of(shard, gateway) == 0:
        shard.teller_count -= 1
        last = shard.tellers[shard.teller_count]
        shard.tellers[teller.at - 1] = last
        shard.told_by[last].at = teller.at
        teller.at = 0


cdef void shard_tell(Shard *shard, uint32_t number, uint16_t gateway) noexcept nogil:
    cdef uint64_t state = load64(&shard.entries[number].state, RELAXED)
    cdef Teller *teller = &shard.told_by[gateway & ~<uint16_t> SEVERAL_GATEWAYS]
    unlink(shard, order_of(shard, number, state), number)
    if is_told(shard, number):
        leave_told(shard, number)
    shard.told += 1
    store16(&shard.gateways[number], gateway, RELAXED)
    link_newest(shard, order_of(shard, number, state), number)
    if teller.at == 0 and gateway != CLAIMED_HERE:
        shard.tellers[shard.teller_count] = gateway & ~<uint16_t> SEVERAL_GATEWAYS
        shard.teller_count += 1
        teller.at = shard.teller_count
    if is_misplaced(state):
        shard_touch(shard, number)


cdef bint shard_has_told_room(const Shard *shard, uint32_t expired) noexcept nogil:
    if expired and is_told(shard, expired):
        return True
    return shard.told < shard.most_told and (expired != 0 or not is_full(shard))


cdef void shard_make_told_room(Shard *shard, uint64_t now_us) noexcept nogil:
    # Not by the lists: others may stand before them, for they are in the order of coming.
    shard.told_at = shard_sweep(shard, now_us, max(shard.told_at, <uint32_t> 1), TOLD_STEPS)


cdef void shard_remove(Shard *shard, uint32_t number, uint64_t now_us) noexcept nogil:
    """Give the entry back; an expired contact entry ends in one of the two counters of the contract."""
    cdef Entry *entry = &shard.entries[number]
    cdef uint64_t state = load64(&entry.state, RELAXED)
    index_remove(shard, shard_hash(shard, &entry.host), number)
    unlink(shard, order_of(shard, number, state), number)
    # From here on no reader takes the entry for a host's, and no other thread can set USED any more.
    while not exchange_if64(&entry.state, &state, state & GENERATION, True, RELAXED, RELAXED):
        pass
    if until_of(state) > now_us:
        shard.displaced = entry.host
        count_up(&shard.evicted, 1)
    elif until_of(state) and (origin_of(state) == CONTACT or origin_of(state) == RESTORED):
        count_up(&shard.successful if state & USED else &shard.direct_to_fake, 1)
    if until_of(state) == 0:
        count_up(&shard.ended_gone, 1)
    count_up(&shard.size, ~<uint64_t> 0)
    if is_told(shard, number):
        leave_told(shard, number)
    entry.newer = shard.free
    shard.free = number


cdef bint sweep_ended(Shard *shard, uint64_t now_us) noexcept nogil:
    """Where entries were ended that nobody has looked for yet, look through some; whether there is room now."""
    if shard.look_at == 0:
        if load64(&shard.ended, RELAXED) == shard.ended_seen:
            return False
        # What is ended from here on is looked for by another round.
        shard.ended_seen = load64(&shard.ended, RELAXED)
        shard.look_at = 1
    shard.look_at = shard_sweep(shard, now_us, shard.look_at, ENDED_STEPS)
    return shard.free != 0


cdef inline bint is_over(const Shard *shard, uint32_t number, uint64_t now_us) noexcept nogil:
    return number != 0 and until_of(load64(&shard.entries[number].state, RELAXED)) <= now_us


cdef uint32_t told_to_go(const Shard *shard) noexcept nogil:
    """Some old entry in a told place. Who adds a local host asks for a place first, so it is not needed."""
    cdef const Teller *teller
    if shard.told == 0:
        return 0
    teller = &shard.told_by[shard.tellers[0] if shard.teller_count else <uint16_t> CLAIMED_HERE]
    return teller.unproven.oldest if teller.unproven.oldest else teller.proven.oldest


cdef inline uint32_t next_to_go(const Shard *shard) noexcept nogil:
    if shard.unproven.size <= shard.capacity // UNPROVEN_PART and shard.proven.oldest:
        return shard.proven.oldest
    return shard.unproven.oldest if shard.unproven.oldest else told_to_go(shard)


cdef void evict(Shard *shard, uint64_t now_us) noexcept nogil:
    """Make one entry of a full shard free: an expired one, else the oldest unproven, else the oldest proven."""
    cdef uint32_t number = 0
    cdef int _
    if sweep_ended(shard, now_us):
        return
    if is_over(shard, shard.proven.oldest, now_us):
        number = shard.proven.oldest
    elif is_over(shard, shard.unproven.oldest, now_us):
        number = shard.unproven.oldest
    # Each step is paid for once: by a handshake, or by a packet of a host whose entry is another thread's.
    for _ in range(0 if number else EVICTION_STEPS):
        number = next_to_go(shard)
        if not is_misplaced(load64(&shard.entries[number].state, RELAXED)):
            break
        shard_touch(shard, number)
        number = 0
    shard_remove(shard, number if number else next_to_go(shard), now_us)


# ---- told entries that make room: the main thread only

cdef inline uint32_t told_next(const Teller *teller, uint32_t share) noexcept nogil:
    if teller.unproven.size <= share // UNPROVEN_PART and teller.proven.oldest:
        return teller.proven.oldest
    return teller.unproven.oldest


cdef uint16_t above_share(Shard *shard, uint32_t share) noexcept nogil:
    """A gateway that has more than its share, if one is among the next ones: with unproven entries, if one has."""
    cdef uint16_t gateway, found = NOT_TOLD
    cdef int _
    for _ in range(<int> min(shard.teller_count, <uint32_t> TOLD_STEPS)):
        if shard.teller_at >= shard.teller_count:
            shard.teller_at = 0
        gateway = shard.tellers[shard.teller_at]
        if told_of(shard, gateway) > share:
            # It is the first one that is looked at the next time.
            if shard.told_by[gateway].unproven.size > share // UNPROVEN_PART:
                return gateway
            found = gateway
        shard.teller_at += 1
    return found


cdef GaveWay shard_give_way(
        Shard *shard, uint16_t gateway, bint own, uint64_t now_us, uint16_t *whose) noexcept nogil:
    cdef Teller *teller = &shard.told_by[gateway]
    cdef uint64_t all = shard.told - told_of(shard, CLAIMED_HERE)
    cdef uint64_t tellers = shard.teller_count + (teller.at == 0)
    cdef uint32_t share = <uint32_t> (all // tellers), number
    cdef uint16_t other
    cdef uint64_t state
    cdef int _
    whose[0] = gateway
    # A proven entry goes last: that of another gateway before it, if that one has too much.
    if not own and (told_of(shard, gateway) * tellers < all or teller.unproven.size <= share // UNPROVEN_PART):
        other = above_share(shard, share)
        if other and (shard.told_by[other].unproven.size > share // UNPROVEN_PART
                      or told_of(shard, gateway) * tellers < all):
            whose[0] = other
    teller = &shard.told_by[whose[0]]
    # As in evict(), each step is paid for once.
    for _ in range(EVICTION_STEPS):
        number = told_next(teller, share)
        if not number:
            break
        state = load64(&shard.entries[number].state, RELAXED)
        if until_of(state) <= now_us:
            shard_remove(shard, number, now_us)
            return EXPIRED_ONE
        if origin_of(state) != PEER:
            shard_tell(shard, number, CLAIMED_HERE)
        elif is_misplaced(state):
            shard_touch(shard, number)
        else:
            shard_remove(shard, number, now_us)
            return LIVING_ONE
    return NOBODY


cdef bint shard_has_room(Shard *shard, uint64_t now_us, int budget) noexcept nogil:
    if is_taken(shard):
        shard_expire(shard, now_us, budget)
        if is_taken(shard):
            sweep_ended(shard, now_us)
    return not is_taken(shard)


cdef void shard_add(
        Shard *shard, const Address *host, uint64_t hash, uint64_t until_us, uint64_t flags,
        uint64_t now_us) noexcept nogil:
    """Add a host; one that is there stays as it is."""
    cdef uint64_t state = 0
    cdef uint32_t number = shard_find(shard, host, hash, &state)
    if not number or until_of(state) <= now_us:
        shard_insert(shard, number, host, hash, until_us, flags, now_us)


cdef uint32_t shard_insert(
        Shard *shard, uint32_t expired, const Address *host, uint64_t hash, uint64_t until_us, uint64_t flags,
        uint64_t now_us) noexcept nogil:
    """Add a host that has no entry but an expired one (0: none at all); the number of its entry."""
    cdef uint64_t state
    cdef uint32_t number
    cdef Entry *entry
    if expired:
        shard_remove(shard, expired, now_us)
    if shard.free == 0 and shard.highest == shard.capacity:
        evict(shard, now_us)
    if shard.free:
        number = shard.free
        shard.free = shard.entries[number].newer
    else:
        number = shard.highest + 1
        store32(&shard.highest, number, RELAXED)
    entry = &shard.entries[number]
    # The entry is not LIVE now, and that is visible before its new host is.
    state = load64(&entry.state, RELAXED)
    fence(RELEASE)
    store64(&entry.host.high, host.high, RELAXED)
    store64(&entry.host.low, host.low, RELAXED)
    state = (state + (1 << GENERATION_SHIFT)) & GENERATION
    store64(&entry.state, until_us << UNTIL_SHIFT | state | LIVE | flags, RELEASE)
    link_newest(shard, &shard.unproven, number)
    index_insert(shard, hash, number)
    count_up(&shard.size, 1)
    count_up(&shard.added, 1)
    return number


cdef int expire_some(Shard *shard, Order *order, uint64_t now_us, int budget) noexcept nogil:
    """Steps at the old end of one list; how many are left of the budget."""
    cdef uint32_t oldest
    cdef uint64_t state
    while budget > 0:
        budget -= 1
        oldest = order.oldest
        if not oldest:
            break
        state = load64(&shard.entries[oldest].state, RELAXED)
        if until_of(state) <= now_us:
            shard_remove(shard, oldest, now_us)
        elif is_misplaced(state):
            shard_touch(shard, oldest)
        else:
            break
    return budget


cdef void shard_expire(Shard *shard, uint64_t now_us, int budget) noexcept nogil:
    """Take up to `budget` steps at the old ends of both lists: expired entries go, misplaced ones move."""
    expire_some(shard, &shard.proven, now_us, expire_some(shard, &shard.unproven, now_us, budget))


cdef uint32_t shard_sweep(Shard *shard, uint64_t now_us, uint32_t first, uint32_t budget) noexcept nogil:
    """Remove what is expired among `budget` entries from number `first` (from 1); the next number, 0 at the end.

    The lists are in order of expiry as long as the lifetime stays the same; after it was changed, only
    a sweep finds an expired entry behind a living one.
    """
    cdef uint32_t number = first
    cdef uint64_t state
    while budget and number <= shard.highest:
        state = load64(&shard.entries[number].state, RELAXED)
        if state & LIVE and until_of(state) <= now_us:
            shard_remove(shard, number, now_us)
        number += 1
        budget -= 1
    return number if number <= shard.highest else 0


# ---- memory: the main thread, at the start and at the end

cdef size_t entry_bytes(uint32_t capacity) noexcept:
    return (<size_t> capacity + 1) * sizeof(Entry)


cdef uint64_t lines_for(uint32_t capacity) noexcept:
    return (<uint64_t> capacity + LINE_LOAD - 1) // LINE_LOAD


cdef int map_shard(Shard *shard, uint32_t capacity, const char *key, uint64_t hash_mask) except -1:
    cdef int bits = (<object> capacity).bit_length()
    memcpy(&shard.key, key, sizeof(HashKey))
    shard.capacity = capacity
    shard.hash_mask = hash_mask
    shard.number_mask = (<uint32_t> 1 << bits) - 1
    shard.line_count = lines_for(capacity)
    shard.entries = <Entry *> map_pages(entry_bytes(capacity))
    shard.lines = <Line *> map_pages(shard.line_count * sizeof(Line))
    return 0


cdef size_t told_bytes(uint32_t capacity) noexcept:
    return (<size_t> capacity + 1) * sizeof(uint16_t) + <size_t> GATEWAYS * (sizeof(Teller) + sizeof(uint16_t))


cdef int map_told(Shard *shard, uint32_t most_told) except -1:
    shard.told_by = <Teller *> map_pages(told_bytes(shard.capacity))
    shard.tellers = <uint16_t *> (shard.told_by + <size_t> GATEWAYS)
    shard.gateways = shard.tellers + <size_t> GATEWAYS
    shard.most_told = most_told
    return 0


cdef void unmap_shard(Shard *shard) noexcept:
    unmap_pages(shard.entries, entry_bytes(shard.capacity))
    unmap_pages(shard.lines, shard.line_count * sizeof(Line))
    unmap_pages(shard.told_by, told_bytes(shard.capacity))
