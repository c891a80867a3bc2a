"""What the next SYN of a host will meet: see _foresight.pxd."""
import struct as _struct

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free

from mxallowd._fastpath cimport Fastpath, decide
from mxallowd.engine._packet cimport Packet
from mxallowd.engine._ring cimport Ring
from mxallowd.engine._shard cimport LATEST_US, Shard, map_shard, shard_sweep, unmap_shard
from mxallowd.engine.c_atomic cimport RELAXED, load64

from mxallowd._fastpath import OUTCOME_NAMES as _NAMES
from mxallowd.engine.events import MAPPED as _MAPPED

cdef enum:
    OWN_ENTRIES = 4
    RING_EVENTS = 16


def syn(source, destination):
    """The IP packet of a connection attempt at port 25 (RFC 791, RFC 8200, RFC 9293)."""
    segment = _struct.pack("!HHIIBBHHH", 49152, 25, 1, 0, 5 << 4, 2, 64240, 0, 0)
    if destination.startswith(_MAPPED):
        return _struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, source[12:], destination[12:]) + segment
    return _struct.pack("!IHBB16s16s", 6 << 28, len(segment), 6, 64, source, destination) + segment


@cython.final
cdef class Foresight:
    def __cinit__(self, Fastpath asked not None):
        cdef bytes key
        self.asked = asked
        self.own = asked.path.shard_count
        self.ring = Ring(RING_EVENTS, -1)
        self.shards = <Shard *> calloc(self.own + 1, sizeof(Shard))
        if not self.shards:
            raise MemoryError()
        key = (<const char *> &asked.path.shards[0].key)[:sizeof(asked.path.shards[0].key)]
        # The hash of all shards is the same, so ours has to be.
        map_shard(&self.shards[self.own], OWN_ENTRIES, key, asked.path.shards[0].hash_mask)
        self.path.shards = self.shards
        self.path.shard_count = self.own + 1
        self.path.own = self.own
        self.path.leniency = asked.path.leniency
        self.path.ring = &self.ring.state
        self.path.foresees = True

    def __dealloc__(self):
        if self.shards:
            unmap_shard(&self.shards[self.own])
            free(self.shards)

    cdef int look(self) except -1:
        """Take over what may have changed of the path since."""
        cdef const Shard *theirs
        cdef int i
        for i in range(self.own):
            theirs = &self.asked.path.shards[i]
            self.shards[i].entries = theirs.entries
            self.shards[i].lines = theirs.lines
            self.shards[i].line_count = theirs.line_count
            self.shards[i].hash_mask = theirs.hash_mask
            self.shards[i].key = theirs.key
            self.shards[i].capacity = theirs.capacity
            self.shards[i].number_mask = theirs.number_mask
            self.shards[i].size = load64(&theirs.size, RELAXED)
        # The newest rules: its thread takes them over with its next packet.
        self.path.rules = &self.asked.newest.set
        return 0

    def foresee(self, source, destination, now_us):
        cdef Packet packet
        cdef bytes data
        if len(source) != 16 or len(destination) != 16:
            raise ValueError("an address is 16 bytes")
        if source.startswith(_MAPPED) != destination.startswith(_MAPPED):
            raise ValueError("the addresses are of two families")
        data = syn(source, destination)
        packet.data = <const uint8_t *> <const char *> data
        packet.length = <unsigned int> len(data)
        packet.now_us = now_us
        self.look()
        decide(&self.path, &packet, 1)
        # What it was whitelisted by, if it was: the next question must not find it.
        shard_sweep(&self.shards[self.own], <uint64_t> LATEST_US + 1, 1, OWN_ENTRIES)
        self.ring.drain(RING_EVENTS)
        return _NAMES[packet.outcome]
