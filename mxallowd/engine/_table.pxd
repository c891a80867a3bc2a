"""The whitelist as Python has it: shards (_shard.pxd), one a queue thread, and one for the main thread.

Its methods are for the main thread, and for tests; queue threads work on their shard. The main thread adds hosts to
its own shard; it may renew and end the entries of any.
"""
from libc.stdint cimport uint32_t, uint64_t

from mxallowd.engine._shard cimport Shard
from mxallowd.engine.c_atomic cimport RELAXED, load64

# When nobody is refused. All queue threads share it, since a host's SYN to the fake server and that to the real one may
# go to different queues. Read and written as single words, RELAXED: a decision that sees it a moment late is one that
# was made a moment sooner. A line of the cache of its own: it changes when packets are lost, and is read by refusals.
cdef struct Leniency:
    uint64_t until_us           # contacts may have passed unseen: set by any thread, only ever later
    uint64_t always             # hosts from before the start are being entered: set by the main thread
    uint64_t unused[6]


cdef void lenient_until(Leniency *leniency, uint64_t until_us) noexcept nogil


cdef inline bint is_lenient(const Leniency *leniency, uint64_t now_us) noexcept nogil:
    return now_us < load64(&leniency.until_us, RELAXED) or load64(&leniency.always, RELAXED) != 0


cdef class Table:
    cdef Leniency *leniency
    cdef Shard *shards
    cdef readonly int shard_count       # those of the queue threads, and that of the main thread where it has room
    cdef readonly uint64_t max_entries
    cdef int main                       # the shard of the main thread, -1: there is none
    cdef uint64_t proven                # entries that prove() has marked
    cdef uint64_t ended                 # entries that end() has ended
    cdef Shard *shard_at(self, int shard) except NULL
    cdef int sample_from(self, Shard *shard, uint32_t number, int most, uint64_t now, dict found) except -1
    cdef bint mark(self, host, now_us, uint64_t flag) except? 1
    cdef Shard *find_live(self, host, now_us, uint32_t *number, uint64_t *state) except? NULL
