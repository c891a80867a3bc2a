"""A bounded ring of fixed-size events: see _ring.pxd."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy
from posix.unistd cimport write

from mxallowd.engine._pages cimport map_pages, unmap_pages
from mxallowd.engine.c_atomic cimport (
    ACQUIRE, RELAXED, RELEASE, SEQ_CST, exchange32, fence, load32, load64, store32, store64)

EVENT_SIZE = sizeof(Event)


cdef Event *ring_claim(RingState *ring, bint pressing) noexcept nogil:
    return ring_claim_below(ring, ring_limit(ring, pressing), pressing)


cdef void ring_publish(RingState *ring) noexcept nogil:
    store64(&ring.head, ring.written, RELEASE)


cdef void ring_wake(RingState *ring) noexcept nogil:
    """Wake the reader if it sleeps and something waits; once a batch, after the verdicts are out."""
    cdef uint64_t one = 1
    # Store of head before load of asleep: the mirror image of Ring.sleep().
    fence(SEQ_CST)
    if load32(&ring.asleep, RELAXED) == 0 or load64(&ring.head, RELAXED) == load64(&ring.tail, RELAXED):
        return
    if exchange32(&ring.asleep, 0, SEQ_CST):
        # It cannot fail but by an overflow of the eventfd's counter, and then the reader is awake.
        write(ring.wake_fd, &one, sizeof(one))


@cython.final
cdef class Ring:
    def __cinit__(self, capacity, wake_fd):
        if capacity < 4 or capacity > 1 << 24 or capacity & (capacity - 1):
            raise ValueError(f"{capacity} is not a power of two from 4 to 16777216")
        self.state.events = <Event *> map_pages(<size_t> capacity * sizeof(Event))
        self.state.capacity = capacity
        self.state.reserve = capacity // 2
        self.state.wake_fd = wake_fd

    def __dealloc__(self):
        unmap_pages(self.state.events, <size_t> self.state.capacity * sizeof(Event))

    def push(self, event, *, pressing=True):
        cdef Event *slot
        cdef bytes record = event
        if len(record) != sizeof(Event):
            raise ValueError(f"an event has {EVENT_SIZE} bytes")
        slot = ring_claim(&self.state, pressing)
        if slot == NULL:
            return False
        memcpy(slot, <const char *> record, sizeof(Event))
        ring_publish(&self.state)
        ring_wake(&self.state)
        return True

    def drain(self, most):
        cdef uint64_t tail = load64(&self.state.tail, RELAXED)
        cdef uint64_t waiting = load64(&self.state.head, ACQUIRE) - tail
        cdef uint64_t taken = min(waiting, <uint64_t> most), first
        cdef uint64_t at = tail & (self.state.capacity - 1)
        cdef bytes records = PyBytes_FromStringAndSize(NULL, taken * sizeof(Event))
        cdef char *target = PyBytes_AS_STRING(records)
        first = min(taken, self.state.capacity - at)
        memcpy(target, &self.state.events[at], first * sizeof(Event))
        memcpy(target + first * sizeof(Event), self.state.events, (taken - first) * sizeof(Event))
        store64(&self.state.tail, tail + taken, RELEASE)
        return records

    def sleep(self):
        store32(&self.state.asleep, 1, RELAXED)
        fence(SEQ_CST)
        if load64(&self.state.head, RELAXED) == load64(&self.state.tail, RELAXED):
            return True
        store32(&self.state.asleep, 0, RELAXED)
        return False

    @property
    def lost(self):
        return load64(&self.state.lost, RELAXED)

    @property
    def lost_pressing(self):
        return load64(&self.state.lost_pressing, RELAXED)

    @property
    def capacity(self):
        return self.state.capacity

    def __len__(self):
        return load64(&self.state.head, ACQUIRE) - load64(&self.state.tail, RELAXED)
