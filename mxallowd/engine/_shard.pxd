"""The whitelist: which hosts may reach the real server, and until when.

A table is cut into shards, one a queue thread, and one for the main thread, which admits hosts by their names.
**Exactly one thread writes a shard; every thread may read it.** That is why nothing here locks:

* A reader can check by itself that an entry is consistent. `state` holds expiry, a generation and flags in one word.
  The reader loads the state, the host, and the state again; equal expiry and generation mean that the host belongs to
  this state. The writer clears LIVE before it changes the host and publishes the new state (next generation) after it.
  The generation has 7 bits and the expiry counts microseconds. A batch of 64 packets takes longer than one microsecond
  and reuses an entry 64 times at most, so the same word does not come back within one read.
* The index never moves a word. An entry stays in one line of the index until it is removed. If its line is full, the
  entry goes into a later line, and the full line counts it in `passed`. So a lookup beside a removal cannot miss an
  entry that was there all the time (which a backward shift would allow), and there are no tombstones.
* Other threads may change USED, PROVEN, TOUCHED and the expiry, by compare-and-exchange against the state they saw. An
  entry that is ended before its time has the expiry 0; its owner removes it like any expired one.

**There is always room for one more.** Entries are in two lists by age: `proven`, of hosts that have completed a
handshake with a real server, and `unproven`, of all others, whether or not a SYN of theirs reached a real server: a
SYN can be spoofed, a handshake cannot. In a full shard an expired entry makes room, else the oldest of `unproven`,
else the oldest of `proven`. So a host that has just met the fake server is the last of its list to go. A host that is
not proven and meets the fake server again while the shard is full becomes the youngest, for it is about to come to the
real server. If the shard is full of proven hosts, the unproven ones keep a sixteenth of it: else newcomers would push
out each other.

No search is needed. The owner moves its entries when it renews or touches them. What another thread has done stands in
the flags PROVEN and TOUCHED until the entry is the oldest; then it is moved where it belongs. Entries that expired
behind a living one, because they had another lifetime, are removed when they become the oldest, or by a sweep. (For one
that was ended before its time, a full shard looks through its entries, 256 at each eviction.)

**What other gateways tell has places of its own** in the main thread's shard, where there are any (--fleet): neither
do told entries take places of others, nor others theirs. Beside such a shard stands for each entry which gateway told
of it first, and each gateway has its own two lists by age. Where told places are full, or a gateway has as many as it
may have, a told entry makes room for a newer one: of the same gateway, or of one that has more than its fair share,
which is told entries / gateways that have any. So a gateway within its share is never pushed out by another one. An
unproven entry goes before a proven one, as above. For each record 64 gateways are looked at, and the next one goes on
from there.

The place of an entry stays a told one when the host meets a fake server here, although the entry is a contact's then,
and makes room for nobody. Half of the told places at most are such ones: who comes then stays a told one.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine._siphash cimport HashKey
from mxallowd.engine.c_atomic cimport RELAXED, load16, load64

# Flags in the low bits of Entry.state.
cdef enum:
    LIVE = 1
    USED = 2        # a SYN of the host reached a real server
    PROVEN = 4      # the host has completed a handshake with a real server
    TOUCHED = 8     # another thread has renewed it, or let it become the youngest
    IN_PROVEN = 16  # hangs in the list `proven`

# Where an entry comes from; ORIGINS in _table.pyx has their words. Contacts alone, and what is taken for contacts after
# a restart, count as successful or direct-to-fake when they expire.
cdef enum Origin:
    CONTACT = 0     # the host met a fake server
    CHILD           # came in by the reverse name of another host
    BY_HAND         # the operator let it in
    RESTORED        # was there before a restart, and nobody knows how it came in
    PEER            # another gateway told of it
    TRUSTED         # let in for what it is known to be
    PATIENCE        # was refused at a real server often enough
    OUTBOUND        # our own mail server connects to it
    KINDS_OF_ORIGIN

# What stands beside an entry in a told place: the number of a gateway, and whether another one has told of it as well.
cdef enum:
    NOT_TOLD = 0
    CLAIMED_HERE = 0x7ffe       # told once, and come in here since: a local entry in a told place
    UNKNOWN_GATEWAY = 0x7fff    # told before a restart
    SEVERAL_GATEWAYS = 0x8000
    GATEWAYS = 0x8000           # numbers that there are

cdef enum:
    ORIGIN_SHIFT = 5
    GENERATION_SHIFT = 8
    UNTIL_SHIFT = 15        # leaves 49 bits: 17 years of microseconds
    LINE_WORDS = 15
    CLAIMED_PART = 2        # of told places, that hosts may keep that meet a fake server here
    UNPROVEN_PART = 16      # of the shard, which proven hosts leave to the others

cdef struct Entry:
    Address host
    uint64_t state          # until_us << 15 | generation << 8 | origin << 5 | flags
    uint32_t older          # neighbours in its list, or the next free entry in `newer`
    uint32_t newer

cdef struct Line:           # one cache line of the index
    uint32_t passed         # entries that found this line full and sit further on
    # Tag and entry number, 0 where empty.
    uint32_t word[LINE_WORDS]

cdef struct Order:
    uint32_t oldest
    uint32_t newest
    uint32_t size

cdef struct Teller:         # a gateway's entries in told places
    Order unproven
    Order proven
    uint32_t at             # 1 + where it stands in Shard.tellers; 0: it has none

# What became of the search for a told entry that makes room.
cdef enum GaveWay:
    NOBODY = 0
    EXPIRED_ONE
    LIVING_ONE              # Shard.displaced

cdef struct Shard:
    Entry *entries          # numbered from 1; number 0 stands for none
    Line *lines
    uint64_t line_count
    uint64_t hash_mask      # all ones; 0 makes every host collide, for tests
    HashKey key
    uint32_t capacity
    uint32_t number_mask    # the part of an index word that is the entry's number; the rest is the tag
    uint32_t highest        # entries above it were never taken
    uint32_t free           # list of entries given back
    Order unproven
    Order proven
    Address displaced       # the last live host that made room
    uint64_t ended          # entries that another thread has ended: the main thread's own
    uint64_t ended_seen     # of these, those that an eviction has looked for
    uint32_t look_at        # entry with which that goes on, 0: it begins
    # Counters: written by the shard's thread, read by any.
    uint64_t size
    uint64_t added
    uint64_t successful      # expired contact entries that were used
    uint64_t direct_to_fake  # expired contact entries that never were
    uint64_t evicted         # live entries that made room
    uint64_t ended_gone      # entries that were ended and have been removed since
    # What other gateways told: NULL and 0 where nothing can be. Written by the main thread, the shard's own.
    uint16_t *gateways       # of each entry
    Teller *told_by          # by gateway
    uint16_t *tellers        # gateways that have entries, but for CLAIMED_HERE, in any order
    uint32_t teller_count
    uint32_t teller_at       # among them: with which one the search for one above its share goes on
    uint32_t told            # entries in told places
    uint32_t most_told       # of `capacity`; the rest is for all others
    uint32_t told_at         # entry from which expired ones are looked for when these places are full

cdef struct Lookups:        # the sources of a batch, and what was found
    Address host[<int> BATCH]
    uint64_t hash[<int> BATCH]
    uint64_t line[<int> BATCH]
    uint32_t number[<int> BATCH]        # the entry that the index proposes for it, 0: none
    uint32_t passed[<int> BATCH]        # of its line: 0 where no other line can hold it
    uint8_t elsewhere[<int> BATCH]      # whether the index of another shard may hold it

cdef extern from *:
    const uint64_t LATEST_US "((1ULL << 49) - 1)"

cdef inline uint64_t until_of(uint64_t state) noexcept nogil:
    return state >> UNTIL_SHIFT

cdef inline int origin_of(uint64_t state) noexcept nogil:
    return state >> ORIGIN_SHIFT & 7

# The flags of an entry that is to be added; `flags` may be USED and PROVEN.
cdef inline uint64_t flags_of(int origin, uint64_t flags) noexcept nogil:
    return <uint64_t> origin << ORIGIN_SHIFT | flags

# Whether what nobody told has no place left.
cdef inline bint is_taken(const Shard *shard) noexcept nogil:
    return load64(&shard.size, RELAXED) - shard.told >= shard.capacity - shard.most_told

# Any thread: which gateway told first of this entry, as far as it is known; 0: none did, or nobody knows.
cdef inline uint16_t told_first(const Shard *shard, uint32_t number) noexcept nogil:
    cdef uint16_t gateway
    if shard.gateways == NULL:
        return 0
    gateway = load16(&shard.gateways[number], RELAXED) & ~<uint16_t> SEVERAL_GATEWAYS
    return 0 if gateway == UNKNOWN_GATEWAY else gateway

# Entries of this gateway in told places.
cdef inline uint32_t told_of(const Shard *shard, uint16_t gateway) noexcept nogil:
    return shard.told_by[gateway].unproven.size + shard.told_by[gateway].proven.size

# Whether the entry of that number has a told place.
cdef inline bint is_told(const Shard *shard, uint32_t number) noexcept nogil:
    return shard.gateways != NULL and shard.gateways[number] != NOT_TOLD

cdef inline bint is_full(const Shard *shard) noexcept nogil:
    return load64(&shard.size, RELAXED) >= shard.capacity

# Any thread.
cdef uint64_t shard_hash(const Shard *shard, const Address *host) noexcept nogil
cdef void shard_prefetch_all(const Shard *shard, const Lookups *lookups, int count) noexcept nogil
cdef uint32_t shard_find(Shard *shard, const Address *host, uint64_t hash, uint64_t *state) noexcept nogil
# A host and the state that it belongs to, as one; False where they could not be had, or there is none.
cdef bint entry_read(Entry *entry, Address *host, uint64_t *state) noexcept nogil
# Set one of the flags USED, PROVEN and TOUCHED; whether this call was the one that set it.
cdef bint shard_mark(Shard *shard, uint32_t number, uint64_t seen, uint64_t flag) noexcept nogil
# Let the entry that was seen in state `seen` end later, or now. False: another thread has changed it, so look again.
cdef bint shard_renew(Shard *shard, uint32_t number, uint64_t seen, uint64_t until_us) noexcept nogil
cdef bint shard_end(Shard *shard, uint32_t number, uint64_t seen) noexcept nogil
# Let it have another origin, under the same condition.
cdef bint shard_attribute(Shard *shard, uint32_t number, uint64_t seen, int origin) noexcept nogil
cdef void shard_look_elsewhere(const Shard *shard, Lookups *lookups, int count) noexcept nogil

# The shard's thread only.
cdef void shard_hash_all(Shard *shard, Lookups *lookups, int count) noexcept nogil
cdef void shard_locate_all(Shard *shard, Lookups *lookups, int count) noexcept nogil
cdef void shard_add(
    Shard *shard, const Address *host, uint64_t hash, uint64_t until_us, uint64_t flags,
    uint64_t now_us) noexcept nogil
# Let this live entry be the youngest of its list.
cdef void shard_touch(Shard *shard, uint32_t number) noexcept nogil
# Whether an entry can be added without giving a living one away, after `budget` steps of shard_expire().
cdef bint shard_has_room(Shard *shard, uint64_t now_us, int budget) noexcept nogil
cdef uint32_t shard_insert(
    Shard *shard, uint32_t expired, const Address *host, uint64_t hash, uint64_t until_us, uint64_t flags,
    uint64_t now_us) noexcept nogil
cdef void shard_expire(Shard *shard, uint64_t now_us, int budget) noexcept nogil
# The same for a told entry; `expired` is what the host has, as shard_insert() takes it.
cdef bint shard_has_told_room(const Shard *shard, uint32_t expired) noexcept nogil
# Where no told entry has room, look for expired ones; an entry that was found before may be gone then.
cdef void shard_make_told_room(Shard *shard, uint64_t now_us) noexcept nogil
# Let a told entry make room for one of this gateway; with `own`, one of its own. `whose`: of which gateway that was.
cdef GaveWay shard_give_way(
    Shard *shard, uint16_t gateway, bint own, uint64_t now_us, uint16_t *whose) noexcept nogil
cdef void shard_remove(Shard *shard, uint32_t number, uint64_t now_us) noexcept nogil
# This entry has a told place from now on; `gateway` is its number, not 0. It is the youngest of that gateway.
cdef void shard_tell(Shard *shard, uint32_t number, uint16_t gateway) noexcept nogil
cdef uint32_t shard_sweep(Shard *shard, uint64_t now_us, uint32_t first, uint32_t budget) noexcept nogil

# The main thread, before any other one runs and after all have ended. Raises MemoryError.
cdef int map_shard(Shard *shard, uint32_t capacity, const char *key, uint64_t hash_mask) except -1
# So many of its places are for what other gateways tell. Raises MemoryError.
cdef int map_told(Shard *shard, uint32_t most_told) except -1
# Bytes that this takes.
cdef size_t told_bytes(uint32_t capacity) noexcept
cdef void unmap_shard(Shard *shard) noexcept
