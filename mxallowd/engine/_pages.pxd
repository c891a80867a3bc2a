"""Memory for tables: whole pages, zeroed, and resident from the start."""
from libc.stddef cimport size_t

# Raises MemoryError. What comes back begins at a page, large blocks at a large page.
cdef void *map_pages(size_t size) except NULL
# `size` is what was asked for; NULL is passed over.
cdef void unmap_pages(void *memory, size_t size) noexcept
