"""SipHash-1-3 of an address: the keyed hash of the table.

Senders can choose their addresses (they can spoof SYNs, and an IPv6 /64 has 2^64 addresses), so the table's hash must
not be predictable: SipHash (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) with a random
key at each start. One compression round a word and three at the end is the variant that hash tables of
language run-times use; an address is two words and the length.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from mxallowd.engine._address cimport Address

# A PRF of 84 steps without a branch is what vectors are for: with those of the machine that it runs on, a batch is
# hashed in a quarter of the time. The compiler makes a version for each and the loader chooses; without the
# means for that (other machines, sanitizers, other C libraries) there is the plain one.
cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) \
        && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(CYTHON_TRACE)
    #define MXALLOWD_VERSIONS __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
    #else
    #define MXALLOWD_VERSIONS
    #endif
    struct mxallowd_hash_key;
    struct mxallowd_address;
    MXALLOWD_VERSIONS static void mxallowd_hash_addresses(
        const struct mxallowd_hash_key *, const struct mxallowd_address *, uint64_t *, int);
    """

cdef struct State:
    uint64_t v0, v1, v2, v3


cdef inline uint64_t rotate(uint64_t word, int bits) noexcept nogil:
    return (word << bits) | (word >> (64 - bits))


cdef inline void sip_round(State *s) noexcept nogil:
    s.v0 += s.v1
    s.v2 += s.v3
    s.v1 = rotate(s.v1, 13) ^ s.v0
    s.v3 = rotate(s.v3, 16) ^ s.v2
    s.v0 = rotate(s.v0, 32)
    s.v2 += s.v1
    s.v0 += s.v3
    s.v1 = rotate(s.v1, 17) ^ s.v2
    s.v3 = rotate(s.v3, 21) ^ s.v0
    s.v2 = rotate(s.v2, 32)


cdef inline void absorb(State *s, uint64_t word) noexcept nogil:
    s.v3 ^= word
    sip_round(s)
    s.v0 ^= word


cdef inline uint64_t siphash(const HashKey *key, const Address *address) noexcept nogil:
    cdef State s
    s.v0 = key.first ^ <uint64_t> 0x736f6d6570736575
    s.v1 = key.second ^ <uint64_t> 0x646f72616e646f6d
    s.v2 = key.first ^ <uint64_t> 0x6c7967656e657261
    s.v3 = key.second ^ <uint64_t> 0x7465646279746573
    absorb(&s, address.high)
    absorb(&s, address.low)
    # The last block: no bytes are left over, the top byte is the length.
    absorb(&s, <uint64_t> 16 << 56)
    s.v2 ^= 0xff
    sip_round(&s)
    sip_round(&s)
    sip_round(&s)
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3


cdef uint64_t hash_address(const HashKey *key, const Address *address) noexcept nogil:
    return siphash(key, address)


cdef void hash_addresses(const HashKey *key, const Address *addresses, uint64_t *hashes, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        hashes[i] = siphash(key, &addresses[i])


def siphash13(bytes key not None, bytes address not None):
    cdef HashKey words
    cdef Address value
    if len(key) != 16 or len(address) != 16:
        raise ValueError("key and address are 16 bytes each")
    memcpy(&words, <const char *> key, 16)
    memcpy(&value, <const char *> address, 16)
    return hash_address(&words, &value)
