"""The memory of refused hosts: who was refused at a real server, since when, how often, and where.

It is cut into shards as the whitelist is, and has the same rule: **exactly one thread writes a shard, in the refusing
branch of the decision alone; every thread may read it.** So nothing here locks, and nothing is allocated.

* A host has a slot in one set of four, found by the keyed hash of the whitelist's index, so no sender can choose the
  set. If all four slots are taken, a new host replaces the one that was refused longest ago.
* A reader loads the state, then host and times, and the state again; the same state means that they belong together.
  The writer sets it to 0 before another host takes the slot. An update of the same host moves the times first, so a
  reader may see a last time that is newer than the count beside it.
* A connection attempt counts once, however often its SYN is sent again: from one of the last three ports of the source,
  at most 35 s after the SYN before, and at most two minutes after the event of the attempt (Linux sends a SYN 1, 3, 7,
  15, 31 and 63 s after the first: tcp(7), tcp_syn_retries). Ports are kept as 8 bits each, so one new attempt of a
  hundred is taken for one of those before.
* Times are counted in steps of 2^20 microseconds (1.05 s): no division, and 32 bits last for 142 years.

An event is written when a host is new, and at the next attempt when a minute is over since its last event, which is
`told`. If the ring has no room for it, the host is PENDING, and its next SYN tries again.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport prefetch_to

cdef enum:
    STEP_SHIFT = 20
    SET_SLOTS = 4                 # slots of a set: two lines of the cache
    REPEATED_STEPS = 34     # 35 s
    TOLD_STEPS = 58         # a minute
    ATTEMPT_STEPS = 122     # two minutes
    MOST_TIMES = 0xffff
    MOST_SERVERS = 255      # further ones share the last number, of a server that is not known

# Parts of Refusal.state.
cdef enum:
    TIMES_SHIFT = 48        # attempts, 16 bits; at least 1 where there is a host
    PORTS_SHIFT = 24        # of the last three attempts, 8 bits each, the newest lowest
    SERVER_SHIFT = 16       # number of the server of the last attempt, 8 bits
    TOLD_SHIFT = 8          # low bits of the step in which an event told of it, 8 bits
    PENDING = 128           # an event is due that found no room
    # The lowest 7 bits are a generation: the same host in the same slot twice is not taken for one stay.

cdef struct Refusal:        # 32 bytes
    Address host
    uint64_t when           # last << 32 | first, in steps: who was refused longest ago has the least
    uint64_t state

cdef struct RefusedRecord:  # as entries() gives it
    Address host
    uint32_t first
    uint32_t last
    uint32_t times
    uint8_t server
    uint8_t reserved[3]

cdef struct RefusedShard:
    Refusal *slots
    uint64_t sets
    uint64_t size           # slots that are taken
    uint64_t pushed_out     # hosts that went for others
    uint64_t attempts       # connection attempts, as Refusal counts them
    uint64_t untold         # refusals that were to be told of and found no room in the ring

cdef inline Refusal *refused_set(const RefusedShard *shard, uint64_t hash) noexcept nogil:
    # The lower half of the hash; the whitelist's index scales the upper one.
    return &shard.slots[(<uint64_t> <uint32_t> hash * shard.sets >> 32) * SET_SLOTS]

cdef inline void refused_prefetch(const RefusedShard *shard, uint64_t hash) noexcept nogil:
    cdef Refusal *slots = refused_set(shard, hash)
    prefetch_to(slots, 1, 2)
    prefetch_to(slots + 2, 1, 2)

# The shard's thread only. Counts a refusal; the attempts of the host so far where an event is to tell of it, else 0.
# `room`: whether the ring has room for that event. Without, it is counted in `untold` and due at the next SYN.
cdef uint32_t refused_note(
    RefusedShard *shard, const Address *host, uint64_t hash, uint8_t server, uint16_t port, uint64_t now_us,
    bint room) noexcept nogil
# Any thread. A copy of a slot whose parts belong together; False: it is empty, or changes hands all the time.
cdef bint refused_read(const Refusal *slot, Refusal *found) noexcept nogil
# Any thread. A copy of what is known of the host; False: nothing is.
cdef bint refused_find(const RefusedShard *shard, const Address *host, uint64_t hash, Refusal *found) noexcept nogil


cdef class Refused:
    cdef RefusedShard *shards
    cdef readonly int shard_count
    cdef readonly uint64_t max_hosts    # what the sets hold: never more than was asked for
    cdef readonly list servers          # addresses, indexed by their number
    cdef Table table                    # whose hash it shares
    cdef RefusedShard *shard_at(self, int shard) except NULL
