"""Who waits to be let in: hosts, or networks, that were refused at a real server and may be refused once more.

A host that was refused N times, each time at least TIME after the one before and none longer ago than a day, comes in.
It is a memory beside that of refused hosts (_refused.pxd), whose 32 bytes are full, and in which who was refused
longest ago goes first: here that one has the better claim. It has the same shards and the same rule: **exactly one
thread writes a shard, in the refusing branch of the decision alone; every thread may read it.** No lock, no allocation.

What a place of 32 bytes knows, in ticks of 2^12 microseconds (4 ms):

* the time of the refusal that was counted last, of the first of those that count, and of the last one of all. A refusal
  counts if the one counted before is TIME ago. If the first that counts is older than a day, it goes, and with it those
  between it and the one counted last, of which nothing is known: for N up to 3 there are none, so that is exact; of a
  larger N it may ask for more refusals than it says, never for fewer.
* how many count, at most N, and the ports of the last three attempts, 8 bits each: SYNs from one of them, each at most
  35 s after the last SYN, are one attempt (as in _refused.pxd).

Who makes room. A host has its place in one set of four, chosen by the keyed hash. If all four are taken, first goes
who was refused a day ago; then who has not waited for TIME yet, the youngest first, so that a flood pushes out itself;
then who has been let in; then who was not seen for CLAIM, the oldest first. If there is none of these, the new one is
not noted. So nobody who has waited for TIME makes room within CLAIM, whatever a flood does.

Threads. A flow of a host comes to one thread, but two servers may have two. A thread takes up what another one knows of
a host if that is more: what is counted twice side by side counts once.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport prefetch_to

cdef enum:
    TICK_SHIFT = 12
    SET_PLACES = 4
    DAY_TICKS = 21093750            # 86,400 s
    BIAS_TICKS = 42187500           # two days before the machine started are times, too: state of an earlier boot
    CLAIM_TICKS = 5273438           # 6 h: no sender that was tried waits longer between two attempts
    REPEATED_TICKS = 8545           # 35 s
    MOST_TIMES = 15

# Parts of Waiting.times and Waiting.state.
cdef enum:
    AGE_BITS = 25                   # the first that counts, so long before the one counted last, which is above
    SINCE_SHIFT = 36                # the last refusal of all, so long after the one counted last, 25 bits
    PORTS_SHIFT = 12
    COUNT_SHIFT = 8
    # The lowest 8 bits are a generation: two states of a place differ. 0 is an empty place.

cdef struct Waiting:                # 32 bytes
    Address key
    uint64_t times
    uint64_t state

cdef struct PatienceShard:
    Waiting *places
    uint64_t sets
    uint64_t size                   # places that are taken
    uint64_t pushed_out             # hosts that went for others before a day was over
    uint64_t left_out               # refusals for which there was no place
    uint64_t let_in                 # hosts

cdef inline Waiting *patience_set(const PatienceShard *shard, uint64_t hash) noexcept nogil:
    # The lower half of the hash; the whitelist's index scales the upper one.
    return &shard.places[(<uint64_t> <uint32_t> hash * shard.sets >> 32) * SET_PLACES]

# What a host has to do, and by what it is known; never changed once published.
cdef struct Patience_ "mxallowd_patience":
    PatienceShard *shards           # NULL: nobody is let in so
    int shard_count
    uint32_t times
    uint64_t wait                   # ticks
    bint networks                   # a /24, or of IPv6 a /64, is taken for a host

cdef enum Patient:
    WAITS = 0
    COMES_IN        # this refusal was the last that it took: its next SYN is let in
    IS_IN           # it was refused often enough before this SYN

cdef inline void patience_prefetch(const Patience_ *rule, int own, uint64_t hash) noexcept nogil:
    cdef Waiting *places = patience_set(&rule.shards[own], hash)
    prefetch_to(places, 1, 2)
    prefetch_to(places + 2, 1, 2)

# The thread of shard `own` only: a SYN of an unknown host at a real server. `hash` is that of the table for `key`.
cdef Patient patience_note(
    const Patience_ *rule, int own, const Address *key, uint64_t hash, uint16_t port, uint64_t now_us) noexcept nogil
# Any thread: whether the next SYN is let in.
cdef bint patience_over(
    const Patience_ *rule, const Address *key, uint64_t hash, uint64_t now_us) noexcept nogil
# What a host is known by.
cdef Address patience_key(const Patience_ *rule, const Address *host) noexcept nogil


cdef class Patience:
    cdef PatienceShard *shards
    cdef readonly int shard_count
    cdef readonly uint64_t max_hosts
    cdef Table table                # whose hash it shares
    cdef Patience_ rule_of(self, times, wait_us, networks) except *
