"""SipHash-1-3 of an address: the keyed hash of the table."""
from libc.stdint cimport uint64_t

from mxallowd.engine._address cimport Address

cdef struct HashKey "mxallowd_hash_key":
    uint64_t first
    uint64_t second

cdef uint64_t hash_address(const HashKey *key, const Address *address) noexcept nogil

# The same for many: in one loop the processor works on several at a time.
cdef void hash_addresses "mxallowd_hash_addresses"(
    const HashKey *key, const Address *addresses, uint64_t *hashes, int count) noexcept nogil
