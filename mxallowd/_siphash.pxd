"""SipHash-1-3 of an address: the keyed hash of the table."""
from libc.stdint cimport uint64_t

from mxallowd._address cimport Address

cdef struct HashKey:
    uint64_t first
    uint64_t second

cdef uint64_t hash_address(const HashKey *key, const Address *address) noexcept nogil
