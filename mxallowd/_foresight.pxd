"""What the next SYN of a host will meet: the decision itself is asked, and nothing is changed by that.

The question is a packet that goes through decide() of _fastpath.pyx, the very code that decides, over a path of its
own: it has the rules of the real path and reads all of its shards, but what it writes (a shard, a ring, counters) is
its own and thrown away. Marks and times of entries in other shards are the one thing that a path changes elsewhere;
`foresees` keeps it from that.
"""
from libc.stdint cimport uint64_t

from mxallowd._fastpath cimport Fastpath, Path
from mxallowd.engine._ring cimport Ring
from mxallowd.engine._shard cimport Shard


cdef class Foresight:
    cdef Fastpath asked
    cdef Path path
    cdef Ring ring
    cdef Shard *shards          # views of the table's, and behind them one of our own
    cdef int own
    cdef int look(self) except -1
