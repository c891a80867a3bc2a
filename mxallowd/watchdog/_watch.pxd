"""Heartbeats of the threads that a verdict needs, and the thread that ends the process when a heartbeat stops.

The heartbeats are counters in a page that another process can map (guard.py), so that it notices even a process that is
stopped as a whole. Each has one writer and any number of readers. The watching thread is native and never takes the
GIL. It counts its own ticks and not the time, so that a pause of the whole process, which stops this thread as well,
does not count.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    MOST_QUEUES = 64
    TICK_MS = 50
    SILENT_TICKS = 10       # 500 ms: then the process ends, and the kernel's --queue-bypass takes over
    STARVED_TICKS = 60      # 3 s: for a thread that could run, if only it got a processor
    STATUS = 70             # EX_SOFTWARE of sysexits.h

cdef struct Beats:          # the shared page
    uint64_t main_loop      # goes up with each turn of the main loop's clock
    uint64_t guard          # goes up with each look of the guard: its own
    uint64_t silent         # index of the queue whose silence ended the process, plus one
    uint64_t queue[<int> MOST_QUEUES]
    uint64_t busy[<int> MOST_QUEUES]    # whether the thread holds packets that have no verdict yet
    uint64_t thread[<int> MOST_QUEUES]  # its number in /proc, 0: not started

cdef struct Watch:
    Beats *beats
    int count
    uint32_t stop           # set by the main thread
    int fds[<int> MOST_QUEUES]          # sockets that bound the queues
    uint64_t seen[<int> MOST_QUEUES]
    uint32_t ticks[<int> MOST_QUEUES]
    uint64_t cpu[<int> MOST_QUEUES]     # what the thread had used when its silence began, in clock ticks


cdef class Heartbeats:
    cdef Beats *beats
    cdef readonly int fd            # -1: no other process can map it
    cdef readonly int why_unshared  # errno


cdef class Watchdog:
    cdef Watch watch
    cdef Heartbeats heartbeats
    cdef unsigned long thread
    cdef bint started
