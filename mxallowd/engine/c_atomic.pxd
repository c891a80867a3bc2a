"""The compiler's atomic built-ins (GCC manual, "__atomic Builtins"), only those in use.

They are type-generic: a declaration here fixes the width by its pointer's type.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from * nogil:
    const int RELAXED "__ATOMIC_RELAXED"
    const int ACQUIRE "__ATOMIC_ACQUIRE"
    const int RELEASE "__ATOMIC_RELEASE"
    const int ACQ_REL "__ATOMIC_ACQ_REL"
    const int SEQ_CST "__ATOMIC_SEQ_CST"

    uint16_t load16 "__atomic_load_n"(const uint16_t *where, int order) noexcept
    void store16 "__atomic_store_n"(uint16_t *where, uint16_t value, int order) noexcept

    uint32_t load32 "__atomic_load_n"(const uint32_t *where, int order) noexcept
    void store32 "__atomic_store_n"(uint32_t *where, uint32_t value, int order) noexcept
    uint32_t exchange32 "__atomic_exchange_n"(uint32_t *where, uint32_t value, int order) noexcept
    uint32_t fetch_or32 "__atomic_fetch_or"(uint32_t *where, uint32_t bits, int order) noexcept

    uint64_t load64 "__atomic_load_n"(const uint64_t *where, int order) noexcept
    void store64 "__atomic_store_n"(uint64_t *where, uint64_t value, int order) noexcept
    uint64_t fetch_and64 "__atomic_fetch_and"(uint64_t *where, uint64_t bits, int order) noexcept
    uint64_t fetch_or64 "__atomic_fetch_or"(uint64_t *where, uint64_t bits, int order) noexcept
    uint64_t add64 "__atomic_fetch_add"(uint64_t *where, uint64_t step, int order) noexcept
    bint exchange_if64 "__atomic_compare_exchange_n"(
        uint64_t *where, uint64_t *expected, uint64_t wanted, bint weak,
        int success, int failure) noexcept

    void *load_ptr "__atomic_load_n"(void **where, int order) noexcept
    void store_ptr "__atomic_store_n"(void **where, void *value, int order) noexcept
    void *exchange_ptr "__atomic_exchange_n"(void **where, void *value, int order) noexcept

    void fence "__atomic_thread_fence"(int order) noexcept
    void prefetch "__builtin_prefetch"(const void *where) noexcept
    void prefetch_to "__builtin_prefetch"(const void *where, int write, int locality) noexcept


cdef inline void count_up(uint64_t *counter, uint64_t step) noexcept nogil:
    """Raise a counter that one thread writes and any thread may read: no bus lock, and never half a word."""
    store64(counter, load64(counter, RELAXED) + step, RELAXED)
