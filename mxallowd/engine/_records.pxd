"""Entries of the whitelist as records: to list the whole whitelist, and to restore it after a restart.

A record leaves the process and comes back: a target of a mirror keeps it, and it contains no shards, lists or
generations. Listing runs beside the threads that write. Restoring is for the thread that writes the shard, some hundred
records at a time, between batches of packets.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._shard cimport Shard
from mxallowd.engine._within cimport Within

cdef struct Record:             # 32 bytes; RECORD in whitelist.py has the same layout
    Address host
    uint64_t until_us
    uint8_t origin
    uint8_t used
    uint8_t proven
    uint8_t reserved
    uint16_t gateway            # who told of it first, as this process numbers gateways; no copy needs it
    uint8_t unused[2]

cdef struct Restored:           # what became of records
    uint64_t entered
    uint64_t known              # listed already: the later end, use and proof of both hold, and the known origin
    uint64_t left_out           # no room but that of living entries
    uint64_t ended              # their time is over, or the record makes no sense

cdef struct Choice:             # of entries
    Within network
    uint64_t origins            # a bit for each origin
    uint64_t flags              # of USED and PROVEN those that are asked for
    uint64_t set                # of them, those that must be set; the others must not
    uint16_t gateway            # that told of it first; 0: any, and none

cdef struct Survey:             # how many entries there are
    uint64_t origins[8]         # by origin
    uint64_t used
    uint64_t proven

cdef Choice every_entry() noexcept nogil

# Records of chosen entries that are not expired, looked for in `budget` entries from *number of shard *at; at most
# `most`, for which `target` has room; how many there are.
cdef uint32_t list_records(
    Shard *shards, int count, uint64_t now_us, int *at, uint32_t *number, uint32_t budget, const Choice *choice,
    uint32_t most, Record *target) noexcept nogil

# Count the entries of a network, in the same way.
cdef void survey_records(
    Shard *shards, int count, uint64_t now_us, int *at, uint32_t *number, uint32_t budget, const Within *network,
    Survey *survey) noexcept nogil

# Enter records into shard `own`, in their order, which becomes the order of age. The shard's thread only. Where it has
# told places, told entries go there and nowhere else; one that a set of the firewall has brought back is moved there.
cdef void restore_records(
    Shard *shards, int count, int own, const Record *records, uint32_t total, uint64_t now_us,
    Restored *result) noexcept nogil
