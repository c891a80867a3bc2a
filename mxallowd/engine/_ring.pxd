"""A bounded ring of fixed-size events, from one queue thread to the main loop.

One writer, one reader, no lock: the writer owns `head`, the reader owns `tail`. An event that finds no room is counted
and lost; the writer never waits. It wakes the reader through an eventfd, and only if the reader has marked itself as
asleep: under load the writer makes no system call.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine.c_atomic cimport ACQUIRE, count_up, load64

# What happened; events.py gives each its word.
cdef enum Kind:
    WHITELISTED = 1
    ACCEPTED = 2
    REFUSED = 3
    MALFORMED = 4
    RENEWED = 5
    SWEPT = 6
    STOPPED = 7
    EVICTED = 8
    LIST_DENIED = 9
    LIST_ALLOWED = 10
    MET = 11
    PATIENT = 12
    BY_NETWORK = 13
    AGAIN = 14

cdef struct Event:              # 64 bytes; events.py unpacks the same layout
    uint8_t kind
    uint8_t reason              # MALFORMED: a Parse status
    uint16_t queue
    uint32_t length             # MALFORMED: bytes; STOPPED: errno; REFUSED, MET, AGAIN: attempts; WHITELISTED: port
    uint64_t time_us            # CLOCK_BOOTTIME
    Address source              # MALFORMED: the first 32 bytes of the packet lie in source and destination
    Address destination
    uint64_t until_us           # WHITELISTED, ACCEPTED, RENEWED, PATIENT: when the entry ends; MET, AGAIN: port
    uint64_t reserved

cdef struct RingState:
    Event *events
    uint32_t capacity           # a power of two
    uint32_t reserve            # slots that only pressing events may take
    int wake_fd                 # eventfd of the reader
    uint32_t asleep             # set by the reader, cleared by whoever wakes it
    uint64_t written            # events claimed so far: the writer's own
    uint64_t head               # events published so far
    uint64_t tail               # events read so far
    uint64_t lost               # events that did not fit
    uint64_t lost_pressing      # pressing ones among them

cdef enum:
    REFUSED_PART = 8

# The writer's thread only. The next slot, to be filled in every field; NULL: there was no room, and it is counted.
# `pressing`: may use the reserve.
cdef Event *ring_claim(RingState *ring, bint pressing) noexcept nogil
# The same in a batch: `limit` from ring_limit() at its beginning. The reader may have made more room by then.
cdef inline uint64_t ring_limit(const RingState *ring, bint pressing) noexcept nogil:
    return load64(&ring.tail, ACQUIRE) + ring.capacity - (0 if pressing else ring.reserve)

# Below it one more refusal of a new host may be told of: a flood of them is not to fill the reader's time.
cdef inline uint64_t ring_limit_refused(const RingState *ring) noexcept nogil:
    return load64(&ring.tail, ACQUIRE) + ring.capacity // REFUSED_PART

cdef inline Event *ring_claim_below(RingState *ring, uint64_t limit, bint pressing) noexcept nogil:
    if ring.written >= limit:
        count_up(&ring.lost, 1)
        if pressing:
            count_up(&ring.lost_pressing, 1)
        return NULL
    ring.written += 1
    return &ring.events[(ring.written - 1) & (ring.capacity - 1)]

# Let the reader see what was claimed: once a batch.
cdef void ring_publish(RingState *ring) noexcept nogil
cdef void ring_wake(RingState *ring) noexcept nogil


cdef class Ring:
    cdef RingState state
