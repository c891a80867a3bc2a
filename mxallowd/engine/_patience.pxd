"""Who waits to be let in: hosts, or networks, that were refused at a real server and may be refused once more.

A host that was refused N times, each time at least TIME after the one before and none longer ago than a day, comes in.
It is a memory beside that of refused hosts (_refused.pxd), whose 32 bytes are full, and in which who was refused
longest ago goes first: here that one has the better claim. It has the same shards and the same rule: **exactly one
thread writes a shard, in the refusing branch of the decision alone; every thread may read it.** No lock, no allocation.
One thing the main thread may write, which the thread bears at any time: the state of a place becomes 0, so it is empty.
That is how who is removed by hand is forgotten; before his entry is ended, since SYNs of a listed host are not refused.

A refusal counts if the one counted before is TIME ago. If the first that counts is older than a day, it goes, and with
it those between it and the one counted last, of which nothing is known: for N up to 2 there are none, so that is exact;
of a larger N it may ask for more refusals than it says, never for fewer. (What it would take to be exact is all
refusals of a day, since each may be the one that the next chain begins with.)

Who is noted. In half of TIME no more new hosts than there are sets, and as many at once after a time without. So a
flood of made-up hosts leaves most of the room empty, and who comes after it finds a place.

Who makes room (_waiting.pxd has the sets). If all four places are taken, first goes who was refused a day ago; then who
has not waited for TIME yet, those that came once before those that came again, the youngest first, so that a flood
pushes out itself; then who has been let in; then who was not seen for CLAIM, the oldest first. If all four have waited
for TIME, the youngest of those that never came again goes: that is the open seat, without which the rest of a flood
could keep others out for CLAIM. If there is none of these, the new one is not noted. So of four that have waited, three
stay within CLAIM whatever a flood does, and whoever has sent a SYN again stays in any case.

Threads. A flow of a host comes to one thread, but two servers may have two. A thread takes up what another one knows of
a host if that is more: what is counted twice side by side counts once.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address, is_mapped
from mxallowd.engine._shard cimport Shard
from mxallowd.engine._table cimport Table
from mxallowd.engine._waiting cimport PatienceShard

cdef enum:
    DAY_TICKS = 21093750            # 86,400 s
    BIAS_TICKS = 42187500           # two days before the machine started are times, too: state of an earlier boot
    CLAIM_TICKS = 5273438           # 6 h: no sender that was tried waits longer between two attempts
    REPEATED_TICKS = 8545           # 35 s

# What a host has to do, and by what it is known; never changed once published.
cdef struct Patience_ "mxallowd_patience":
    PatienceShard *shards           # NULL: nobody is let in so
    int shard_count
    uint32_t times
    uint64_t wait                   # ticks
    uint64_t each                   # by so much, in 2^-20 ticks, a new host brings the end of what is noted nearer
    bint networks                   # a /24, or of IPv6 a /64, is taken for a host

cdef enum Patient:
    WAITS = 0
    COMES_IN        # this refusal was the last that it took: its next SYN is let in
    IS_IN           # it was refused often enough before this SYN

# The thread of shard `own` only: begin to fetch what is known of `few` hosts of a batch, those at `at`. `hashes` are
# those of the table for the hosts; with `networks`, those of the networks are written to `made`, at the same places.
cdef void patience_fetch(
    const Patience_ *rule, const Shard *shard, int own, const Address *hosts, const uint64_t *hashes, const int *at,
    int few, uint64_t *made) noexcept nogil
# The thread of shard `own` only: a SYN of an unknown host at a real server. `hash` is that of the table for `key`.
cdef Patient patience_note(
    const Patience_ *rule, int own, const Address *key, uint64_t hash, uint16_t port, uint64_t now_us) noexcept nogil
# Any thread: whether the next SYN is let in.
cdef bint patience_over(
    const Patience_ *rule, const Address *key, uint64_t hash, uint64_t now_us) noexcept nogil
# What a host is known by: itself, or its network in a form that no address of a host has.
cdef inline Address patience_key(const Patience_ *rule, const Address *host) noexcept nogil:
    cdef Address key = host[0]
    cdef uint8_t *byte = <uint8_t *> &key
    if not rule.networks:
        return key
    if is_mapped(host):
        byte[10], byte[15] = 0xfe, 0
    else:
        key.low = <uint64_t> -1
    return key


cdef class Patience:
    cdef PatienceShard *shards
    cdef readonly int shard_count
    cdef readonly uint64_t max_hosts
    cdef uint64_t forgotten         # places that were emptied by the main thread
    cdef Table table                # whose hash it shares
    cdef Patience_ rule_of(self, times, wait_us, networks) except *
