"""Entries as a disk keeps them: what is true of some hosts now, and what many records, one after the other, come to.

The records are those of _records.pxd. Of a host that is not listed the record has the time 0; with the origin ENDED it
has the time until which no copy may bring the host back, since somebody has ended it.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ENDED = 255             # in place of an origin

cdef struct Ranked:
    uint64_t rank           # proven above unproven, then by the end
    uint32_t at             # number of the record
