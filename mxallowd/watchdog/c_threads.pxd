"""What native threads need of POSIX and Linux: start, end, name and priority."""
from posix.signal cimport sigfillset, sigset_t

ctypedef void *(*thread_body)(void *) noexcept nogil

cdef enum:      # setpriority(2)
    QUEUE_NICENESS = -10    # a connection waits for these threads, nothing for the others
    WATCH_NICENESS = -11    # above them: a busy one must not keep us from seeing a silent one

cdef extern from "<signal.h>" nogil:
    const int SIG_SETMASK
    int pthread_sigmask(int how, const sigset_t *new, sigset_t *old)

cdef extern from "<pthread.h>" nogil:
    int pthread_create(unsigned long *thread, void *attributes, thread_body body, void *argument)
    int pthread_join(unsigned long thread, void **result)
    int pthread_tryjoin_np(unsigned long thread, void **result)

cdef extern from "<unistd.h>" nogil:
    int gettid()

cdef extern from "<sys/prctl.h>" nogil:
    const int PR_SET_NAME
    int prctl(int option, const char *name)

cdef extern from "<sys/resource.h>" nogil:
    const int PRIO_PROCESS
    int setpriority(int which, unsigned int who, int niceness)     # on Linux of one thread; 0: the caller


cdef inline int start_thread(unsigned long *thread, thread_body body, void *argument) noexcept nogil:
    """Start one that no signal hits, since they are for the main thread. 0 or an errno."""
    cdef sigset_t every, before
    cdef int status
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &before)
    status = pthread_create(thread, NULL, body, argument)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    return status
