"""A queue thread: receives packets from one kernel queue, decides, and sends the verdicts.

It is a native thread that never takes the GIL: nothing that Python does can delay a verdict. It makes two system calls
a batch, recvmmsg and send; when nothing arrives it sleeps in the first. The main thread sets `requests` and then wakes
it: it sends the kernel a NLMSG_NOOP that asks for an acknowledgement, which arrives at the socket that the thread waits
for.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd._fastpath cimport Fastpath, Path
from mxallowd.engine._packet cimport BATCH, Packet
from mxallowd.engine._records cimport Record, Restored
from mxallowd.backends._verdicts cimport VERDICTS_BYTES, Marking
from mxallowd.backends.c_netlink cimport iovec, mmsghdr

cdef enum:
    # 128 bytes of payload and some 160 of attributes; what is longer is cut, and its id comes first.
    BUFFER = 1024

cdef enum Request:
    STOP = 1        # answer what waits, then end
    SWEEP = 2       # remove all expired entries, then say so by an event

cdef enum Phase:
    IDLE = 0        # not started
    RUNNING
    STOPPED_PHASE   # asked to, nothing waits any more
    FAILED          # `error` says why

cdef struct Traffic:                # counters: written by the queue thread, read by any
    uint64_t received               # packets
    uint64_t verdict_accept
    uint64_t verdict_drop
    uint64_t verdict_reset          # given back to the rules, which reject them
    uint64_t overruns               # ENOBUFS: the kernel could not hand over a message
    uint64_t interrupted            # EINTR: a signal came first, and nothing was taken or sent
    uint64_t unknown                # ENOENT: verdicts for packets that were gone
    uint64_t errors                 # other errors that the kernel answered, to a verdict or to a call
    uint64_t broken                 # messages whose lengths did not fit
    uint64_t unsent                 # verdicts that could not be sent
    uint64_t queue_full             # packets that found no room on their way to us: gaps in their numbers
    uint64_t came_again             # accepted packets that had the mark of accepted ones when they came
    uint64_t not_rejected           # dropped packets that had the mark of refused ones when they came

cdef struct Worker:
    int fd
    uint16_t queue
    Path *path
    Marking marking
    uint32_t requests               # bits of Request, set by the main thread
    uint32_t phase
    int error
    uint32_t sweep_at               # entry that a sweep goes on with, 0: none under way
    const Record *records           # set by the main thread while `record_count` is 0
    uint32_t record_count           # records that are to be restored; back to 0 when all are
    uint32_t restore_at             # record that restoring goes on with
    Restored restored               # what became of them so far
    Traffic traffic
    const uint8_t *bypass           # the configuration message that lets packets bypass the queue, sent at a stop
    uint32_t bypass_length
    char name[16]
    uint64_t *beat                  # raised with every turn and every batch; watched from outside this thread
    uint64_t *busy                  # whether packets without a verdict are in our hands
    uint64_t *thread                # where the thread's number is to be seen
    uint64_t unwatched[3]           # where they point to when nobody watches
    bint passes                     # what finds no room in the queue is accepted
    bint counting                   # whether last_id is the number of a packet
    uint32_t last_id
    int filled                      # packets in the batch
    uint32_t ids[<int> BATCH]
    uint32_t marks[<int> BATCH]
    Packet packets[<int> BATCH]
    mmsghdr messages[<int> BATCH]
    iovec vectors[<int> BATCH]
    uint8_t buffers[<int> BATCH][<int> BUFFER]
    uint8_t verdicts[<int> VERDICTS_BYTES]


cdef class QueueThread:
    cdef Worker *worker
    cdef unsigned long thread
    cdef bint started
    cdef bint joined
    cdef Fastpath fastpath
    cdef object heartbeats          # keeps the page alive
    cdef bytes bypass
    cdef bytes records              # keeps them alive while they are restored
    cdef int request(self, uint32_t request) except -1
