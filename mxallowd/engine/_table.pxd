"""The whitelist as Python has it: shards (_shard.pxd), one a queue thread, and one for the main thread.

Its methods are for the main thread, and for tests; queue threads work on their shard. The main thread adds hosts to
its own shard; it may renew and end the entries of any.
"""
from libc.stdint cimport uint32_t, uint64_t

from mxallowd.engine._shard cimport Shard


cdef class Table:
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
