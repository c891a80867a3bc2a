/* Lets the allocation of a chosen number fail: preloaded before the C library by test_allocation.py.

   Counted are malloc, calloc, realloc and mmap while `failing_countdown` is not negative; at 0 the call
   fails, once. `failing_blocks` and `failing_mapped` say how many blocks and bytes of mappings were taken and not given
   back, whether or not anything is to fail. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

long failing_countdown = -1, failing_blocks, failing_mapped;

/* The allocator itself, by the names under which the C library exports it for wrappers like this one. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

static int fails(void)
{
    if (__atomic_load_n(&failing_countdown, __ATOMIC_RELAXED) < 0)
        return 0;
    if (__atomic_fetch_sub(&failing_countdown, 1, __ATOMIC_RELAXED) != 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *block)
{
    if (block)
        __atomic_fetch_add(&failing_blocks, 1, __ATOMIC_RELAXED);
    return block;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (fails())
        return NULL;
    return block ? __libc_realloc(block, size) : counted(__libc_malloc(size));
}

void free(void *block)
{
    int before = errno;
    if (block)
        __atomic_fetch_sub(&failing_blocks, 1, __ATOMIC_RELAXED);
    __libc_free(block);
    errno = before;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    void *mapping;
    if (fails())
        return MAP_FAILED;
    mapping = (void *) syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    if (mapping != MAP_FAILED)
        __atomic_fetch_add(&failing_mapped, (long) length, __ATOMIC_RELAXED);
    return mapping;
}

/* The name under which Python's headers ask for it. */
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return mmap(address, length, protection, flags, fd, offset);
}

int munmap(void *address, size_t length)
{
    __atomic_fetch_sub(&failing_mapped, (long) length, __ATOMIC_RELAXED);
    return (int) syscall(SYS_munmap, address, length);
}
