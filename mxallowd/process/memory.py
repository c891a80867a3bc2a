"""How the C library keeps memory: what is freed goes back to the system, so that the process stays as large as it is.

glibc gives each thread a heap of its own and keeps what was freed there, and every large block that is freed makes it
keep larger ones. What we make for a moment, a message of a whole kernel table, would so stay for ever, and a flood
would let the process grow by steps.
"""
import ctypes

# malloc.h of glibc
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
MAPPED_FROM = 128 << 10  # bytes: glibc's own first value, which stays where it has been set


def return_what_is_freed() -> None:
    """Called before the first thread starts. Where the C library has no such setting, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        mallopt(_M_ARENA_MAX, 1)
