"""Heartbeats and the thread that watches them: see _watch.pxd.

Which way it fails: if a socket cannot be asked, it counts as empty, and the process is not ended. The process is ended
only if packets wait while their thread has taken none and answered none for half a second. From then on every new
connection to the mail server would hang, and no process is better than that. A thread that only waits for a processor
is no such case: it goes on sooner than a new process would be there, and it still has the whitelist.
"""
cimport cython
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf, sscanf
from libc.string cimport strerror, strrchr
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.time cimport timespec
from posix.unistd cimport _exit, close, ftruncate, read

from mxallowd.engine.c_atomic cimport RELAXED, count_up, load32, load64, store32, store64
from mxallowd.watchdog.c_threads cimport (
    PR_SET_NAME, PRIO_PROCESS, WATCH_NICENESS, prctl, pthread_join, setpriority, start_thread)

cdef extern from "<sys/mman.h>" nogil:
    const unsigned int MFD_CLOEXEC
    int memfd_create(const char *name, unsigned int flags)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    const int SOL_SOCKET
    const int SO_MEMINFO
    int getsockopt(int fd, int level, int name, void *value, socklen_t *size)

cdef extern from "<linux/sock_diag.h>" nogil:
    const int SK_MEMINFO_VARS

cdef extern from "<time.h>" nogil:
    int nanosleep(const timespec *wanted, timespec *left)

PAGE_BYTES = sizeof(Beats)
SILENCE_MS = <int> TICK_MS * <int> SILENT_TICKS
STARVATION_MS = <int> TICK_MS * <int> STARVED_TICKS
SILENT_STATUS = <int> STATUS
NICENESS = <int> WATCH_NICENESS


cdef bint unread(int fd) noexcept nogil:
    """Whether the socket holds packets that nobody has taken: SO_MEMINFO needs no privilege, as /proc would."""
    cdef uint32_t memory[<int> SK_MEMINFO_VARS]
    cdef socklen_t size = sizeof(memory)
    memory[0] = 0
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 and memory[0] > 0


cdef bint look_at_thread(uint64_t thread, char *state, uint64_t *cpu) noexcept nogil:
    """What /proc says of it: its state, R where it runs or could run, and the clock ticks that it used (proc(5))."""
    cdef char path[64]
    cdef char text[512]
    cdef const char *behind_name
    cdef unsigned long user = 0, system = 0
    cdef int fd
    cdef ssize_t length
    snprintf(path, sizeof(path), b"/proc/self/task/%lu/stat", <unsigned long> thread)
    fd = open(path, O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return False
    length = read(fd, text, sizeof(text) - 1)
    close(fd)
    if length <= 0:
        return False
    text[length] = 0
    behind_name = strrchr(text, c')')
    if behind_name == NULL or sscanf(
            behind_name, b") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", state, &user, &system) != 3:
        return False
    cpu[0] = user + system
    return True


cdef bint starves(Watch *watch, int i) noexcept nogil:
    """Whether its thread could run and has hardly run at all: a batch takes microseconds, so one that ran spins."""
    cdef char state = 0
    cdef uint64_t cpu = 0
    if not look_at_thread(load64(&watch.beats.thread[i], RELAXED), &state, &cpu):
        return False
    return state == c'R' and cpu - watch.cpu[i] <= 1


cdef int silent_queue(Watch *watch) noexcept nogil:
    """One look; the index of a queue that has been silent for too long while packets wait in it, -1: there is none."""
    cdef uint64_t beat
    cdef char state = 0
    cdef int i
    for i in range(watch.count):
        beat = load64(&watch.beats.queue[i], RELAXED)
        if beat != watch.seen[i] or not (load64(&watch.beats.busy[i], RELAXED) or unread(watch.fds[i])):
            watch.seen[i] = beat
            watch.ticks[i] = 0
            continue
        if watch.ticks[i] == 0:
            look_at_thread(load64(&watch.beats.thread[i], RELAXED), &state, &watch.cpu[i])
        watch.ticks[i] += 1
        if watch.ticks[i] >= SILENT_TICKS and (watch.ticks[i] >= STARVED_TICKS or not starves(watch, i)):
            return i
    return -1


def check_socket(fd):
    cdef uint32_t memory[<int> SK_MEMINFO_VARS]
    cdef socklen_t size = sizeof(memory)
    if getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size):
        raise OSError(errno, f"SO_MEMINFO: {strerror(errno).decode()}")


