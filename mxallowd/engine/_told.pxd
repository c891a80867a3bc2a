"""What other gateways tell (--fleet), entered into the told places of the whitelist.

A record on the wire is of the layout of Telling, all numbers in network order. It says how long the entry has left as
the teller sealed it; what the time on the way has taken is for the caller to say. Told entries go into places of their
own (_shard.pxd), where only other told ones make room for them, whatever is told. Of a host that is listed already,
however it came in, a record can only prolong the entry and mark it as used or proven.

The main thread works a batch off without Python's lock, some hundred records at a time; it says which hosts are listed
in another way now, so that copies elsewhere are told of these alone.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._meetings cimport Meetings_
from mxallowd.engine._shard cimport Shard

# What a record says of its host besides.
cdef enum Saying:
    SAYS_USED = 1
    SAYS_PROVEN = 2
    SAYS_MORE = 0xfc            # no entry: removals, and what later versions may say

# What has become of a host.
cdef enum Became:
    ENTERED = 1
    RENEWED = 2
    USED_NOW = 4
    PROVEN_NOW = 8
    MET_THERE = 16              # besides: it met a fake server of that gateway
    MADE_ROOM = 32              # it is listed no more: a newer told one has its place

cdef enum:
    LATER_US = 1000000          # an end that is not later than by this is the same: records have whole seconds

cdef struct Telling:            # 24 bytes
    Address host
    uint8_t left_s[4]
    uint8_t flags
    uint8_t origin              # how it came in at the gateway that tells
    uint8_t left_ms[2]          # of a second, besides

cdef struct Terms:              # of all records of a batch
    uint64_t now_us
    uint64_t age_us
    uint64_t longest_us
    uint64_t proven_us
    uint16_t gateway
    uint32_t most               # entries that it may have
    const Address *servers
    int server_count
    const Meetings_ *meetings   # NULL: a contact lets in nobody else

cdef struct Outcomes:           # in numbers of records
    uint32_t entered
    uint32_t renewed
    uint32_t known
    uint32_t left_out
    uint32_t over
    uint32_t no_hosts
    uint32_t made_room          # entries that did

cdef struct Gone:               # a living entry that made room
    bint is_one
    Address host
    uint16_t gateway

cdef class Taken:
    cdef Outcomes counts
    cdef readonly bytes hosts
    cdef readonly bytes became
    cdef readonly bytes gateways

# What becomes of one record: bits of Became; 0: nothing. The main thread only.
cdef uint8_t tell_one(
    Shard *shards, int count, int own, const Telling *one, uint64_t hash, const Terms *terms,
    Outcomes *outcomes, Gone *gone) noexcept nogil
