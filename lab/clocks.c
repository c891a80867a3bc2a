/* Clocks that a test can set: LD_PRELOAD=clocks.so, and the file of MXALLOWD_CLOCKS holds how far they are ahead of the
 * kernel's: three numbers of seconds, 64 bits each, for CLOCK_REALTIME, CLOCK_BOOTTIME and CLOCK_MONOTONIC. The file is
 * mapped at the start of the program, so a change counts at once and in all programs, also in one that may open no file.
 *
 * A call that waits until a time of such a clock gets the kernel's time in its place. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WALL, BOOT, MONOTONIC, CLOCKS };

static const volatile int64_t *ahead_s;

static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static int (*real_sem_clockwait)(sem_t *, clockid_t, const struct timespec *);
static int (*real_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_cond_clockwait)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

/* The constructors of other libraries may ask for the time before ours has run. */
static void prepare(void)
{
    const char *path;
    int fd;
    void *mapped;
    if (real_gettime)
        return;
    /* Of this one x86-64 has an older form, too, which dlsym() may find; other machines do not. */
    real_cond_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real_cond_timedwait)
        real_cond_timedwait = next("pthread_cond_timedwait");
    real_cond_clockwait = next("pthread_cond_clockwait");
    real_sem_timedwait = next("sem_timedwait");
    real_sem_clockwait = next("sem_clockwait");
    real_nanosleep = next("clock_nanosleep");
    real_gettime = next("clock_gettime");
    path = getenv("MXALLOWD_CLOCKS");
    if (!path)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        abort();
    mapped = mmap(NULL, CLOCKS * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        abort();
    ahead_s = mapped;
}

__attribute__((constructor)) static void at_the_start(void)
{
    prepare();
}

static int64_t ahead(clockid_t clock)
{
    prepare();
    if (!ahead_s)
        return 0;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return ahead_s[WALL];
    case CLOCK_BOOTTIME:
        return ahead_s[BOOT];
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
        return ahead_s[MONOTONIC];
    default:
        return 0;
    }
}

static struct timespec in_kernel(clockid_t clock, const struct timespec *until)
{
    struct timespec at = *until;
    at.tv_sec -= ahead(clock);
    if (at.tv_sec < 0)
        at.tv_sec = at.tv_nsec = 0;
    return at;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int64_t seconds = ahead(clock);
    int status = real_gettime(clock, now);
    if (status == 0)
        now->tv_sec += seconds;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *target)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (target)
        *target = now.tv_sec;
    return now.tv_sec;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    struct timespec at = flags & TIMER_ABSTIME ? in_kernel(clock, wanted) : *wanted;
    prepare();
    return real_nanosleep(clock, flags, &at, left);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    struct timespec at = in_kernel(CLOCK_REALTIME, until);
    return real_sem_timedwait(semaphore, &at);
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until)
{
    struct timespec at = in_kernel(clock, until);
    return real_sem_clockwait(semaphore, clock, &at);
}

/* Which clock a condition goes by only its maker knows; those of Python go by CLOCK_MONOTONIC. */
int pthread_cond_timedwait(
    pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    struct timespec at = in_kernel(CLOCK_MONOTONIC, until);
    return real_cond_timedwait(condition, mutex, &at);
}

int pthread_cond_clockwait(
    pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
    const struct timespec *restrict until)
{
    struct timespec at = in_kernel(clock, until);
    return real_cond_clockwait(condition, mutex, clock, &at);
}
