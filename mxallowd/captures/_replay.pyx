"""Candidates of a capture through the decision of the daemon: fed as they come, or timed batch by batch.

This drives `decide` of _fastpath just as a queue thread does, with the packets of _capture in place of those of a
kernel queue. Time is the capture's: expiry depends on it, and a record that is older than the one before counts as
just as old, since the daemon's clock never goes back.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from mxallowd.engine._address cimport Address
from mxallowd.captures._capture cimport Candidate
from mxallowd._fastpath cimport Fastpath, Path, decide
from mxallowd.engine._packet cimport BATCH, Packet
from mxallowd.engine._shard cimport LATEST_US, Shard, shard_hash, shard_insert
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport prefetch


cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t> now.tv_sec * 1000000000 + <uint64_t> now.tv_nsec


cdef inline uint64_t within_reach(uint64_t time_us, int64_t offset_us) noexcept nogil:
    """A time of the capture by our clock. A damaged record may claim any: none lies beyond what an entry can last."""
    return min(<uint64_t> max(0, <int64_t> time_us + offset_us), LATEST_US >> 1)


def feed(Fastpath fastpath not None, bytes candidates not None, now_us, *, offset_us=None):
    cdef Py_ssize_t total = len(candidates) // <Py_ssize_t> sizeof(Candidate), first = 0, count, i
    cdef const Candidate *candidate = <const Candidate *> <const char *> candidates
    cdef uint64_t now = now_us
    cdef int64_t offset = 0 if offset_us is None else offset_us
    cdef bint by_capture = offset_us is not None
    cdef Path *path = &fastpath.path
    cdef Packet packets[<int> BATCH]
    if fastpath.owned_by_thread:
        raise RuntimeError("a queue thread decides here")
    with nogil:
        while first < total:
            count = min(total - first, <Py_ssize_t> BATCH)
            for i in range(count):
                if by_capture:
                    now = max(now, within_reach(candidate[first + i].time_us, offset))
                packets[i].data = <const uint8_t *> candidate[first + i].head
                packets[i].length = candidate[first + i].length
                packets[i].now_us = now
            decide(path, packets, <int> count)
            first += count
    return now


def replay(Fastpath fastpath not None, bytes candidates not None, not_before_us=0, *, since_us=0):
    cdef Py_ssize_t total = len(candidates) // <Py_ssize_t> sizeof(Candidate), first = 0, count, i
    cdef const Candidate *candidate = <const Candidate *> <const char *> candidates
    cdef bytes times = PyBytes_FromStringAndSize(NULL, (total + BATCH - 1) // BATCH * sizeof(uint32_t))
    cdef uint32_t *batch_ns = <uint32_t *> PyBytes_AS_STRING(times)
    cdef uint64_t now_us = not_before_us, since = since_us, started, ended
    cdef Path *path = &fastpath.path
    cdef Packet packets[<int> BATCH]
    if fastpath.owned_by_thread:
        raise RuntimeError("a queue thread decides here")
    with nogil:
        started = monotonic_ns()
        while first < total:
            count = min(total - first, <Py_ssize_t> BATCH)
            for i in range(count):
                now_us = max(now_us, within_reach(candidate[first + i].time_us, -<int64_t> since))
                packets[i].data = <const uint8_t *> candidate[first + i].head
                packets[i].length = candidate[first + i].length
                packets[i].now_us = now_us
                # The daemon finds its packets in the cache, where the kernel has just put them.
                prefetch(&candidate[first + i + <Py_ssize_t> BATCH])
            decide(path, packets, <int> count)
            ended = monotonic_ns()
            batch_ns[first // BATCH] = <uint32_t> min(ended - started, <uint64_t> 0xffffffff)
            started = ended
            first += count
    return times, now_us


def preload(Table table not None, count, until_us, now_us):
    cdef Shard *shard = table.shard_at(0)
    cdef uint64_t number, wanted = count, until = min(<uint64_t> until_us, LATEST_US), now = now_us
    cdef Address host
    cdef uint8_t *octets = <uint8_t *> &host
    if wanted > shard.capacity:
        raise ValueError(f"no room for {count} entries")
    with nogil:
        for number in range(wanted):
            # 100::/64, the discard prefix of RFC 6666: no packet comes from there.
            memset(&host, 0, sizeof(host))
            octets[0] = 1
            memcpy(&host.low, &number, sizeof(number))
            shard_insert(shard, 0, &host, shard_hash(shard, &host), until, 0, now)
