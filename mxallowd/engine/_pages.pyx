"""Memory for tables: whole pages, zeroed, and resident from the start.

If a table got its pages only as it fills, the first flood would make the process grow, and a machine without the memory
would end it in the middle of that flood. So every page is written at the start.
"""
from libc.errno cimport errno
from libc.stddef cimport size_t
from libc.string cimport memset, strerror
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, madvise, mmap, munmap

cdef extern from "<sys/mman.h>" nogil:
    """
    #ifndef MADV_HUGEPAGE
    #define MADV_HUGEPAGE MADV_NORMAL
    #endif
    """
    const int MADV_HUGEPAGE

cdef enum:
    SMALL_PAGE = 4096
    LARGE_PAGE = 1 << 21

PAGE = <int> SMALL_PAGE


cdef size_t page_end(size_t size) noexcept:
    return (size + SMALL_PAGE - 1) & ~<size_t> (SMALL_PAGE - 1)


def mapped_bytes(size):
    return page_end(size)


cdef void *map_pages(size_t size) except NULL:
    cdef size_t wanted = page_end(size), mapped = wanted + (LARGE_PAGE if size >= LARGE_PAGE else 0), before = 0
    cdef char *memory = <char *> mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == <char *> MAP_FAILED:
        raise MemoryError(f"no {size} bytes of memory for a table: {strerror(errno).decode()}")
    # Large pages save most misses of the TLB in a table of many megabytes; without them it works as well. They must
    # begin at their multiples: what lies before goes back.
    if mapped > wanted:
        before = -<size_t> memory & (LARGE_PAGE - 1)
        if before:
            munmap(memory, before)
        munmap(memory + before + wanted, mapped - before - wanted)
        memory += before
        madvise(memory, wanted, MADV_HUGEPAGE)
    memset(memory, 0, wanted)
    return memory


cdef void unmap_pages(void *memory, size_t size) noexcept:
    if memory:
        munmap(memory, page_end(size))