cdef void *run(void *argument) noexcept nogil:
    cdef Watch *watch = <Watch *> argument
    cdef timespec tick
    cdef int silent
    tick.tv_sec = 0
    tick.tv_nsec = TICK_MS * 1000000
    prctl(PR_SET_NAME, b"mxallowd-watch")
    setpriority(PRIO_PROCESS, 0, WATCH_NICENESS)
    while load32(&watch.stop, RELAXED) == 0:
        nanosleep(&tick, NULL)
        silent = silent_queue(watch)
        if silent >= 0 and load32(&watch.stop, RELAXED) == 0:
            store64(&watch.beats.silent, <uint64_t> silent + 1, RELAXED)
            # All threads at once, and nothing of Python's or of the C library's on the way.
            _exit(STATUS)
    return NULL


@cython.final
cdef class Heartbeats:
    def __cinit__(self, fd=None):
        cdef int flags = MAP_SHARED
        self.fd = memfd_create(b"mxallowd-heartbeats", MFD_CLOEXEC) if fd is None else fd
        if fd is None and (self.fd < 0 or ftruncate(self.fd, sizeof(Beats)) < 0):
            # No such call, or a limit on the size of files: for this process alone, any memory will do.
            self.why_unshared = errno
            if self.fd >= 0:
                close(self.fd)
            self.fd = -1
            flags |= MAP_ANONYMOUS
        self.beats = <Beats *> mmap(NULL, sizeof(Beats), PROT_READ | PROT_WRITE, flags, self.fd, 0)
        if self.beats == <Beats *> MAP_FAILED:
            self.beats = NULL
            raise OSError(errno, "no memory for heartbeats")

    def __dealloc__(self):
        if self.beats:
            munmap(self.beats, sizeof(Beats))
        if self.fd >= 0:
            close(self.fd)

    def beat(self):
        count_up(&self.beats.main_loop, 1)

    def beat_guard(self):
        count_up(&self.beats.guard, 1)

    @property
    def guard(self):
        return load64(&self.beats.guard, RELAXED)

    @property
    def main_loop(self):
        return load64(&self.beats.main_loop, RELAXED)

    @property
    def silent(self):
        silent = load64(&self.beats.silent, RELAXED)
        return silent - 1 if silent else None

    def queue(self, index):
        if not 0 <= index < MOST_QUEUES:
            raise IndexError(f"no queue {index}")
        return load64(&self.beats.queue[<int> index], RELAXED)

    def thread(self, index):
        if not 0 <= index < MOST_QUEUES:
            raise IndexError(f"no queue {index}")
        return load64(&self.beats.thread[<int> index], RELAXED)


@cython.final
cdef class Watchdog:
    def __cinit__(self, Heartbeats heartbeats not None, fds):
        cdef int i
        if not 0 < len(fds) <= MOST_QUEUES:
            raise ValueError(f"{len(fds)} queues cannot be watched")
        self.heartbeats = heartbeats
        self.watch.beats = heartbeats.beats
        self.watch.count = len(fds)
        for i, fd in enumerate(fds):
            self.watch.fds[i] = fd

    def start(self):
        cdef int status = start_thread(&self.thread, run, &self.watch)
        if status:
            raise OSError(status, "cannot start the watching thread")
        self.started = True

    def stop(self):
        cdef unsigned long thread = self.thread
        store32(&self.watch.stop, 1, RELAXED)
        if self.started:
            self.started = False
            with nogil:
                pthread_join(thread, NULL)
